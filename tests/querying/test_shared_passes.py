"""Passes that all samples share, whichever are requested together, and views of samples outside the pool."""

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import FittedModel, InputError, PoolView, Recipe, TaskModel
from deepal_autoal.numerics.dropout_masks import normal_noise
from deepal_autoal.querying.outputs import ModelOutputs
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.subject import Subject
from deepal_autoal.training.inputs import Inputs, Normalization

CPU = torch.device("cpu")


def context_of(kind="vectors", model="auto"):
    return Subject("random").context(blobs(kind, model=model))


class Deep(nn.Module):
    """A backbone with dropout of its own."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 12))

    def forward(self, inputs):
        return self.layers(inputs)


def outputs_of_deep():
    """Return an untrained network's outputs: what passes have in common does not depend on training."""
    model = FittedModel(TaskModel(Deep(), 12, 3), device=CPU, recipe=Recipe(), seed=0)
    pool = blobs().pool
    return ModelOutputs(model, Inputs(pool, Normalization.fit(pool), CPU), (0,), None, None)


@pytest.mark.parametrize("model", ["mlp", "linear", "linear[passes=dropout]", "gp", "forest", "tabular"])
def test_passes_do_not_depend_on_what_is_requested_together(model):
    view = context_of(model=model).candidates
    passes = view.shared_mc_probabilities(7)
    assert passes.shape == (7, 48, 3) and torch.allclose(passes.sum(dim=2), torch.ones(7, 48))
    assert (passes - passes[:1]).abs().max() > 0.01
    torch.testing.assert_close(view.shared_mc_probabilities(7, [40, 3, 9]), passes[:, [40, 3, 9]])


@pytest.mark.parametrize("deep", [False, True])
def test_equal_samples_have_equal_passes(deep):
    outputs = outputs_of_deep() if deep else context_of(model="mlp").candidates._outputs
    equal = np.repeat(blobs().pool[:1], 5, axis=0)
    copies = PoolView(np.arange(5), outputs.on(Inputs(equal, outputs.inputs.normalization, CPU)))
    shared, own = copies.shared_mc_probabilities(9), copies.mc_probabilities(9)
    torch.testing.assert_close(shared, shared[:, :1].expand_as(shared))
    assert (own - own[:, :1]).abs().max() > 0.01
    assert (shared - shared[:1]).abs().max() > 0.01


def test_passes_through_deep_dropout_do_not_depend_on_the_block(monkeypatch):
    outputs = outputs_of_deep()
    passes = outputs.shared_mc_probabilities(np.arange(20), 3)
    monkeypatch.setattr("deepal_autoal.training.fitted_model.samples_at_once", lambda shape, device: 6)
    torch.testing.assert_close(outputs.shared_mc_probabilities(np.arange(20), 3), passes)
    assert not any(part.training for part in outputs.model.module.modules())


def test_dropout_passes_are_those_of_thinned_networks():
    context = context_of(model="mlp")
    module, embeddings = context.model.module, context.candidates.embeddings()[:2]
    passes = context.candidates.shared_mc_probabilities(4000, [0, 1])
    rate = module.dropout.p
    masks = (torch.rand(4000, embeddings.shape[1], generator=torch.Generator().manual_seed(0)) > rate) / (1 - rate)
    expected = torch.stack([module.head(embeddings * mask).softmax(dim=1) for mask in masks]).detach()
    torch.testing.assert_close(passes.mean(dim=0), expected.mean(dim=0), atol=0.03, rtol=0)
    # Of two samples' classes together, too.
    pairs = [torch.einsum("tc,td->cd", one[:, 0], one[:, 1]) / 4000 for one in (passes, expected)]
    torch.testing.assert_close(*pairs, atol=0.03, rtol=0)


@pytest.mark.parametrize("model", ["linear", "gp"])
def test_draws_of_a_posterior_have_its_covariance(model):
    context = context_of(model=model)
    module, embeddings = context.model.module, context.candidates.embeddings()[:4]
    draws = module.shared_draws(range(20_000), (0,))(torch.arange(4), embeddings).double()
    if model == "linear":
        known, centered = module.posterior, embeddings - module.posterior.center
        features = centered @ known.basis
        rest = (centered @ centered.T - features @ features.T) / known.precision
    else:
        known, (features, own) = module.head, module._posterior_features(embeddings)
        rest = torch.diag(own)
    # (n, n, C) along the posterior's directions, then turned to logits.
    along = torch.einsum("ir,rc,jr->ijc", features, known.variances, features) + rest[..., None] + known.bias_variances
    expected = torch.einsum("ac,ijc,bc->iajb", known.rotation, along, known.rotation).reshape(12, 12)
    mean = module.head(embeddings).detach().double()
    covariance = torch.cov(draws.flatten(1).T)
    scale = expected.diagonal().max()
    torch.testing.assert_close(covariance / scale, expected.double() / scale, atol=0.04, rtol=0)
    assert (draws.mean(dim=0) - mean).abs().max() < 0.05 * scale.sqrt()


def test_noise_of_one_sample_is_independent_between_passes():
    noise = normal_noise(torch.zeros(1, dtype=torch.int64), 5000, range(2), (3,))[:, 0]
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.05


@pytest.mark.parametrize("kind", ["vectors", "images"])
def test_a_view_of_the_pools_own_samples_shows_the_same(kind):
    context = context_of(kind)
    view = context.view_of(blobs(kind).pool[context.candidates.indices])
    assert len(view) == len(context.candidates) and view.indices.tolist() == list(range(len(view)))
    torch.testing.assert_close(view.probabilities(), context.candidates.probabilities())
    torch.testing.assert_close(view.shared_mc_probabilities(5), context.candidates.shared_mc_probabilities(5))


def test_samples_of_another_form_are_refused():
    context = context_of()
    with pytest.raises(InputError, match=r"targets have input shape \(5,\); the pool's is \(6,\)"):
        context.view_of(np.zeros((3, 5), dtype=np.float32), "targets")
    with pytest.raises(InputError, match="give images as uint8"):
        context.view_of(np.zeros(3))
