"""DDU's Gaussians of at most as many samples as dimensions, against computations in sixty digits."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch

from deepal_autoal import BlockSize
from deepal_strategies.ddu import density, low_rank_density
from deepal_strategies.ddu.density import ClassGaussians


def exact_log_density(rows, labels, points, jitter):
    """Return log p(h) by dense inverses and determinants in sixty digits."""
    with mpmath.workdps(60):
        wide = [[mpmath.mpf(float(value)) for value in row] for row in rows]
        n_dims = rows.shape[1]
        classes = {}
        for label in sorted(set(labels.tolist())):
            own = mpmath.matrix([row for row, one in zip(wide, labels, strict=True) if one == label])
            mean = mpmath.matrix([mpmath.fsum(own[:, k]) / own.rows for k in range(n_dims)])
            deviations = own - mpmath.matrix([[mean[k] for k in range(n_dims)]] * own.rows)
            classes[label] = own.rows, mean, deviations.T * deviations
        degrees = sum(count - 1 for count, _, _ in classes.values())
        shared = sum((scatter for _, _, scatter in classes.values()), mpmath.zeros(n_dims)) / max(1, degrees)
        results = [mpmath.mpf(0)] * len(points)
        for count, mean, scatter in classes.values():
            covariance = shared if count == 1 else scatter / (count - 1)
            covariance = covariance + mpmath.mpf(jitter) * mpmath.eye(n_dims)
            inverse, scale = covariance**-1, mpmath.sqrt((2 * mpmath.pi) ** n_dims * mpmath.det(covariance))
            for number, point in enumerate(points):
                away = mpmath.matrix([mpmath.mpf(float(value)) for value in point]) - mean
                distance = (away.T * inverse * away)[0]
                results[number] += mpmath.mpf(count) / len(rows) * mpmath.exp(-distance / 2) / scale
        return np.array([float(mpmath.log(value)) for value in results])


CASES = {
    "thin": np.arange(12) % 3,
    "sizes differ": np.array([0] * 7 + [1] * 2 + [2] * 3),
    "full and thin": np.array([0] * 12 + [1] * 3),
    "single beside thin": np.array([0] * 3 + [1] * 4 + [2, 3]),
    "single beside full": np.array([0] * 12 + [1] * 3 + [2, 3]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("small", [False, True], ids=["one group", "groups and chunks"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_densities_are_exact_near_and_far(monkeypatch, case, small, offset):
    if small:
        monkeypatch.setattr(density, "COVARIANCES", BlockSize(1))
        monkeypatch.setattr(density, "DENSITIES", BlockSize(1))
    labels, n_dims = CASES[case], 7
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(len(labels), n_dims)) * np.logspace(-1, 1, n_dims) + offset).astype(np.float32)
    wide = rows.astype(np.float64)
    mean = wide[labels == 0].mean(axis=0)
    # Random points; the samples; a class's mean; points in its span; points slightly outside it.
    inside = mean + rng.normal(size=(2, (labels == 0).sum())) @ (wide[labels == 0] - mean)
    points = np.concatenate([rng.normal(size=(3, n_dims)) + offset, rows, mean[None], inside, inside + 1e-4])
    points = points.astype(np.float32).astype(np.float64)
    gaussians = ClassGaussians(torch.tensor(rows), torch.tensor(labels))
    assert gaussians.jitter > 0
    result = gaussians.log_density(torch.tensor(points)).numpy()
    # The inputs themselves are rounded by about 1e-16 of their size; in units of the jitter's standard deviation:
    blur = 1e-15 * np.abs(points).max() / math.sqrt(gaussians.jitter)
    np.testing.assert_allclose(
        result, exact_log_density(rows, labels, points, gaussians.jitter), rtol=1e-6, atol=10 * n_dims * blur
    )


def test_close_points_are_computed_from_differences(monkeypatch):
    """For points in a class's span, differences of squares would leave noise, divided by the jitter."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 30)).astype(np.float32)
    labels = np.arange(8) % 2
    gaussians = ClassGaussians(torch.tensor(rows), torch.tensor(labels))
    result = gaussians.log_density(torch.tensor(rows)).numpy()
    expected = exact_log_density(rows, labels, rows, gaussians.jitter)
    np.testing.assert_allclose(result, expected, rtol=1e-9)
    monkeypatch.setattr(low_rank_density, "_CLOSE", -1.0)
    rough = gaussians.log_density(torch.tensor(rows)).numpy()
    assert np.abs(rough - expected).max() > 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("n_dims", [2, 5])
def test_rounding_does_not_count_as_variance(n_dims):
    """Where all samples of every class coincide, the unit is the samples' variance, not the means' rounding error."""
    rows = torch.zeros(9, n_dims)
    rows[:, :2] = torch.tensor([[1.0, 2.0], [6.0, 2.0], [3.0, 7.0]]).repeat_interleave(3, 0)
    labels = torch.arange(3).repeat_interleave(3)
    assert ClassGaussians(rows, labels).jitter > 1e-21 * float(rows.var(dim=0).mean())


def test_the_order_of_the_dimensions_does_not_matter():
    rng = np.random.default_rng(1)
    rows = torch.tensor(rng.normal(size=(12, 40)) * np.logspace(-2, 2, 40))
    labels = torch.arange(12) % 3
    order = torch.as_tensor(rng.permutation(40))
    one, other = ClassGaussians(rows, labels), ClassGaussians(rows[:, order], labels)
    assert one.jitter == pytest.approx(other.jitter, rel=1e-12)
    points = torch.tensor(rng.normal(size=(20, 40)))
    torch.testing.assert_close(one.log_density(points), other.log_density(points[:, order]), rtol=1e-9, atol=1e-9)


def test_thin_classes_need_neither_covariances_nor_solves(monkeypatch):
    """With many classes and dimensions, D² numbers are never held."""

    def refuse(*_, **__):
        raise AssertionError("decomposed")

    monkeypatch.setattr(torch.linalg, "cholesky", refuse)
    monkeypatch.setattr(torch.linalg, "cholesky_ex", refuse)
    monkeypatch.setattr(torch.linalg, "solve_triangular", refuse)
    rows = torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(300) % 120
    labels[-1] = 500
    assert ClassGaussians(rows, labels).log_density(rows + 0.1).isfinite().all()
