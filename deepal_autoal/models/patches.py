"""`PatchEmbedding`: embeddings of images, learned from images alone, without labels.

How it works (Coates, Lee & Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011):
random patches of the images are normalized and whitened (ZCA), and their k-means centers are the dictionary. For every
patch of an image, a feature is how much nearer a center is than the mean distance ("triangle activation"). Features are
averaged over the image's four quadrants, standardized and reduced to principal components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.random_streams import numpy_stream, torch_stream
from deepal_autoal.numerics.row_blocks import PATCH_DISTANCES, PATCH_SAMPLE, READING, row_slices
from deepal_autoal.training.inputs import Inputs, Normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

N_CENTERS = 200
DIM = 128
N_PATCHES = 60_000
N_ITERATIONS = 15  # of k-means
CONTRAST = 10 / 255  # added to a patch's standard deviation, so that flat patches do not become noise
RIDGE = 0.1  # added to the eigenvalues in whitening
PATCH = 6
# Numbers in a patch at most: with many channels, patches are smaller.
_MOST_NUMBERS = 512
MOST_SIDE = 64
"""Pixels on a side to which larger images are reduced: patches of a photo's full resolution show only texture."""
_MOST_PIXELS = MOST_SIDE**2
# Of images with more pixels, only every second patch in each direction is used.
_DENSE_PIXELS = 40 * 40
# Added to an activation's standard deviation, so that a center that hardly any patch is near counts little.
_LEAST_DEVIATION = 0.01


class PatchEmbedding(nn.Module):
    """Embeds images by a dictionary of patches, which `fit` learns.

    Args:
        sizes: int64 (7,): channels, height and width of an image; height and width that it is scaled to; side of a
            patch, and distance from one patch to the next.
        mean: (P,), mean of normalized patches.
        whitening: (P, P).
        centers: (K, P), in whitened space.
        offset: (4·K,), mean of the pooled activations.
        projection: (4·K, D), from activations minus ``offset`` to embeddings.

    Attributes:
        input_shape: (C, H, W) of the images it takes.
    """

    ARRAYS = ("sizes", "mean", "whitening", "centers", "offset", "projection")

    mean: Tensor
    whitening: Tensor
    centers: Tensor
    offset: Tensor
    projection: Tensor

    def __init__(
        self, sizes: Tensor, mean: Tensor, whitening: Tensor, centers: Tensor, offset: Tensor, projection: Tensor
    ) -> None:
        super().__init__()
        for name, value in zip(self.ARRAYS, (sizes, mean, whitening, centers, offset, projection), strict=True):
            self.register_buffer(name, value)
        channels, height, width, scaled_height, scaled_width, self._side, self._stride = sizes.tolist()
        self.input_shape = (channels, height, width)
        self._scaled_size = (scaled_height, scaled_width)

    @classmethod
    def fit(
        cls,
        images: NDArray[np.uint8],
        *,
        resize: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> PatchEmbedding:
        """Learn from at most 4,000 random images and 60,000 random patches of them.

        The result depends on the seed and, because sums are rounded in another order, on the number of threads.

        Args:
            images: uint8 (N, H, W, C), possibly memory-mapped.
            resize: Brings a block of images, floating (n, C, H, W), to the size of those that are embedded later.
            seed: Seed of the choice of images, patches and first centers.
            progress: Called with the number of steps done and their total.

        Raises:
            InputError: If there are fewer than two images, or their patches do not differ.
        """
        if len(images) < 2:
            raise InputError("a dictionary of patches is learned from at least two images: got one")
        inputs = pixel_inputs(images, torch.device("cpu"))
        resize = resize or _unchanged
        channels, height, width = resize(inputs.batch(np.arange(1))).shape[1:]
        sizes = choose_sizes(channels, height, width)
        *_, scaled_height, scaled_width, side, stride = sizes
        scaled = (scaled_height, scaled_width)
        n = min(len(images), max(2, PATCH_SAMPLE.rows(4 * channels * math.prod(scaled))))
        rows = np.sort(numpy_stream(seed, "patches", "images").permutation(len(images))[:n])
        sample = torch.empty((n, channels, *scaled))
        for block in READING.blocks(n, 4 * channels * height * width):
            sample[block] = _scaled(resize(inputs.batch(rows[block])), scaled)
        done = 0

        def report(steps: int) -> None:
            nonlocal done
            done += steps
            if progress is not None:
                progress(done, N_ITERATIONS + n)

        generator = torch_stream(seed, "patches")
        patches = normalized(random_patches(sample, side, N_PATCHES, generator))
        mean, whitening = zca(patches)
        centers = k_means(
            (patches - mean) @ whitening, N_CENTERS, N_ITERATIONS, generator, after_each=lambda: report(1)
        )
        del patches
        parts = []
        for part in pooled_activations(sample, mean, whitening, centers, side, stride):
            parts.append(part)
            report(len(part))
        offset, projection = principal_components(torch.cat(parts), DIM)
        return cls(torch.tensor(sizes), mean, whitening, centers, offset, projection)

    @property
    def embedding_dim(self) -> int:
        """Dimensions of an embedding."""
        return self.projection.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings, (n, D), of images in [0, 1], float32 (n, C, H, W)."""
        scaled = _scaled(images, self._scaled_size)
        parts = pooled_activations(scaled, self.mean, self.whitening, self.centers, self._side, self._stride)
        return torch.cat([(part - self.offset) @ self.projection for part in parts])

    def transform(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return embeddings, float32 (N, D), of images, uint8 (N, H, W, C).

        Raises:
            InputError: If the images have another form than those it was learned from.
        """
        channels, height, width = self.input_shape
        if images.dtype != np.uint8 or images.shape[1:] != (height, width, channels):
            raise InputError(
                f"the patches are of images uint8 (N, {height}, {width}, {channels}), but these are {images.dtype} "
                f"{images.shape}; bring them to that form"
            )
        inputs = pixel_inputs(images, self.mean.device)
        embeddings = np.empty((len(images), self.embedding_dim), dtype=np.float32)
        with torch.no_grad():
            for block in READING.blocks(len(images), 4 * math.prod(self.input_shape)):
                embeddings[block] = self(inputs.batch(np.arange(block.start, block.stop))).cpu().numpy()
        return embeddings

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the constructor's arguments as arrays."""
        return {name: value.cpu().numpy() for name, value in self.named_buffers()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> PatchEmbedding:
        """Return the embedding with these `arrays`.

        Raises:
            ValueError: If they do not fit each other.
        """
        channels, *_, side, _ = arrays["sizes"].tolist()
        n_numbers, n_centers = channels * side**2, len(arrays["centers"])
        shapes = {
            "sizes": (7,), "mean": (n_numbers,), "whitening": (n_numbers, n_numbers),
            "centers": (n_centers, n_numbers), "offset": (4 * n_centers,),
            "projection": (4 * n_centers, arrays["projection"].shape[-1]),
        }  # fmt: skip
        for name, shape in shapes.items():
            kind = np.int64 if name == "sizes" else np.float32
            if arrays[name].shape != shape or arrays[name].dtype != kind:
                raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, not {kind.__name__} {shape}")
        return cls(*(torch.from_numpy(np.array(arrays[name])) for name in cls.ARRAYS))


def pixel_inputs(images: NDArray[np.uint8], device: torch.device) -> Inputs:
    """Return images uint8 (N, H, W, C) as inputs of a `PatchEmbedding`."""
    return Inputs(images, pixel_normalization(images.shape[3]), device)


def pixel_normalization(channels: int) -> Normalization:
    """Return the normalization that leaves pixels in [0, 1]."""
    return Normalization(torch.zeros(channels), torch.ones(channels))


def choose_sizes(channels: int, height: int, width: int) -> list[int]:
    """Return the `PatchEmbedding`'s sizes for images: small ones are used as they are, large ones are reduced.

    Raises:
        InputError: If a patch would be a single number.
    """
    factor = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))
    scaled = [max(1, round(side * factor)) for side in (height, width)]
    side = max(1, min(PATCH, max(2, min(scaled) // 2), min(scaled), math.isqrt(_MOST_NUMBERS // channels)))
    if channels * side == 1:
        raise InputError(f"images of {height}x{width} pixels have no patches to learn from; use another --model")
    return [channels, height, width, *scaled, side, 1 if math.prod(scaled) <= _DENSE_PIXELS else 2]


def _unchanged(images: Tensor) -> Tensor:
    return images


def _scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def random_patches(images: Tensor, side: int, n: int, generator: torch.Generator) -> Tensor:
    """Return ``n`` random patches, (n, C·side²), of images (N, C, H, W); each comes from a random image."""
    windows = images.unfold(2, side, 1).unfold(3, side, 1)
    rows, top, left = (torch.randint(windows.shape[axis], (n,), generator=generator) for axis in (0, 2, 3))
    return windows[rows, :, top, left].flatten(1)


def normalized(patches: Tensor) -> Tensor:
    """Return patches (n, P) minus their means and divided by their standard deviations."""
    centered = patches - patches.mean(dim=1, keepdim=True)
    return centered.div_(centered.var(dim=1, keepdim=True).add_(CONTRAST**2).sqrt_())


def zca(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (P,) of patches (n, P) and the symmetric matrix (P, P) that whitens them."""
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    return patches.mean(dim=0), vectors @ torch.diag((values + RIDGE).rsqrt()) @ vectors.T


def k_means(
    rows: Tensor,
    n_centers: int,
    n_iterations: int,
    generator: torch.Generator,
    after_each: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return k-means centers (K, P) of rows (n, P) by Lloyd's iterations from K random rows.

    K is ``n_centers``, or n if that is less. A center that loses all its rows stays where it is. Unlike scikit-learn's,
    sums are added in one order, so the same threads give the same centers.
    """
    centers = rows[torch.randperm(len(rows), generator=generator)[:n_centers]].clone()
    parts = [rows[part] for part in row_slices(len(rows), 4096)]
    for _ in range(n_iterations):
        lengths = centers.square().sum(dim=1)
        nearest = torch.cat([(2 * part @ centers.T - lengths).argmax(dim=1) for part in parts])
        counts = torch.bincount(nearest, minlength=len(centers))[:, None]
        sums = torch.zeros_like(centers).index_add_(0, nearest, rows)
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
        after_each()
    return centers


def pooled_activations(
    images: Tensor, mean: Tensor, whitening: Tensor, centers: Tensor, side: int, stride: int
) -> Iterator[Tensor]:
    """Yield triangle activations, averaged over quadrants, (n, 4·K), of a block of images after the other.

    Args:
        images: Floating (N, C, H, W).
        mean, whitening, centers: As of `PatchEmbedding`.
        side, stride: Side of a patch, and distance from one to the next.
    """
    height, width = ((whole - side) // stride + 1 for whole in images.shape[2:])
    lengths = centers.square().sum(dim=1)
    for block in PATCH_DISTANCES.blocks(len(images), height * width * len(centers), images.device):
        part = images[block]
        patches = F.unfold(part, side, stride=stride).transpose(1, 2).flatten(0, 1)
        whitened = normalized(patches).sub_(mean) @ whitening
        distances = torch.addmm(lengths, whitened, centers.T, alpha=-2)
        distances.add_(whitened.square_().sum(dim=1, keepdim=True)).clamp_min_(0).sqrt_()
        nearness = distances.neg_().sub_(distances.mean(dim=1, keepdim=True)).clamp_min_(0)
        maps = nearness.view(len(part), height, width, len(centers))
        quadrants = [maps[:, rows, columns] for rows in _halves(height) for columns in _halves(width)]
        yield torch.cat([quadrant.mean(dim=(1, 2)) for quadrant in quadrants], dim=1)


def _halves(side: int) -> tuple[slice, slice]:
    """Return the two halves of a side; if it is odd, both contain the middle."""
    return slice(0, (side + 1) // 2), slice(side // 2, side)


def principal_components(activations: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the mean of activations (n, F), (F,), and their projection (F, D) to principal components.

    Activations are standardized first. Components are not whitened: the first has variance 1, further ones less, so a
    linear model with few labels relies on the first ones.

    Args:
        activations: Floating.
        dim: Components at most; fewer if there are fewer of any variance.

    Raises:
        InputError: If the activations of all images are equal.
    """
    offset, std = activations.mean(dim=0), activations.std(dim=0)
    if not std.max() > 1e-5:
        raise InputError(
            "patches of all images look alike (no contrast, or the same image again), so nothing can be learned from "
            "them; use other images, or another --model"
        )
    scale = std + _LEAST_DEVIATION
    rows = (activations - offset) / scale
    values, vectors = torch.linalg.eigh(rows.T @ rows / (len(rows) - 1))
    kept = min(dim, len(rows) - 1, int((values > 1e-6 * values[-1]).sum()))
    directions = vectors[:, -kept:].flip(1)
    # An eigenvector's sign is arbitrary; let its largest entry be positive.
    directions *= directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    return offset, directions / scale[:, None] / values[-1].sqrt()
