"""Reads arrays that may be larger than memory in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK_BYTES = 32 << 20


def row_chunks(array: np.ndarray, chunk_bytes: int = CHUNK_BYTES) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, rows) over an array in blocks of bounded size, so a memory map is never loaded whole."""
    rows = max(1, chunk_bytes // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def first_unusable_row(vectors: np.ndarray) -> int | None:
    """Return the first row with NaN, an infinity or a number outside float32's range, or None."""
    limit = float(np.finfo(np.float32).max)
    for start, chunk in row_chunks(vectors):
        # One comparison catches all three: NaN compares false. float16 cannot hold the limit, hence isfinite there.
        usable = np.isfinite(chunk) if chunk.dtype.itemsize < 8 else np.abs(chunk) <= limit
        if not usable.all():
            return start + int(np.flatnonzero(~usable.all(axis=1))[0])
    return None
