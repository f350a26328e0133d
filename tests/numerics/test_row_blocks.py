"""Sizes of blocks of rows, and reading in blocks."""

import numpy as np
import pytest
import torch

from deepal_autoal.numerics.row_blocks import BlockSize, read_rows

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("size", "per_row", "device", "rows"),
    [
        (BlockSize(100), 7, None, 14),
        (BlockSize(100), 7, CUDA, 14),
        (BlockSize(100, 1000), 7, torch.device("cpu"), 14),
        (BlockSize(100, 1000), 7, CUDA, 142),
        (BlockSize(100), 101, None, 1),
        (BlockSize(100), 0, None, 100),
        (BlockSize(100, least_rows=16), 7, None, 16),
        (BlockSize(100, most_rows=5), 7, None, 5),
        (BlockSize(100, least_rows=16, most=150), 7, None, 16),
        (BlockSize(100, least_rows=16, most=150), 30, None, 5),
        (BlockSize(100, least_rows=16, most=150), 200, None, 1),
        (BlockSize(100, least_rows=2, most=150), 10, None, 10),
    ],
)
def test_rows_of_a_block(size, per_row, device, rows):
    assert size.rows(per_row, device) == rows


def test_each_thread_gets_a_block(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    size = BlockSize(100, 1000, per_thread=True)
    assert size.rows(7) == 42 and size.rows(7, CUDA) == 142


def test_blocks_cover_all_rows_once():
    assert list(BlockSize(100).blocks(30, 8)) == [slice(0, 12), slice(12, 24), slice(24, 30)]
    assert not list(BlockSize(100).blocks(0, 8))


@pytest.mark.parametrize("indices", [None, np.array([4, 0, 4])])
def test_reading_returns_the_rows_in_order(indices):
    array = np.arange(14).reshape(7, 2)
    blocks = list(read_rows(array, indices, size=2))
    assert [len(block) for block in blocks] == ([2, 2, 2, 1] if indices is None else [2, 1])
    np.testing.assert_array_equal(np.concatenate(blocks), array if indices is None else array[indices])
