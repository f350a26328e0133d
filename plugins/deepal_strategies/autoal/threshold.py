"""The candidates' common threshold, equations (2)-(4)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_COMPONENTS = 3
N_DRAWS = 1000


def fit_mixture(
    scores: NDArray[np.float64], rng: np.random.Generator, n_components: int = N_COMPONENTS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Equation (2): fit a Gaussian mixture to the combined score S(x) of the labelled data.

    The variance floor is relative to the scores' own variance. An absolute one, such as scikit-learn's 1e-6, can
    exceed the variance of small scores and lets almost nothing pass.

    Args:
        scores: S(x), (n,), with at least two distinct values.
        rng: Seeds the fit.
        n_components: At most; fewer where there are fewer distinct values.

    Returns:
        Weights (summing to 1), means and standard deviations of the components, (n_components,) each.
    """
    center, scale = scores.mean(), scores.std()
    standardized = ((scores - center) / scale)[:, None]
    model = GaussianMixture(
        min(n_components, len(np.unique(standardized))),
        reg_covar=1e-3,
        covariance_type="diag",
        random_state=int(rng.integers(2**31)),
    )
    # One thread: its k-means start adds partial sums in the threads' arrival order.
    with threadpool_limits(1), warnings.catch_warnings():
        # A mixture that is not fully converged still describes the scores.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(standardized)
    return model.weights_, model.means_[:, 0] * scale + center, np.sqrt(model.covariances_[:, 0]) * scale


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
    """Return ϑ for the combined scores of the labelled data.

    Departures: equal scores have no spread to fit and are their own threshold. A Gaussian's tail can lie above
    all scores that exist, where nothing could pass; ϑ is kept within their range.

    Args:
        scores: S(x) = mean over the candidates of S_κ(x), (n,). The mean puts S and S_κ on one scale, so that one
            threshold serves all candidates. It varies less than a single S_κ: where one candidate gets all the
            weight, more than ρ pass, and a heavy λ̄ then pulls back towards equal weights.
        rate: Share ρ to pass, the one rate also of the candidates' picks and of L_re.
        rng: Draws the sample.
        method: ``"mixture"``, the equations, or ``"quantile"``, of the scores themselves.
    """
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        return low
    samples = draw_scores(fit_mixture(scores, rng), rng) if method == "mixture" else scores
    return min(max(top_quantile(samples, rate), low), high)
