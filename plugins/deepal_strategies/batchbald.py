"""BatchBALD: the batch whose labels, taken together, tell the most about the weights.

How it works: given the weights ω, labels are independent, so H(y_S, y_x) - H(y_S | ω) - H(y_x | ω) is, up to a
constant, the conditional information I(y_x; ω | y_S) = Σ_y P(y_S = y) H(y_x | y_S = y) - H(y_x | ω). Each
configuration y of the chosen labels is kept with its probability and the posterior weights of the K passes given it.
All configurations are kept up to a limit; above it they are sampled from the passes, as in the paper. The information
can only fall as S grows, so an older value, and at first BALD's I(y_x; ω), is an upper bound: candidates are evaluated
in the order of their bounds until no bound is above the best value (lazy greedy, Minoux 1978). After a few labels many
configurations leave only one pass possible; all of them that agree on it are evaluated as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.special import entr

from deepal_autoal import InputError, Query, Strategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.row_blocks import JOINT, JOINT_ROWS, SHARED_PASSES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext

# Numbers up to which the passes of all candidates are kept, instead of requested again.
_MOST_KEPT = 1 << 26
# What is left for all other passes where a configuration counts as settled on one: its entropies are then wrong by less
# than 3e-8, which single precision does not show.
_UNSETTLED = 1e-9
# Entropy of the passes, in nats, below which they count as known.
_NOTHING_LEFT = 1e-6
# What sums of probabilities are at least when others are divided by them.
_TINY = torch.finfo(torch.float64).tiny


class BatchBALD(Strategy):
    """Greedily the largest joint mutual information of a batch's labels and the weights.

    Kirsch, van Amersfoort & Gal, NeurIPS 2019. A pass is one draw of the weights for all samples
    (`PoolView.shared_mc_probabilities`): with dropout masks of their own, no two labels would depend on each other.
    The first sample is that of the highest BALD. With K passes the information is at most log K, so batches should be
    small: the paper's have 5 to 40 samples, most 10. Once the chosen labels would tell which pass is true, others add
    nothing, and the rest of the batch has the highest bounds.

    Sampled values are estimates, while BALD and values from before the sampling are bounds of the true ones: a
    candidate whose bound is below the best estimate is not evaluated, and no estimate counts for more than its bound.
    Estimates are computed in single precision, whose rounding is far below their error.

    The round's record has the number of passes, of choices made with all configurations (``exact_choices``), of sampled
    configurations, of values computed beyond BALD (``evaluated``), and the batch's estimated information in nats.

    Args:
        n_passes: Passes K, at least 2. The paper takes 100 for MNIST and 50 for CINIC-10.
        n_configurations: How many configurations of labels are kept, at least ``n_passes``: all of them while they are
            no more, then this many samples, equally many from each pass.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 100, n_configurations: int = 10_000) -> None:
        check_at_least("n_passes", n_passes, 2)
        if n_configurations < n_passes:
            raise InputError(f"option n_configurations is {n_configurations}; it must be at least n_passes, {n_passes}")
        self.n_passes = n_passes
        self.n_configurations = n_configurations

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen."""
        # In random order, so that of equal values a random one comes first.
        passes = _Passes(context, self.n_passes)
        bounds, conditional = passes.entropies()
        known = Configurations.none(self.n_passes, bounds.device)
        chosen: list[int] = []
        n_exact, n_evaluated, information = 0, 0, 0.0
        for number in range(batch_size):
            if number:
                known = self._with_last(known, passes, chosen, context)
                row, value, n_new = _best(known, passes, bounds, conditional)
            else:  # bounds are the values themselves
                row, value, n_new = int(bounds.argmax()), float(bounds.max()), 0
            n_exact += known.is_exact
            n_evaluated += n_new
            information += value
            bounds[row] = -torch.inf
            chosen.append(row)
        report = {
            "passes": self.n_passes,
            "exact_choices": n_exact,
            "sampled_configurations": 0 if known.is_exact else len(known.shares),
            "evaluated": n_evaluated,
            "information": information,
        }
        return Query(context.candidates.indices[passes.order[chosen]], report)

    def _with_last(
        self, known: Configurations, passes: _Passes, chosen: list[int], context: QueryContext
    ) -> Configurations:
        """Return the configurations with the label of the last chosen row."""
        if known.is_exact and len(known.shares) * context.n_classes <= self.n_configurations:
            return known.extended(passes.of(chosen[-1:])[0])
        new = chosen[-1:]
        if known.is_exact:
            known, new = Configurations.to_sample(self.n_passes, self.n_configurations, known.shares.device), chosen
        for one in passes.of(new):
            noise = torch.from_numpy(context.rng.random(len(known.shares))).to(one.device)
            known = known.drawn(one, noise)
        return known


@dataclass(frozen=True)
class Configurations:
    """Configurations of the chosen samples' labels, M of them.

    Attributes:
        shares: Probability of each configuration, float64 (M,), or 1/M each if they are sampled.
        weights: Probability of each pass given the configuration, float64 (M, K).
        sources: The pass that each was sampled from, int64 (M,); None if these are all configurations.
    """

    shares: Tensor
    weights: Tensor
    sources: Tensor | None = None

    @classmethod
    def none(cls, n_passes: int, device: torch.device) -> Configurations:
        """Return the only configuration of no labels."""
        return cls(
            *(torch.full(shape, 1 / shape[-1], dtype=torch.float64, device=device) for shape in ((1,), (1, n_passes)))
        )

    @classmethod
    def to_sample(cls, n_passes: int, n_configurations: int, device: torch.device) -> Configurations:
        """Return as many empty configurations as can be sampled equally often from each pass."""
        one = cls.none(n_passes, device)
        sources = torch.arange(n_passes, device=device).repeat_interleave(n_configurations // n_passes)
        n = len(sources)
        return cls(one.shares.expand(n) / n, one.weights.expand(n, n_passes), sources)

    @property
    def is_exact(self) -> bool:
        """Whether these are all configurations."""
        return self.sources is None

    def entropy_of_passes(self) -> float:
        """Return H(ω | y_S) in nats, the most that any further label can tell."""
        return float(self.shares @ entr(self.weights).sum(dim=1))

    def extended(self, passes: Tensor) -> Configurations:
        """Return all configurations with a further label, of passes (K, C)."""
        joint = (self.shares[:, None] * self.weights)[:, None, :] * passes.T
        joint = joint.flatten(0, 1)
        shares = joint.sum(dim=1)
        return Configurations(shares, joint / shares.clamp(min=_TINY)[:, None])

    def drawn(self, passes: Tensor, noise: Tensor) -> Configurations:
        """Return the sampled configurations with a further label, drawn from each one's own pass.

        Args:
            passes: Of the further sample, (K, C).
            noise: Uniform in [0, 1), float64 (M,).
        """
        cumulative = passes.cumsum(dim=1)[self.sources]
        labels = (cumulative <= noise[:, None] * cumulative[:, -1:]).sum(dim=1).clamp(max=passes.shape[1] - 1)
        weights = self.weights * passes.T[labels]
        return Configurations(self.shares, weights / weights.sum(dim=1, keepdim=True).clamp(min=_TINY), self.sources)

    def pooled(self) -> Configurations:
        """Return the configurations with those that are settled on a pass pooled, at most one for each pass.

        For `conditional_entropies` only: a pooled configuration has no source.
        """
        settled = self.weights.amax(dim=1) >= 1.0 - _UNSETTLED
        passes = self.weights[settled].argmax(dim=1)
        shares = self.shares.new_zeros(self.weights.shape[1]).index_add_(0, passes, self.shares[settled])
        identity = torch.eye(len(shares), dtype=shares.dtype, device=shares.device)
        known = shares > 0
        return Configurations(
            torch.cat([self.shares[~settled], shares[known]]), torch.cat([self.weights[~settled], identity[known]])
        )

    def conditional_entropies(self, passes: Tensor) -> Tensor:
        """Return Σ_y P(y_S = y) H(y_x | y_S = y) in nats, float64 (n,), of passes (n, K, C), in their precision."""
        n, _, n_classes = passes.shape
        by_pass = passes.transpose(0, 1).flatten(1)
        weights, shares = self.weights.to(passes.dtype), self.shares.to(passes.dtype)
        tiny = torch.finfo(passes.dtype).tiny
        sums = torch.zeros(by_pass.shape[1], dtype=torch.float64, device=passes.device)
        for rows in JOINT.blocks(len(shares), by_pass.shape[1], passes.device):
            predicted = weights[rows] @ by_pass
            # 0·log 0 is 0. Twice as fast as `entr`.
            sums -= shares[rows] @ predicted.clamp(min=tiny).log_().mul_(predicted)
        return sums.view(n, n_classes).sum(dim=1)


class _Passes:
    """Shared passes of the candidates in random order, kept where that takes little memory.

    Attributes:
        order: Positions in the candidates by row, int64 (N,).
        n_passes, n_classes: K and C.
    """

    def __init__(self, context: QueryContext, n_passes: int) -> None:
        self.order: NDArray[np.int64] = context.rng.permutation(len(context.candidates))
        self.n_classes = context.n_classes
        self._view, self._device, self.n_passes = context.candidates, context.device, n_passes
        self._kept: Tensor | None = None

    def of(self, rows: list[int] | slice | Tensor, precision: torch.dtype = torch.float64) -> Tensor:
        """Return the passes of some rows, (n, K, C)."""
        if self._kept is not None:
            return self._kept[rows].to(precision)
        where = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
        passes = self._view.shared_mc_probabilities(self.n_passes, self.order[where]).transpose(0, 1)
        return (passes.cpu() if passes.device.type == "mps" else passes).to(precision)  # mps has no float64

    def entropies(self) -> tuple[Tensor, Tensor]:
        """Return BALD's mutual information, and H(y | ω), in nats, (N,) each, of all rows."""
        n, per_row = len(self.order), self.n_passes * self.n_classes
        parts, kept = [], None
        for rows in SHARED_PASSES.blocks(n, per_row, self._device):
            passes = self.of(rows)
            conditional = entr(passes).sum(dim=2).mean(dim=1)
            parts.append(torch.stack([entr(passes.mean(dim=1)).sum(dim=1) - conditional, conditional]))
            if n * per_row <= _MOST_KEPT:
                kept = passes.new_empty((n, *passes.shape[1:]), dtype=torch.float32) if kept is None else kept
                kept[rows] = passes
        self._kept = kept
        values, conditional = torch.cat(parts, dim=1)
        return values, conditional


def _best(known: Configurations, passes: _Passes, bounds: Tensor, conditional: Tensor) -> tuple[int, float, int]:
    """Return the row with the highest conditional information, that information, and how many rows were evaluated.

    Args:
        known: The chosen labels' configurations.
        passes: Of all candidates.
        bounds: Upper bounds, (N,), -inf for chosen rows; lowered here if the configurations are exact.
        conditional: H(y | ω), (N,).
    """
    by_bound, rows = bounds.sort(descending=True, stable=True)
    limits, best_row, best, n_evaluated = by_bound.cpu(), -1, -torch.inf, 0
    n_left = int(limits.isfinite().sum())
    if known.entropy_of_passes() < _NOTHING_LEFT:
        return int(rows[0]), 0.0, 0
    pooled, precision = known.pooled(), torch.float64 if known.is_exact else torch.float32
    for requested in SHARED_PASSES.blocks(n_left, passes.n_passes * passes.n_classes, bounds.device):
        if limits[requested.start] <= best:
            break
        of_requested = passes.of(rows[requested], precision)
        for block in JOINT_ROWS.blocks(len(of_requested), 1, bounds.device):
            start, part = requested.start + block.start, rows[requested][block]
            if limits[start] <= best:
                break
            values = pooled.conditional_entropies(of_requested[block]) - conditional[part]
            values = torch.minimum(values, by_bound[requested][block])
            if known.is_exact:
                bounds[part] = values
            n_evaluated += len(part)
            value, position = values.max(dim=0)
            if float(value) > best:
                best_row, best = int(part[position]), float(value)
    return best_row, best, n_evaluated
