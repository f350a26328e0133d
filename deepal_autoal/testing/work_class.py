"""Checks that a query's work grows no faster than its card says. It counts operations and reads no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.plugins.cost_formulas import format_cost
from deepal_autoal.testing.large_pool import LINEAR, N_CANDIDATES, SECONDS, card_formula, growth_power, query_large_pool
from deepal_autoal.testing.report import CheckFailedError

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject

# Factor between the numbers of candidates of the two queries.
GROWTH = 4
# Methods that iterate until convergence take somewhat more iterations on a larger pool.
SLACK = 1.5
# Work per number of the class that is too little to matter, however it grows: two dozen iterations, for example, of
# something that takes one in the best case. A loop over all pairs of candidates is 125 times N*b*D at these sizes.
FEW = 64


def work_grows_as_its_card_says(subject: Subject) -> str | None:
    """With four times the candidates, torch does no more work than the card's `time` allows (linear in N if none)."""
    large = query_large_pool(subject)
    if not large.usage.complete:
        return f"not compared: a query on {N_CANDIDATES} candidates takes more than {SECONDS:.0f} s"
    small = query_large_pool(subject, N_CANDIDATES // GROWTH)
    before, after = small.usage.work, large.usage.work
    if not before:
        return "torch did no work; that of numpy and other libraries is not counted"
    formula = card_formula(subject.name if subject.entry is not None else None, "time")
    power = growth_power(formula or LINEAR["time"], "time", "N", large.strategy)
    is_fast = after > SLACK * GROWTH**power * before
    is_much = formula is None or after > FEW * large.class_size(formula, "time")
    if is_fast and is_much:
        allowed = (
            "linear in N, since the card has no time" if formula is None else f"the card's time {format_cost(formula)}"
        )
        raise CheckFailedError(
            f"at most {GROWTH**power} times the work for {GROWTH} times the candidates ({allowed})",
            f"{after / before:.1f} times: {before:.3g} multiplications and numbers touched at N = {small.sizes['N']}; "
            f"{after:.3g} at N = {large.sizes['N']}",
            "do not compare every candidate with every other, not even in blocks: keep running minima"
            + (', or write time="N*N*D" in registry.add' if formula is None else ", or correct the card's time"),
        )
    return None if formula is not None else 'limited to linear in N; for another class write time="..." in registry.add'
