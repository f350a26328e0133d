"""EXP4.P for active learning by learning, one function for each formula.

Beygelzimer et al., Contextual bandit algorithms with supervised learning guarantees, AISTATS 2011; Hsu & Lin, Active
learning by learning, AAAI 2015. K arms, the candidate strategies; b samples in a batch; T labels to be queried in all,
the paper's budget; all float64.

A batch is drawn by drawing an arm, whose whole batch is then queried. ψ_κ(x), the arm's own choice distribution, sums
to 1 over the pool: 1/b for each sample of a deterministic arm's batch, 1/N for an arm that draws uniformly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def minimum_probability(n_arms: int, horizon: int) -> float:
    """Return p_min = √(ln K/(K·T)), limited to 1/K, which it would exceed where T < K·ln K."""
    return min(math.sqrt(math.log(n_arms) / (n_arms * horizon)), 1.0 / n_arms)


def arm_probabilities(log_weights: Floats, p_min: float) -> Floats:
    """Return p_κ = (1 - K·p_min)·w_κ/Σw + p_min, (K,), sums to 1.

    Args:
        log_weights: ln w, (K,); a common offset changes nothing.
        p_min: From `minimum_probability`.
    """
    weights = np.exp(normalized(log_weights))
    return (1.0 - len(weights) * p_min) * weights + p_min


def query_probabilities(probabilities: Floats, choices: Floats) -> Floats:
    """Return q(x) = Σ_κ p_κ·ψ_κ(x), the probability of x where one sample of the drawn arm's batch is drawn, (b,).

    Args:
        probabilities: p, (K,).
        choices: ψ of the samples of the drawn batch, (K, b).
    """
    return probabilities @ choices


def arm_credits(choices: Floats, q: Floats) -> Floats:
    """Return what one unit of reward adds to every arm's estimate: r̂_κ = reward·credit_κ, (K,), at least 0.

    The mean of ψ_κ(x)/q(x) over the batch, for all arms, whichever was drawn: its expectation over the draw is 1 for
    every arm, so that the estimates are unbiased. With one sample in a batch it is the paper's ψ_κ(x)/q(x).

    Args:
        choices: ψ of the samples of the drawn batch, (K, b).
        q: From `query_probabilities`, (b,).
    """
    credits: Floats = (choices / q).mean(axis=1)
    return credits


def importance_weighted_accuracy(correct: NDArray[np.bool_], q: Floats, n_samples: int, horizon: int) -> float:
    """Return the reward (1/(n·T))·Σ_τ [f is correct on x_τ]/q_τ over the queried samples.

    Args:
        correct: Whether the task model f predicts the label, for all samples queried so far that have a label.
        q: The q of each of them at the time of its query.
        n_samples: n, labeled and unlabeled samples.
        horizon: T.
    """
    return float((correct / q).sum()) / (n_samples * horizon)


def updated_log_weights(
    log_weights: Floats, estimates: Floats, probabilities: Floats, p_min: float, delta: float, horizon: int
) -> Floats:
    """Return ln of w_κ·exp(p_min/2·(r̂_κ + (1/p_κ)·√(ln(K/δ)/(K·T)))), normalized, (K,).

    Args:
        log_weights: ln w, (K,).
        estimates: r̂, (K,).
        probabilities: p with which the arm was drawn, (K,).
        p_min: From `minimum_probability`.
        delta: δ, the probability with which the bound on the regret may fail.
        horizon: T.
    """
    n_arms = len(log_weights)
    confidence = math.sqrt(math.log(n_arms / delta) / (n_arms * horizon)) / probabilities
    return normalized(log_weights + p_min / 2.0 * (estimates + confidence))


def normalized(log_weights: Floats) -> Floats:
    """Return ln(w/Σw), (K,); weights only grow and would otherwise overflow in long runs."""
    shifted = log_weights - log_weights.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result
