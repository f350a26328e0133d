"""Write frozen embeddings of MNIST and CIFAR-10, learned without labels, as .npz files for `deepal run --dataset`.

    python benchmarks/autoal/embeddings.py --data data --out study-data

The method is that of Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning",
AISTATS 2011. Small patches of training images are normalized and whitened, and their k-means centers are the
dictionary. For every patch of an image, a feature is how much nearer a center is than the mean distance ("triangle");
features are averaged over the image's four quadrants and reduced to principal components.

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

PATCH = 6
N_PATCHES = 120_000
N_ITERATIONS = 15
CONTRAST = 10 / 255  # added to a patch's standard deviation, so that flat patches do not become noise
RIDGE = 0.1  # added to the eigenvalues in whitening
# Images at a time, few enough to reuse the same memory instead of new pages each time.
CHUNK = 8
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
    dictionary = Dictionary.fit(x_train, n_centers)
    train, test = dictionary.features(x_train), dictionary.features(x_test)
    mean, std = train.mean(dim=0), train.std(dim=0) + 0.01
    for part in (train, test):
        part.sub_(mean).div_(std)
    directions = torch.linalg.eigh(train.T @ train / len(train))[1][:, -dim:].flip(1)
    # An eigenvector's sign is arbitrary; let its largest entry be positive.
    directions *= directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    train, test = train @ directions, test @ directions
    scale = train[:, 0].std()
    return (train / scale).numpy(), (test / scale).numpy()


@dataclass(frozen=True)
class Dictionary:
    """The whitening of patches, and the k-means centers of whitened patches.

    Attributes:
        mean: (P,), mean of normalized patches.
        whitening: (P, P), the whitening matrix.
        centers: (K, P), in whitened space.
    """

    mean: torch.Tensor
    whitening: torch.Tensor
    centers: torch.Tensor

    @classmethod
    def fit(cls, images: np.ndarray, n_centers: int) -> "Dictionary":
        """Learn from random patches of random images."""
        generator = torch.Generator().manual_seed(stream_seed("embeddings"))
        height, width = images.shape[1:3]
        limits = (len(images), height - PATCH + 1, width - PATCH + 1)
        corners = [torch.randint(limit, (N_PATCHES,), generator=generator).tolist() for limit in limits]
        cut = [images[row, top : top + PATCH, left : left + PATCH] for row, top, left in zip(*corners, strict=True)]
        patches = normalized(in_unit_range(np.stack(cut)).flatten(1))
        mean = patches.mean(dim=0)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        whitening = vectors @ torch.diag((values + RIDGE).rsqrt()) @ vectors.T
        return cls(mean, whitening, k_means((patches - mean) @ whitening, n_centers, generator))

    def features(self, images: np.ndarray) -> torch.Tensor:
        """Return the pooled triangle activations of images uint8 (N, H, W, C), float32 (N, 4·K)."""
        height, width = (side - PATCH + 1 for side in images.shape[1:3])
        n_centers = len(self.centers)
        lengths = self.centers.square().sum(dim=1)
        result = torch.empty(len(images), 4 * n_centers)
        buffer = torch.empty(CHUNK * height * width, n_centers)
        for start in range(0, len(images), CHUNK):
            part = in_unit_range(images[start : start + CHUNK])
            patches = torch.nn.functional.unfold(part, PATCH).transpose(1, 2).flatten(0, 1)
            whitened = normalized(patches).sub_(self.mean) @ self.whitening
            distances = buffer[: len(whitened)]
            torch.addmm(lengths, whitened, self.centers.T, alpha=-2, out=distances)
            distances.add_(whitened.square_().sum(dim=1, keepdim=True)).clamp_min_(0).sqrt_()
            nearness = distances.neg_().sub_(distances.mean(dim=1, keepdim=True)).clamp_min_(0)
            maps = nearness.view(len(part), height, width, n_centers)
            for number, (rows, columns) in enumerate((r, c) for r in halves(height) for c in halves(width)):
                block = result[start : start + CHUNK, number * n_centers : (number + 1) * n_centers]
                block.copy_(maps[:, rows, columns].mean(dim=(1, 2)))
        return result


def in_unit_range(images: np.ndarray) -> torch.Tensor:
    """Return images uint8 (n, H, W, C) as float32 (n, C, H, W) in [0, 1]."""
    return torch.from_numpy(np.divide(images, 255, dtype=np.float32)).permute(0, 3, 1, 2)


def normalized(patches: torch.Tensor) -> torch.Tensor:
    """Return patches (n, P) minus their means and divided by their standard deviations."""
    centered = patches - patches.mean(dim=1, keepdim=True)
    return centered.div_(centered.var(dim=1, keepdim=True).add_(CONTRAST**2).sqrt_())


def halves(side: int) -> tuple[slice, slice]:
    """Return the two halves of a side; if it is odd, both contain the middle."""
    return slice(0, (side + 1) // 2), slice(side // 2, side)


def k_means(rows: torch.Tensor, n_centers: int, generator: torch.Generator) -> torch.Tensor:
    """Return k-means centers (K, P) of rows (n, P); a center that loses all its rows stays where it is."""
    centers = rows[torch.randperm(len(rows), generator=generator)[:n_centers]].clone()
    for _ in range(N_ITERATIONS):
        lengths = centers.square().sum(dim=1)
        nearest = torch.cat([(2 * part @ centers.T - lengths).argmax(dim=1) for part in rows.split(4096)])
        counts = torch.bincount(nearest, minlength=len(centers))[:, None]
        sums = torch.zeros_like(centers).index_add_(0, nearest, rows)
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
    return centers


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
