"""A strategy that sees only a uniform part of the pool: the control of selectors that filter the pool first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from deepal_autoal import InputError, Query, SelectorStrategy, Strategy
from deepal_strategies.shared.option_checks import check_at_least

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class SubPool(SelectorStrategy):
    """One candidate's batch of a uniformly random part of the pool, another part in every round.

    With the size that REFINE's filter leaves and REFINE's last strategy it shows what the filter adds. Papers whose
    comparison strategies see such parts only, to save time, compare with this, and not with the strategies themselves.

    Args:
        candidates: One strategy by name.
        size: Number of samples of the part, at least the batch and at most the pool.

    Raises:
        InputError: If there is not exactly one candidate, or the size is out of range.
    """

    default_candidates: ClassVar[tuple[str, ...]] = ("uherding",)

    def __init__(self, candidates: Mapping[str, Strategy], size: int = 10_000) -> None:
        super().__init__(candidates)
        if len(self.candidates) != 1:
            raise InputError(
                f"sub-pool takes one candidate, not {len(self.candidates)}; name it, as in --candidates uherding"
            )
        check_at_least("size", size, 1)
        self.size = size

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch; the report has the candidate (``arm``), the size of its pool, and its own report."""
        (name,) = self.candidates
        pool = context.candidates.indices
        drawn = context.rng.choice(pool, min(len(pool), max(self.size, batch_size)), replace=False)
        answer = self.consult_candidate(name, context.rebuild(candidates=np.sort(drawn)), batch_size)
        return Query(answer.indices, {"arm": name, "pool": len(drawn), "candidates": {name: answer.report}})
