"""A strategy of this engine as a query strategy of scikit-activeml."""

from __future__ import annotations

from typing import Any

import numpy as np
from skactiveml.base import SingleAnnotatorPoolQueryStrategy
from skactiveml.utils import MISSING_LABEL, is_labeled
from sklearn.base import clone

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.selection import answer_from_outputs, require_given, warn_of_memory
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.strategies.factory import create_strategy, create_with_options

_OUTPUTS = ("embeddings", "probabilities")
_WRITTEN = {"embeddings": "X", "probabilities": "clf"}


class DeepALQueryStrategy(SingleAnnotatorPoolQueryStrategy):  # type: ignore[misc]  # scikit-activeml is untyped
    """See `to_activeml`, which makes one and checks it."""

    def __init__(
        self,
        strategy: Any = "margin",
        candidates: Any = None,
        options: Any = None,
        clf_embedding_flag_name: Any = None,
        missing_label: Any = MISSING_LABEL,
        random_state: Any = None,
    ) -> None:
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.strategy = strategy
        self.candidates = candidates
        self.options = options
        self.clf_embedding_flag_name = clf_embedding_flag_name

    def query(
        self,
        X: Any,
        y: Any,
        clf: Any = None,
        fit_clf: bool = True,
        sample_weight: Any = None,
        candidates: Any = None,
        batch_size: int = 1,
        return_utilities: bool = False,
    ) -> Any:
        """Determine for which candidates labels are to be queried.

        Args:
            X: Samples, labeled ones included, (n_samples, ...).
            y: Their labels, (n_samples,), with ``missing_label`` for unknown ones.
            clf: A ``SkactivemlClassifier``, for strategies that require class probabilities.
            fit_clf: Whether a clone of it is fitted to X and y first.
            sample_weight: Weights of the samples for that, (n_samples,).
            candidates: Numbers of unlabeled samples of X, (n_candidates,), by default all of them; or other samples,
                (n_candidates, ...).
            batch_size: How many to choose.
            return_utilities: Whether to return utilities, too.

        Returns:
            The numbers of the chosen samples, best first, int64 (batch_size,): of ``candidates`` if these are samples,
            else of X. With utilities, also these, (batch_size, n): row i is what choice i is the highest of, and NaN
            for samples that are no candidates or are chosen before. They are the scores of a strategy that scores
            samples; of others only the batch is known, and they are 1 for the choice and 0 for other candidates.

        Raises:
            InputError: If something that is given cannot be used, or does not suffice for the strategy.
            QueryError: If the strategy fails, or needs more than it says.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities
        )
        others, in_x = self._transform_candidates(candidates, X, y, allow_only_unlabeled=True)
        labeled = np.flatnonzero(is_labeled(y, self.missing_label_))
        if in_x is None:
            samples, numbers = np.concatenate([X[labeled], others]), np.arange(-len(labeled), len(others))
            labeled_rows = np.arange(len(labeled))
        else:
            numbers = np.union1d(labeled, in_x)
            samples, labeled_rows = X[numbers], np.searchsorted(numbers, labeled)

        strategy = self.checked_strategy(_OUTPUTS if clf is not None else _OUTPUTS[:1])
        if clf is None and self.clf_embedding_flag_name is not None:
            raise InputError("clf_embedding_flag_name is given, but no classifier that has embeddings: give clf")
        classes, probabilities, embeddings = np.unique(y[labeled]), None, samples
        needs_classifier = "probabilities" in strategy.requires or "gradients" in strategy.requires
        if clf is not None and (needs_classifier or self.clf_embedding_flag_name is not None):
            if fit_clf:
                clf = clone(clf).fit(X, y) if sample_weight is None else clone(clf).fit(X, y, sample_weight)
            flag = self.clf_embedding_flag_name
            found = clf.predict_proba(samples, **({flag: True} if isinstance(flag, str) else flag or {}))
            probabilities, embeddings = found if isinstance(found, tuple) else (found, samples)
            classes = np.asarray(clf.classes_)
        with engine_call():
            answer = answer_from_outputs(
                strategy,
                batch_size,
                embeddings.reshape(len(embeddings), -1),
                probabilities,
                labeled_rows,
                _class_numbers(y[labeled], classes) if len(labeled) else None,
                int(self.random_state_.randint(2**31 - 1)),
                None,
                resolve_device("auto"),
            )
        if not isinstance(self.strategy, Strategy):
            warn_of_memory(strategy)
        picks = numbers[answer.indices]
        if not return_utilities:
            return picks
        utilities = np.full((batch_size, len(X) if in_x is not None else len(others)), np.nan)
        utilities[:, np.delete(numbers, labeled_rows)] = 0.0 if answer.scores is None else answer.scores.cpu().numpy()
        for place, pick in enumerate(picks):
            if answer.scores is None:
                utilities[place, pick] = 1.0
            utilities[place + 1 :, pick] = np.nan
        return picks, utilities

    @engine_call()
    def checked_strategy(self, given: tuple[str, ...] = _OUTPUTS) -> Strategy:
        """Return the strategy, a new one unless an instance is given.

        Args:
            given: Which of ``embeddings`` and ``probabilities`` it can have.

        Raises:
            InputError: If it requires more.
        """
        if self.options:
            created = create_with_options(self.strategy, self.candidates, self.options)
        else:
            created = create_strategy(self.strategy, self.candidates)  # also with options in brackets
        return require_given(created, given, _WRITTEN)


def _class_numbers(labels: Any, classes: Any) -> list[int]:
    """Return labels as positions among the classes.

    Raises:
        InputError: If one is none of them.
    """
    position = {label: number for number, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in position]
    if unknown:
        raise InputError(f"the label {unknown[0]!r} is none of the classes of clf, {', '.join(map(str, position))}")
    return [position[label] for label in labels.tolist()]
