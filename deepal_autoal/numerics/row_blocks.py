"""How many rows are processed at a time: blocks of bounded size, also of arrays that are larger than memory.

Every block-wise loop takes its size from a `BlockSize`. The engine's sizes stand below, those of the built-in
strategies in `deepal_strategies.shared.row_blocks`. On a CPU most of them are what a processor's cache holds; how many
numbers that is depends on the temporaries of each computation. On an accelerator, blocks must be large enough to fill
the device. Sums and matrix products round differently in blocks of another size, so changing a size may change
results in the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BlockSize:
    """How much to process at a time, in any unit: numbers, bytes or rows.

    Attributes:
        cpu: Size of a block on a CPU.
        accelerator: Size of a block on any other device; by default the same.
        least_rows: Rows of a block at least, unless they exceed ``most``.
        most: Size of a block at most, but for a single row; by default any.
        most_rows: Rows of a block at most; by default any number.
        per_thread: Whether, on a CPU, each of torch's threads gets a block of this size.
    """

    cpu: int
    accelerator: int | None = None
    least_rows: int = 1
    most: int | None = None
    most_rows: int | None = None
    per_thread: bool = False

    def rows(self, per_row: int = 1, device: torch.device | None = None) -> int:
        """Return how many rows make a block.

        Args:
            per_row: Size of a row, in the same unit.
            device: Where the rows are; by default on the CPU.
        """
        on_cpu = device is None or device.type == "cpu"
        size = self.cpu if on_cpu or self.accelerator is None else self.accelerator
        if on_cpu and self.per_thread:
            from torch import get_num_threads

            size *= get_num_threads()
        least = self.least_rows if self.most is None else min(self.least_rows, self.most // max(1, per_row))
        n_rows = max(1, least, size // max(1, per_row))
        return n_rows if self.most_rows is None else min(n_rows, self.most_rows)

    def blocks(self, n_rows: int, per_row: int = 1, device: torch.device | None = None) -> Iterator[slice]:
        """Yield the slices of ``n_rows`` rows into blocks, in order; the last one may be smaller.

        Args:
            n_rows: Number of rows.
            per_row: As in `rows`.
            device: As in `rows`.
        """
        return row_slices(n_rows, self.rows(per_row, device))


# Bytes read from an array at a time, which may be a memory map. Any size gives the same result.
READING = BlockSize(16 << 20)
# Bytes of decoded images held at a time; each of a few threads decodes some of a block.
DECODING = BlockSize(64 << 20, most_rows=512)
# Bytes of float64 copies of vectors, which are read several times and should stay in the cache.
MOMENTS = BlockSize(1 << 20)
# Bytes that a layer of 32 float32 maps at the image's resolution may use. On the CPU, activations must stay in the
# cache: at 28x28, blocks of 64 to 128 are fastest, and blocks of 512 take up to twice as long.
MODEL_PASS = BlockSize(8 << 20, 256 << 20, least_rows=8, most=512 << 20, most_rows=8192)
# Distances between an image's patches and the centers of a dictionary; the memory should be reused, not new each time.
PATCH_DISTANCES = BlockSize(1 << 21, 1 << 26)
# Bytes of scaled images that a dictionary of patches is learned from.
PATCH_SAMPLE = BlockSize(256 << 20, most_rows=4000)
# Numbers of logits, written twice and read three times.
SOFTMAX = BlockSize(1 << 17, per_thread=True)
# Numbers of masked embeddings in all dropout passes.
DROPOUT_PASSES = BlockSize(1 << 18, 1 << 25, least_rows=16)
# Probabilities of dropout passes that a score gets at a time, where they are too many to keep.
SCORED_PASSES = BlockSize(1 << 20, 1 << 25)
# Rows × trees of a forest.
TREES = BlockSize(1 << 21)


def row_slices(n_rows: int, size: int) -> Iterator[slice]:
    """Yield the slices of ``n_rows`` rows into blocks of ``size`` rows; the last one may be smaller."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def read_rows(array: np.ndarray, indices: np.ndarray | None = None, size: int | None = None) -> Iterator[np.ndarray]:
    """Yield the rows of an array block by block, so a memory map is never loaded whole.

    Args:
        array: At least one-dimensional.
        indices: The rows to read, int64 (n,), in this order; all by default.
        size: Rows of a block; by default by `READING`.
    """
    size = size or READING.rows(array[:1].nbytes)
    for rows in row_slices(len(array) if indices is None else len(indices), size):
        yield array[rows] if indices is None else array[indices[rows]]


def first_unusable_row(vectors: np.ndarray) -> int | None:
    """Return the first row with NaN, an infinity or a number outside float32's range, or None."""
    start = 0
    for rows in read_rows(vectors):
        row = first_unusable_of_block(rows)
        if row is not None:
            return start + row
        start += len(rows)
    return None


def first_unusable_of_block(rows: np.ndarray) -> int | None:
    """Return the `first_unusable_row` of vectors in memory."""
    limit = float(np.finfo(np.float32).max)
    # One comparison catches all three: NaN compares false. float16 cannot hold the limit, hence isfinite there.
    usable = np.isfinite(rows) if rows.dtype.itemsize < 8 else np.abs(rows) <= limit
    return None if usable.all() else int(np.flatnonzero(~usable.all(axis=1))[0])
