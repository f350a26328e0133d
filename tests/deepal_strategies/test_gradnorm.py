"""The expected gradient length against gradients by autograd, and near certainty against exact numbers."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepal_autoal import QueryError
from deepal_strategies.gradnorm import GradNorm, expected_residual


def naive_length(logits, embedding):
    """Return Σ_y p_y ‖∇_W CE(W h, y)‖ at W h = logits."""
    weight = torch.outer(logits, embedding) / embedding.square().sum()
    total = 0.0
    for y, p in enumerate(logits.softmax(dim=0).tolist()):
        own = weight.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy((own @ embedding)[None], torch.tensor([y])), own)
        total += p * float(gradient.norm())
    return total


@pytest.mark.parametrize("n_classes", [2, 7])
def test_score_follows_its_definition(make_round, n_classes):
    context = make_round(10, 30, n_classes).context
    view = context.candidates
    rows = zip(view.logits().double(), view.embeddings().double(), strict=True)
    expected = [naive_length(logits, embedding) for logits, embedding in rows]
    scores = GradNorm().score(context)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-9)
    assert GradNorm().query(context, 3).tolist() == view.indices[np.argsort(expected)[::-1][:3]].tolist()


def test_near_certainty_no_digits_are_lost():
    rest = torch.tensor([1e-10, 1e-12], dtype=torch.float64)
    exact = torch.cat([1 - rest.sum()[None], rest])
    expected = sum(p * (exact - torch.eye(3, dtype=torch.float64)[y]).norm() for y, p in enumerate(exact))
    # In single precision the first probability is 1.
    assert float(expected_residual(exact.float()[None])) == pytest.approx(float(expected), rel=1e-5)
    assert expected_residual(torch.eye(3)).tolist() == [0, 0, 0]


def test_long_embeddings_do_not_overflow(make_round):
    context = make_round(10, 30, embeddings=1e25 * torch.rand(40, 3)).context
    assert GradNorm().score(context).isfinite().all()
    with pytest.raises(QueryError, match="not finite"):
        GradNorm().score(make_round(10, 30, embeddings=torch.full((40, 3), torch.inf)).context)
