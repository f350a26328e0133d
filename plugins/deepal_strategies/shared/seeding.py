"""k-means++ seeding of the rows of a factored matrix.

How it works: k-means++ draws each row in proportion to D², its squared distance to the nearest chosen row. Here each
row gets an exponential variate E ~ Exp(1) at the start, which decreases at the rate D²; a choice changes the rates,
and the next row is the one whose variate reaches 0 first (weighted sampling by exponential keys, Efraimidis & Spirakis
2006). As the exponential distribution has no memory, what remains of the other variates is again Exp(1), and each row
has the probability D² / Σ D² of being next. Rates only fall, so the time at which a variate would reach 0 at its
present rate is a lower bound of the actual time: the key of a lazy greedy choice (see `lazy_greedy`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from deepal_autoal import InputError
from deepal_strategies.shared.lazy_greedy import choose_eagerly, choose_in_turn, choose_lazily
from deepal_strategies.shared.row_blocks import SEEDING
from deepal_strategies.shared.scaling import scaled, squared_norms, unit_of

if TYPE_CHECKING:
    from torch import Tensor

# Weights below this share of the largest count as 0.
_LEAST_WEIGHT = 1e-100
# Rounding may leave nothing of a variate just after another row's choice; with a positive remainder, a row of rate 0
# comes after all rows with positive rates.
_LEAST_REMAINDER = 1e-12
# Rows searched for an active set: with random choices, few rows have the smallest keys for long.
_MIN_ACTIVE_SIZE = 512


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
    the squared Euclidean distance to the nearest chosen row, times the row's weight. It is 0 for chosen rows and for
    rows that single precision cannot distinguish from one: D² below (16 + 2 √(C + D)) ε (‖g_i‖² + ‖g_j‖²), ε the
    factors' machine epsilon. Chosen rows are never drawn again, the others only when no row with D² above 0 is left.

    Each row's exponential variate comes from the generator at the start. On a CPU most rows are never updated again
    (`choose_lazily`); the draws are the same either way. Rows with D² = 0 come last, in the order of what remains of
    their variates, which is random.

    Time: two passes over the factors; then O(C + D) for each pair of a row and a choice that has to be computed,
    at worst all n · n_seeds. Memory: some 60 bytes a row, the chosen rows' factors, and an active set of rows that is
    small where most are pruned, and at most half of the factors.

    Args:
        left: Shape (n, C), finite.
        right: Shape (n, D), finite.
        n_seeds: Number of rows to draw, 1 ... n.
        generator: On the rows' device.
        weights: Shape (n,), non-negative, in any unit; all equal by default.
        first: ``"longest"``: the row with the greatest weighted length, ties at random (BADGE). ``"drawn"``: in
            proportion to the weights (k-means++).

    Returns:
        Distinct row numbers, int64 (n_seeds,), in the order of the draws.

    Raises:
        InputError: If ``first`` is neither.
        QueryError: If a factor is not finite.
    """
    if first not in ("longest", "drawn"):
        raise InputError(f"first is {first!r}; choose 'longest' or 'drawn'")
    queue = _ExponentialQueue.at_start(left, right, n_seeds, generator, weights)
    if first == "longest":
        row = queue.longest(generator)
        queue.record(0, row, torch.zeros_like(queue.choice_times[:1]))
        queue.update(0, 1)
    else:
        row = choose_eagerly(queue, 0, 1)
    if left.device.type == "cpu":
        return torch.cat([row, choose_lazily(queue, 1, n_seeds, _MIN_ACTIVE_SIZE)])
    return torch.cat([row, choose_eagerly(queue, 1, n_seeds)])


def seed_in_turn(
    left: Tensor, right: Tensor, n_seeds: int, generator: torch.Generator, others: Callable[[], Tensor], first: str
) -> Iterator[int]:
    """Yield the rows of `seed_by_distance` one at a time, while other strategies choose rows in between.

    Rows that others chose are seeds, too: each row is drawn in proportion to its squared distance to the nearest
    seed. That takes a pass over the factors for each draw.

    Args:
        left: As for `seed_by_distance`, like the next two.
        right: Shape (n, D).
        n_seeds: Number of seeds at the end, those of others included.
        generator: On the rows' device.
        others: Returns the rows that others chose since the last call, int64 (m,).
        first: As for `seed_by_distance`; ``"drawn"`` if others chose some before.
    """
    queue = _ExponentialQueue.at_start(left, right, n_seeds, generator, None)
    n_done = 0
    if first == "longest":
        row = queue.longest(generator)
        queue.record(0, row, torch.zeros_like(queue.choice_times[:1]))
        queue.update(0, 1)
        n_done = 1
        yield int(row)
    yield from choose_in_turn(queue, n_done, n_seeds, others)


class _ExponentialQueue:
    """Rows as a `PriorityQueue`: the key is the time at which a row's exponential variate reaches 0.

    Attributes:
        left: Shape (n, C).
        right: Shape (n, D).
        norms: Squared lengths of the outer products, (n,).
        weights: Shape (n,), in units of the largest.
        squared: Unweighted D², (n,); infinite before the first choice.
        rates: By how much variates decrease in a unit of time, (n,).
        remainders: What remained of the variates at the last choice that the row includes, (n,); infinite if chosen.
        zero_times: The keys, (n,).
        seeds: Factors and squared lengths of the chosen rows, (b, C), (b, D) and (b,).
        choice_times: Times of the choices, (b,).
    """

    _ROWS = ("left", "right", "norms", "weights", "squared", "rates", "remainders", "zero_times")
    _STATE = ("squared", "rates", "remainders", "zero_times")

    left: Tensor
    right: Tensor
    norms: Tensor
    weights: Tensor
    squared: Tensor
    rates: Tensor
    remainders: Tensor
    zero_times: Tensor
    seeds: tuple[Tensor, Tensor, Tensor]
    choice_times: Tensor

    @classmethod
    def at_start(
        cls, left: Tensor, right: Tensor, n_seeds: int, generator: torch.Generator, weights: Tensor | None
    ) -> _ExponentialQueue:
        """Return all rows before the first choice, for which their rates are their weights."""
        device = left.device
        # mps has no double precision.
        exact = torch.float32 if device.type == "mps" else torch.float64
        self = cls()
        # Fourth powers of large features overflow; common factors change no proportion.
        self.left, self.right = scaled(left, unit_of(left)), scaled(right, unit_of(right))
        self.norms = squared_norms(self.left) * squared_norms(self.right)
        if weights is None:
            self.weights = torch.ones(len(left), dtype=exact, device=device)
        else:
            shares = weights.to(exact) / weights.max().clamp(min=torch.finfo(weights.dtype).tiny)
            self.weights = shares.where(shares >= _LEAST_WEIGHT, 0.0)
        self.squared = torch.full_like(self.norms, torch.inf)
        self.rates = self.weights.clone()
        self.remainders = -torch.log1p(-torch.rand(len(left), generator=generator, device=device, dtype=exact))
        self.seeds = (left.new_empty(n_seeds, left.shape[1]), right.new_empty(n_seeds, right.shape[1]),
                      self.norms.new_empty(n_seeds))  # fmt: skip
        self.choice_times = self.remainders.new_zeros(n_seeds)
        self.zero_times = self.remainders / self._at_least(self.rates)
        return self

    def __len__(self) -> int:
        return len(self.norms)

    def longest(self, generator: torch.Generator) -> Tensor:
        """Return the row with the greatest weighted length, (1,); of several, a random one."""
        lengths = self.norms * self.weights
        # Not by the variates: those of the remaining rows would then be biased.
        priority = torch.randperm(len(self), generator=generator, device=lengths.device)
        return torch.where(lengths == lengths.max(), priority, -1).argmax(dim=0, keepdim=True)

    def take(self, rows: Tensor) -> _ExponentialQueue:
        part = _ExponentialQueue()
        for name in self._ROWS:
            setattr(part, name, getattr(self, name)[rows])
        part.seeds, part.choice_times = self.seeds, self.choice_times
        return part

    def put(self, rows: Tensor, part: _ExponentialQueue) -> None:
        for name in self._STATE:
            getattr(self, name)[rows] = getattr(part, name)

    def keys(self) -> Tensor:
        return self.zero_times

    def record(self, number: int, row: Tensor, key: Tensor | None) -> None:
        # A row of rate 0 takes no time: otherwise the others' keys would rise and need an update at every choice.
        before = self.choice_times[max(number - 1, 0)]
        # Others' choices take none either: what remains of a variate then is exponential all the same.
        time = before if key is None else torch.where(key < self._late, key, before)
        self.choice_times[number : number + 1] = time
        for seeds, rows in zip(self.seeds, (self.left, self.right, self.norms), strict=True):
            torch.index_select(rows, 0, row, out=seeds[number : number + 1])
        # An infinite remainder at the rate 0 never reaches 0.
        self.squared.index_fill_(0, row, 0.0)
        self.remainders.index_fill_(0, row, torch.inf)

    def update(self, first: int, last: int) -> None:
        if last - first == 1:
            self._update_one(first)
            return
        times = self.choice_times
        spans = times[first:last].diff(prepend=times[first - 1 : first] if first else times.new_zeros(1))
        for part in SEEDING.blocks(len(self), last - first):
            left, right, norms = (seeds[first:last] for seeds in self.seeds)
            inner = (self.left[part] @ left.T).mul_(self.right[part] @ right.T)
            squared = _squared_distances(inner, self.norms[part, None] + norms, self._rounding)
            squared = torch.minimum(squared.cummin(dim=1).values, self.squared[part, None])
            remainders = self.remainders[part] - self.rates[part] * spans[0]
            remainders -= self.weights[part] * (squared[:, :-1].to(spans.dtype) @ spans[1:])
            self.remainders[part] = remainders.clamp_(min=_LEAST_REMAINDER)
            self.squared[part] = squared[:, -1]
        self._update_keys(last - 1)

    def _update_one(self, number: int) -> None:
        """Do the same for a single choice with as few calls as possible, as calls dominate its cost."""
        left, right, norm = (seeds[number] for seeds in self.seeds)
        inner = torch.mv(self.left, left).mul_(torch.mv(self.right, right))
        squared = _squared_distances(inner, self.norms + norm, self._rounding)
        span = self.choice_times[number] - self.choice_times[number - 1] if number else self.choice_times[0]
        self.remainders.addcmul_(self.rates, span, value=-1.0).clamp_(min=_LEAST_REMAINDER)
        torch.minimum(self.squared, squared, out=self.squared)
        self._update_keys(number)

    def _update_keys(self, number: int) -> None:
        """Compute rates and keys after a choice; of rows with rate 0, the smallest remainder comes first."""
        torch.mul(self.weights, self.squared, out=self.rates)
        torch.div(self.remainders, self._at_least(self.rates), out=self.zero_times).add_(self.choice_times[number])

    def _at_least(self, rates: Tensor) -> Tensor:
        return rates.clamp(min=_LEAST_REMAINDER / self._late)

    @property
    def _late(self) -> float:
        """A time after which only rows with a rate of 0, or nearly 0, follow."""
        return 1e18 if self.remainders.dtype == torch.float32 else 1e200

    @property
    def _rounding(self) -> float:
        """The share of both squared lengths below which a squared distance may be rounding alone."""
        # Long sums round: on a CPU, equal rows had D² of up to 29 ε of their squares at C = 1000, D = 1; 87 ε at
        # D = 8192.
        width = self.left.shape[1] + self.right.shape[1]
        return (16.0 + 2.0 * math.sqrt(width)) * torch.finfo(self.norms.dtype).eps


def _squared_distances(inner: Tensor, both: Tensor, rounding: float) -> Tensor:
    """Return squared distances from inner products and sums of squared lengths; 0 where they may be rounding alone."""
    squared = torch.sub(both, inner, alpha=2.0)
    return squared.where(squared > both.mul_(rounding), 0.0)
