"""One candidate after another, by a fixed schedule: the control of selectors that decide when to switch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from deepal_autoal import InputError, Strategy
from deepal_strategies.shared.one_arm import OneArm
from deepal_strategies.shared.option_checks import check_at_least, check_positive

if TYPE_CHECKING:
    from deepal_autoal import QueryContext

# Rounds of a candidate where no option says otherwise: those of TypiClust in TCM.
DEFAULT_ROUNDS = 3


class Switch(OneArm):
    """The candidates in the order given, each for a fixed number of rounds or labels, the last one to the end.

    Rounds are queries of the run, the first after the initial labels being round 0. Labels are all that there are,
    initial ones included.

    Args:
        candidates: Strategies by name, in the order of their use.
        rounds: After how many rounds the next candidate follows; by default 3, unless ``labels_per_class`` is given.
        labels_per_class: Instead: after how many labels, in units of the number of classes. With 2 of them, the second
            candidate is queried from 2·C labels on, the third from 4·C.

    Raises:
        InputError: If both options are given, or one is out of range.
    """

    # Of the selectors' common candidates, the one that covers the pool, and then an uncertain one.
    default_candidates: ClassVar[tuple[str, ...]] = ("kmeans", "margin")

    def __init__(
        self, candidates: Mapping[str, Strategy], rounds: int | None = None, labels_per_class: float | None = None
    ) -> None:
        super().__init__(candidates)
        if rounds is not None and labels_per_class is not None:
            raise InputError("options rounds and labels_per_class are two ways to say when to switch; give one of them")
        if rounds is not None:
            check_at_least("rounds", rounds, 1)
        if labels_per_class is not None:
            check_positive("labels_per_class", labels_per_class)
        self.rounds = DEFAULT_ROUNDS if rounds is None else rounds
        self.labels_per_class = labels_per_class

    def arm(self, context: QueryContext) -> str:
        """Return the name that the schedule has for this round, or for this number of labels."""
        names = list(self.candidates)
        if self.labels_per_class is None:
            number = context.round // self.rounds
        else:
            # Rounding must not delay a switch that is due.
            number = int(len(context.labeled) / (self.labels_per_class * context.n_classes) + 1e-9)
        return names[min(number, len(names) - 1)]
