"""Loads the data sets of the benchmark of task models, each in a part to tune on and a part for the published table.

    from data import load
    problem = load("wine", part="dev")

A part consists of a pool, from which labels are drawn, and evaluation rows, which no model sees. The parts "dev" and
"test" share no row, except for wine and iris, which are too small for that. Generated problems with a random rule (see
generated.py) have a different rule in each part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import documents
import generated
import numpy as np
from numpy.typing import NDArray

from deepal_autoal import load_dataset
from deepal_autoal.numerics.random_streams import numpy_stream, stream_seed

PARTS = ("dev", "test")
POOL_ROWS, EVAL_ROWS = 10_000, 2_000
# The share of evaluation rows in a part of a small table.
EVAL_SHARE = 0.4
# As in benchmarks/autoal/embeddings.py, whose split of MNIST and CIFAR-10 is also used for the images: no image of one
# part is then among the embeddings of the other.
EMBEDDED_DEV_TRAIN, EMBEDDED_DEV_TEST = 20_000, 4_000


@dataclass(frozen=True, eq=False)
class Problem:
    """One part of a data set.

    Attributes:
        name: The data set's name.
        part: ``dev`` or ``test``.
        x_pool: Images uint8 (N, H, W, C), or vectors float32 (N, D).
        y_pool: int64 (N,) in 0..n_classes-1.
        x_eval: In the same form as ``x_pool``, at most 2,000 rows.
        y_eval: int64 (n,).
    """

    name: str
    part: str
    x_pool: NDArray[Any]
    y_pool: NDArray[np.int64]
    x_eval: NDArray[Any]
    y_eval: NDArray[np.int64]

    @property
    def is_image(self) -> bool:
        """Whether rows are images."""
        return self.x_pool.ndim == 4

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y_pool.max()) + 1

    def draw(self, per_class: int, seed: int) -> NDArray[np.int64]:
        """Return pool rows to label: ``per_class`` random rows of each class, or all of a class that has fewer.

        A seed's rows at one size are a subset of its rows at any larger size.
        """
        order = numpy_stream("model benchmark", "labels", self.name, self.part, seed).permutation(len(self.y_pool))
        classes = self.y_pool[order]
        kept = [order[classes == number][:per_class] for number in range(self.n_classes)]
        # In pool order, so no model sees the classes in order.
        return np.sort(np.concatenate(kept))


# Pool and evaluation rows: x_pool, y_pool, x_eval, y_eval.
Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
# Takes the pool's texts and other texts, and returns vectors of both.
TextEmbedding = Callable[[list[str], list[str]], tuple[NDArray[Any], NDArray[Any]]]


@dataclass(frozen=True)
class Folders:
    """Folders of the data.

    Attributes:
        data: Folder of MNIST/raw and cifar10.
        embeddings: Folder of the files that benchmarks/autoal/embeddings.py writes.
    """

    data: Path
    embeddings: Path


# Takes a part and the folders, and returns the part's rows.
Source = Callable[[str, Folders], Arrays]


@lru_cache(maxsize=2)
def load(
    name: str, part: str = "dev", data_dir: str | Path = "data", embeddings_dir: str | Path = "study-data"
) -> Problem:
    """Return one part of a data set, the same in every call.

    Args:
        name: One of `NAMES`.
        part: ``dev`` or ``test``.
        data_dir: Folder of MNIST/raw and cifar10, for the images.
        embeddings_dir: Folder of the files that benchmarks/autoal/embeddings.py writes, for the embeddings.

    Raises:
        ValueError: If there is no such data set or part.
        FileNotFoundError: If the embeddings are missing.
    """
    if name not in SOURCES:
        raise ValueError(f"there is no data set {name!r}; choose from {', '.join(SOURCES)}")
    if part not in PARTS:
        raise ValueError(f"there is no part {part!r}; choose from {', '.join(PARTS)}")
    x_pool, y_pool, x_eval, y_eval = SOURCES[name](part, Folders(Path(data_dir), Path(embeddings_dir)))
    pool = some_rows(name, part, "pool", len(x_pool), POOL_ROWS)
    evaluated = some_rows(name, part, "eval", len(x_eval), EVAL_ROWS)
    return Problem(
        name, part, in_form(x_pool[pool]), np.asarray(y_pool[pool], dtype=np.int64), in_form(x_eval[evaluated]),
        np.asarray(y_eval[evaluated], dtype=np.int64),
    )  # fmt: skip


def some_rows(name: str, part: str, purpose: str, n_rows: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` random row numbers, ascending."""
    return np.sort(numpy_stream("model benchmark", purpose, name, part).permutation(n_rows)[:most])


def in_form(x: NDArray[Any]) -> NDArray[Any]:
    """Return images unchanged and vectors as float32."""
    return np.ascontiguousarray(x if x.ndim == 4 else x.astype(np.float32))


def split_table(x: NDArray[Any], y: NDArray[Any], part: str, *, is_shared: bool = False) -> Arrays:
    """Return pool and evaluation rows of a part of a table.

    Args:
        x: (N, ...).
        y: (N,).
        part: ``dev`` or ``test``, each half of the rows.
        is_shared: Whether both parts use the whole table.
    """
    from sklearn.model_selection import train_test_split

    if not is_shared:
        halves = train_test_split(np.arange(len(y)), test_size=0.5, stratify=y, random_state=0)
        rows = np.sort(halves[PARTS.index(part)])
        x, y = x[rows], y[rows]
    x_pool, x_eval, y_pool, y_eval = train_test_split(x, y, test_size=EVAL_SHARE, stratify=y, random_state=1)
    return x_pool, y_pool, x_eval, y_eval


def bundled(loader: str, *, is_shared: bool = False) -> Source:
    """Return a source for a table that comes with scikit-learn, by the name of its loader."""

    def load_part(part: str, folders: Folders) -> Arrays:
        import sklearn.datasets

        x, y = getattr(sklearn.datasets, loader)(return_X_y=True)
        return split_table(x, y, part, is_shared=is_shared)

    return load_part


def digits_images(part: str, folders: Folders) -> Arrays:
    """Return the digits as images, with the same rows as the vectors."""
    x_pool, y_pool, x_eval, y_eval = bundled("load_digits")(part, folders)
    return as_digits(x_pool), y_pool, as_digits(x_eval), y_eval


def as_digits(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Return vectors (N, 64) of 0..16 as images (N, 8, 8, 1) of 0..255."""
    return np.round(x * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)


def diabetes(part: str, folders: Folders) -> Arrays:
    """Return scikit-learn's diabetes table in its original units; classes are progression up to or above the median."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    return split_table(x, y > np.median(y), part)


def images(name: str) -> Source:
    """Return a source for images of MNIST or CIFAR-10."""

    def load_part(part: str, folders: Folders) -> Arrays:
        folder = folders.data / name
        dataset = load_dataset(str(folder) if folder.is_dir() else name, folders.data)
        rng = np.random.default_rng(stream_seed("embeddings", name, "parts"))
        orders = rng.permutation(len(dataset.x_train)), rng.permutation(len(dataset.x_test))
        is_dev = part == "dev"
        train, test = (
            order[:n_dev] if is_dev else order[n_dev:]
            for order, n_dev in zip(orders, (EMBEDDED_DEV_TRAIN, EMBEDDED_DEV_TEST), strict=True)
        )
        return dataset.x_train[train], dataset.y_train[train], dataset.x_test[test], dataset.y_test[test]

    return load_part


def embedded(name: str) -> Source:
    """Return a source for embeddings of MNIST or CIFAR-10."""

    def load_part(part: str, folders: Folders) -> Arrays:
        path = folders.embeddings / (f"{name}-dev.npz" if part == "dev" else f"{name}.npz")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: create it with benchmarks/autoal/embeddings.py")
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["x"], arrays["y"], arrays["x_test"], arrays["y_test"]

    return load_part


def made_up(generate: Callable[[int, str], tuple[NDArray[Any], NDArray[Any]]]) -> Source:
    """Return a source for a problem that a function of generated.py generates."""

    def load_part(part: str, folders: Folders) -> Arrays:
        x, y = generate(2 * EVAL_ROWS + 1_000, part)
        return x[EVAL_ROWS:], y[EVAL_ROWS:], x[:EVAL_ROWS], y[:EVAL_ROWS]

    return load_part


def texts(embed: TextEmbedding) -> Source:
    """Return a source for docstrings that a function of documents.py turns into vectors."""

    def load_part(part: str, folders: Folders) -> Arrays:
        found, y = documents.corpus(PARTS.index(part))
        order = numpy_stream("model benchmark", "documents", part).permutation(len(found))
        evaluated, pool = order[:EVAL_ROWS], order[EVAL_ROWS:]
        x_pool, x_eval = embed([found[row] for row in pool], [found[row] for row in evaluated])
        return x_pool, y[pool], x_eval, y[evaluated]

    return load_part


SOURCES: dict[str, Source] = {
    "iris": bundled("load_iris", is_shared=True),
    "wine": bundled("load_wine", is_shared=True),
    "cancer": bundled("load_breast_cancer"),
    "diabetes": diabetes,
    "pima-like": made_up(generated.pima_like),
    "covtype-like": made_up(generated.covtype_like),
    "moons": made_up(generated.moons),
    "quantiles": made_up(generated.quantiles),
    "redundant": made_up(generated.redundant),
    "blobs": made_up(generated.blobs),
    "text-svd": texts(documents.by_topics),
    "text-tfidf": texts(documents.by_words),
    "digits": bundled("load_digits"),
    "mnist": embedded("mnist"),
    "cifar10": embedded("cifar10"),
    "digits-images": digits_images,
    "mnist-images": images("mnist"),
    "cifar10-images": images("cifar10"),
}
NAMES = tuple(SOURCES)
IMAGES = tuple(name for name in NAMES if name.endswith("-images"))
