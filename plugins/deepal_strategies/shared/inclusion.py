"""Inclusion probabilities of samples drawn without replacement, one after another, in proportion to weights.

The b samples drawn are those of the smallest of independent exponential variates T_i with rates w_i (Efraimidis &
Spirakis 2006; with Gumbel noise, top-k of log-weights). So sample i is among them if fewer than b others come before
it: P(i) = ∫ w_i exp(-w_i t) P(S(t) < b) dt. S(t), the number of other samples with T_j < t, is a sum of independent
indicators of probability 1 - exp(-w_j t) and has a Poisson binomial distribution. Its characteristic function is a
product, so leaving out one sample is a division, and the distribution follows by a discrete Fourier transform (Hong
2013, "On computing the distribution function for the Poisson binomial distribution").

All functions of the many small weights are polynomials up to rounding: sums over them are sums over a few Chebyshev
nodes. Time and memory therefore grow with b, and with N only as a pass over the weights does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.polynomial import chebyshev

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]

# Probabilities below exp(-_NEGLIGIBLE) are left out.
_NEGLIGIBLE = 35.0
# Gauss-Legendre nodes in a panel; a panel's largest width in log t, and in standard deviations of S.
_NODES = 16
_WIDEST, _DEVIATIONS = 2.0, 5.0
# Small weights are those whose samples come with at most this probability before the integral ends.
_SMALL, _CHEBYSHEV = 0.25, 16


def inclusion_probabilities(log_weights: Tensor, n_draws: int) -> Tensor:
    """Return each sample's probability of being among the draws, float64 (N,) on the CPU, summing to ``n_draws``.

    Args:
        log_weights: (N,); -inf for a weight of 0: those are drawn last, at random.
        n_draws: 1 ... N.
    """
    logs = log_weights.cpu().double().numpy()
    found = np.zeros(len(logs))
    least, following = -np.sort(-logs)[[n_draws - 1, min(n_draws, len(logs) - 1)]]
    if n_draws == len(logs):
        found[:] = 1.0
    elif least == -np.inf:
        is_positive = logs > -np.inf
        n_positive = int(is_positive.sum())
        found[:] = np.where(is_positive, 1.0, (n_draws - n_positive) / (len(logs) - n_positive))
    else:
        # All others come before almost surely, or after.
        is_certain = logs > following + _NEGLIGIBLE
        is_open = ~is_certain & (logs > least - _NEGLIGIBLE)
        found[is_certain] = 1.0
        n_left = n_draws - int(is_certain.sum())
        if n_left:
            found[is_open] = _integrals(logs[is_open], n_left)
    return torch.from_numpy(found)


def _integrals(log_weights: Array, n_draws: int) -> Array:
    """Return the inclusion probabilities of samples with weights above 0, of which there are more than draws."""
    rates = np.exp(log_weights - log_weights.max())
    begin, end = _first_time(rates, n_draws), _last_time(rates, n_draws)
    cut = -math.log1p(-_SMALL) / math.exp(end)
    is_small = rates < cut
    if is_small.sum() <= _CHEBYSHEV:
        return _at_points(rates, np.ones(len(rates)), n_draws, begin, end).clip(0.0, 1.0)
    small = 2.0 * rates[is_small] / cut - 1.0  # in [-1, 1]
    nodes = chebyshev.chebpts1(_CHEBYSHEV)
    basis = chebyshev.chebvander(nodes, _CHEBYSHEV - 1) * 2.0 / _CHEBYSHEV
    basis[:, 0] /= 2.0
    unit = np.eye(_CHEBYSHEV)
    sums = np.array([chebyshev.chebval(small, one).sum() for one in unit])
    points = np.concatenate([rates[~is_small], cut * (nodes + 1.0) / 2.0])
    counts = np.concatenate([np.ones(int((~is_small).sum())), basis @ sums])
    at_points = _at_points(points, counts, n_draws, begin, end)
    found = np.empty(len(rates))
    found[~is_small] = at_points[:-_CHEBYSHEV]
    per_rate = at_points[-_CHEBYSHEV:] / points[-_CHEBYSHEV:]  # which keeps its digits where rates are tiny
    found[is_small] = rates[is_small] * chebyshev.chebval(small, per_rate @ basis)
    return found.clip(0.0, 1.0)


def _at_points(rates: Array, counts: Array, n_draws: int, begin: float, end: float) -> Array:
    """Return the integral for each of some rates, which stand for so many samples each.

    Args:
        rates: (m,).
        counts: (m,), also fractions, and below 0, as a quadrature's weights can be.
        n_draws: b.
        begin, end: Limits of log t. Earlier, there is room for everyone; later, for none.
    """
    nodes, shares = np.polynomial.legendre.leggauss(_NODES)
    found = -np.expm1(-rates * math.exp(begin))
    while begin < end:
        width = min(_WIDEST, end - begin)
        width = min(width, *(_DEVIATIONS / _speed(rates, counts, at) for at in (begin, begin + width)))
        for node, share in zip(nodes, shares, strict=True):
            means = rates * math.exp(begin + width * (node + 1.0) / 2.0)  # w t
            density = means * np.exp(-means) * share * width / 2.0
            found += density * _chances_of_fewer(-np.expm1(-means), counts, n_draws)
        begin += width
    return found


def _speed(rates: Array, counts: Array, log_time: float) -> float:
    """Return the growth of S's mean with log t, in its standard deviations, or in samples if they are smaller."""
    means = rates * math.exp(log_time)
    chances = -np.expm1(-means)
    variance = float(counts @ (chances * (1.0 - chances)))
    return float(counts @ (means * np.exp(-means))) / math.sqrt(max(1.0, variance)) + 1e-9


def _first_time(rates: Array, n_draws: int) -> float:
    """Return a log t before which b samples come with negligible probability."""

    def log_bound(log_time: float) -> float:
        mean = float(-np.expm1(-rates * math.exp(log_time)).sum())
        return n_draws * math.log(mean / n_draws) + n_draws - mean if mean < n_draws else 0.0  # Chernoff's

    # The mean is at most t times the sum of rates.
    low = (math.lgamma(n_draws + 1) - _NEGLIGIBLE) / n_draws - math.log(rates.sum())
    return _crossing(low, lambda log_time: log_bound(log_time) > -_NEGLIGIBLE)[0]


def _last_time(rates: Array, n_draws: int) -> float:
    """Return a log t after which fewer than b others come with negligible probability, whichever is left out."""
    few, n_after = n_draws - 1, len(rates) - n_draws

    def log_bound(log_time: float) -> float:
        missing = np.exp(-rates * math.exp(log_time))
        come, absent = float((1.0 - missing).sum()) - 1.0, float(missing.sum())
        chernoff = few - come + (few * math.log(come / few) if few else 0.0) if come > few else 0.0
        union = n_after * math.log(absent) - math.lgamma(n_after + 1) if absent > 0 else -math.inf
        return min(chernoff, union)

    return _crossing(-math.log(rates.sum()), lambda log_time: log_bound(log_time) < -_NEGLIGIBLE)[1]


def _crossing(low: float, is_beyond: Callable[[float], bool]) -> tuple[float, float]:
    """Return points, close to each other, between which a condition that does not hold at ``low`` begins to hold."""
    high = low + 1.0
    while not is_beyond(high):
        low, high = high, 2.0 * high - low
    while high - low > 0.01:
        middle = (low + high) / 2.0
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return low, high


def _chances_of_fewer(chances: Array, counts: Array, n: int) -> Array:
    """Return the probability that fewer than ``n`` others of some independent events occur, for each event, (m,).

    Args:
        chances: Their probabilities, (m,).
        counts: How many events each stands for, (m,).
        n: At least 1.
    """
    mean, variance = float(counts @ chances), float(counts @ (chances * (1.0 - chances)))
    # By Bernstein's inequality, the number is this close to its mean, but for a negligible probability.
    reach = _NEGLIGIBLE / 3.0 + math.sqrt((_NEGLIGIBLE / 3.0) ** 2 + 2.0 * _NEGLIGIBLE * max(0.0, variance))
    first = max(0, math.floor(mean - reach) - 1)
    size = 2 * math.ceil(reach) + 5  # odd: at half a turn, a probability of 1/2 would make a factor 0
    if n <= first or n >= first + size:
        return np.full(len(chances), float(n > first))
    turns = 2.0 * np.pi * np.arange(size // 2 + 1) / size
    turns = turns[variance * (1.0 - np.cos(turns)) <= _NEGLIGIBLE]  # log |φ| is at most -variance (1 - cos)
    shares = np.exp(-1j * np.outer(turns, np.arange(first, n))).sum(axis=1) / size
    shares[1:] *= 2.0  # and the conjugate ones
    logs = np.log1p(np.outer(chances, np.exp(1j * turns) - 1.0))
    fewer: Array = (np.exp(counts @ logs - logs) @ shares).real
    return fewer.clip(0.0, 1.0)
