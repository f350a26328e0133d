"""Write frozen embeddings of MNIST and CIFAR-10, learned without labels, as .npz files for `deepal run --dataset`.

    python benchmarks/autoal/embeddings.py --data data --out study-data

The method is that of `deepal_autoal.models.patches` (Coates, Lee & Ng 2011), with larger dictionaries and more patches.

The files, each with x, y, x_test, y_test:
    NAME-dev.npz                   20,000 training rows and 4,000 test rows, to tune on
    NAME.npz                       all other rows, for the study
    NAME-dev-imbalanced.npz, NAME-imbalanced.npz
                                   their training rows with classes 0 ... 9 in proportion 1:2:...:10; test rows as above

Names are mnist and cifar10. --data contains MNIST/raw in torchvision's layout, and cifar10, a folder with train and
test, each with one folder per class.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from deepal_autoal import load_dataset, stream_seed
from deepal_autoal.models import patches

PATCH = 6
N_PATCHES = 120_000
N_ITERATIONS = 15
CHUNK = 512  # images in memory at a time
DEV_TRAIN, DEV_TEST = 20_000, 4_000


@dataclass(frozen=True)
class Source:
    """A dataset and the size of its embedding.

    Attributes:
        dataset: Argument of `load_dataset`; a path is relative to --data.
        n_centers: Dictionary size.
        dim: Dimensions of the embedding.
    """

    dataset: str
    n_centers: int
    dim: int


SOURCES = {"mnist": Source("mnist", 200, 64), "cifar10": Source("cifar10", 400, 128)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of MNIST/raw and cifar10")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", default=",".join(SOURCES))
    parser.add_argument("--threads", type=int, default=1, help="the last digits depend on it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names.split(","):
        source = SOURCES[name]
        folder = arguments.data / source.dataset
        data = load_dataset(str(folder) if folder.is_dir() else source.dataset, arguments.data)
        started = time.monotonic()
        train, test = embed(data.x_train, data.x_test, source.n_centers, source.dim)
        write_parts(arguments.out, name, train, data.y_train, test, data.y_test)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)


def embed(x_train: np.ndarray, x_test: np.ndarray, n_centers: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings of training and test images; everything is learned from the training images.

    Args:
        x_train: Images uint8 (N, H, W, C).
        x_test: Images uint8 (n, H, W, C).
        n_centers: Dictionary size K.
        dim: Dimensions D, at most 4·K.

    Returns:
        float32 (N, D) and (n, D); the first dimension has variance 1 on the training images, further ones less.
    """
    generator = torch.Generator().manual_seed(stream_seed("embeddings"))
    cut = patches.random_patches(torch.from_numpy(np.array(x_train)).permute(0, 3, 1, 2), PATCH, N_PATCHES, generator)
    rows = patches.normalized(cut / 255)
    mean, whitening = patches.zca(rows)
    centers = patches.k_means((rows - mean) @ whitening, n_centers, N_ITERATIONS, generator)

    def activations(images: np.ndarray) -> torch.Tensor:
        result = torch.empty(len(images), 4 * n_centers)
        for start in range(0, len(images), CHUNK):
            part = torch.from_numpy(np.divide(images[start : start + CHUNK], 255, dtype=np.float32))
            pooled = patches.pooled_activations(part.permute(0, 3, 1, 2), mean, whitening, centers, PATCH, stride=1)
            result[start : start + CHUNK] = torch.cat(list(pooled))
        return result

    train = activations(x_train)
    offset, projection = patches.principal_components(train, dim)
    return tuple(((part - offset) @ projection).numpy() for part in (train, activations(x_test)))


def write_parts(
    out: Path,
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    n_dev: tuple[int, int] = (DEV_TRAIN, DEV_TEST),
) -> None:
    """Write the part to tune on and the part for the study, which share no row, and an imbalanced version of both.

    Args:
        out: Folder.
        name: Name of the dataset.
        x, y, x_test, y_test: Its embeddings and classes.
        n_dev: Training and test rows of the part to tune on.
    """
    rng = np.random.default_rng(stream_seed("embeddings", name, "parts"))
    order, order_test = rng.permutation(len(x)), rng.permutation(len(x_test))
    parts = {f"{name}-dev": (order[: n_dev[0]], order_test[: n_dev[1]]),
             name: (order[n_dev[0] :], order_test[n_dev[1] :])}  # fmt: skip
    for label, (rows, test) in parts.items():
        for ending, chosen in (("", rows), ("-imbalanced", imbalanced(y, rows))):
            # Not compressed, so it can be memory-mapped.
            np.savez(out / f"{label}{ending}.npz", x=x[chosen], y=y[chosen], x_test=x_test[test], y_test=y_test[test])


def imbalanced(y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the most rows with classes 0, 1, ... in proportion 1:2:..., in the same order."""
    n_classes = int(y.max()) + 1
    unit = int((np.bincount(y[rows], minlength=n_classes) // np.arange(1, n_classes + 1)).min())
    kept = [np.flatnonzero(y[rows] == number)[: unit * (number + 1)] for number in range(n_classes)]
    return rows[np.sort(np.concatenate(kept))]


if __name__ == "__main__":
    main()
