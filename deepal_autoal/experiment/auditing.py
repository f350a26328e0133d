"""A learner's audit: which samples of a batch are audited, and what models that were not trained on them say.

These are models that are trained without a part of the labels each (cross-fitting), or, with no folds, the present
model just before it is trained on a batch, for models that take long to train (see `audit.before_training`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.audit.before_training import estimate_before_training
from deepal_autoal.audit.estimates import HeldOut
from deepal_autoal.audit.folds import audit_folds
from deepal_autoal.audit.payoff import LEAST_SAMPLES, N_PARTS, Payoff, curve_parts, payoff
from deepal_autoal.audit.report import LAST_ROUNDS, AuditEstimate, audit_estimate, cohens_kappa
from deepal_autoal.audit.sampling import audit_order, prefix_length
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.pool import Pool, draw_initial
from deepal_autoal.numerics.random_streams import stream_seed
from deepal_autoal.run_settings import whole_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # Classes and confidence of samples, given their pool indices.
    Predict = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float64]]]
    # The `Predict` of a model trained on samples, given their positions among the labeled ones, and a seed.
    Train = Callable[[NDArray[np.int64], int], Predict]
    Progress = Callable[[int, int], None]

DEFAULT_FOLDS = 10
MOST_FOLDS = 1000
# Samples of the pool on which the model's confidence is averaged and models are compared.
_REFERENCE_SIZE = 2000


def check_audit(share: float | None, n_folds: int | None) -> tuple[float, int]:
    """Return share and number of folds with their defaults.

    Raises:
        InputError: If one of them is out of range.
    """
    if n_folds is not None and not share:
        raise InputError("audit_folds has no effect without audit: give its share of each batch, such as 0.1")
    share, n_folds = 0.0 if share is None else share, DEFAULT_FOLDS if n_folds is None else n_folds
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"audit {share}: give the share of each batch that is audited, from 0 to 1, such as 0.1")
    n_folds = whole_number("audit_folds", n_folds)
    if n_folds and not 2 <= n_folds <= MOST_FOLDS:
        raise InputError(f"audit_folds {n_folds}: give 2 to {MOST_FOLDS}, or 0 to train no further models")
    return float(share), n_folds


def most_models(share: float, n_folds: int) -> int:
    """Return how many models an audit trains a round, at most."""
    return n_folds + N_PARTS if share and n_folds else 0


class Audit:
    """The state of a learner's audit.

    Args:
        share: Share of each batch by which the audit set grows.
        n_folds: Number of models that are trained without a part of the labels each; 0 for the answers that the
            learner's own models give before they are trained on a batch (see `note_answers`).
        seed: The learner's.
        members: Pool indices of all samples in use, sorted.
    """

    def __init__(self, share: float, n_folds: int, seed: int, members: NDArray[np.int64]) -> None:
        self.share = share
        self.n_folds = n_folds
        self._seed = seed
        self._members = members
        self._n_drawn = 0  # as an initial batch
        self._n_initial: int | None = None  # None before the first labels
        self._n_answered = 0
        self._asked: set[int] = set()
        self._round = -1
        self._predicted: NDArray[np.int64] | None = None
        self._kappas: list[float] = []
        self._order: NDArray[np.int64] | None = None
        self._given_order: NDArray[np.int64] | None = None
        self._answers: dict[int, tuple[bool, float, bool]] = {}  # whether right, confidence, whether audited

    @property
    def order(self) -> NDArray[np.int64]:
        """The pool's indices in the order in which they are audited, int64 (N,)."""
        if self._order is None:
            n, size = len(self._members), self._n_initial or 0
            initial = draw_initial(n, self._seed, size) if size else np.empty(0, dtype=np.int64)
            self._order = self._members[audit_order(n, self._seed, initial)]
        return self._order

    def drew_initial(self, size: int) -> None:
        """Note that an initial batch of this size was drawn."""
        self._n_drawn = size

    def note_labels(self, indices: NDArray[np.int64]) -> None:
        """Note which samples get labels, before the first of them and after every later batch.

        The initial batch belongs to the audit set if it was drawn by `draw_initial`, as a run and `ask` do; labels of
        other origin do not.
        """
        if self._n_initial is None:
            size = min(max(len(indices), self._n_drawn), len(self._members))
            drawn = self._members[draw_initial(len(self._members), self._seed, size)]
            self._n_initial = size if np.isin(indices, drawn).all() else 0
            return
        self._n_answered += len(self._asked.intersection(indices.tolist()))
        self._asked.difference_update(indices.tolist())

    def note_answers(
        self,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64],
        classes: NDArray[np.int64],
        confidence: NDArray[np.float64],
    ) -> None:
        """Note what the last model predicts for samples that it was not trained on, after `note_labels` of them.

        Args:
            indices: The samples.
            labels: Their labels.
            classes: The predicted classes.
            confidence: The probabilities of these.
        """
        # The strategy could not choose what was due.
        is_audited = np.isin(indices, self._prefix(0))
        columns = (indices, classes == labels, confidence, is_audited)
        for index, right, sure, audited in zip(*(column.tolist() for column in columns), strict=True):
            self._answers[index] = (right, sure, audited)

    def due(self, labeled: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
        """Return the samples of the next batch that are audited, at most all of it."""
        prefix = self._prefix(batch_size)
        return prefix[~np.isin(prefix, labeled)][:batch_size]

    def note_batch(self, indices: NDArray[np.int64]) -> None:
        """Note a batch that was asked for."""
        self._asked.update(indices.tolist())

    def audited(self, labeled: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labeled samples of the audit set, in its order."""
        prefix = self._prefix(0)
        return prefix[np.isin(prefix, labeled)]

    def _prefix(self, more: int) -> NDArray[np.int64]:
        initial = self._n_initial or 0
        return self.order[: prefix_length(len(self._members), initial, self._n_answered + more, self.share)]

    def estimate(
        self, pool: Pool, round_number: int, present: Predict, train: Train, progress: Progress
    ) -> AuditEstimate | None:
        """Return what the audit set says about the present model; None with fewer than two labels in it.

        Without folds, None with fewer than two audited samples that a model predicted before their labels were known.
        """
        labeled, labels = pool.labeled, pool.labels
        if not self.n_folds:
            return self._estimate_before_training(pool, round_number, present)
        audited = self.audited(labeled)
        if len(audited) < 2:
            return None
        place = {index: position for position, index in enumerate(labeled.tolist())}
        rows = np.array([place[index] for index in audited.tolist()])
        n_folds = min(self.n_folds, len(labeled))
        parts = curve_parts(len(audited)) if len(audited) >= LEAST_SAMPLES else []
        n_models = n_folds + len(parts)
        key = (self._seed, round_number, "audit")

        is_audited = np.zeros(len(labeled), dtype=bool)
        is_audited[rows] = True
        folds = audit_folds(labels, is_audited, n_folds, stream_seed(*key))
        held_out = HeldOut(np.zeros(len(labeled), dtype=bool), np.zeros(len(labeled)))
        for fold in range(n_folds):
            progress(fold, n_models)
            (out,) = np.nonzero(folds == fold)
            classes, held_out.confidence[out] = train(np.flatnonzero(folds != fold), stream_seed(*key, fold))(
                labeled[out]
            )
            held_out.correct[out] = classes == labels[out]

        reference = np.sort(self.order[-_REFERENCE_SIZE:])
        predicted, confidence = present(reference)
        found = audit_estimate(
            labels, held_out, is_audited, confidence[~np.isin(reference, labeled)], np.isin(labeled, reference),
            len(pool.members) - len(labeled), pool.n_classes,
        )  # fmt: skip
        return replace(
            found,
            payoff=self._payoff(held_out, found, labeled, labels, rows, parts, key, train,
                                lambda done: progress(n_folds + done, n_models)),
            stability=self._stability(predicted, round_number, pool.n_classes),
        )  # fmt: skip

    def _estimate_before_training(self, pool: Pool, round_number: int, present: Predict) -> AuditEstimate | None:
        labeled, labels = pool.labeled, pool.labels
        found = [self._answers.get(index) for index in labeled.tolist()]
        is_audited = np.array([answer is not None and answer[2] for answer in found])
        reference = np.sort(self.order[-_REFERENCE_SIZE:])
        predicted, confidence = present(reference)
        stability = self._stability(predicted, round_number, pool.n_classes)
        if is_audited.sum() < 2:
            return None
        answers = np.array([answer[:2] for answer in found if answer is not None and answer[2]])
        chosen = np.array([answer[0] for answer in found if answer is not None and not answer[2]], dtype=bool)
        estimate = estimate_before_training(
            HeldOut(answers[:, 0].astype(bool), answers[:, 1]), labels[is_audited], chosen,
            confidence[~np.isin(reference, labeled)], labels[np.isin(labeled, self._prefix(0))], len(pool.members),
            len(pool.members) - len(labeled), pool.n_classes,
        )  # fmt: skip
        return replace(estimate, stability=stability)

    def _payoff(
        self,
        held_out: HeldOut,
        found: AuditEstimate,
        labeled: NDArray[np.int64],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        parts: list[NDArray[np.int64]],
        key: tuple[int | str, ...],
        train: Train,
        progress: Callable[[int], None],
    ) -> Payoff | None:
        """Return what the labels are worth; ``rows`` are the audited ones' positions, in the audit's order."""
        if not parts:
            return None
        correct = np.zeros((len(parts), len(rows)), dtype=bool)
        for number, part in enumerate(parts):
            progress(number)
            predict = train(np.sort(rows[part]), stream_seed(*key, "part", number))
            correct[number] = predict(labeled[rows])[0] == labels[rows]
        present = held_out.correct[rows]
        return payoff(parts, correct, present, found.accuracy.estimate, len(labeled), stream_seed(*key, "resamples"))

    def _stability(self, predicted: NDArray[np.int64], round_number: int, n_classes: int) -> float | None:
        """Compare the model with the one before, and return the mean of the last such comparisons."""
        if round_number > self._round:
            if self._predicted is not None:
                self._kappas = [*self._kappas, cohens_kappa(self._predicted, predicted, n_classes)][-LAST_ROUNDS:]
            self._predicted, self._round = predicted, round_number
        mean = float(np.mean(self._kappas)) if len(self._kappas) == LAST_ROUNDS else np.nan
        return None if np.isnan(mean) else mean

    def state_dict(self) -> dict[str, Any]:
        """Return the state that changes from round to round."""
        return {
            "n_drawn": self._n_drawn,
            "n_initial": self._n_initial,
            "n_answered": self._n_answered,
            "asked": np.array(sorted(self._asked), dtype=np.int64),
            "round": self._round,
            "predicted": self._predicted,
            "kappas": list(self._kappas),
            **({} if self._given_order is None else {"order": self._given_order}),
            **({} if self.n_folds else {"answers": self._answers_as_arrays()}),
        }

    def _answers_as_arrays(self) -> dict[str, NDArray[Any]]:
        rights, sure, audited = zip(*self._answers.values(), strict=True) if self._answers else ((), (), ())
        return {
            "index": np.array(list(self._answers), dtype=np.int64), "right": np.array(rights, dtype=bool),
            "confidence": np.array(sure, dtype=np.float64), "audited": np.array(audited, dtype=bool),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`; its ``order``, if there is one, replaces the one drawn here."""
        self._n_drawn, self._n_initial = state["n_drawn"], state["n_initial"]
        self._n_answered, self._asked = state["n_answered"], set(state["asked"].tolist())
        self._round, self._predicted, self._kappas = state["round"], state["predicted"], list(state["kappas"])
        self._given_order = self._order = state.get("order")
        if "answers" in state:
            index, *columns = (state["answers"][name].tolist() for name in ("index", "right", "confidence", "audited"))
            self._answers = dict(zip(index, zip(*columns, strict=True), strict=True))
