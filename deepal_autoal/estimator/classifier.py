"""`ActiveLearningClassifier`: a scikit-learn classifier that also says which samples to label next."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.strategies.factory import create_copy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from deepal_autoal.strategies.given import StrategyLike

UNLABELED = -1


class ActiveLearningClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A classifier of feature vectors that is fitted on partly labeled data, and chooses what to label next.

    As scikit-learn's semi-supervised estimators do, `fit` takes all samples, with ``-1`` for those without a label:
    the unlabeled ones are the pool. ``clf.fit(X, y)``, ``clf.query(10)`` gives rows of X, ``clf.teach(rows, labels)``
    adds their labels, and so on. It is an `ActiveLearner`: the same rows as one with these labels and seed.

    Args:
        strategy: A registered name, a strategy, a subclass of `Strategy`, or a function of the context.
        candidates: Of a selector: names or strategies; its own by default.
        options: Of the strategy, by name.
        model: A task model's name, or a model as `ActiveLearner` takes it; ``auto`` chooses by the data.
        recipe: Training settings by name, for models that are trained by gradient.
        scaling: Of the features; see `ActiveLearner`.
        random_state: An int for the same results each time, a generator, or None for new ones.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.

    Attributes:
        classes_: The classes among the labels, sorted, (C,).
        learner_: The learner; its labels are positions in ``classes_``. None if there is but one class, or no label.
        n_features_in_: Number of features.
    """

    learner_: ActiveLearner | None

    def __init__(
        self,
        strategy: StrategyLike = "margin",
        *,
        candidates: Sequence[StrategyLike] | None = None,
        options: Mapping[str, Any] | None = None,
        model: Any = "auto",
        recipe: Mapping[str, Any] | None = None,
        scaling: str = "auto",
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.strategy = strategy
        self.candidates = candidates
        self.options = options
        self.model = model
        self.recipe = recipe
        self.scaling = scaling
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> ActiveLearningClassifier:
        """Train on the labeled samples, from scratch.

        Args:
            X: Features, (N, D).
            y: Labels, (N,), of any type; unlabeled samples have -1, or, among labels that are no numbers, also None,
                NaN or "".

        Raises:
            InputError: If something cannot be used.
        """
        X, y = self._checked(X, y)
        self.classes_ = np.unique(y[~is_unlabeled(y)])
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._pool = X
        self._labels = np.array(y)
        self._start()
        return self

    def query(self, n: int = 1) -> NDArray[np.int64]:
        """Return rows of the fitted X to label next, best first, int64 (n,); at random without labels of two classes.

        Raises:
            InputError: If n is not between 1 and the number of unlabeled samples.
        """
        check_is_fitted(self)
        if self.learner_ is not None:
            return self.learner_.ask(n)
        is_open = np.flatnonzero(is_unlabeled(self._labels))
        if not 1 <= n <= len(is_open):
            raise InputError(f"n is {n}: give 1 to {len(is_open)}, the number of unlabeled samples")
        return np.random.default_rng(self._seed).permutation(is_open)[:n]

    def teach(self, rows: ArrayLike, labels: ArrayLike) -> ActiveLearningClassifier:
        """Add labels, and train on all labels; classes may be new.

        Args:
            rows: Rows of the fitted X, (n,), unlabeled so far.
            labels: Their labels, (n,).

        Raises:
            InputError: If a row has a label or is not in X, or a label is -1, NaN or infinity.
            ValueError: If labels are fractions; then, and if training fails, nothing is added.
        """
        check_is_fitted(self)
        rows = np.asarray(rows)
        given = np.asarray(labels)
        is_open = is_unlabeled(self._labels)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or given.shape != rows.shape:
            raise InputError("give rows as a list of whole numbers, and one label for each")
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(is_open) and is_open[rows].all()):
            raise InputError(f"rows must be among the unlabeled samples of the {len(is_open)} that were fitted")
        if len(np.unique(rows)) != len(rows) or is_unlabeled(given).any():
            raise InputError("a row is given twice, or has no label")
        _check_labels(given)
        before = self.__dict__.copy()
        state = None if self.learner_ is None else self.learner_.state_dict()
        try:
            self._add(rows, given)
        except BaseException:
            self.__dict__.update(before)
            if state is not None:  # it may have been told the labels
                self.learner_ = self._new_learner()
                self.learner_.load_state_dict(state)
            raise
        return self

    def _add(self, rows: NDArray[Any], given: NDArray[Any]) -> None:
        merged = np.array(self._labels, dtype=np.result_type(self._labels, given))
        merged[rows] = given
        self._labels = merged
        classes = np.unique(np.concatenate([self.classes_, given])) if len(self.classes_) else np.unique(given)
        if self.learner_ is not None and np.array_equal(classes, self.classes_):
            self.learner_.tell(rows, np.searchsorted(self.classes_, given))
            self.learner_.fit()
        else:
            self.classes_ = classes
            self._start()

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the predicted classes, (n,)."""
        probabilities = self.predict_proba(X)
        return np.asarray(self.classes_[probabilities.argmax(axis=1)])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return class probabilities, float32 (n, C), in the order of ``classes_``.

        Raises:
            InputError: If there is no label yet.
        """
        check_is_fitted(self)
        X = self._features(X, is_new=True)
        if not len(self.classes_):
            raise InputError("there are no labels yet: query, and teach")
        if self.learner_ is None:
            return np.ones((len(X), 1), dtype=np.float32)
        return self.learner_.predict_proba(X)

    def _start(self) -> None:
        self.learner_ = None
        if len(self.classes_) < 2:
            return
        # Parameters may be set anew afterwards.
        self._given = copy.deepcopy((self.strategy, self.candidates, dict(self.options or {}), self.model))
        self.learner_ = self._new_learner()
        labeled = np.flatnonzero(~is_unlabeled(self._labels))
        self.learner_.tell(labeled, np.searchsorted(self.classes_, self._labels[labeled]))
        self.learner_.fit()

    def _new_learner(self) -> ActiveLearner:
        return ActiveLearner(
            self._pool, create_copy(*self._given[:3]), len(self.classes_), model=self._given[3], recipe=self.recipe,
            seed=self._seed, scaling=self.scaling, device=self.device,
        )  # fmt: skip

    def _checked(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        X = self._features(X)
        if y is None:
            raise InputError("requires y to be passed, but the target y is None: give -1 for samples without a label")
        y = column_or_1d(y, warn=True)
        _check_labels(y)
        if len(y) != len(X):
            raise InputError(f"X has {len(X)} samples, but y has {len(y)} labels")
        return X, y

    def _features(self, X: Any, is_new: bool = False) -> NDArray[Any]:
        found = validate_data(self, X, dtype=(np.float64, np.float32), reset=not is_new)
        return np.array(found, dtype=np.float32) if not is_new else found.astype(np.float32)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "learner_")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if state.get("learner_") is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "learner")
                state["learner_"].save(path)
                state["learner_"] = path.read_bytes()
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        if isinstance(state.get("learner_"), bytes):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "learner")
                path.write_bytes(state["learner_"])
                strategy, candidates, options, model = self._given
                made = None
                if not isinstance(strategy, str) or not _are_names(candidates):
                    made = create_copy(strategy, candidates, options)
                self.learner_ = ActiveLearner.load(
                    path, self._pool, device=self.device, strategy=made, model=None if isinstance(model, str) else model
                )


def _check_labels(y: NDArray[Any]) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise InputError("y contains NaN or infinity: samples without a label have -1")
    if y.size:
        labeled = y[~is_unlabeled(y)]
        if labeled.size:
            check_classification_targets(labeled)


def _are_names(candidates: Any) -> bool:
    return candidates is None or isinstance(candidates, str) or all(isinstance(item, str) for item in candidates)


def is_unlabeled(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels are missing, (N,): -1, and among those that are no numbers also None, NaN, "" and "-1"."""
    if y.dtype.kind in "iufb":
        return np.asarray(y == UNLABELED) if y.dtype.kind in "if" else np.zeros(len(y), dtype=bool)
    missing = (None, "", UNLABELED, str(UNLABELED))
    return np.array([label in missing or label != label for label in y.tolist()], dtype=bool)
