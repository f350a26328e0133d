"""The candidates' common threshold, equations (2)-(4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_COMPONENTS = 3
N_DRAWS = 1000
# Expectation-maximization on standardized scores: variance floor, tolerance, and greatest number of iterations.
FLOOR = 1e-3
TOLERANCE = 1e-3
MAX_ITERATIONS = 100


def fit_mixture(
    scores: NDArray[np.float64], n_components: int = N_COMPONENTS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Equation (2): fit a Gaussian mixture to the combined score S(x) of the labeled data.

    Expectation-maximization (Dempster, Laird & Rubin 1977) from equal weights, means at quantiles of the distinct
    values, and the scores' own variance: nothing is random. The variance floor is relative to the scores' own
    variance: an absolute one could exceed the variance of small scores, and almost nothing would pass.

    (Implemented here, as it is a few lines in one dimension, and scikit-learn takes three seconds to import.)

    Args:
        scores: S(x), (n,), with at least two distinct values.
        n_components: Greatest number of components; fewer if there are fewer distinct values.

    Returns:
        Weights (summing to 1), means and standard deviations of the components, (n_components,) each.
    """
    center, scale = scores.mean(), scores.std()
    standardized = (scores - center) / scale
    distinct = np.unique(standardized)
    n = min(n_components, len(distinct))
    means = np.quantile(distinct, (np.arange(n) + 0.5) / n)
    weights, variances = np.full(n, 1.0 / n), np.ones(n)
    likelihood = -np.inf
    for _ in range(MAX_ITERATIONS):
        # In logarithms: far from all components, densities underflow.
        logs = np.log(weights) - 0.5 * (
            np.log(2.0 * np.pi * variances) + (standardized[:, None] - means) ** 2 / variances
        )
        totals = np.logaddexp.reduce(logs, axis=1)
        shares = np.exp(logs - totals[:, None])
        counts = shares.sum(axis=0) + 10.0 * np.finfo(np.float64).eps
        weights, means = counts / counts.sum(), shares.T @ standardized / counts
        variances = (shares * (standardized[:, None] - means) ** 2).sum(axis=0) / counts + FLOOR
        before, likelihood = likelihood, totals.mean()
        if abs(likelihood - before) < TOLERANCE:
            break
    return weights, means * scale + center, np.sqrt(variances) * scale


def draw_scores(
    mixture: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> NDArray[np.float64]:
    """Equation (3): draw S_sample, (n_draws,), from the mixture."""
    weights, means, deviations = mixture
    component = rng.choice(len(weights), size=n_draws, p=weights / weights.sum())
    return rng.normal(means[component], deviations[component])


def top_quantile(samples: NDArray[np.float64], rate: float) -> float:
    """Equation (4): ϑ_t(S_sample), the value that a share ``rate`` of the samples exceeds."""
    return float(np.quantile(samples, 1.0 - rate))


def shared_threshold(scores: NDArray[np.float64], rate: float, rng: np.random.Generator, method: str) -> float:
    """Return ϑ for the combined scores of the labeled data.

    Departures: equal scores have no spread to fit and are their own threshold. A quantile of the mixture can exceed
    all scores, and nothing would pass; ϑ is kept within their range.

    Args:
        scores: S(x) = mean over the candidates of S_κ(x), (n,). The mean puts S and S_κ on one scale, so one
            threshold works for all candidates. It varies less than a single S_κ: if one candidate gets all the
            weight, a larger share than ρ passes, and a large λ̄ then pulls back toward equal weights.
        rate: Share ρ to pass, the same rate as for the candidates' picks and L_re.
        rng: Draws the sample.
        method: ``"mixture"``, the equations, or ``"quantile"``, of the scores themselves.
    """
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        return low
    samples = draw_scores(fit_mixture(scores), rng) if method == "mixture" else scores
    return min(max(top_quantile(samples, rate), low), high)
