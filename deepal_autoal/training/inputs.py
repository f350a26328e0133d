"""Samples of one array, and the evaluation transform that turns them into model inputs on the device."""

from __future__ import annotations

import hashlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.devices import residency_limit, without_waiting
from deepal_autoal.numerics.row_blocks import READING, read_rows
from deepal_autoal.training.scaling import VectorMoments, resolve_scaling

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

_MAX_PIXEL = 255.0

logger = logging.getLogger(__name__)


class Normalization:
    """The normalization of model inputs, (x - mean) / std; computed only from inputs, never from labels.

    Attributes:
        mean: float32 (C,) of images scaled to [0, 1], or (D,) of vectors.
        std: Likewise, positive.
        unit_rows: Whether vectors are scaled to unit length first; a row of zeros is left unchanged.
    """

    def __init__(self, mean: Tensor, std: Tensor, unit_rows: bool = False) -> None:
        self.mean = mean.detach().to("cpu", torch.float32)
        self.std = std.detach().to("cpu", torch.float32)
        self.unit_rows = unit_rows

    @classmethod
    def fit(
        cls, array: NDArray[Any], indices: NDArray[np.int64] | None = None, scaling: str | None = "auto"
    ) -> Normalization:
        """Return the statistics of images by channel, or those of vectors by their scaling.

        Args:
            array: Images uint8 (N, H, W, C), or vectors floating (N, D).
            indices: The rows to use; all by default.
            scaling: For vectors: ``feature``, mean and standard deviation of each feature, the latter 1 for a constant
                one; ``global``, each feature's mean, and for all the root of the mean variance of those that are not
                constant; ``l2``, rows of unit length; ``none``, vectors unchanged; ``auto``, the choice that
                `resolve_scaling` makes from ``array``.

        Raises:
            InputError: If there are no samples, or there is no such scaling for them.
        """
        if not (len(array) if indices is None else len(indices)):
            raise InputError("there are no samples to compute the normalization from; give at least one")
        name = resolve_scaling(scaling, array).name
        if name in ("l2", "none"):
            width = array.shape[1]
            return cls(torch.zeros(width), torch.ones(width), unit_rows=name == "l2")
        if array.ndim == 4:
            mean, std = _image_moments(array, indices)
        else:
            moments = VectorMoments.of(array, indices)
            mean, std = moments.mean, moments.std
            if name == "global":
                std = np.full_like(std, _common_deviation(std))
        std32 = std.astype(np.float32)
        return cls(torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(np.where(std32 > 0, std32, 1)))


class Inputs:
    """Access to samples by index, as model inputs on a device.

    Images stay uint8 until they are on the device. On CUDA, an array that takes less than half of the free memory, or
    of what is left of this process's share, is kept on the device; otherwise rows are copied when requested, and a
    memory-mapped array stays mapped.

    Args:
        array: Images uint8 (N, H, W, C), or vectors floating (N, D).
        normalization: Applied to every sample.
        device: Device of the model inputs.
    """

    def __init__(self, array: NDArray[Any], normalization: Normalization, device: torch.device) -> None:
        self._array = array
        self._is_image = array.ndim == 4
        self.normalization = normalization
        self.device = device
        mean, std = normalization.mean.to(device), normalization.std.to(device)
        if self._is_image:
            # (x/255 - mean)/std in one multiplication and one addition.
            self._scale = (1.0 / (_MAX_PIXEL * std)).view(-1, 1, 1)
            self._shift = (-mean / std).view(-1, 1, 1)
        else:
            self._mean, self._std = mean, std
        self._resident = _resident(array, device) if _may_reside(device, array.nbytes) else None

    def __len__(self) -> int:
        return len(self._array)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input: (C, H, W) or (D,)."""
        if self._is_image:
            height, width, channels = self._array.shape[1:]
            return (channels, height, width)
        return (self._array.shape[1],)

    def raw(self, indices: NDArray[np.int64] | Tensor) -> Tensor:
        """Return samples before normalization, on the device: uint8 (n, C, H, W), or floating (n, D).

        Images are channels last in memory, as in the array.
        """
        if self._resident is not None:
            chosen = indices if isinstance(indices, torch.Tensor) else torch.from_numpy(np.array(indices))
            rows = self._resident[without_waiting(chosen, self.device)]
        else:
            picked = indices.cpu().numpy() if isinstance(indices, torch.Tensor) else indices
            rows = _to_tensor(self._array[picked], self.device)
        return rows.permute(0, 3, 1, 2) if self._is_image else rows

    def normalize(self, raw: Tensor) -> Tensor:
        """Return model inputs, float32, from the result of `raw`."""
        if self._is_image:
            # Channels last on the CPU too: it costs nothing there, and doubles the speed of a first convolution on
            # three channels.
            floating = raw.to(torch.float32, copy=True, memory_format=torch.channels_last)
            return floating.mul_(self._scale).add_(self._shift)
        # In the samples' own precision: features may be close together and far from zero.
        wide = raw if raw.dtype == torch.float64 else raw.to(torch.float32)
        if self.normalization.unit_rows:
            return _unit_rows(wide).to(torch.float32)
        return ((wide - self._mean) / self._std).to(torch.float32)

    def batch(self, indices: NDArray[np.int64] | Tensor) -> Tensor:
        """Return model inputs, normalized float32 (n, C, H, W) or (n, D), on the device."""
        return self.normalize(self.raw(indices))

    def fingerprint(self) -> str:
        """Return a hash that identifies the samples."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self._array.dtype.str} {self._array.shape}".encode())
        for rows in read_rows(self._array):
            digest.update(np.ascontiguousarray(rows).data)
        return digest.hexdigest()


def _may_reside(device: torch.device, n_bytes: int) -> bool:
    """Return whether to copy an array to the device; not on the CPU, where it already is and may be memory-mapped."""
    return device.type == "cuda" and n_bytes < residency_limit(device)


def _resident(array: NDArray[Any], device: torch.device) -> Tensor | None:
    """Return an array on the device; None where another process was faster to take the memory."""
    whole: Tensor | None = None
    try:
        for rows in READING.blocks(len(array), array[:1].nbytes):
            part = _to_tensor(array[rows].copy(), device)
            if whole is None:
                whole = part.new_empty((len(array), *part.shape[1:]))
            whole[rows] = part
    except torch.OutOfMemoryError:
        logger.info("the samples do not fit on %s and stay in the machine's memory", device)
        return None
    return whole


def _to_tensor(rows: NDArray[Any], device: torch.device) -> Tensor:
    """Move rows to a device; they must be our own copies, since memory maps may be read-only and unaligned."""
    native = rows.dtype.newbyteorder("=")
    if device.type == "mps" and native == np.float64:
        native = np.dtype(np.float32)
    return without_waiting(torch.from_numpy(rows.astype(native, copy=False)), device)


def _image_moments(
    array: NDArray[Any], indices: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    channels = array.shape[3]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for rows in read_rows(array, indices):
        pixels = rows.reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    values = np.arange(256) / _MAX_PIXEL
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean, std


def _common_deviation(std: NDArray[np.float64]) -> float:
    """Return the root of the mean variance of the features that are not constant; 0 if all are."""
    varying = std[std > 0]
    if not len(varying):
        return 0.0
    largest = varying.max()  # squares of very small deviations would underflow
    return float(largest * np.sqrt(np.mean((varying / largest) ** 2)))


def _unit_rows(vectors: Tensor) -> Tensor:
    """Return rows divided by their lengths; rows of zeros are left unchanged."""
    # Squares of large numbers overflow float32, and those of small ones underflow.
    largest = vectors.abs().amax(dim=1, keepdim=True)
    shrunk = vectors / torch.where(largest > 0, largest, 1.0)
    lengths = torch.linalg.vector_norm(shrunk, dim=1, keepdim=True)
    return shrunk / torch.where(lengths > 0, lengths, 1.0)
