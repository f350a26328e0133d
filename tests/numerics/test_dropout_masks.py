"""Dropout masks by hash: the right fraction, no pattern, and always the same for a sample."""

import pytest
import torch

from deepal_autoal.numerics.dropout_masks import _mix, dropout_masks

KEY = (7, 3, "mc")


def masks(indices, width=64, keep=0.8, n_passes=10, key=KEY):
    return dropout_masks(torch.as_tensor(indices), width, keep, range(n_passes), key)


def test_the_hash_is_splitmix64():
    """The first outputs for seed 1234567 equal those published with the generator's reference implementation."""
    step = 0x9E3779B97F4A7C15 - 2**64
    counters = torch.tensor([1234567]) + torch.arange(1, 4) * step
    found = [value % 2**64 for value in _mix(counters).tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8, 1.0])
def test_fraction_kept(keep):
    kept = masks(range(4000), keep=keep).float()
    error = 5 * (keep * (1 - keep) / (4000 * 64)) ** 0.5 + 1e-5
    assert (kept.mean(dim=(1, 2)) - keep).abs().max() < error
    assert (kept.mean(dim=(0, 1)) - keep).abs().max() < 5 * (keep * (1 - keep) / 40_000) ** 0.5 + 1e-5
    assert (kept.mean(dim=(0, 2)) - keep).abs().max() < 6 * (keep * (1 - keep) / 640) ** 0.5 + 1e-5


def test_passes_columns_neighbors_and_streams_are_independent():
    kept = masks(range(4000)).float()
    eye = torch.eye(10)
    assert (torch.corrcoef(kept.reshape(10, -1)) - eye).abs().max() < 0.012
    assert (torch.corrcoef(kept[0].T) - torch.eye(64)).abs().max() < 0.1
    flat = kept[0].reshape(-1)
    for lag in (1, 63, 64, 65, 128, 4096):
        assert abs(torch.corrcoef(torch.stack([flat[lag:], flat[:-lag]]))[0, 1]) < 0.012
    for key in ((7, 4, "mc"), (8, 3, "mc")):
        other = masks(range(4000), key=key).float()
        assert abs(torch.corrcoef(torch.stack([flat, other[0].reshape(-1)]))[0, 1]) < 0.012


def test_masks_of_a_sample_do_not_change():
    everything = masks(range(300))
    some = [250, 3, 77]
    assert torch.equal(masks(some), everything[:, some])
    assert torch.equal(masks(some, n_passes=3), everything[:3, some])


def test_large_indices_show_no_overflow_patterns():
    kept = masks(torch.arange(2**40, 2**40 + 2000)).float()
    assert abs(kept.mean().item() - 0.8) < 0.002
