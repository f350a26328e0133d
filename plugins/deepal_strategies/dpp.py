"""Batches of a determinantal point process: uncertain samples that together span a large volume.

How it works: the kernel is L = diag(q) S diag(q), with quality q and similarity S; a batch B has the weight
det L_B = (Π q²) det S_B, which is small where samples have little quality or resemble each other. By the chain rule,
det S_B is a product of conditional variances: that of a sample given those chosen before is what is left of S_ii after
their columns of the Cholesky factor (Chen, Zhang & Zhou 2018). The greedy choice takes the largest q² times that.
A k-DPP is sampled exactly (Kulesza & Taskar 2011): k eigenvectors of L, by elementary symmetric polynomials of the
eigenvalues, span a projection V Vᵀ, whose conditional variances, computed in the same way, are the probabilities of the
next sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from deepal_autoal import Query, Strategy, top_scores
from deepal_strategies.shared.coverage import unit_rows
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.ties import largest
from deepal_strategies.shared.uncertainty import entropy

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Added to the diagonal of S: with duplicates, or in few dimensions, S has no full rank.
JITTER = 1e-6
# In samples of a k-DPP, qualities below this share of the largest count as this share.
LEAST_QUALITY = 1e-6
# Rows from which the median distance is computed at most.
_MEASURED = 1000


class DPP(Strategy):
    """The batch of largest determinant, greedily, or a sample of the k-DPP (Bıyık, Wang, Anari & Sadigh 2019).

    The kernel is q_i^γ S_ij q_j^γ, as in the authors' code (Stanford-ILIAD/DPP-Batch-Active-Learning): q is the entropy
    of the predicted probabilities, and S_ij = exp(-d²/(2σ²)), d here the distance of embeddings scaled to length 1.
    Their exponent is written γ/α, α being the power of the determinant to which their samples are proportional; the
    greedy choice, their approximation of the mode, does not depend on α otherwise. As in their reward learning, only
    the candidates of highest quality are considered, at least ``considered`` and twice the batch.

    Departures: their classification of points in a plane takes q from an ensemble, chooses a third of a batch with
    γ = 0, conditions the process on the labeled samples, and has a σ from the volume of the points' bounding box, which
    is of no use in many dimensions.

    The round's record has σ, the number of considered candidates, and log det S of the batch (``log_volume``), 0 for
    a batch of samples that have nothing in common.

    Args:
        form: ``map``: the greedy choice (Chen, Zhang & Zhou 2018); ``sample``: an exact sample of the k-DPP.
        gamma: γ; 0 takes diversity alone.
        radius: σ; by default the median distance between considered candidates, over √2.
        considered: Number of candidates. ``sample`` takes time in proportion to its cube.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        form: Literal["map", "sample"] = "map",
        gamma: float = 1.0,
        radius: float | None = None,
        considered: int = 2000,
    ) -> None:
        check_choice("form", form, ("map", "sample"))
        check_at_least("gamma", gamma, 0)
        if radius is not None:
            check_positive("radius", radius)
        check_at_least("considered", considered, 1)
        self.form = form
        self.gamma = gamma
        self.radius = radius
        self.considered = considered

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen or drawn."""
        view, generator = context.candidates, context.generator
        entropies = entropy(view.log_probabilities())
        n_considered = min(len(view), max(self.considered, 2 * batch_size))
        positions = top_scores(entropies, n_considered, generator)
        rows = unit_rows(view.embeddings()[positions], precise=True)
        log_quality = self.gamma * entropies[positions].to(rows.dtype).clamp(min=torch.finfo(rows.dtype).tiny).log()
        radius = self.radius or _median_distance(rows, generator) / math.sqrt(2.0)
        if self.form == "map":
            priority = torch.randperm(len(rows), generator=generator, device=rows.device)
            squares = rows.square().sum(dim=1)
            chosen, variances = greedy_map(
                lambda row: similarity(rows[row], rows, radius, squares)[0], log_quality, batch_size, priority
            )
        else:
            kernel = torch.cat([similarity(part, rows, radius) for part in torch.split(rows, _MEASURED)])
            chosen = sample_k_dpp(kernel, log_quality, batch_size, generator)
            flat = torch.zeros_like(log_quality[chosen])
            order = torch.arange(batch_size, device=rows.device)
            _, variances = greedy_map(lambda row: kernel[chosen[row]][0, chosen], flat, batch_size, order)
        log_volume = float(variances.log().sum())
        report = {"radius": radius, "considered": n_considered, "log_volume": log_volume}
        return Query(view.indices[positions[chosen].cpu().numpy()], report)


def similarity(rows: Tensor, others: Tensor, radius: float, squares: Tensor | None = None) -> Tensor:
    """Return exp(-d²/(2σ²)) of rows (n, D) and others (m, D), (n, m), given the others' squared lengths or not."""
    squares = others.square().sum(dim=1) if squares is None else squares
    squared = rows.square().sum(dim=1)[:, None] + squares - 2.0 * rows @ others.T
    return squared.clamp_(min=0.0).div_(-2.0 * radius * radius).exp_()


def greedy_map(
    similarities: Callable[[Tensor], Tensor], log_quality: Tensor, n_chosen: int, priority: Tensor
) -> tuple[Tensor, Tensor]:
    """Return rows chosen greedily for the largest det L, in order, and each one's conditional variance, (n_chosen,).

    Args:
        similarities: Returns S (n,) of a row with all rows, given its number (1,); S_ii = 1.
        log_quality: log q, (n,).
        n_chosen: 1 ... n.
        priority: Breaks ties, the highest first, (n,).
    """

    def choose(variances: Tensor) -> Tensor:
        gains = 2.0 * log_quality + variances.clamp(min=torch.finfo(variances.dtype).tiny).log()
        return largest(gains.where(variances > -torch.inf, -torch.inf), priority)

    return _one_by_one(similarities, torch.full_like(log_quality, 1.0 + JITTER), n_chosen, choose)


def sample_k_dpp(similarities: Tensor, log_quality: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return a sample of the k-DPP with the kernel diag(q) (S + JITTER I) diag(q), int64 (k,).

    Args:
        similarities: S, (n, n).
        log_quality: log q, (n,).
        k: 1 ... n.
        generator: On S's device.
    """
    quality = (log_quality - log_quality.max()).clamp(min=math.log(LEAST_QUALITY)).exp()
    kernel = similarities.clone()
    kernel.diagonal().fill_(1.0 + JITTER)
    kernel.mul_(quality[:, None]).mul_(quality)
    on_mps = kernel.device.type == "mps"  # which has no eigh
    values, vectors = (part.to(kernel.device) for part in torch.linalg.eigh(kernel.cpu() if on_mps else kernel))
    # Eigenvalues below this are rounding alone.
    least = torch.finfo(values.dtype).eps * values[-1]
    uniform = torch.rand(len(values), generator=generator, device=values.device, dtype=values.dtype)
    drawn = draw_eigenvectors(values.clamp(min=float(least)).log().cpu(), k, uniform.cpu())
    basis = vectors[:, drawn.to(vectors.device)]

    def choose(variances: Tensor) -> Tensor:
        weights = variances.clamp(min=torch.finfo(variances.dtype).tiny).where(variances > -torch.inf, 0.0)
        return torch.multinomial(weights, 1, generator=generator)

    return _one_by_one(lambda row: torch.mv(basis, basis[row].squeeze(0)), basis.square().sum(dim=1), k, choose)[0]


def log_symmetric_polynomials(log_values: Tensor, k: int) -> Tensor:
    """Return log e_l(λ_1, ..., λ_m), l = 0 ... k, of the first m = 0 ... n values, (n + 1, k + 1).

    e_l is the sum over all sets of l values of their product; -inf where there is no set.

    Args:
        log_values: log λ, (n,).
        k: At most n.
    """
    table = log_values.new_full((len(log_values) + 1, k + 1), -torch.inf)
    table[:, 0] = 0.0
    for number, value in enumerate(log_values, 1):
        table[number, 1:] = torch.logaddexp(table[number - 1, 1:], table[number - 1, :-1] + value)
    return table


def draw_eigenvectors(log_values: Tensor, k: int, uniform: Tensor) -> Tensor:
    """Return the numbers of k eigenvalues, drawn as a set in proportion to their product, int64 (k,).

    Args:
        log_values: log λ, (n,), on the CPU.
        k: 1 ... n.
        uniform: In [0, 1), (n,).
    """
    table = log_symmetric_polynomials(log_values, k).numpy()
    logs, drawn, left = log_values.tolist(), [], k
    for number, noise in zip(range(len(logs), 0, -1), uniform.tolist(), strict=True):
        if left and noise < math.exp(min(0.0, logs[number - 1] + table[number - 1, left - 1] - table[number, left])):
            drawn.append(number - 1)
            left -= 1
    return torch.tensor(drawn, dtype=torch.int64)


def _one_by_one(
    rows_of: Callable[[Tensor], Tensor], variances: Tensor, n_chosen: int, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return what ``choose`` picks from conditional variances, one by one, and the variance of each.

    Args:
        rows_of: Returns the kernel's row (n,) of a number (1,).
        variances: The kernel's diagonal, (n,); -inf is passed for rows chosen before.
        n_chosen: 1 ... n.
        choose: Returns a number (1,) of variances (n,).
    """
    tiny = torch.finfo(variances.dtype).tiny
    factors = variances.new_zeros(len(variances), n_chosen)
    chosen, found = [], []
    for number in range(n_chosen):
        row = choose(variances)
        variance = variances[row].clamp(min=tiny)
        known = factors[:, :number]
        column = (rows_of(row) - torch.mv(known, known[row].squeeze(0))) / variance.sqrt()
        factors[:, number] = column
        variances = (variances - column.square()).clamp(min=tiny)
        chosen.append(row)
        found.append(variance)
        variances.index_fill_(0, torch.cat(chosen), -torch.inf)
    return torch.cat(chosen), torch.cat(found)


def _median_distance(rows: Tensor, generator: torch.Generator) -> float:
    """Return the median distance between rows, at most 1,000 random ones; 1 if it is 0."""
    some = rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:_MEASURED]]
    distances = torch.pdist(some)
    return float(distances.median()) or 1.0 if len(distances) else 1.0
