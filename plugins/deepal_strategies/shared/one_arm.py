"""Base class of selectors that query one candidate per round, chosen without looking at any batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from deepal_autoal import Query, SelectorStrategy
from deepal_strategies.shared.default_candidates import DEFAULT_CANDIDATES

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class OneArm(SelectorStrategy):
    """Queries one candidate; the others are not asked. The round's record has its name (``arm``) and its report.

    Args:
        candidates: Strategies by name.
    """

    default_candidates: ClassVar[tuple[str, ...]] = DEFAULT_CANDIDATES

    def arm(self, context: QueryContext) -> str:
        """Return the name of the candidate to query."""
        raise TypeError(f"{type(self).__name__} does not implement arm(context)")

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the candidate's batch."""
        name = self.arm(context)
        return Query(self.ask_candidate(name, context, batch_size), {"arm": name})
