"""Access to samples and the evaluation transform, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_autoal.numerics.row_blocks import BlockSize
from deepal_autoal.training import inputs as inputs_module
from deepal_autoal.training import scaling as scaling_module
from deepal_autoal.training.inputs import Inputs, Normalization

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def images(request):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(50, 5, 7, request.param), dtype=np.uint8)


@pytest.mark.parametrize("rows", [None, np.array([4, 9, 9, 30])])
def test_image_statistics(images, rows, monkeypatch):
    monkeypatch.setattr("deepal_autoal.numerics.row_blocks.READING", BlockSize(200))
    fitted = Normalization.fit(images, rows)
    scaled = (images if rows is None else images[rows]) / 255
    np.testing.assert_allclose(fitted.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(fitted.std, scaled.std(axis=(0, 1, 2)), rtol=1e-6)
    assert fitted.mean.dtype == fitted.std.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_vector_statistics_and_batches(dtype, monkeypatch):
    monkeypatch.setattr(scaling_module, "MOMENTS", BlockSize(100))
    vectors = np.random.default_rng(1).normal(3, 2, size=(40, 6)).astype(dtype)
    vectors[:, 2] = np.array(0.1, dtype=dtype)
    fitted = Normalization.fit(vectors, scaling="feature")
    wide = vectors.astype(np.float64)
    std = wide.std(axis=0)
    std[2] = 1.0
    np.testing.assert_allclose(fitted.mean, wide.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(fitted.std, std, rtol=1e-6)
    batch = Inputs(vectors, fitted, CPU).batch(np.array([3, 0, 39]))
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch, ((wide - wide.mean(axis=0)) / std)[[3, 0, 39]], atol=1e-5)
    assert (batch[:, 2].abs() < 1e-6).all()


@pytest.mark.parametrize("scaling", ["feature", "global"])
def test_small_deviations_far_from_zero_are_kept(scaling):
    vectors = np.random.default_rng(2).normal(1e7, 0.01, size=(500, 3))
    inputs = Inputs(vectors, Normalization.fit(vectors, scaling=scaling), CPU)
    assert inputs.normalization.std.numpy() == pytest.approx(np.full(3, 0.01), rel=0.1)
    # The mean itself is float32; what matters is that samples stay distinct.
    deviations = inputs.batch(np.arange(500)).std(dim=0).numpy()
    assert deviations == pytest.approx(np.ones(3), rel=0.01 if scaling == "feature" else 0.1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [None, np.array([4, 9, 9, 30])])
def test_global_scaling_keeps_the_features_proportions(dtype, rows, monkeypatch):
    monkeypatch.setattr(scaling_module, "MOMENTS", BlockSize(100))
    vectors = (np.random.default_rng(1).normal(3, 2, size=(40, 5)) * [1, 2, 0, 4, 0.1]).astype(dtype)
    fitted = Normalization.fit(vectors, rows, "global")
    wide = vectors.astype(np.float64)
    taken = wide if rows is None else wide[rows]
    scale = np.sqrt(taken.var(axis=0)[[0, 1, 3, 4]].mean())  # the constant feature does not count
    np.testing.assert_allclose(fitted.std, np.full(5, scale), rtol=1e-6)
    batch = Inputs(vectors, fitted, CPU).batch(np.arange(40))
    np.testing.assert_allclose(batch, (wide - taken.mean(axis=0)) / scale, atol=1e-5)


def test_rows_of_unit_length_and_unchanged_rows():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0], [-1e30, 1e30], [2e-40, 0.0]])
    lengths = np.array([[0.6, 0.8], [0, 0], [-(0.5**0.5), 0.5**0.5], [1, 0]])
    for dtype in (np.float32, np.float64):
        samples = vectors.astype(dtype)
        fitted = Normalization.fit(samples, scaling="l2")
        assert fitted.unit_rows
        np.testing.assert_allclose(Inputs(samples, fitted, CPU).batch(np.arange(4)), lengths, rtol=1e-6)
        plain = Normalization.fit(samples, scaling="none")
        assert not plain.unit_rows
        np.testing.assert_array_equal(Inputs(samples, plain, CPU).batch(np.arange(4)), samples.astype(np.float32))
    halves = np.array([[3e4, 4e4]], dtype=np.float16)
    fitted = Normalization.fit(halves, scaling="l2")
    np.testing.assert_allclose(Inputs(halves, fitted, CPU).batch(np.array([0])), [[0.6, 0.8]], rtol=1e-3)


@pytest.mark.parametrize("factor", [1e-200, 1e-30, 1e30])
def test_very_small_and_large_scales_are_normalized(factor):
    vectors = np.random.default_rng(2).normal(size=(100, 3)) * factor
    batch = Inputs(vectors, Normalization.fit(vectors, scaling="global"), CPU).batch(np.arange(100))
    assert torch.isfinite(batch).all()
    assert factor == 1e-200 or float(batch.square().mean()) == pytest.approx(1, rel=1e-4)


def test_constant_features_have_unit_deviation_despite_rounding():
    vectors = np.full((1000, 2), 0.1)
    assert vectors.mean(axis=0)[0] != 0.1, "rounding must be visible"
    fitted = Normalization.fit(vectors)
    assert (fitted.std == 1).all() and (fitted.mean == np.float32(0.1)).all()


def test_constant_images_have_unit_deviation():
    images = np.full((4, 3, 3, 2), 7, dtype=np.uint8)
    images[0, 0, 0, 1] = 8
    std = Normalization.fit(images).std
    assert std[0] == 1 and 0 < std[1] < 0.01


def test_no_samples_is_an_error():
    with pytest.raises(InputError, match="no samples"):
        Normalization.fit(np.zeros((3, 2), dtype=np.float32), np.array([], dtype=np.int64))


def test_image_batches_are_channels_first_and_normalized(images):
    inputs = Inputs(images, Normalization.fit(images), CPU)
    assert len(inputs) == 50 and inputs.input_shape == (images.shape[3], 5, 7)
    rows = np.array([7, 7, 2])
    raw = inputs.raw(rows)
    assert raw.dtype == torch.uint8
    assert np.array_equal(raw.numpy(), images[rows].transpose(0, 3, 1, 2))
    scaled = images / 255
    expected = ((scaled - scaled.mean(axis=(0, 1, 2))) / scaled.std(axis=(0, 1, 2)))[rows].transpose(0, 3, 1, 2)
    for indices in (rows, torch.from_numpy(rows)):
        batch = inputs.batch(indices)
        assert batch.dtype == torch.float32
        np.testing.assert_allclose(batch, expected, atol=2e-6)


def test_an_array_on_the_device_gives_the_same_batches(images, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    for array in (images, vectors):
        fitted, rows = Normalization.fit(array), np.array([49, 7, 7, 0])
        plain = Inputs(array, fitted, CPU)
        with monkeypatch.context() as patch:
            patch.setattr(inputs_module, "_may_reside", lambda device, n_bytes: True)
            patch.setattr(inputs_module, "READING", BlockSize(500))
            resident = Inputs(array, fitted, CPU)
        for indices in (rows, torch.from_numpy(rows)):
            assert torch.equal(resident.raw(indices), plain.raw(rows))
            assert torch.equal(resident.batch(indices), plain.batch(rows))
        assert resident._resident is not None and plain._resident is None


def test_normalizing_does_not_change_its_argument():
    images = np.random.default_rng(0).integers(0, 256, size=(5, 4, 4, 3), dtype=np.uint8)
    inputs = Inputs(images, Normalization.fit(images), CPU)
    floating = inputs.raw(np.arange(5)).float()
    before = floating.clone()
    inputs.normalize(floating)
    assert torch.equal(floating, before)


@pytest.mark.filterwarnings("error")
def test_memory_maps_stay_mapped_and_may_be_read_only_and_unaligned(tmp_path):
    vectors = np.random.default_rng(3).normal(size=(20, 5))
    path = tmp_path / "data"
    path.write_bytes(b"x" + vectors.tobytes())
    mapped = np.memmap(path, dtype=np.float64, mode="r", offset=1, shape=(20, 5))
    inputs = Inputs(mapped, Normalization.fit(mapped), CPU)
    assert inputs._array is mapped
    assert np.array_equal(inputs.raw(np.array([5, 1])).numpy(), vectors[[5, 1]])
    inputs.batch(np.array([5, 1])).mul_(0)
    assert np.array_equal(mapped, vectors)


def test_fingerprint_distinguishes_arrays(images, monkeypatch):
    fitted = Normalization.fit(images)
    changed = images.copy()
    changed[-1, -1, -1, -1] += 1
    prints = [Inputs(array, fitted, CPU).fingerprint() for array in (images, changed, images[:-1])]
    assert len(set(prints)) == 3
    monkeypatch.setattr("deepal_autoal.numerics.row_blocks.READING", BlockSize(300))
    assert Inputs(np.asfortranarray(images), fitted, CPU).fingerprint() == prints[0]


@pytest.mark.gpu
def test_images_are_on_the_cuda_device(images):
    device = torch.device("cuda", 0)
    fitted = Normalization.fit(images)
    inputs = Inputs(images, fitted, device)
    rows = np.array([7, 7, 2])
    batch = inputs.batch(rows)
    assert inputs.raw(rows).device == device and inputs.raw(rows).dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(batch.cpu(), Inputs(images, fitted, CPU).batch(rows))
