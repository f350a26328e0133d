"""Candidates in turn: the control of selectors that learn which one to query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_strategies.shared.one_arm import OneArm

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class RoundRobin(OneArm):
    """The batch of one candidate in turn: in round r, from 0, number r mod K of K, in the order given."""

    def arm(self, context: QueryContext) -> str:
        """Return the name whose turn it is."""
        names = list(self.candidates)
        return names[context.round % len(names)]
