"""k-means++ seeding of the rows of a factored matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepal_autoal import InputError
from deepal_strategies.magnitude import scaled, squared_norms, unit_of
from deepal_strategies.race import choose_eagerly, choose_lazily

if TYPE_CHECKING:
    from torch import Tensor

# Numbers in a block of squares or distances: on a CPU it should fit the cache.
_BLOCK = 1 << 16
# Weights below this share of the largest are none.
_LEAST_WEIGHT = 1e-100
# Rounding may overdraw a budget just after another row's turn; with something left, a row that no longer spends comes
# after all that do.
_LEAST_BUDGET = 1e-12
# Rows that a front is sought among: of choices at random, few are among the first in line for long.
_FRONT = 512


def seed_by_distance(
    left: Tensor,
    right: Tensor,
    n_seeds: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    first: str = "longest",
) -> Tensor:
    """Return rows of a factored matrix by k-means++ seeding: each drawn in proportion to D².

    Row i is the outer product of ``left[i]`` and ``right[i]``; for plain rows, ``left`` is a column of ones. D² is
    the squared Euclidean distance to the nearest chosen row, times the row's weight. Chosen rows have D² = 0 and are
    not drawn as long as others are left, and so have rows that single precision cannot tell from one: D² below
    (16 + 2 √(C + D)) ε (‖g_i‖² + ‖g_j‖²), ε the factors' machine epsilon.

    The draws are a race. Each row gets a budget E ~ Exp(1) from the generator at the start and spends it at the rate
    D², which changes when a row is chosen; the next row is the one that runs out first. As the exponential
    distribution has no memory, what the others have left is again Exp(1), and each has the probability
    D² / Σ D² of being next. Rates only fall, so the time at which a row would run out at its present rate is a lower
    bound, and on a CPU most rows are never asked again (`choose_lazily`); the draws are the same either way. Rows of
    D² = 0 come last, in the order of what they have left, which is random.

    Time: two passes over the factors; then O(C + D) for each pair of a row and a choice that has to be looked at,
    at worst all n · n_seeds. Memory: some 60 bytes a row, the chosen rows' factors, and a front of rows that is
    small where most are pruned, and at most half of the factors.

    Args:
        left: Shape (n, C), finite.
        right: Shape (n, D), finite.
        n_seeds: How many, 1 ... n.
        generator: On the rows' device.
        weights: Shape (n,), not negative, in any unit; all alike by default.
        first: ``"longest"``: the row of the greatest weighted length, ties at random (BADGE). ``"drawn"``: in
            proportion to the weights (k-means++).

    Returns:
        Distinct row numbers, int64 (n_seeds,), in the order of the draws.

    Raises:
        InputError: If ``first`` is neither.
        QueryError: If a factor is not finite.
    """
    if first not in ("longest", "drawn"):
        raise InputError(f"The first seed is 'longest' or 'drawn', not {first!r}.")
    runners = _Runners.at_start(left, right, n_seeds, generator, weights)
    if first == "longest":
        row = runners.longest(generator)
        runners.record(0, row, torch.zeros_like(runners.times[:1]))
        runners.tell(0, 1)
    else:
        row = choose_eagerly(runners, 0, 1)
    if left.device.type == "cpu":
        return torch.cat([row, choose_lazily(runners, 1, n_seeds, _FRONT)])
    return torch.cat([row, choose_eagerly(runners, 1, n_seeds)])


class _Runners:
    """Rows in a race, as a `Line`: the key is the time at which a row runs out of its budget.

    Attributes:
        left: Shape (n, C).
        right: Shape (n, D).
        norms: Squared lengths of the outer products, (n,).
        weights: Shape (n,), in units of the largest.
        squared: Unweighted D², (n,); infinite before the first choice.
        rates: What is spent in a unit of time, (n,).
        budgets: What was left at the time of the last choice that the row was told of, (n,); infinite if chosen.
        arrivals: The keys, (n,).
        seeds: Factors and squared lengths of the chosen rows, (b, C), (b, D) and (b,).
        times: Times of the choices, (b,).
    """

    _ROWS = ("left", "right", "norms", "weights", "squared", "rates", "budgets", "arrivals")
    _STATE = ("squared", "rates", "budgets", "arrivals")

    left: Tensor
    right: Tensor
    norms: Tensor
    weights: Tensor
    squared: Tensor
    rates: Tensor
    budgets: Tensor
    arrivals: Tensor
    seeds: tuple[Tensor, Tensor, Tensor]
    times: Tensor

    @classmethod
    def at_start(
        cls, left: Tensor, right: Tensor, n_seeds: int, generator: torch.Generator, weights: Tensor | None
    ) -> _Runners:
        """Return all rows before the first choice; for that their rates are their weights."""
        device = left.device
        # mps has no double precision.
        exact = torch.float32 if device.type == "mps" else torch.float64
        self = cls()
        # Squares of squares of large features overflow; common factors change no proportion.
        self.left, self.right = scaled(left, unit_of(left)), scaled(right, unit_of(right))
        self.norms = squared_norms(self.left) * squared_norms(self.right)
        if weights is None:
            self.weights = torch.ones(len(left), dtype=exact, device=device)
        else:
            shares = weights.to(exact) / weights.max().clamp(min=torch.finfo(weights.dtype).tiny)
            self.weights = shares.where(shares >= _LEAST_WEIGHT, 0.0)
        self.squared = torch.full_like(self.norms, torch.inf)
        self.rates = self.weights.clone()
        self.budgets = -torch.log1p(-torch.rand(len(left), generator=generator, device=device, dtype=exact))
        self.seeds = (left.new_empty(n_seeds, left.shape[1]), right.new_empty(n_seeds, right.shape[1]),
                      self.norms.new_empty(n_seeds))  # fmt: skip
        self.times = self.budgets.new_zeros(n_seeds)
        self.arrivals = self.budgets / self._at_least(self.rates)
        return self

    def __len__(self) -> int:
        return len(self.norms)

    def longest(self, generator: torch.Generator) -> Tensor:
        """Return the row of the greatest weighted length, (1,), of several a random one."""
        lengths = self.norms * self.weights
        # Not by budgets: those of the rows that are left would no longer be free of bias.
        priority = torch.randperm(len(self), generator=generator, device=lengths.device)
        return torch.where(lengths == lengths.max(), priority, -1).argmax(dim=0, keepdim=True)

    def take(self, rows: Tensor) -> _Runners:
        part = _Runners()
        for name in self._ROWS:
            setattr(part, name, getattr(self, name)[rows])
        part.seeds, part.times = self.seeds, self.times
        return part

    def put(self, rows: Tensor, part: _Runners) -> None:
        for name in self._STATE:
            getattr(self, name)[rows] = getattr(part, name)

    def keys(self) -> Tensor:
        return self.arrivals

    def record(self, number: int, row: Tensor, key: Tensor) -> None:
        # A row that spends nothing takes no time: else others' keys would rise, and all had to be told again and again.
        before = self.times[max(number - 1, 0)]
        self.times[number : number + 1] = torch.where(key < self._late, key, before)
        for seeds, rows in zip(self.seeds, (self.left, self.right, self.norms), strict=True):
            torch.index_select(rows, 0, row, out=seeds[number : number + 1])
        # It spends nothing of what never ends.
        self.squared.index_fill_(0, row, 0.0)
        self.budgets.index_fill_(0, row, torch.inf)

    def tell(self, first: int, last: int) -> None:
        if last - first == 1:
            self._tell_one(first)
            return
        spans = self.times[first:last].diff(prepend=self.times[first - 1 : first] if first else self.times.new_zeros(1))
        size = max(1, _BLOCK // (last - first))
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            left, right, norms = (seeds[first:last] for seeds in self.seeds)
            inner = (self.left[part] @ left.T).mul_(self.right[part] @ right.T)
            squared = _squared_distances(inner, self.norms[part, None] + norms, self._rounding)
            squared = torch.minimum(squared.cummin(dim=1).values, self.squared[part, None])
            budgets = self.budgets[part] - self.rates[part] * spans[0]
            budgets -= self.weights[part] * (squared[:, :-1].to(spans.dtype) @ spans[1:])
            self.budgets[part] = budgets.clamp_(min=_LEAST_BUDGET)
            self.squared[part] = squared[:, -1]
        self._reckon(last - 1)

    def _tell_one(self, number: int) -> None:
        """Do the same for a single choice, with as few calls as there can be: they are what it costs."""
        left, right, norm = (seeds[number] for seeds in self.seeds)
        inner = torch.mv(self.left, left).mul_(torch.mv(self.right, right))
        squared = _squared_distances(inner, self.norms + norm, self._rounding)
        span = self.times[number] - self.times[number - 1] if number else self.times[0]
        self.budgets.addcmul_(self.rates, span, value=-1.0).clamp_(min=_LEAST_BUDGET)
        torch.minimum(self.squared, squared, out=self.squared)
        self._reckon(number)

    def _reckon(self, number: int) -> None:
        """Work out rates and arrivals after a choice; of rows that spend nothing, the smallest budget is first."""
        torch.mul(self.weights, self.squared, out=self.rates)
        torch.div(self.budgets, self._at_least(self.rates), out=self.arrivals).add_(self.times[number])

    def _at_least(self, rates: Tensor) -> Tensor:
        return rates.clamp(min=_LEAST_BUDGET / self._late)

    @property
    def _late(self) -> float:
        """A time that only rows which spend nothing, or next to nothing, come after."""
        return 1e18 if self.budgets.dtype == torch.float32 else 1e200

    @property
    def _rounding(self) -> float:
        """Below which share of both squared lengths a squared distance may be nothing but rounding."""
        # Long sums round: on a CPU, equal rows gave D² of up to 29 ε of their squares at C = 1000, D = 1; 87 ε at
        # D = 8192.
        width = self.left.shape[1] + self.right.shape[1]
        return (16.0 + 2.0 * math.sqrt(width)) * torch.finfo(self.norms.dtype).eps


def _squared_distances(inner: Tensor, both: Tensor, rounding: float) -> Tensor:
    """Return squared distances from inner products and sums of squared lengths; 0 where they may be rounding."""
    squared = torch.sub(both, inner, alpha=2.0)
    return squared.where(squared > both.mul_(rounding), 0.0)
