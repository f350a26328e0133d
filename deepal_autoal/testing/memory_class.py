"""Checks that a query uses no more memory than its card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.plugins.cost_formulas import format_cost
from deepal_autoal.testing.large_pool import LINEAR, SECONDS, card_formula, query_large_pool
from deepal_autoal.testing.report import CheckFailedError

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject

# Bytes allowed per number in the card's memory class: one tensor may take four float32 or two float64 for each; all
# tensors alive at one time twice as much; all that numpy and Python hold, four times.
TENSOR_BYTES = 16
TOTAL_BYTES = 32
PEAK_BYTES = 64
# For what does not grow with N: weights of a strategy's own networks, their batches, libraries' buffers. An N x N
# matrix of float32 takes 25 MB.
ALLOWANCE = 4 << 20
# For all tensors: weights have gradients and optimizer state, and layers have activations.
TOTAL_ALLOWANCE = 4 * ALLOWANCE


def memory_is_within_its_class(subject: Subject) -> str | None:
    """The largest tensor, all tensors and numpy's peak are within the card's `memory` (linear in N if it has none)."""
    query = query_large_pool(subject)
    used, n_candidates = query.usage, query.sizes["N"]
    formula = card_formula(subject.name if subject.entry is not None else None, "memory")
    class_size = query.class_size(formula or LINEAR["memory"], "memory")
    where = f"with N = {n_candidates} candidates"
    if formula is None:
        source, advice = "linear in N, since the card has no memory class", ', or write memory="N*N" on the card'
    else:
        source, advice = f"the card's memory {format_cost(formula)}", ", or correct the card's memory"
    advice = "process candidates in blocks (see BlockSize), or keep running minima instead of a matrix" + advice
    tensor_limit = TENSOR_BYTES * class_size + ALLOWANCE
    if used.tensor_bytes > tensor_limit:
        raise CheckFailedError(
            f"no tensor above {_mb(tensor_limit)} {where} ({source})",
            f"a tensor of {_mb(used.tensor_bytes)}: {used.tensor}",
            advice,
        )
    peak_limit = PEAK_BYTES * class_size + ALLOWANCE
    total_limit = TOTAL_BYTES * class_size + TOTAL_ALLOWANCE
    if used.total_bytes > total_limit:
        raise CheckFailedError(
            f"tensors of no more than {_mb(total_limit)} at one time {where} ({source})",
            f"{_mb(used.total_bytes)} in many tensors; an N x N matrix of float32 is {_mb(4 * n_candidates**2)}",
            advice,
        )
    if used.peak_bytes > peak_limit:
        raise CheckFailedError(
            f"numpy and Python to hold no more than {_mb(peak_limit)} at one time {where} ({source})",
            f"{_mb(used.peak_bytes)}; an N x N matrix of float64 is {_mb(8 * n_candidates**2)}",
            advice,
        )
    notes = (
        [] if formula is not None else ['limited to linear in N; for another class write memory="..." in registry.add']
    )
    if not used.complete:
        notes.append(f"only the first {SECONDS:.0f} s of a query on {n_candidates} candidates were measured")
    return "; ".join(notes) or None


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
