"""Greedy coverage: repeatedly the candidate that adds most to how well the chosen samples cover a reference set.

How it works: a kernel k in [0, 1] says how well one sample covers another. A reference sample x is covered as well as
by the best of the samples S chosen so far: m(x) = max_{s ∈ S} k(s, x). A candidate c would add the gain
Σ_x w(x) · max(0, k(c, x) - m(x)), with the reference samples' weights w. The greedy choice of the largest gain is
within 1 - 1/e of the best batch (Nemhauser et al. 1978), since gains only fall as more samples are chosen (facility
location is submodular). For the same reason an outdated gain is an upper bound, and only the few candidates with the
largest bounds are updated after each choice (lazy greedy, Minoux 1978): the choices are those of updating all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from deepal_strategies.shared.row_blocks import COVERAGE, KERNEL_ROWS, SQUARES
from deepal_strategies.shared.scaling import unit_of

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Below this radius, squared distances in single precision, of which rounding leaves 2e-7, are too coarse.
_LEAST_SINGLE = 0.03
# How many of the largest bounds are brought up to date together. A matrix product with fewer rows is no faster.
_UPDATED, _UPDATED_ON_ACCELERATORS = 32, 512
# Of how many with the next largest bounds a CPU computes the kernel along with a missing one. They are likely needed
# for the next choices, and a product with a single row reads the whole reference set, too.
_AHEAD = 96


def gaussian(exponents: Tensor) -> Tensor:
    """Return exp(-d²/r²) of -d²/r², in place: the kernel of MaxHerding and UHerding, r = σ."""
    return exponents.exp_()


def ball(exponents: Tensor) -> Tensor:
    """Return 1 where d < r and 0 elsewhere, of -d²/r², in place: the kernel of ProbCover, r = δ."""
    return exponents.gt_(-1.0)


def unit_rows(embeddings: Tensor, precise: bool = False, chosen: Tensor | None = None) -> Tensor:
    """Return rows scaled to length 1, (n, D), float32 or, where the device has it, float64; zero rows stay zero.

    Args:
        embeddings: Shape (N, D), of any magnitude.
        precise: Whether to use double precision.
        chosen: Row numbers, int64 (n,), on the embeddings' device; all rows by default.

    Raises:
        QueryError: If an entry is not finite.
    """
    unit_of(embeddings)
    dtype = torch.float64 if precise and embeddings.device.type != "mps" else torch.float32
    rows = embeddings.new_empty(len(embeddings if chosen is None else chosen), embeddings.shape[1], dtype=dtype)
    tiny = torch.finfo(dtype).tiny
    for part in SQUARES.blocks(len(rows), rows.shape[1], rows.device):
        block = embeddings[part if chosen is None else chosen[part]].to(dtype)
        # By the largest entry first, so that no square overflows or vanishes.
        block = block / block.abs().amax(dim=1, keepdim=True).clamp_(min=tiny)
        rows[part] = block / torch.linalg.vector_norm(block, dim=1, keepdim=True).clamp_(min=tiny)
    return rows


class Similarity:
    """The kernel between any embeddings and those of the reference set, both scaled to length 1.

    Args:
        reference: Embeddings of the reference set, (R, D).
        radius: Unit of distance r, above 0. Below 0.03, products are computed in double precision.
        kernel: `gaussian` or `ball`.

    Attributes:
        precise: Whether rows must be in double precision.
        n_reference: R.
    """

    def __init__(self, reference: Tensor, radius: float, kernel: Callable[[Tensor], Tensor]) -> None:
        self.precise = radius < _LEAST_SINGLE
        self.n_reference = len(reference)
        self._kernel = kernel
        self._reference = unit_rows(reference, self.precise)
        # -d²/r² = (2 x·y - ‖x‖² - ‖y‖²)/r²; squared lengths are 1, or 0 of zero rows.
        self._scale = 2.0 / (radius * radius)
        self._halves = _squares(self._reference) * (-0.5 * self._scale)

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the kernel of `unit_rows` (n, D) and the reference set, (n, R)."""
        exponents = torch.addmm(self._halves, rows, self._reference.T, alpha=self._scale)
        return self._kernel(exponents.sub_(_squares(rows)[:, None] * (0.5 * self._scale)))

    def best(self, embeddings: Tensor) -> Tensor:
        """Return how well some embeddings cover each reference sample: their largest kernel, (R,); 0 without any."""
        best = torch.zeros_like(self._halves)
        rows = unit_rows(embeddings, self.precise)
        for part in COVERAGE.blocks(len(rows), self.n_reference, rows.device):
            torch.maximum(best, self(rows[part]).amax(dim=0), out=best)
        return best


def draw_reference(context: QueryContext, n_reference: int | None) -> Tensor:
    """Return the positions of the candidates that form the reference set, random and sorted; all for None."""
    n_candidates = len(context.candidates)
    drawn = torch.randperm(n_candidates, generator=context.generator, device=context.device)
    return drawn[:n_reference].sort().values


def choose_covering(
    similarity: Similarity,
    embeddings: Tensor,
    covered: Tensor,
    n_chosen: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tensor, Tensor]:
    """Return rows by greedy choice of the largest gain in coverage; ties are broken at random.

    Time: products of all rows with the reference set, and of the rows updated after each choice, at worst all again.
    Memory: a copy of the rows, some 20 bytes a row, the kernel of a few hundred rows, and blocks of bounded size.
    Each update waits once for the device; updating all rows instead would cost a pass over them for each choice.

    Args:
        similarity: The kernel.
        embeddings: Those of the candidates, (N, D).
        covered: How well each reference sample is covered already, (R,); updated in place.
        n_chosen: Number of rows to choose, 1 ... N.
        generator: On the embeddings' device.
        weights: How much each reference sample counts, non-negative, (R,); all equal by default.
        progress: Called with the number of choices done and their total.

    Returns:
        Distinct row numbers, int64 (n_chosen,), in the order of the choices; and the gain of each, float32.
    """
    choice = CoveringChoice(similarity, embeddings, covered, generator, weights)
    chosen = torch.empty(n_chosen, dtype=torch.int64, device=embeddings.device)
    found = torch.empty(n_chosen, dtype=torch.float32, device=embeddings.device)
    for number in range(n_chosen):
        progress(number, n_chosen)
        best, gain = choice.best()
        chosen[number : number + 1], found[number : number + 1] = best, gain
        choice.take(best)
    return chosen, found


class CoveringChoice:
    """The greedy choice of `choose_covering`, row by row, among which may be rows that others choose.

    Arguments are those of `choose_covering`.
    """

    def __init__(
        self,
        similarity: Similarity,
        embeddings: Tensor,
        covered: Tensor,
        generator: torch.Generator,
        weights: Tensor | None = None,
    ) -> None:
        rows = unit_rows(embeddings, similarity.precise)
        self._covered = covered
        self._shares = torch.ones_like(covered) if weights is None else weights.to(covered.dtype)
        n_rows, device = len(rows), rows.device
        self._priority = torch.randperm(n_rows, generator=generator, device=device)
        bounds = torch.empty(n_rows, dtype=torch.float32, device=device)
        for part in COVERAGE.blocks(n_rows, similarity.n_reference, device):
            bounds[part] = self._gains(similarity(rows[part]))
        # As integers, the bits of non-negative floats have the order of the floats.
        self._keys = _keys(bounds, self._priority)
        self._until = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._kernel_rows = _KernelRows(similarity, rows)
        self._n_updated, n_ahead = (_UPDATED, _AHEAD) if device.type == "cpu" else (_UPDATED_ON_ACCELERATORS, 0)
        self._n_ranked = min(n_rows, self._n_updated + n_ahead)
        self._number = 0

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the row with the largest gain, int64 (1,), and the gain, float32 (1,)."""
        keys = self._keys
        ranked = keys.topk(self._n_ranked).indices
        while bool(self._until[ranked[:1]] < self._number):
            top, later = ranked[: self._n_updated], ranked[self._n_updated :]
            updated = _keys(self._gains(self._kernel_rows.of(top, later)), self._priority[top])
            # A gain that is larger than before has been rounded; a row that was chosen keeps its key.
            keys[top] = torch.minimum(keys[top], updated)
            self._until[top] = self._number
            ranked = keys.topk(self._n_ranked).indices
        best = ranked[:1]
        return best, (keys[best] >> 32).to(torch.int32).view(torch.float32)

    def take(self, row: Tensor) -> None:
        """Count the row at position ``row``, (1,), as chosen."""
        torch.maximum(self._covered, self._kernel_rows.of(row, row[:0])[0], out=self._covered)
        self._keys.index_fill_(0, row, -1)
        self._number += 1

    def _gains(self, kernel: Tensor) -> Tensor:
        return kernel.sub_(self._covered).clamp_(min=0.0) @ self._shares


def _keys(gains: Tensor, priority: Tensor) -> Tensor:
    """Return integers in the order of gains, and of priority among equal gains, int64 (n,), at least 0."""
    return (gains.float().view(torch.int32).to(torch.int64) << 32) + priority


def _squares(rows: Tensor) -> Tensor:
    """Return the squared lengths of unit or zero rows, exactly 1 or 0, (n,)."""
    return (rows != 0).any(dim=1).to(rows.dtype)


class _KernelRows:
    """The kernel of rows; on a CPU that of the rows used last is kept, as the same few are used again and again.

    Args:
        similarity: The kernel.
        rows: From `unit_rows`, (N, D).
    """

    def __init__(self, similarity: Similarity, rows: Tensor) -> None:
        self._similarity = similarity
        self._rows = rows
        self._kept: Tensor | None = None
        if rows.device.type == "cpu":
            n_slots = max(_UPDATED + _AHEAD, min(len(rows), KERNEL_ROWS.rows(similarity.n_reference)))
            self._kept = rows.new_empty(n_slots, similarity.n_reference)
            self._slots = torch.full((len(rows),), -1)
            self._owners = torch.full((n_slots,), -1)
            self._next = 0

    def of(self, which: Tensor, later: Tensor) -> Tensor:
        """Return a copy of the kernel of some rows, at most `_UPDATED` on a CPU, (n, R).

        Args:
            which: Row numbers, int64 (n,).
            later: Rows that are likely needed later, at most `_AHEAD`: where a row is missing, they are computed, too.
        """
        if self._kept is None:
            return self._similarity(self._rows[which])
        kernel = self._kept[self._slots[which]]
        missing = (self._slots[which] < 0).nonzero().squeeze(1)
        if len(missing):
            needed = torch.cat([which[missing], later[self._slots[later] < 0]])
            computed = self._similarity(self._rows[needed])
            kernel[missing] = computed[: len(missing)]
            # The slots filled longest ago are used again.
            slots = (self._next + torch.arange(len(needed))) % len(self._owners)
            self._next += len(needed)
            owners = self._owners[slots]
            self._slots[owners[owners >= 0]] = -1
            self._kept[slots] = computed
            self._owners[slots] = needed
            self._slots[needed] = slots
        return kernel
