"""The candidates' common threshold ϑ: equations (2)-(4), and ϑ as it stands in (5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    # Weights, means and variances, each (n_components,) or (starts, n_components).
    Components = tuple[Floats, Floats, Floats]

N_DRAWS = 1000
# Expectation-maximization on standardized scores: variance floor, tolerance of the mean log-likelihood, and greatest
# number of iterations.
FLOOR = 1e-3
TOLERANCE = 1e-6
MAX_ITERATIONS = 300
# Starts, the iterations that each gets, and how many of the best go on from there.
N_STARTS = 50
SHORT_ITERATIONS = 10
N_FINALISTS = 5
# Values that starts see: quantiles of more.
MOST_VALUES = 1000


def fit_mixture(scores: Floats, n_components: int) -> Components:
    """Equations (2) and (3): fit a Gaussian mixture to the combined score S(x) by maximum likelihood.

    Expectation-maximization (Dempster, Laird & Rubin 1977) from several starts, as the likelihood has local maxima:
    short runs from all, and the best go on until they converge (Biernacki, Celeux & Govaert 2003). One start has its
    means at quantiles of the distinct values; the others are drawn by k-means++, always in the same way, so that the
    result depends on the scores alone. The variance floor is relative to the scores' own variance: an absolute one
    could exceed the variance of small scores, and almost nothing would pass. Without a floor the likelihood has no
    maximum, as a component may shrink to a point.

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
    sample = standardized
    if len(sample) > MOST_VALUES:
        sample = np.quantile(sample, (np.arange(MOST_VALUES) + 0.5) / MOST_VALUES)
        distinct = np.unique(sample) if len(np.unique(sample)) >= n else distinct
    rng = np.random.default_rng(0)
    starts = [np.quantile(distinct, (np.arange(n) + 0.5) / n)]
    if n > 1:
        starts += [_spread_means(distinct, n, rng) for _ in range(N_STARTS - 1)]
    means = np.stack(starts)
    # Every start once with the scores' own variance, and once with that of its clusters.
    state: Components = (np.full(means.shape, 1.0 / n), means, np.ones(means.shape))
    if n > 1:
        w, m, v = (np.concatenate(both) for both in zip(state, _of_clusters(sample, means), strict=True))
        state = (w, m, v)
    likelihoods, state = _maximize(sample, state, SHORT_ITERATIONS)
    finalists = np.argsort(-likelihoods, kind="stable")[:N_FINALISTS]
    w, m, v = (part[finalists] for part in state)
    likelihoods, state = _maximize(standardized, (w, m, v), MAX_ITERATIONS)
    weights, means, variances = (part[likelihoods.argmax()] for part in state)
    return weights, means * scale + center, np.sqrt(variances) * scale


def _spread_means(values: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Return n of the values, drawn by k-means++."""
    means = [rng.choice(values)]
    while len(means) < n:
        squared = ((values[:, None] - np.array(means)) ** 2).min(axis=1)
        means.append(rng.choice(values, p=squared / squared.sum()))
    return np.array(means)


def _of_clusters(values: Floats, means: Floats) -> Components:
    """Return weights, means and variances of the clusters around each start's means, (starts, n) each."""
    nearest = abs(values[:, None, None] - means).argmin(axis=2)
    shares = (nearest[:, :, None] == np.arange(means.shape[1])).astype(np.float64)
    return _components(values, shares)


def _components(values: Floats, shares: Floats) -> Components:
    """Return weights, means and variances for the components' shares of the values, (values, starts, n)."""
    counts = shares.sum(axis=0) + 10.0 * np.finfo(np.float64).eps
    means = np.einsum("isk,i->sk", shares, values) / counts
    variances = (shares * (values[:, None, None] - means) ** 2).sum(axis=0) / counts + FLOOR
    return counts / counts.sum(axis=1, keepdims=True), means, variances


def _maximize(values: Floats, state: Components, n_iterations: int) -> tuple[Floats, Components]:
    """Return each start's mean log-likelihood before its last step, (starts,), and its components after it."""
    weights, means, variances = state
    likelihoods = np.full(len(means), -np.inf)
    for _ in range(n_iterations):
        # In logarithms: far from all components, densities underflow.
        logs = np.log(weights) - 0.5 * (
            np.log(2.0 * np.pi * variances) + (values[:, None, None] - means) ** 2 / variances
        )
        totals = np.logaddexp.reduce(logs, axis=2)
        weights, means, variances = _components(values, np.exp(logs - totals[:, :, None]))
        before, likelihoods = likelihoods, totals.mean(axis=0)
        if (abs(likelihoods - before) < TOLERANCE).all():
            break
    return likelihoods, (weights, means, variances)


def draw_scores(
    mixture: tuple[Floats, Floats, Floats],
    rng: np.random.Generator,
    n_draws: int = N_DRAWS,
) -> Floats:
    """Equation (4): draw S_sample, (n_draws,), from the mixture."""
    weights, means, deviations = mixture
    component = rng.choice(len(weights), size=n_draws, p=weights / weights.sum())
    return rng.normal(means[component], deviations[component])


def top_quantile(samples: Floats, rate: float) -> float:
    """Return ϑ_t(S_sample) of equation (5), the value that a share ``rate`` of the samples exceeds."""
    return float(np.quantile(samples, 1.0 - rate))


def shared_threshold(scores: Floats, rate: float, rng: np.random.Generator, method: str, n_components: int) -> float:
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
        n_components: Components of the mixture.
    """
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        return low
    samples = draw_scores(fit_mixture(scores, n_components), rng) if method == "mixture" else scores
    return min(max(top_quantile(samples, rate), low), high)
