"""EXP4.P for active learning by learning, one function for each formula.

Beygelzimer et al., Contextual bandit algorithms with supervised learning guarantees, AISTATS 2011; Hsu & Lin, Active
learning by learning, AAAI 2015. K arms, the candidate strategies; b samples in a batch; T rounds; all float64.

A batch is drawn by drawing an arm, whose whole batch is then queried. ψ_κ(x), the arm's own choice distribution, is
the probability that its batch holds x: 1 or 0 for a deterministic arm, b/N for one that draws uniformly.
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
    """Return q(x) = Σ_κ p_κ·ψ_κ(x), the probability that x is in the drawn arm's batch, (b,) in (0, 1].

    Args:
        probabilities: p, (K,).
        choices: ψ of the samples of the drawn batch, (K, b).
    """
    return probabilities @ choices


def arm_credits(choices: Floats, q: Floats, drawn: int) -> Floats:
    """Return what one unit of reward adds to every arm's estimate: r̂_κ = reward·credit_κ, (K,), at least 0.

    With one sample in a batch it is ψ_κ(x)/q(x) for all arms that could have queried x. With more, it is the mean of
    that over the batch for the drawn arm, and 0 for the others.

    Args:
        choices: ψ of the samples of the drawn batch, (K, b).
        q: From `query_probabilities`, (b,).
        drawn: Number of the drawn arm.
    """
    shares: Floats = (choices / q).mean(axis=1)
    if choices.shape[1] > 1:
        shares[np.arange(len(shares)) != drawn] = 0.0
    return shares


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
