"""TAILOR: Thompson sampling of the candidate that gives each sample, for balanced classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepal_autoal import InputError, Query, SelectorStrategy, Strategy
from deepal_strategies.shared.default_candidates import DEFAULT_CANDIDATES
from deepal_strategies.shared.option_checks import check_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

    Floats = NDArray[np.float64]

# Rewards that differ by less, as a share of the largest, are equal but for rounding.
_ROUNDING = 1e-12


class Tailor(SelectorStrategy):
    """Draws a candidate for each sample by the classes that its earlier samples had (Zhang et al., NeurIPS 2023).

    Thompson sampling with discounted counts: a_ic, for K candidates and C classes all 1 at first, counts the labels
    of class c that candidate i brought. For each sample of the batch, θ_i ~ Dirichlet(a_i + 1) is drawn for every
    candidate, and the one with the largest Σ_c θ_ic·v_c gives its next pick, knowing what all have taken (see
    `Strategy.picks_in_turn`). v_c = 1/n_c is the worth of a label of class c, of which there are n_c labeled samples
    (at least 1); it is -1/n_c for a class with more than half of the labels. When the batch is labeled, a becomes
    discount·a plus the batch's counts.

    So it learns which candidate finds the rare classes, not which one helps accuracy. If all classes have equally many
    labels, every candidate is worth the same, and one is drawn uniformly; the paper leaves that to rounding. The
    paper's reward "pos" is for data with several labels a sample; with one, all candidates would be worth the same.

    Labels may be missing. A queried sample counts once it has a label, for the candidate of the last query that
    contained it; counts are discounted in each query that finds new labels. As a candidate of another selector it
    cannot know whether its samples were queried: it counts those that got a label.

    Args:
        candidates: Strategies by name.
        discount: What earlier counts are multiplied by with each labeled batch, above 0 and at most 1.

    Raises:
        InputError: If the discount is out of range.
    """

    default_candidates: ClassVar[tuple[str, ...]] = DEFAULT_CANDIDATES

    def __init__(self, candidates: Mapping[str, Strategy], discount: float = 0.9) -> None:
        super().__init__(candidates)
        check_positive("discount", discount)
        if discount > 1:
            raise InputError(f"option discount is {discount}; it must be at most 1")
        self.discount = discount
        self._counts: Floats | None = None
        self._sources: dict[int, int] = {}

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Count the last batch's labels, and let the candidates pick in turn.

        The report holds how many samples each candidate gave (``arms``) and its share of the batch (``weights``); the
        expected worth of its next sample, Σ_c E[θ_ic]·v_c (``expected_rewards``); and the largest and the smallest
        class's share of the labels (``class_shares``, empty without labels).
        """
        names = list(self.candidates)
        labels = context.labeled.labels.cpu().numpy()
        counts, settled = self._counted(context, labels)
        values = class_values(np.bincount(labels, minlength=context.n_classes))
        taken: list[int] = []
        picks = {name: self.candidate_picks(name, context, batch_size, taken) for name in names}
        arms = [draw_arm(counts, values, context.rng) for _ in range(batch_size)]
        for arm in arms:
            next(picks[names[arm]])
        # Only now, as a candidate may fail: a query that is then repeated must not count labels twice.
        self._counts = counts
        waiting = {index: arm for index, arm in self._sources.items() if index not in settled}
        self._sources = {**waiting, **dict(zip(taken, arms, strict=True))}
        drawn = np.bincount(arms, minlength=len(names))
        means = (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)
        shares = np.bincount(labels, minlength=context.n_classes) / max(1, len(labels))
        report = {
            "arms": dict(zip(names, drawn.tolist(), strict=True)),
            "weights": dict(zip(names, (drawn / batch_size).tolist(), strict=True)),
            "expected_rewards": dict(zip(names, (means @ values).tolist(), strict=True)),
            "class_shares": {"largest": float(shares.max()), "smallest": float(shares.min())} if len(labels) else {},
        }
        return Query(taken, report)

    def _counted(self, context: QueryContext, labels: NDArray[np.int64]) -> tuple[Floats, set[int]]:
        """Return a with the new labels of queried samples, (K, C), and which samples these are."""
        shape = (len(self.candidates), context.n_classes)
        counts = np.ones(shape) if self._counts is None else self._counts
        new = {
            index: label
            for index, label in zip(context.labeled.indices.tolist(), labels.tolist(), strict=True)
            if index in self._sources
        }
        if new:
            counts = self.discount * counts
            for index, label in new.items():
                counts[self._sources[index], label] += 1
        return counts, set(new)

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, what was queried through which candidate, and the candidates' memories."""
        own = {
            "arms": list(self.candidates),
            "counts": np.empty((0, 0)) if self._counts is None else self._counts.copy(),
            "waiting": np.array(list(self._sources), dtype=np.int64),
            "sources": np.array(list(self._sources.values()), dtype=np.int64),
        }
        return {**super().state_dict(), "tailor": own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: If it belongs to other candidates.
        """
        own = state.get("tailor", {})
        if own.get("arms") != list(self.candidates):
            raise InputError(
                f"{self} has the arms {list(self.candidates)}, but the state has {own.get('arms')}; "
                "create it with the arms of the state, in that order"
            )
        super().load_state_dict(state)
        self._counts = np.array(own["counts"]) if own["counts"].size else None
        self._sources = dict(zip(own["waiting"].tolist(), own["sources"].tolist(), strict=True))


def class_values(n_labels: NDArray[np.int64]) -> Floats:
    """Return v, what a further label of each class is worth, (C,).

    Args:
        n_labels: How many labeled samples each class has, (C,).
    """
    values: Floats = 1.0 / np.maximum(n_labels, 1)
    return np.where(2 * n_labels > n_labels.sum(), -values, values)


def draw_arm(counts: Floats, values: Floats, rng: np.random.Generator) -> int:
    """Return the candidate with the largest Σ_c θ_ic·v_c, θ_i ~ Dirichlet(a_i + 1); of several, a random one.

    Args:
        counts: a, (K, C).
        values: v, (C,).
        rng: Draws θ, candidate by candidate, and breaks ties.
    """
    rewards = np.array([rng.dirichlet(row) @ values for row in counts + 1])
    best = np.flatnonzero(rewards >= rewards.max() - _ROUNDING * abs(values).max())
    return int(rng.choice(best))
