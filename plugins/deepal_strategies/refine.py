"""REFINE: several strategies filter the pool, round after round, and one chooses the batch from what is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepal_autoal import InputError, Query, Requirement, SelectorStrategy, Strategy, ask, create_strategy
from deepal_strategies.shared.option_checks import check_at_least

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext


class Refine(SelectorStrategy):
    """Progressive filtering by all candidates, then one strategy (Huseljic et al., "Cleaning the Pool", CVPR 2026).

    A pass of the filter starts with the pool P, at first all unlabeled samples. Every candidate queries a batch of
    each of several random subsets of P, drawn for it alone, and the union of these batches, or a random part of it, is
    the next P. The last strategy queries P after the last pass: what it covers or compares is P, not the whole pool.

    Candidates are asked 5 × 99 times by default. They share the model's outputs and the temperature of calibration,
    but whatever they do beyond that, such as training a network or an ensemble's members once more, is done each time,
    and one that remembers something between rounds remembers all these queries.

    The round's record has the size of P after each pass (``pool``), how many samples of the batch each candidate had
    queried in the last pass (``proposed``), and the report of the last strategy (``last``).

    Args:
        candidates: Strategies by name; by default the paper's nine.
        last: Name of the strategy that queries the batch: one of the candidates, with its options, or any other
            registered strategy, also with options: ``coreset[pca=32]``.
        depth: Number of passes of the filter, the paper's R.
        batches: How many batches all candidates query in a pass, divided equally and rounded down; at least one each.
        subset: Size of the subsets in the first pass; at least the batch.
        fraction: Size of the subsets in later passes as a part of P, the paper's α; at least the batch.
        cap: Largest P after a pass, of which a random part is kept; at least the batch.

    Raises:
        InputError: If an option is out of range, or the last strategy changes training.
    """

    default_candidates: ClassVar[tuple[str, ...]] = (
        "random", "margin", "badge", "bait", "typiclust", "alfamix", "dropquery", "maxherding", "uherding",
    )  # fmt: skip

    def __init__(
        self,
        candidates: Mapping[str, Strategy],
        last: str = "uherding",
        depth: int = 5,
        batches: int = 100,
        subset: int = 5_000,
        fraction: float = 0.4,
        cap: int = 10_000,
    ) -> None:
        super().__init__(candidates)
        for name, value in (("depth", depth), ("batches", batches), ("subset", subset), ("cap", cap)):
            check_at_least(name, value, 1)
        if not 0 < fraction <= 1:
            raise InputError(f"option fraction is {fraction}; it must be above 0 and at most 1")
        self.last = self.candidates[last] if last in self.candidates else create_strategy(last)
        if self.last.changes_training:
            raise InputError(f"option last: {last!r} changes how the task model is trained; name another")
        self.depth = depth
        self.batches = batches
        self.subset = subset
        self.fraction = fraction
        self.cap = cap

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """What the candidates and the last strategy need."""
        return super().requires | self.last.requires

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the last strategy's batch of the filtered pool."""
        if self.requires - {"inputs"}:
            context.candidates.logits()  # one pass of all samples, from which every subset takes its rows
        pool, cap = context.candidates.indices, max(self.cap, batch_size)
        sizes: list[int] = []
        proposals: dict[str, NDArray[np.int64]] = {}
        for number in range(self.depth):
            size = self.subset if number == 0 else int(self.fraction * len(pool))
            size = min(max(size, batch_size), len(pool))
            proposals = self._proposals(context, number, pool, size, batch_size)
            pool = np.unique(np.concatenate(list(proposals.values())))
            if len(pool) > cap:
                pool = np.sort(context.rng.choice(pool, cap, replace=False))
            sizes.append(len(pool))
        filtered = context.rebuild(candidates=pool, purpose="last")
        answer = ask(self.last, filtered, batch_size)
        proposed = {name: int(np.isin(answer.indices, batch).sum()) for name, batch in proposals.items()}
        return Query(answer.indices, {"pool": sizes, "proposed": proposed, "last": dict(answer.report)})

    def _proposals(
        self, context: QueryContext, number: int, pool: NDArray[np.int64], size: int, batch_size: int
    ) -> dict[str, NDArray[np.int64]]:
        """Return the pool indices that each candidate queries in a pass, with repetitions.

        Args:
            context: The round.
            number: Number of the pass.
            pool: P, pool indices.
            size: Size of the subsets.
            batch_size: Number of samples queried of each.
        """
        each = max(1, self.batches // len(self.candidates))
        n_done, n_queries = number * each * len(self.candidates), self.depth * each * len(self.candidates)
        found = {}
        for name in self.candidates:
            batches = []
            for repeat in range(each):
                context.progress(n_done, n_queries)
                subset = np.sort(context.rng.choice(pool, size, replace=False))
                part = context.rebuild(candidates=subset, purpose=f"pass {number} subset {repeat}")
                part.progress = lambda done, total: None
                batches.append(self.ask_candidate(name, part, batch_size))
                n_done += 1
            found[name] = np.concatenate(batches)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what the candidates remember, and the last strategy if it is none of them."""
        own = {} if self._last_is_candidate else self.last.state_dict()
        return {**super().state_dict(), **({"last": own} if own else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        if not self._last_is_candidate:
            self.last.load_state_dict(state.get("last", {}))

    @property
    def _last_is_candidate(self) -> bool:
        return any(candidate is self.last for candidate in self.candidates.values())
