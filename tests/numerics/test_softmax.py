"""Softmax for few and many classes, compared with torch in double precision."""

import pytest
import torch

from deepal_autoal.numerics import softmax
from deepal_autoal.numerics.row_blocks import BlockSize

INFINITY = float("inf")


@pytest.mark.parametrize("n_classes", [1, 2, 3, 10, 15, 16, 40])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("chunk", [1, 7 * 15, 1 << 17])
def test_rows_are_normalized(monkeypatch, n_classes, name, chunk):
    monkeypatch.setattr(softmax, "SOFTMAX", BlockSize(chunk))
    logits = 20 * torch.randn(45, n_classes, generator=torch.Generator().manual_seed(0))
    logits[3] += 1e6
    logits[4] -= 1e30
    logits[5] *= 1e-30
    logits[6, 1:] = -INFINITY
    logits[7, : n_classes // 2] = -INFINITY
    before = logits.clone()
    result = getattr(softmax, name)(logits)
    expected = getattr(logits.double(), name)(dim=1)
    torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=1e-5 if name == "log_softmax" else 1e-8)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("n_classes", [3, 40])
def test_nonfinite_rows_give_nan(n_classes):
    logits = torch.zeros(4, n_classes)
    logits[1, 2] = torch.nan
    logits[2, 0] = INFINITY
    for function in (softmax.softmax, softmax.log_softmax):
        assert function(logits).isnan().any(dim=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("n_classes", [3, 15])
def test_equal_rows_stay_equal_wherever_they_are(n_classes):
    logits = torch.randn(1, n_classes, generator=torch.Generator().manual_seed(0)).repeat(10_007, 1)
    for function in (softmax.softmax, softmax.log_softmax):
        assert len(function(logits).unique(dim=0)) == 1
