"""Generates active-learning tasks of many kinds: parts of development data, bundled tables, and drawn problems.

    from tasks import draw_task
    task = draw_task(17, families=FAMILIES, data=Path("study-data"))

A task is a pool, a test set, and a budget, from one label a class to hundreds. Number and family determine it, so that
all policies are judged on the same tasks. MNIST and CIFAR-10 come from the embeddings set aside for tuning, so none of
their rows that studies report on is in any task. Digits, breast cancer and wine have no such part: leave a family out
of the search before reporting on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
from numpy.typing import NDArray

from deepal_autoal.numerics.random_streams import numpy_stream

MOST_POOL, MOST_TEST = 2_000, 1_000


@dataclass(frozen=True, eq=False)
class Task:
    """One simulated run's data and budget.

    Attributes:
        name: Family and number.
        family: Name of the family, the unit that is left out in proofs.
        x: Vectors of the pool, float32 (N, D), of mean square length D.
        y: Their classes as an annotator gives them, int64 (N,) in 0..n_classes-1.
        x_test: Vectors of the test set, float32.
        y_test: Their true classes.
        n_classes: C.
        initial: Size of the initial labeled set.
        batch_size: Labels a round.
        rounds: Number of queries.
        seed: Of the run's draws.
    """

    name: str
    family: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    n_classes: int
    initial: int
    batch_size: int
    rounds: int
    seed: int


def draw_task(number: int, families: Sequence[str], data: Path) -> Task:
    """Return a task; families take turns. One whose name ends in .npz is a file of vectors ``x`` and classes ``y``."""
    family = families[number % len(families)]
    rng = numpy_stream(number, "meta task")
    x, y = _SOURCES.get(family, _own(family))(rng, data)
    classes, y = np.unique(y, return_inverse=True)
    order = rng.permutation(len(x))
    x, y = x[order], y[order]
    n_test = min(MOST_TEST, len(x) // 3)
    x_test, y_test, x, y = x[:n_test], y[:n_test], x[n_test:], y[n_test:]
    x, y = _changed(rng, x[: 3 * MOST_POOL], y[: 3 * MOST_POOL], len(classes))
    x, y = x[:MOST_POOL], y[:MOST_POOL]
    # One scale for all features, as a run scales embeddings.
    center, scale = x.mean(axis=0), float(x.std(axis=0).mean()) or 1.0
    x, x_test = ((part - center) / scale for part in (x, x_test))
    per_class = 10 ** rng.uniform(0.0, 2.2)
    initial = int(np.clip(round(per_class * len(classes)), 4, len(x) // 8))
    final = int(np.clip(round(initial * rng.uniform(3.0, 8.0)), initial + 6, len(x) // 2))
    rounds = int(rng.integers(4, 9))
    batch_size = max(1, (final - initial) // rounds)
    return Task(
        f"{family}-{number}", family, x.astype(np.float32), y.astype(np.int64), x_test.astype(np.float32),
        y_test.astype(np.int64), len(classes), initial, batch_size, rounds, number,
    )  # fmt: skip


def _changed(
    rng: np.random.Generator, x: NDArray[Any], y: NDArray[np.int64], n_classes: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the pool with one change or none: imbalance to 1:100, wrong labels, or near-duplicates."""
    change = rng.choice(["none", "none", "imbalance", "noise", "duplicates"])
    if change == "imbalance":
        ratio = 10 ** rng.uniform(0.5, 2.0)
        shares = ratio ** -(rng.permutation(n_classes) / max(1, n_classes - 1))
        kept = rng.random(len(x)) < shares[y]
        # Every class stays.
        kept[np.unique(y, return_index=True)[1]] = True
        if kept.sum() >= 200:
            x, y = x[kept], y[kept]
    elif change == "noise":
        wrong = rng.random(len(y)) < rng.uniform(0.02, 0.2)
        y = np.where(wrong, rng.integers(n_classes, size=len(y)), y)
    elif change == "duplicates":
        n_groups = max(200, min(len(x), MOST_POOL) // int(rng.integers(2, 6)))
        rows = rng.integers(min(n_groups, len(x)), size=min(len(x), MOST_POOL))
        x, y = x[rows] + 0.01 * x.std() * rng.normal(size=x[rows].shape), y[rows]
    return x, y


@lru_cache(maxsize=4)
def _embeddings(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    with np.load(path) as file:
        return np.concatenate([file["x"], file["x_test"]]), np.concatenate([file["y"], file["y_test"]])


def _embedded(name: str) -> Any:
    def source(rng: np.random.Generator, data: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
        x, y = _embeddings(data / f"{name}-dev.npz")
        classes = rng.permutation(10)[: int(rng.choice([10, 10, 10, 7, 5, 3, 2]))]
        rows = rng.permutation(np.flatnonzero(np.isin(y, classes)))[: 4 * MOST_POOL]
        return x[rows], y[rows]

    return source


def _own(name: str) -> Any:
    def source(rng: np.random.Generator, data: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
        with np.load(name) as file:
            x, y = file["x"].astype(float), file["y"]
        rows = rng.permutation(len(x))[: 4 * MOST_POOL]
        return x[rows], y[rows]

    return source


def _table(name: str) -> Any:
    def source(rng: np.random.Generator, data: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
        bunch: Any = getattr(sklearn.datasets, f"load_{name}")()
        x, y = bunch.data.astype(float), bunch.target
        # Tables mix units: feature by feature. Digits are one unit.
        return (x if name == "digits" else (x - x.mean(axis=0)) / x.std(axis=0)), y

    return source


def _mixture(rng: np.random.Generator, data: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Classes of some Gaussian clusters each, of unequal size and width, in a subspace of up to 768 dimensions."""
    n_classes = int(np.round(2 ** rng.uniform(1.0, np.log2(100))))
    n_clusters = n_classes * int(rng.integers(1, 5))
    inner = int(rng.integers(4, 33))
    centers = rng.normal(size=(n_clusters, inner)) * rng.uniform(0.7, 2.2)
    widths = np.exp(rng.normal(0.0, rng.uniform(0.0, 0.6), n_clusters))
    shares = rng.dirichlet(np.full(n_clusters, rng.uniform(0.7, 10.0)))
    which = np.concatenate([np.arange(n_clusters), rng.choice(n_clusters, 3 * MOST_POOL, p=shares)])
    x = centers[which] + widths[which, None] * rng.normal(size=(len(which), inner))
    return _lifted(rng, x), which % n_classes


def _manifold(rng: np.random.Generator, data: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Points of a low-dimensional space bent by a random network; classes are regions of that space."""
    latent, n_classes = int(rng.integers(2, 9)), int(np.round(2 ** rng.uniform(1.0, np.log2(50))))
    z = rng.normal(size=(4 * MOST_POOL, latent))
    sites = rng.normal(size=(n_classes * int(rng.integers(1, 4)), latent))
    nearest = ((z[:, None] - sites[None]) ** 2).sum(axis=2).argmin(axis=1)
    hidden = np.tanh(z @ rng.normal(size=(latent, 64)) * rng.uniform(0.4, 1.5) + rng.normal(size=64))
    return _lifted(rng, hidden @ rng.normal(size=(64, 32)) / 8.0), nearest % n_classes


def _lifted(rng: np.random.Generator, x: NDArray[Any]) -> NDArray[Any]:
    """Return x rotated into 16 to 768 dimensions, with noise in all of them; as embeddings, sometimes rectified."""
    outer = max(x.shape[1], int(np.round(2 ** rng.uniform(4.0, np.log2(768)))))
    scale = float(x.std())
    x = x @ np.linalg.qr(rng.normal(size=(outer, x.shape[1])))[0].T
    x += scale * rng.uniform(0.02, 0.5) * rng.normal(size=x.shape) * np.sqrt(16 / outer)
    return np.maximum(x + 0.5 * x.std(), 0.0) if rng.random() < 0.3 else x


_SOURCES: dict[str, Any] = {
    "mnist": _embedded("mnist"),
    "cifar10": _embedded("cifar10"),
    "digits": _table("digits"),
    "breast-cancer": _table("breast_cancer"),
    "wine": _table("wine"),
    "mixture": _mixture,
    "manifold": _manifold,
}
FAMILIES = tuple(_SOURCES)


def add_families(parser: argparse.ArgumentParser) -> None:
    """Add the option --families."""
    parser.add_argument(
        "--families", type=_families, default=FAMILIES, metavar="A,B",
        help=f"default: {','.join(FAMILIES)}; a .npz with vectors x and classes y is a family of its own",
    )  # fmt: skip


def _families(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in _SOURCES and not (name.endswith(".npz") and Path(name).is_file()):
            raise argparse.ArgumentTypeError(
                f"there is no family {name!r}; choose from {', '.join(FAMILIES)}, or a .npz"
            )
    return names
