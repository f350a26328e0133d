"""Implements each rule in straightforward NumPy and scikit-learn, as a textbook would.

Each function takes the outputs of a model as NumPy arrays and returns ``b`` row numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.cluster import KMeans

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from problem import Outputs

    Picks = NDArray[np.int64]


def random(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return rng.choice(len(data), size=b, replace=False)


def entropy(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(entropies(data.probabilities), b)


def margin(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(-margins(data.probabilities), b)


def leastconf(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(-data.probabilities.max(axis=1), b)


def entropy_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(entropies(data.passes.mean(axis=0)), b)


def margin_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(-margins(data.passes.mean(axis=0)), b)


def leastconf_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(-data.passes.mean(axis=0).max(axis=1), b)


def bald(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(entropies(data.passes.mean(axis=0)) - entropies(data.passes).mean(axis=0), b)


def meanstd(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(data.passes.std(axis=0).mean(axis=1), b)


def varratio(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(disagreement(data.passes), b)


def ensvarr(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return highest(disagreement(data.members), b)


def ddu(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows, labels = data.labeled_embeddings.astype(np.float64), data.labels
    classes, counts = np.unique(labels, return_counts=True)
    means = [rows[labels == c].mean(axis=0) for c in classes]
    covariances = [np.cov(rows[labels == c], rowvar=False) for c in classes]
    unit = np.mean([np.trace(covariance) for covariance in covariances]) / rows.shape[1]
    for jitter in (0.0, *(10.0**power for power in range(-20, 1))):
        try:
            gaussians = [
                multivariate_normal(mean, covariance + jitter * unit * np.eye(rows.shape[1]))
                for mean, covariance in zip(means, covariances, strict=True)
            ]
            break
        except (np.linalg.LinAlgError, ValueError):  # not positive definite
            continue
    terms = [
        np.log(count / len(labels)) + gaussian.logpdf(data.embeddings)
        for count, gaussian in zip(counts, gaussians, strict=True)
    ]
    return highest(-logsumexp(terms, axis=0), b)


def kmeans(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return nearest_members(KMeans(n_clusters=b, random_state=seed(rng)), data.embeddings, None)


def dbal(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    informativeness = 1.0 - margins(data.probabilities)
    kept = highest(informativeness, min(10 * b, len(data)))
    model = KMeans(n_clusters=b, random_state=seed(rng))
    return kept[nearest_members(model, data.embeddings[kept], informativeness[kept])]


def coreset(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows = data.embeddings
    nearest = np.full(len(rows), np.inf, dtype=rows.dtype)
    for center in data.labeled_embeddings:
        nearest = np.minimum(nearest, ((rows - center) ** 2).sum(axis=1))
    picks = []
    for _ in range(b):
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((rows - rows[picks[-1]]) ** 2).sum(axis=1))
    return np.array(picks)


def coreset_by_matrix(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    """Look distances up in the matrix of all pairs."""
    rows = np.concatenate([data.embeddings, data.labeled_embeddings])
    squares = (rows**2).sum(axis=1)
    distances = rows @ rows.T
    distances *= -2.0
    distances += squares[:, None]
    distances += squares[None, :]
    n = len(data)
    nearest = distances[:n, n:].min(axis=1)
    picks = []
    for _ in range(b):
        picks.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances[:n, picks[-1]])
    return np.array(picks)


def badge(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    residual = (
        data.probabilities - np.eye(data.probabilities.shape[1], dtype=np.float32)[data.probabilities.argmax(axis=1)]
    )
    gradients = (residual[:, :, None] * data.embeddings[:, None, :]).reshape(len(data), -1)
    picks = [int((gradients**2).sum(axis=1).argmax())]
    squares = (gradients**2).sum(axis=1)
    nearest = np.full(len(data), np.inf)
    while len(picks) < b:
        last = picks[-1]
        distances = squares + squares[last] - 2.0 * gradients @ gradients[last]
        nearest = np.minimum(nearest, np.maximum(distances, 0.0))
        nearest[picks] = 0.0
        picks.append(int(rng.choice(len(data), p=nearest / nearest.sum())))
    return np.array(picks)


RULES: dict[str, dict[str, Callable[[Outputs, int, np.random.Generator], Picks]]] = {
    "random": {"plain": random},
    "entropy": {"plain": entropy},
    "margin": {"plain": margin},
    "leastconf": {"plain": leastconf},
    "entropy-dropout": {"plain": entropy_dropout},
    "margin-dropout": {"plain": margin_dropout},
    "leastconf-dropout": {"plain": leastconf_dropout},
    "bald": {"plain": bald},
    "meanstd": {"plain": meanstd},
    "varratio": {"plain": varratio},
    "ensvarr": {"plain": ensvarr},
    "ddu": {"plain": ddu},
    "kmeans": {"plain": kmeans},
    "dbal": {"plain": dbal},
    "coreset": {"plain": coreset, "matrix": coreset_by_matrix},
    "badge": {"plain": badge},
}


def n_bytes(rule: str, way: str, n: int, b: int, classes: int, dims: int) -> int:
    """Return the approximate memory of the plain implementation, for rules that need much."""
    if rule == "badge":
        return 8 * n * classes * dims  # the gradients, and temporarily their squares
    if way == "matrix":
        return 8 * n * n
    return 0


def highest(scores: NDArray[np.floating], b: int) -> Picks:
    return np.argsort(-scores)[:b]


def entropies(p: NDArray[np.floating]) -> NDArray[np.floating]:
    return -(p * np.log(p + 1e-30)).sum(axis=-1)


def margins(p: NDArray[np.floating]) -> NDArray[np.floating]:
    ordered = np.sort(p, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def disagreement(p: NDArray[np.floating]) -> NDArray[np.floating]:
    votes = np.stack([(p.argmax(axis=2) == c).sum(axis=0) for c in range(p.shape[2])])
    return 1.0 - votes.max(axis=0) / len(p)


def nearest_members(model: KMeans, rows: NDArray[np.floating], weights: NDArray[np.floating] | None) -> Picks:
    """Return the member of each cluster that is nearest to its center."""
    clusters = model.fit(rows, sample_weight=weights).labels_
    distances = ((rows - model.cluster_centers_[clusters]) ** 2).sum(axis=1)
    picks = []
    for cluster in range(model.n_clusters):
        members = np.flatnonzero(clusters == cluster)
        picks.append(members[distances[members].argmin()])
    return np.array(picks)


def seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
