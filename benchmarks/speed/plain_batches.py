"""Implements the rules of coverage, clusters and information in straightforward NumPy, SciPy and scikit-learn.

Each function is written from the definition in its strategy's docstring, with that strategy's default options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from plain import entropies, highest, margins, nearest_members, seed
from scipy.spatial.distance import cdist
from sklearn.cluster import AgglomerativeClustering, KMeans, MiniBatchKMeans

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from problem import Outputs

    Picks = NDArray[np.int64]

# Samples whose coverage counts, and samples that are linked.
REFERENCE, LINKED = 5_000, 4_000


def maxherding(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return herd(data, b, rng, 1.0, np.ones(len(data), dtype=np.float32))


def uherding(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    distances = cdist(unit(data.labeled_embeddings), unit(data.labeled_embeddings))
    np.fill_diagonal(distances, np.inf)
    radius = float(np.median(distances.min(axis=1)))
    return herd(data, b, rng, radius, 1.0 - margins(data.calibrated_probabilities))


def herd(data: Outputs, b: int, rng: np.random.Generator, radius: float, weights: NDArray[np.float32]) -> Picks:
    """Compute the gain of every candidate before every choice, from the kernel of all pairs."""
    drawn = rng.permutation(len(data))[:REFERENCE]
    rows, known = unit(data.embeddings), unit(data.labeled_embeddings)
    reference = rows[drawn]
    covered = gaussian(known, reference, radius).max(axis=0)
    kernel = gaussian(rows, reference, radius)
    picks: list[int] = []
    for _ in range(b):
        gains = np.maximum(kernel - covered, 0.0) @ weights[drawn]
        gains[picks] = -np.inf
        picks.append(int(gains.argmax()))
        covered = np.maximum(covered, kernel[picks[-1]])
    return np.array(picks)


def probcover(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows, known = unit(data.embeddings), unit(data.labeled_embeddings)
    everything = np.concatenate([rows, known])
    clusters = KMeans(data.probabilities.shape[1], random_state=seed(rng)).fit(everything).labels_
    examined = rng.permutation(len(everything))[:10_000]
    free = [
        distances(everything[part], everything, clusters[part][:, None] == clusters).min(axis=1)
        for part in np.array_split(examined, 10)
    ]
    delta = np.quantile(np.concatenate(free), 0.05, method="lower")
    neighbors = np.concatenate([distances(part, rows) < delta for part in np.array_split(rows, 10)])
    is_left = ~(np.concatenate([distances(part, known) for part in np.array_split(rows, 10)]) < delta).any(axis=1)
    gains = neighbors[:, is_left].sum(axis=1)
    picks: list[int] = []
    for _ in range(b):
        gains[picks] = -1
        picks.append(int(gains.argmax()))
        new = neighbors[picks[-1]] & is_left
        gains -= neighbors[new].sum(axis=0)
        is_left &= ~new
    return np.array(picks)


def typiclust(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    """As in the authors' code, with mini-batches above 50 clusters."""
    rows = np.concatenate([data.embeddings, data.labeled_embeddings])
    n, n_clusters = len(data), min(len(data.labeled_embeddings) + b, 500)
    model = (
        KMeans(n_clusters, random_state=seed(rng))
        if n_clusters <= 50
        else MiniBatchKMeans(n_clusters, batch_size=5000, random_state=seed(rng))
    )
    clusters = model.fit(rows).labels_
    sizes = np.bincount(clusters, minlength=n_clusters)
    covered = np.bincount(clusters[n:], minlength=n_clusters)
    order = [c for c in np.lexsort((-sizes, covered)) if sizes[c] > 5]
    is_left = np.arange(len(rows)) < n
    picks: list[int] = []
    while len(picks) < b:
        for cluster in order:
            members = np.flatnonzero(is_left & (clusters == cluster))
            if len(members) and len(picks) < b:
                squared = np.sort(cdist(rows[members], rows[members], "sqeuclidean"), axis=1)
                picks.append(int(members[squared[:, 1 : 1 + min(20, len(members) // 2)].sum(axis=1).argmin()]))
                is_left[picks[-1]] = False
    return np.array(picks)


def cluster_margin(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows = np.concatenate([data.embeddings, data.labeled_embeddings])
    drawn = np.sort(rng.permutation(len(rows))[:LINKED])
    linked = AgglomerativeClustering(len(drawn) // 10, linkage="average").fit(rows[drawn]).labels_
    centers = np.stack([rows[drawn[linked == c]].mean(axis=0) for c in range(len(drawn) // 10)])
    kept = highest(-margins(data.probabilities), min(10 * b, len(data)))
    groups = distances(rows[kept], centers).argmin(axis=1)
    where = np.searchsorted(drawn, kept).clip(max=len(drawn) - 1)
    groups = np.where(drawn[where] == kept, linked[where], groups)
    members = [list(rng.permutation(kept[groups == group])) for group in np.unique(groups)]
    members.sort(key=len)
    picks: list[int] = []
    while len(picks) < b:
        picks += [group.pop() for group in members if group]
    return np.array(picks[:b])


def dropquery(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    changes = (data.passes[:3].argmax(axis=2) != data.probabilities.argmax(axis=1)).sum(axis=0)
    threshold = 1 if (changes > 1).sum() >= 25 * b else 0
    among = np.flatnonzero(changes > threshold)
    if len(among) <= b:
        others = np.setdiff1d(np.arange(len(data)), among)
        return np.concatenate([among, rng.choice(others, b - len(among), replace=False)])
    return among[nearest_members(KMeans(b, random_state=seed(rng)), unit(data.embeddings[among]), None)]


def exploit_explore(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows, picks = unit(data.embeddings), []
    n_exploited = b - b // 2
    gains = entropies(data.probabilities) - (rows**2).sum(axis=1) / n_exploited
    for _ in range(n_exploited):
        picks.append(int(gains.argmax()))
        gains -= 2.0 / n_exploited * rows @ rows[picks[-1]]
        gains[picks] = -np.inf
    closest = (rows @ np.concatenate([unit(data.labeled_embeddings), rows[picks]]).T).max(axis=1)
    for _ in range(b // 2):
        closest[picks] = np.inf
        picks.append(int(closest.argmin()))
        closest = np.maximum(closest, rows @ rows[picks[-1]])
    return np.array(picks)


def dpp(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    """Chen, Zhang & Zhou's greedy choice on the kernel of all considered pairs."""
    uncertainty = entropies(data.probabilities)
    kept = highest(uncertainty, min(max(2000, 2 * b), len(data)))
    rows = unit(data.embeddings[kept]).astype(np.float64)
    some = rows[rng.permutation(len(rows))[:1000]]
    radius = np.median(cdist(some, some)[np.triu_indices(len(some), 1)])
    kernel = np.exp(-cdist(rows, rows, "sqeuclidean") / radius**2) + 1e-6 * np.eye(len(rows))
    kernel *= np.outer(uncertainty[kept], uncertainty[kept])
    variances, factors = np.diag(kernel).copy(), np.zeros((len(rows), b))
    picks: list[int] = []
    for number in range(b):
        picks.append(int(variances.argmax()))
        last = picks[-1]
        factors[:, number] = (kernel[last] - factors @ factors[last]) / np.sqrt(variances[last])
        variances -= factors[:, number] ** 2
        variances[picks] = -np.inf
    return kept[picks]


def bait(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    """Invert the matrix anew before every choice; the binary form."""

    def factors(p: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float64]:
        likeliest = p.astype(np.float64).max(axis=1)
        return np.sqrt(likeliest * (1.0 - likeliest))[:, None] * rows

    rows, known = factors(data.probabilities, data.embeddings), factors(*data.labeled_outputs)
    fisher = (rows.T @ rows + known.T @ known) / (len(rows) + len(known))
    matrix = np.eye(rows.shape[1]) + known.T @ known / (len(known) + b)
    rows = rows * np.sqrt(b / (len(known) + b))

    def effects(matrix: NDArray[np.float64], of: NDArray[np.float64], sign: int) -> NDArray[np.float64]:
        inverse = np.linalg.inv(matrix)
        projected = of @ inverse
        return ((projected @ fisher) * projected).sum(axis=1) / (1.0 + sign * (projected * of).sum(axis=1))

    picks: list[int] = []
    for _ in range(min(2 * b, len(rows))):
        gains = effects(matrix, rows, 1)
        gains[picks] = -np.inf
        picks.append(int(gains.argmax()))
        matrix += np.outer(rows[picks[-1]], rows[picks[-1]])
    while len(picks) > b:
        removed = picks.pop(int(effects(matrix, rows[picks], -1).argmin()))
        matrix -= np.outer(rows[removed], rows[removed])
    return np.array(picks)


def epig(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    passes = data.shared_passes
    targets = passes[:, rng.choice(len(data), min(100, len(data)), replace=False)].astype(np.float64)
    of_targets = entropies(targets.mean(axis=0)).mean()
    scores = []
    for part in np.array_split(passes.astype(np.float64), max(1, len(data) // 50), axis=1):
        joint = np.einsum("knc,ktd->ntcd", part, targets, optimize=True) / len(passes)
        scores.append(entropies(part.mean(axis=0)) + of_targets - entropies(joint).sum(axis=2).mean(axis=1))
    return highest(np.concatenate(scores), b)


def batchbald(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    """Evaluate every candidate before every choice; above 10,000 configurations on samples of them."""
    passes = data.shared_passes.astype(np.float64)
    n_passes, n, n_classes = passes.shape
    conditional = entropies(passes).mean(axis=0)
    weights, shares, sources = np.full((1, n_passes), 1.0 / n_passes), np.ones(1), None
    picks: list[int] = []
    for _ in range(b):
        values = np.empty(n)
        for part in np.array_split(np.arange(n), max(1, n * len(shares) * n_classes // 5_000_000)):
            predicted = np.einsum("mk,knc->mnc", weights, passes[:, part], optimize=True)
            values[part] = shares @ entropies(predicted) - conditional[part]
        values[picks] = -np.inf
        picks.append(int(values.argmax()))
        new = picks[-1:]
        if sources is None and len(shares) * n_classes > 10_000:
            sources, new = np.repeat(np.arange(n_passes), 10_000 // n_passes), picks
            weights = np.full((len(sources), n_passes), 1.0 / n_passes)
            shares = np.full(len(sources), 1.0 / len(sources))
        for pick in new:
            own = passes[:, pick]
            if sources is None:
                joint = ((shares[:, None] * weights)[:, None] * own.T).reshape(-1, n_passes)
                shares = joint.sum(axis=1)
                weights = joint / np.maximum(shares, 1e-300)[:, None]
            else:
                labels = (
                    (own.cumsum(axis=1)[sources] < rng.random((len(sources), 1))).sum(axis=1).clip(max=n_classes - 1)
                )
                weights = weights * own.T[labels]
                weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    return np.array(picks)


def gradnorm(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    p = data.probabilities
    residuals = np.linalg.norm(p[:, None, :] - np.eye(p.shape[1], dtype=p.dtype), axis=2)
    return highest(np.linalg.norm(data.embeddings, axis=1) * (p * residuals).sum(axis=1), b)


def power(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    scores = entropies(data.passes.mean(axis=0)) - entropies(data.passes).mean(axis=0)
    weights = np.maximum(scores, 0.0).astype(np.float64) + 1e-12
    return rng.choice(len(data), size=b, replace=False, p=weights / weights.sum())


RULES = {
    "maxherding": maxherding,
    "uherding": uherding,
    "probcover": probcover,
    "typiclust": typiclust,
    "cluster-margin": cluster_margin,
    "dropquery": dropquery,
    "exploit-explore": exploit_explore,
    "dpp": dpp,
    "bait": bait,
    "epig": epig,
    "batchbald": batchbald,
    "gradnorm": gradnorm,
    "power": power,
}


def n_bytes(rule: str, n: int, b: int, classes: int, dims: int) -> int:
    """Return the approximate memory, for rules that need much."""
    return {
        "maxherding": 8 * n * REFERENCE,
        "uherding": 8 * n * REFERENCE,
        "probcover": n * n,
        "bait": 24 * n * dims,
        "epig": 4 * 100 * n * classes * 3,
        "batchbald": 4 * 100 * n * classes * 5,
        "gradnorm": 12 * n * classes * classes,
    }.get(rule, 0)


def gaussian(rows: NDArray[np.float32], others: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Return exp(-d²/σ²) of rows of length 1."""
    return np.exp((2.0 * rows @ others.T - 2.0) / np.float32(radius * radius))


def distances(
    rows: NDArray[np.float32], others: NDArray[np.float32], excluded: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return Euclidean distances, (n, m); infinite for excluded pairs."""
    squared = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * rows @ others.T
    found = np.sqrt(np.maximum(squared, 0.0))
    return found if excluded is None else np.where(excluded, np.inf, found)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
