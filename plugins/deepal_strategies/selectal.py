"""SelectAL: the strategy whose kind of labels the model misses most, found by removing some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from deepal_autoal import InputError, Query, SelectorStrategy, Strategy
from deepal_strategies.shared.clustering import k_means
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_share
from deepal_strategies.typiclust import typical_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

    Numbers = NDArray[np.int64]

REGIMES = ("random", "low", "high")
# Labels that a class keeps at least: one to learn from while the other is judged.
KEPT = 2
# Share of the samples that stay which is held out by validation="holdout".
HELD_OUT = 0.05
RESAMPLES = 1000


class SelectAL(SelectorStrategy):
    """Queries by the kind of labels whose removal hurts most (Hacohen & Weinshall, NeurIPS 2023).

    With few labels, typical samples are the best to learn from; with many, uncertain ones are; in between, random
    ones. Which regime a run is in is found among the labels that it has: some are removed, ``share`` of them, equally
    many in each class, chosen in three ways: at random, by TypiClust (typical samples) and by inverse TypiClust (the
    least typical sample of each of the smallest clusters), each in one class at a time, as if that had no labels.
    Models are trained without them. The way that leaves the lowest accuracy is the kind of samples that counts most,
    and the next batch is that regime's candidate's. Ties are broken at random.

    Ours, not the paper's:

    - Five percent of 100 labels are five samples to judge by, which decides by chance. By default
      (``validation="folds"``), models of a cross-validation judge every labeled sample without having seen it, all
      three removals on the same folds; the removed samples are judged too, as without the atypical ones the rest
      would be easier. ``validation="holdout"`` is the paper's form as others have implemented it: accuracy on a random
      5% of what a removal leaves, averaged over ``folds`` splits.
    - The record has the confidence of the decision (see `Decision`). With ``holdout``, splits of the same few labels
      count as independent, so that it is overstated.
    - A class keeps at least two labels, and a class's only label is never judged. If not at least two classes and half
      of all that have labels can lose one (which takes three), nothing is trained: the regime is low.
    - Typicality is measured on the task model's embeddings; the paper's are self-supervised. TypiClust is as in
      `TypiClust`.

    Accuracy is that on the labeled samples, which earlier rounds chose; no others have labels.

    A query trains ``folds * (repeats + 2)`` models at most, 35 by default, as the run does; where two removals leave
    the same training set, its model is shared. That suits models that train in seconds, such as ``linear``. The
    round's models are kept until the query ends.

    Args:
        candidates: Three strategies, of the random, the low and the high regime, in this order.
        share: Share of the labeled samples that is removed; at least one of each class that has three.
        validation: ``folds`` or ``holdout``; see above.
        folds: Folds of the cross-validation, or splits of each removal with ``holdout``.
        repeats: Number of random removals, whose results are averaged.

    Raises:
        InputError: If there are not three candidates, or an option is out of range.
    """

    default_candidates: ClassVar[tuple[str, ...]] = ("random", "typiclust", "badge")
    own_requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        candidates: Mapping[str, Strategy],
        share: float = 0.05,
        validation: Literal["folds", "holdout"] = "folds",
        folds: int = 5,
        repeats: int = 5,
    ) -> None:
        super().__init__(candidates)
        if len(self.candidates) != len(REGIMES):
            raise InputError(
                "selectal takes three candidates, for the random, the low and the high regime in this order, such as "
                f"random,typiclust,badge; it got {len(self.candidates)}: {', '.join(self.candidates)}"
            )
        check_share("share", share)
        check_choice("validation", validation, ("folds", "holdout"))
        check_at_least("folds", folds, 2)
        check_at_least("repeats", repeats, 1)
        self.share = share
        self.validation = validation
        self.folds = folds
        self.repeats = repeats

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Decide on the regime and return its candidate's batch.

        The report holds the ``regime``, what it was ``decided_by`` (``folds``, ``holdout`` or ``too few labels``) and
        ``weights``, 1 for the candidate that was asked; if models were trained, also `Decision`'s values and the
        number of samples ``removed`` and of ``trainings``.
        """
        regime, report = self._find_regime(context)
        chosen = list(self.candidates)[REGIMES.index(regime)]
        with context.timed("candidate"):
            indices = self.ask_candidate(chosen, context, batch_size)
        weights = {name: float(name == chosen) for name in self.candidates}
        return Query(indices, {"regime": regime, "weights": weights, **report})

    def _find_regime(self, context: QueryContext) -> tuple[str, dict[str, Any]]:
        order = np.argsort(context.labeled.indices)
        samples = context.labeled.indices[order]
        labels = context.labeled.labels.cpu().numpy()[order]
        n_removed = removal_counts(labels, self.share)
        n_losing = np.count_nonzero(n_removed)
        if n_losing < 2 or 2 * n_losing < len(n_removed):
            return "low", {"decided_by": "too few labels"}
        with context.timed("removal"):
            rows = context.labeled.embeddings().cpu()[torch.as_tensor(order)]
            removals = removal_sets(rows, labels, n_removed, self.repeats, context.rng)
        judge = Judge(context, samples, labels, self.folds * len(removals))
        with context.timed("training"):
            if self.validation == "folds":
                hits = judge.by_folds(removals, folds_of(labels, self.folds, context.rng))
                values = [hits[: self.repeats].mean(axis=0), *hits[self.repeats :]]
            else:
                accuracies = judge.by_splits(removals, self.folds, context.rng)
                values = [accuracies[: self.repeats].ravel(), *accuracies[self.repeats :]]
        decision = decide(values, self.validation == "folds", context.rng)
        return decision.regime, {
            "decided_by": self.validation,
            **asdict(decision),
            "accuracies": dict(zip(REGIMES, decision.accuracies, strict=True)),
            "removed": int(n_removed.sum()),
            "trainings": judge.n_trained,
        }


def removal_counts(labels: Numbers, share: float) -> Numbers:
    """Return how many samples each class that has labels loses, (k,), by ascending class.

    ``share`` of all samples divided by the number of classes, rounded down, but at least 1; fewer, or none, where a
    class would keep less than `KEPT`.
    """
    counts = np.unique(labels, return_counts=True)[1]
    equal = max(1, int(share * len(labels)) // max(1, len(counts)))
    return np.clip(counts - KEPT, 0, equal)


def removal_sets(
    rows: Tensor, labels: Numbers, n_removed: Numbers, repeats: int, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return the removals as masks (n,): ``repeats`` random ones, the typical samples, the least typical ones.

    Args:
        rows: Embeddings of the labeled samples, (n, D), on the CPU.
        labels: (n,).
        n_removed: From `removal_counts`.
        repeats: Number of random removals.
        rng: Draws, and breaks ties.
    """
    removals = [np.zeros(len(labels), dtype=bool) for _ in range(repeats + 2)]
    for label, count in zip(np.unique(labels), n_removed.tolist(), strict=True):
        if count:
            members = np.flatnonzero(labels == label)
            own = rows[torch.as_tensor(members)]
            for removal in removals[:repeats]:
                removal[rng.choice(members, count, replace=False)] = True
            generator = torch.Generator().manual_seed(int(rng.integers(2**63 - 1)))
            clusters = k_means(own, count, generator).labels.numpy()
            for removal, inverse in zip(removals[repeats:], (False, True), strict=True):
                removal[members[typical_batch(own, clusters, 0, count, rng, inverse=inverse)]] = True
    return removals


def folds_of(labels: Numbers, n_folds: int, rng: np.random.Generator) -> Numbers:
    """Return each sample's fold, (n,): classes are spread evenly; -1 for a class's only sample."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    folds[np.bincount(labels)[labels] == 1] = -1
    return folds


class Judge:
    """Trains models on parts of the labeled set; where a part and its purpose recur, the model is shared.

    Args:
        context: The round's context.
        samples: Pool indices of the labeled samples, (n,).
        labels: (n,).
        n_models: How often it will be asked.
    """

    def __init__(self, context: QueryContext, samples: Numbers, labels: Numbers, n_models: int) -> None:
        self.n_trained = 0
        self._context, self._samples, self._labels = context, samples, labels
        self._n_asked, self._n_models = 0, n_models
        self._known: dict[tuple[str, bytes], NDArray[np.bool_]] = {}

    def correct(self, learned: NDArray[np.bool_], judged: NDArray[np.bool_], purpose: str) -> NDArray[np.bool_]:
        """Return which of the judged samples a model classifies correctly, bool (m,).

        Args:
            learned: The samples to train on, a mask (n,).
            judged: Samples outside of them, a mask (n,); the same whenever part and purpose are.
            purpose: Names the random streams of the training.
        """
        key = (purpose, learned.tobytes())
        if key not in self._known:
            train, held_out = self._samples[learned], self._samples[judged]
            model = self._context.fit(train, purpose)
            seen = self._context.rebuild(candidates=held_out, labeled=train, model=model, purpose=purpose)
            predicted = seen.candidates.logits().argmax(dim=1).cpu().numpy()
            self._known[key] = predicted == self._labels[judged]
            self.n_trained += 1
        self._n_asked += 1
        self._context.progress(self._n_asked, self._n_models)
        return self._known[key]

    def by_folds(self, removals: Sequence[NDArray[np.bool_]], folds: Numbers) -> NDArray[np.float64]:
        """Return whether each judged sample is classified correctly after each removal, 0 or 1, (removals, m).

        Args:
            removals: Masks (n,). What is removed is judged like all others.
            folds: From `folds_of`; samples without a fold are in every training and not judged.
        """
        hits = np.zeros((len(removals), len(folds)))
        for fold in range(folds.max() + 1):
            judged = folds == fold
            for number, removal in enumerate(removals):
                hits[number, judged] = self.correct(~judged & ~removal, judged, f"fold {fold}")
        return hits[:, folds >= 0]

    def by_splits(
        self, removals: Sequence[NDArray[np.bool_]], n_splits: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Return the accuracy on a random part of what each removal leaves, (removals, splits)."""
        accuracies = np.zeros((len(removals), n_splits))
        for number, split in np.ndindex(accuracies.shape):
            left = np.flatnonzero(~removals[number])
            judged = np.zeros(len(self._labels), dtype=bool)
            judged[rng.choice(left, max(1, int(HELD_OUT * len(left))), replace=False)] = True
            purpose = f"removal {number} split {split}"
            accuracies[number, split] = self.correct(~judged & ~removals[number], judged, purpose).mean()
        return accuracies


@dataclass(frozen=True)
class Decision:
    """The regime, and how sure that is.

    Attributes:
        regime: The one with the lowest accuracy.
        accuracies: Of the `REGIMES`.
        difference: By how much the second lowest accuracy is above the lowest.
        standard_error: Of the difference.
        agreement: Share of `RESAMPLES` bootstrap resamples that choose the same regime; about 1/3 means by chance.
    """

    regime: str
    accuracies: list[float]
    difference: float
    standard_error: float
    agreement: float


def decide(values: Sequence[NDArray[np.float64]], paired: bool, rng: np.random.Generator) -> Decision:
    """Decide for the lowest mean; ties are broken at random.

    Args:
        values: For each regime, values (m,) whose mean is its accuracy.
        paired: Whether the i-th values of all regimes are about the same sample, so that what is common to them
            cancels in the difference, and resamples draw the same samples for all.
        rng: Breaks ties and resamples.
    """
    means = np.array([one.mean() for one in values])
    lowest = int(rng.choice(np.flatnonzero(_is_lowest(means))))
    second = min((regime for regime in range(len(means)) if regime != lowest), key=lambda regime: means[regime])
    if paired:
        variance = (values[second] - values[lowest]).var(ddof=1) / len(values[lowest])
        resampled = _resampled_means(np.stack(values, axis=1), rng)
    else:
        variance = sum(values[regime].var(ddof=1) / len(values[regime]) for regime in (lowest, second))
        resampled = np.concatenate([_resampled_means(one[:, None], rng) for one in values], axis=1)
    is_lowest = _is_lowest(resampled)
    agreement = (is_lowest[:, lowest] / is_lowest.sum(axis=1)).mean()
    difference = float(means[second] - means[lowest])
    return Decision(REGIMES[lowest], means.tolist(), difference, float(variance**0.5), float(agreement))


def _is_lowest(means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which means are the lowest of their row, up to rounding."""
    is_lowest: NDArray[np.bool_] = means <= means.min(axis=-1, keepdims=True) + 1e-9
    return is_lowest


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return means of rows (m, k) drawn with replacement, (RESAMPLES, k)."""
    distinct, counts = np.unique(values, axis=0, return_counts=True)  # few: memory does not grow with the labels
    means: NDArray[np.float64] = rng.multinomial(len(values), counts / len(values), RESAMPLES) @ distinct / len(values)
    return means
