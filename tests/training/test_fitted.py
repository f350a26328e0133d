"""Passes over samples with a fitted model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import FittedModel, Recipe, TaskModel
from deepal_autoal.models import build_model
from deepal_autoal.training import fitted_model as fitted_module
from deepal_autoal.training.fitted_model import samples_at_once

CPU = torch.device("cpu")
ROWS = np.array([50, 3, 3, 17, 59, 0, 21])


def wrap(module):
    return FittedModel(module, device=CPU, recipe=Recipe(), seed=0)


@pytest.fixture(scope="module")
def trained(stripes):
    """A model whose BatchNorm statistics are not the initial ones."""
    torch.manual_seed(0)
    module = build_model("cnn", (1, 8, 8), 3)
    for _ in range(3):
        module(torch.randn(16, 1, 8, 8) * 2 + 1)
    return wrap(module)


def deep_model():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
    return TaskModel(backbone, 16, 3, dropout=0.4)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_sweep_is_a_forward_pass_in_chunks(setup, trained, batch_size):
    logits, embeddings = trained.sweep(setup.inputs, ROWS, batch_size)
    with torch.no_grad():
        batch = setup.inputs.batch(ROWS)
        torch.testing.assert_close(embeddings, trained.module.features(batch))
        torch.testing.assert_close(logits, trained.module(batch))
    torch.testing.assert_close(logits, trained.logits_from_embeddings(embeddings))
    assert logits.dtype == embeddings.dtype == torch.float32


def test_sweep_passes_each_sample_once_in_bounded_chunks(setup, trained, monkeypatch):
    sizes = []
    handle = trained.module.backbone.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    trained.sweep(setup.inputs, ROWS, 3)
    assert sizes == [3, 3, 1]
    monkeypatch.setattr(fitted_module, "samples_at_once", lambda shape, device: 5)
    trained.sweep(setup.inputs, ROWS)
    assert sizes[3:] == [5, 2]
    handle.remove()


def test_sweep_of_nothing(setup, trained):
    logits, embeddings = trained.sweep(setup.inputs, np.arange(0))
    assert logits.shape == (0, 3) and embeddings.shape == (0, 128)


def test_outputs_may_be_used_in_gradient_computations(setup, trained):
    _, embeddings = trained.sweep(setup.inputs, ROWS)
    head = nn.Linear(128, 2)
    head(embeddings).sum().backward()
    assert head.weight.grad is not None and not embeddings.requires_grad


@pytest.mark.parametrize("deep", [False, True])
def test_passes_have_no_side_effects(setup, trained, deep):
    model = wrap(deep_model()) if deep else trained
    before = copy.deepcopy(model.module.state_dict())
    modes = [part.training for part in model.module.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.sweep(setup.inputs, ROWS)
    model.dropout_logits(setup.inputs, ROWS, 3, torch.Generator().manual_seed(1))
    assert not any(modes) and modes == [part.training for part in model.module.modules()]
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_an_interrupted_pass_restores_the_mode(setup):
    model = wrap(deep_model())
    model.module.head.register_forward_pre_hook(lambda module, args: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        model.dropout_logits(setup.inputs, ROWS, 2, torch.Generator())
    assert not any(part.training for part in model.module.modules())


@pytest.mark.parametrize("deep", [False, True])
def test_dropout_passes_follow_the_generator(setup, trained, deep):
    model = wrap(deep_model()) if deep else trained

    def passes(seed):
        return model.dropout_logits(setup.inputs, ROWS, 4, torch.Generator().manual_seed(seed))

    first = passes(1)
    assert first.shape == (4, len(ROWS), 3) and first.dtype == torch.float32
    torch.manual_seed(77)
    assert torch.equal(first, passes(1)) and not torch.equal(first, passes(2))
    for number in range(1, 4):
        assert not torch.equal(first[0], first[number])
    # ROWS holds sample 3 twice: its two occurrences get different masks.
    assert not torch.equal(first[:, 1], first[:, 2])
    generator = torch.Generator().manual_seed(1)
    model.dropout_logits(setup.inputs, ROWS, 1, generator)
    assert not torch.equal(model.dropout_logits(setup.inputs, ROWS, 4, generator), first), "the generator must advance"


def test_deeper_dropout_gets_full_passes_with_batchnorm_in_evaluation(setup):
    model = wrap(deep_model())
    passes = model.dropout_logits(setup.inputs, ROWS, 3000, torch.Generator().manual_seed(0))
    backbone, head = model.module.backbone, model.module.head
    with torch.no_grad():
        hidden = backbone[:4](setup.inputs.batch(ROWS))
        torch.manual_seed(1)
        expected = torch.stack([head(F.dropout(F.dropout(hidden, 0.3), 0.4)) for _ in range(3000)])
    error = (passes.var(dim=0) + expected.var(dim=0)).sqrt() / 3000**0.5
    assert ((passes.mean(dim=0) - expected.mean(dim=0)).abs() < 5 * error).all()
    torch.testing.assert_close(passes.std(dim=0), expected.std(dim=0), rtol=0.15, atol=0)


def test_without_dropout_all_passes_are_equal(setup):
    model = wrap(TaskModel(nn.Flatten(), 64, 3, dropout=0.0))
    passes = model.dropout_logits(setup.inputs, ROWS, 2, torch.Generator())
    logits, _ = model.sweep(setup.inputs, ROWS)
    torch.testing.assert_close(passes, logits.expand(2, -1, -1))


def test_samples_at_once_are_bounded_by_bytes():
    cuda = torch.device("cuda")
    for shape in ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 224, 224), (512,), (100_000,)):
        assert 8 <= samples_at_once(shape, CPU) <= samples_at_once(shape, cuda) <= 8192
    assert 64 <= samples_at_once((1, 28, 28), CPU) <= 128
    assert samples_at_once((3, 224, 224), CPU) == 8
    for height, width in ((600, 800), (1000, 1000), (3000, 4000)):
        n = samples_at_once((3, height, width), CPU)
        assert n == samples_at_once((3, height, width), cuda) and (n == 1 or n * 4 * 32 * height * width <= 512 << 20)
    assert [samples_at_once((3, *sides), CPU) for sides in ((600, 800), (1000, 1000), (3000, 4000))] == [8, 4, 1]
    assert samples_at_once((200, 28, 28), CPU) < samples_at_once((3, 28, 28), CPU)


def test_rebuilt_from_weights_gives_the_same_outputs(setup, trained, tmp_path):
    torch.save(trained.module.state_dict(), tmp_path / "model.pt")
    module = build_model("cnn", (1, 8, 8), 3)
    module.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    rebuilt = FittedModel(module, device=CPU, recipe=Recipe(), seed=3, metrics={"epochs": 1}, precision="float32")
    for ours, theirs in zip(rebuilt.sweep(setup.inputs, ROWS), trained.sweep(setup.inputs, ROWS), strict=True):
        assert torch.equal(ours, theirs)
    assert rebuilt.metrics == {"epochs": 1} and rebuilt.seed == 3


def test_bfloat16_is_used_for_the_backbone_and_outputs_are_float32(setup, trained):
    module = copy.deepcopy(trained.module)
    half = FittedModel(module, device=CPU, recipe=Recipe(), seed=0, precision="bfloat16")
    dtypes = []
    half.module.backbone.register_forward_hook(lambda part, args, output: dtypes.append(output.dtype))
    logits, embeddings = half.sweep(setup.inputs, ROWS)
    assert dtypes == [torch.bfloat16] and logits.dtype == embeddings.dtype == torch.float32
    torch.testing.assert_close(logits, half.logits_from_embeddings(embeddings))
    torch.testing.assert_close(embeddings, trained.sweep(setup.inputs, ROWS)[1], rtol=0.05, atol=0.05)
