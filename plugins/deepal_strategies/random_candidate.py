"""A uniformly random candidate in every round: the control of selectors that learn which one to query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_strategies.shared.one_arm import OneArm

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class RandomCandidate(OneArm):
    """The batch of a uniformly random candidate in every round, drawn independently of all others."""

    def arm(self, context: QueryContext) -> str:
        """Return a random name."""
        names = list(self.candidates)
        return names[int(context.rng.integers(len(names)))]
