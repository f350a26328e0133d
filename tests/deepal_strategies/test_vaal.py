"""VAAL: both losses against loops, the networks' shapes, and the samples that the discriminator selects."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import (
    BlockSize,
    DeepALError,
    InputError,
    LabeledData,
    QueryContext,
    UnlabeledData,
    create_strategy,
    global_torch_seed,
)
from deepal_autoal.datasets import load_dataset
from deepal_autoal.querying.asking import ask
from deepal_autoal.querying.outputs import OutputCache
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_strategies.vaal import networks
from deepal_strategies.vaal.networks import Discriminator, build_vae
from deepal_strategies.vaal.strategy import VAAL
from deepal_strategies.vaal.training import Game, negative_elbo


def make_context(array, n_labeled, *, seed=0, device="cpu"):
    """Return a context over samples, the first of them labeled; its task model has nothing but a device."""
    inputs = Inputs(array, Normalization.fit(array), torch.device(device))
    labeled, candidates = np.arange(n_labeled), np.arange(n_labeled, len(array))
    labels = np.zeros(n_labeled, dtype=np.int64)
    model = SimpleNamespace(device=inputs.device, objective=nn.Module())
    cache = OutputCache(inputs, None, (seed, 0))
    cache.add(model, LabeledData(inputs, labeled, labels), UnlabeledData(inputs, candidates), (seed, 0))
    return QueryContext(
        candidates=candidates,
        labeled=labeled,
        labels=labels,
        model=model,
        cache=cache,
        n_classes=2,
        round=0,
        n_rounds=None,
        key=(seed, 0, "query"),
    )


def vectors(n, n_features=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features)).astype(np.float32)


def images(n, height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=(n, height, width, channels), dtype=np.uint8)


REPORTED = {"width", "iterations", "vae_loss", "discriminator_loss", "discriminator_accuracy"}


def quick(**options):
    return VAAL(**{"epochs": 2, "width": 4, "latent_dim": 3, **options})


SHAPES = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 33, 33), (3, 7, 5), (2, 1, 1), (1, 2, 3), (2, 4, 4), (1, 1, 40),
          (3, 9, 2), (1, 5, 3), (5,), (1,)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_samples", [2, 5])
def test_the_vae_fits_every_input_shape(shape, n_samples):
    with global_torch_seed(0):
        vae = build_vae(shape, latent_dim=3, width=8).train()
        inputs, latents = torch.randn(n_samples, *shape), 3 * torch.randn(40, 3)
    mean, log_variance = vae.encode(inputs)
    assert mean.shape == log_variance.shape == (n_samples, 3)
    reconstructions = vae.decode(mean)
    assert reconstructions.shape == inputs.shape
    reconstructions.square().sum().backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())
    # Every pixel depends on the latents.
    varied = vae.eval().decode(latents)
    assert varied.isfinite().all() and (varied.std(dim=0) > 0).all()


def test_at_32_pixels_the_network_is_the_papers():
    vae = build_vae((3, 32, 32), 32, width=8)  # a sixteenth of the channels
    down = [layer for layer in vae.encoder if isinstance(layer, nn.Conv2d)]
    assert [layer.in_channels for layer in down] == [3, 8, 16, 32]
    assert [layer.out_channels for layer in down] == [8, 16, 32, 64]
    up = [layer for layer in vae.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in up] == [(64, 32), (32, 16), (16, 8)]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in [*down, *up]} == {((4, 4), (2, 2), (1, 1))}
    assert vae.heads.in_features == 64 * 2 * 2 and vae.heads.out_features == 2 * 32
    assert vae.decoder[0].out_features == 64 * 4 * 4
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in vae.modules()) == 7
    linear = [layer for layer in Discriminator(32).layers if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [512, 512, 1]


def naive_elbo(x, reconstruction, mean, log_variance, beta):
    """Return squared error + β KL(N(μ, σ²) || N(0, 1)) of one sample, number by number."""
    error = sum((a - b) ** 2 for a, b in zip(x.flatten(), reconstruction.flatten(), strict=True))
    divergence = 0
    for mu, log_var in zip(mean, log_variance, strict=True):
        divergence = divergence - 0.5 * (1 + log_var - mu**2 - torch.exp(log_var))
    return error + beta * divergence


def test_the_elbo_of_a_case_by_hand():
    # Squared error 1 + 4; KL of N(2, 1) is 2, of N(0, e²) (e² - 1 - 2)/2.
    loss = negative_elbo(
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[0.0, 4.0]]),
        torch.tensor([[2.0, 0.0]]),
        torch.tensor([[0.0, 2.0]]),
        10.0,
    )
    assert loss.tolist() == pytest.approx([5 + 10 * (2 + (math.e**2 - 3) / 2)])
    nothing = torch.zeros(1, 2)
    assert negative_elbo(nothing, nothing, nothing, nothing, 1.0).tolist() == [0.0]


def moved_like_adam(before, after, gradients, learning_rate):
    """Check that parameters moved by Adam's first step, learning_rate against the gradient's sign."""
    steps = [new.detach() - old.detach() for old, new in zip(before, after, strict=True)]
    counts = 0
    for step, gradient in zip(steps, gradients, strict=True):
        # Smaller gradients may be rounding errors, and Adam's epsilon shortens their steps.
        large = gradient.abs() > 1e-4
        counts += int(large.sum())
        torch.testing.assert_close(step[large], -learning_rate * gradient[large].sign(), rtol=2e-2, atol=1e-6)
    assert counts > 50


@pytest.mark.parametrize("array", [vectors(20), images(20, 8, 6, 2)], ids=["vectors", "images"])
def test_the_vae_step_follows_its_equation_and_moves_only_the_vae(array):
    context = make_context(array, 5)
    options = {"train_batch_size": 8, "learning_rate": 1e-3, "beta": 0.7, "adversary_weight": 30.0}
    game = Game(context, quick(**options).settings)
    inputs = game.next_batch()
    assert len(inputs) == 5 + 8
    vae, discriminator = copy.deepcopy(game.vae), copy.deepcopy(game.discriminator)
    noise = torch.randn(13, 3, generator=torch.Generator().set_state(context.generator.get_state()))

    mean, log_variance = vae.encode(inputs)
    reconstructions = vae.decode(mean + noise * torch.exp(log_variance / 2))
    probabilities = torch.sigmoid(discriminator(mean))
    expected = 0
    for pool in (range(5), range(5, 13)):
        for i in pool:
            elbo = naive_elbo(inputs[i], reconstructions[i], mean[i], log_variance[i], 0.7)
            expected = expected + (elbo - 30.0 * torch.log(probabilities[i])) / len(pool)

    loss = game.vae_step(inputs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    parameters = list(vae.parameters())
    moved_like_adam(parameters, game.vae.parameters(), torch.autograd.grad(expected, parameters), 1e-3)
    for old, new in zip(discriminator.parameters(), game.discriminator.parameters(), strict=True):
        assert torch.equal(old, new) and new.grad is None


@pytest.mark.parametrize("array", [vectors(20), images(20, 8, 6, 2)], ids=["vectors", "images"])
def test_the_discriminator_step_follows_its_equation_and_moves_only_the_discriminator(array):
    game = Game(make_context(array, 5), quick(train_batch_size=8, learning_rate=1e-3).settings)
    inputs = game.next_batch()
    vae, discriminator = copy.deepcopy(game.vae), copy.deepcopy(game.discriminator)

    probabilities = torch.sigmoid(discriminator(vae.encode(inputs)[0].detach()))
    labeled, unlabeled = probabilities[:5], probabilities[5:]
    expected = sum(-torch.log(p) for p in labeled) / 5 + sum(-torch.log(1 - p) for p in unlabeled) / 8
    right = [float((labeled > 0.5).float().mean()), float((unlabeled < 0.5).float().mean())]

    loss, accuracy = game.discriminator_step(inputs)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert accuracy.item() == pytest.approx(sum(right) / 2)
    parameters = list(discriminator.parameters())
    gradients = torch.autograd.grad(expected, parameters)
    moved_like_adam(parameters, game.discriminator.parameters(), gradients, 1e-3)
    for old, new in zip(vae.parameters(), game.vae.parameters(), strict=True):
        assert torch.equal(old, new) and new.grad is None


def test_steps_alternate_and_an_epoch_covers_the_pool(monkeypatch):
    steps = []
    vae_step, discriminator_step = Game.vae_step, Game.discriminator_step
    monkeypatch.setattr(Game, "vae_step", lambda self, x: steps.append(("vae", x)) or vae_step(self, x))
    monkeypatch.setattr(
        Game, "discriminator_step", lambda self, x: steps.append(("discriminator", x)) or discriminator_step(self, x)
    )
    ask(quick(epochs=2, train_batch_size=8, vae_steps=3), make_context(vectors(20), 5), 1)
    assert [name for name, _ in steps] == ["vae", "vae", "vae", "discriminator"] * 2 * 3  # 3 = ceil(20 / 8)
    batches = [inputs for _, inputs in steps]
    assert not torch.equal(batches[0], batches[1]) and torch.equal(batches[2], batches[3])


class PlannedError(Exception):
    """Raised instead of training."""


@pytest.mark.parametrize(
    ("shape", "options", "width", "iterations"),
    [
        # 300 samples are ten batches of 30.
        ((3, 32, 32), {}, 128, 1000),
        ((1, 16, 64), {}, 128, 1000),
        ((3, 31, 33), {}, 16, 200),
        ((1, 8, 8), {}, 16, 200),
        ((1, 8, 8), {"train_batch_size": 10}, 16, 300),  # ten epochs of 30
        ((1, 8, 8), {"train_batch_size": 150}, 16, 200),  # 100 epochs of two
        ((1, 8, 8), {"train_batch_size": 300}, 16, 100),  # never more than 100 epochs
        ((6,), {}, 128, 200),
        ((1, 8, 8), {"variant": "paper"}, 128, 1000),
        ((6,), {"variant": "paper"}, 128, 1000),
        ((1, 8, 8), {"variant": "paper", "epochs": 30}, 128, 300),
        ((1, 8, 8), {"variant": "paper", "width": 4}, 4, 1000),
        ((1, 8, 8), {"epochs": 2}, 16, 20),
        ((3, 32, 32), {"epochs": 2, "width": 4}, 4, 20),
    ],
    ids=str,
)
def test_width_and_updates_follow_images_and_pool(monkeypatch, shape, options, width, iterations):
    built = []
    monkeypatch.setattr(
        "deepal_strategies.vaal.training.build_vae",
        lambda shape, latent_dim, width: built.append(width) or build_vae(shape, latent_dim, 1),
    )
    array = vectors(300) if len(shape) == 1 else images(300, *shape[1:], shape[0])
    game = Game(make_context(array, 20), VAAL(**{"train_batch_size": 30, **options}).settings)
    assert (game.width, game.n_iterations) == (width, iterations) and built == [width]

    def stop(done, total):
        assert (done, total) == (1, iterations)
        raise PlannedError

    game.context.progress = stop
    with pytest.raises(PlannedError):
        game.run()


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({}, {"variant": "default", "epochs": None, "width": None}),
        ({"variant": "paper"}, {"variant": "paper", "epochs": 100, "width": 128}),
        ({"variant": "paper", "epochs": "30"}, {"variant": "paper", "epochs": 30, "width": 128}),
        ({"width": "8"}, {"variant": "default", "epochs": None, "width": 8}),
    ],
    ids=str,
)
def test_the_record_has_what_the_variant_sets(given, recorded):
    described = create_strategy("vaal", **given).describe_options()
    assert {name: described[name] for name in recorded} == recorded
    again = create_strategy("vaal", **described)
    assert again.describe_options() == described


def test_the_default_tells_digits_of_unlabeled_classes_apart():
    digits = load_dataset("digits")
    rows = np.flatnonzero(digits.y_train < 7)[:60]
    rest = np.setdiff1d(np.arange(300), rows)
    answer = ask(VAAL(train_batch_size=32), make_context(digits.x_train[[*rows, *rest]], 60), 10)
    assert (answer.report["width"], answer.report["iterations"]) == (16, 200)
    assert answer.report["discriminator_accuracy"] > 0.7
    assert (digits.y_train[rest] >= 7).mean() < 0.4
    assert (digits.y_train[rest][answer.indices - 60] >= 7).mean() >= 0.6


def test_batches_are_drawn_without_replacement_from_each_pool():
    array = np.arange(20, dtype=np.float64)[:, None]
    context = make_context(array, 5)
    game = Game(context, quick(train_batch_size=7).settings)
    deviation, mean = array.std(), array.mean()
    seen = []
    for _ in range(40):
        values = (game.next_batch().double()[:, 0] * deviation + mean).round().long().tolist()
        assert sorted(values[:5]) == [0, 1, 2, 3, 4]  # all of the smaller pool
        assert len(set(values[5:])) == 7 and min(values[5:]) >= 5
        seen.append(values[5:])
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert not set(first) & set(second)  # two batches per epoch
    # No sample is left out forever: each is expected in 40 * 7/15 = 18.7 batches.
    counts = np.bincount(np.concatenate(seen), minlength=20)[5:]
    assert counts.min() >= 14


@pytest.mark.parametrize("adversary_weight", [0.0, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_candidates_unlike_the_labeled_set_are_queried(adversary_weight, seed):
    array = vectors(100, seed=seed)
    array[70:] += 3  # 40 labeled and 30 candidates of one distribution, 30 candidates of another
    strategy = quick(epochs=30, width=32, latent_dim=8, adversary_weight=adversary_weight)
    scores = strategy.score(make_context(array, 40, seed=seed))
    assert scores[30:].mean() > scores[:30].mean() + 0.5
    answer = ask(strategy, make_context(array, 40, seed=seed), 10)
    assert set(answer.indices.tolist()) == set((40 + scores.topk(10).indices).tolist())
    # Half of the candidates differ; because of the adversary some of them are not queried.
    assert (answer.indices >= 70).sum() >= (7 if adversary_weight else 10)


def test_images_unlike_the_labeled_set_are_queried():
    array = images(60, 8, 8, 1) // 2
    array[45:, :, :4] += 127
    answer = ask(quick(epochs=25, width=8, latent_dim=8), make_context(array, 30), 8)
    assert answer.indices.min() >= 45


def test_the_adversary_hides_which_samples_are_labeled():
    array = vectors(80)
    array[40:] += 1.5  # all candidates differ from the labeled samples
    weights = (0.0, 100.0)
    hidden = [ask(quick(epochs=30, width=32, adversary_weight=w), make_context(array, 40), 1).report for w in weights]
    assert hidden[0]["discriminator_loss"] < 0.8 * hidden[1]["discriminator_loss"]
    assert hidden[0]["discriminator_accuracy"] > hidden[1]["discriminator_accuracy"]


@pytest.mark.parametrize("array", [vectors(30), images(30, 7, 5, 3)], ids=["vectors", "images"])
def test_the_same_seed_gives_the_same_answer_and_global_generators_stay(array):
    strategy = quick(train_batch_size=8)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (ask(strategy, make_context(array, 10), 5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()
    torch.rand(3)  # the global generator's position does not matter
    third = ask(strategy, make_context(array, 10), 5)
    assert first.indices.tolist() == second.indices.tolist() == third.indices.tolist()
    assert first.report == second.report == third.report
    other = ask(strategy, make_context(array, 10, seed=1), 5)
    assert other.report != first.report
    with torch.no_grad():
        assert ask(strategy, make_context(array, 10), 5).report == first.report


@pytest.mark.parametrize(
    "array",
    [vectors(14), images(14, 8, 8, 1), images(14, 4, 4, 2), images(14, 1, 1, 1), np.full((14, 4), 3.0),
     np.zeros((14, 8, 8, 3), dtype=np.uint8)],
    ids=["vectors", "8x8", "4x4", "1x1", "one vector", "one image"],
)  # fmt: skip
@pytest.mark.parametrize(("n_labeled", "n_candidates"), [(1, 1), (1, 13), (13, 1), (6, 8)])
@pytest.mark.parametrize("train_batch_size", [1, 4])
def test_smallest_pools_and_identical_inputs(monkeypatch, array, n_labeled, n_candidates, train_batch_size):
    monkeypatch.setattr(networks, "DISCRIMINATOR_WIDTH", 16)
    strategy = quick(epochs=1, train_batch_size=train_batch_size)
    for batch_size in {1, n_candidates}:
        context = make_context(array[: n_labeled + n_candidates], n_labeled)
        answer = ask(strategy, context, batch_size)
        assert set(answer.report) == REPORTED
        assert all(math.isfinite(value) for value in answer.report.values())


def test_equal_scores_are_not_chosen_by_position():
    picks = {int(ask(quick(), make_context(np.ones((50, 2)), 5, seed=seed), 1).indices[0]) for seed in range(4)}
    assert len(picks) > 1


def test_outliers_do_not_overflow():
    array = vectors(50)
    array[3] = 1e30  # about seven deviations of a pool of fifty, in each feature
    array[20, 0] = -1e30
    assert quick().score(make_context(array, 10)).isfinite().all()
    with global_torch_seed(0):
        vae = build_vae((2,), 3, 4)
    mean, log_variance = vae.encode(torch.tensor([[1e6, -1e6], [-1e6, -1e6], [1e6, 1e6]]))
    assert negative_elbo(torch.zeros(3, 2), torch.zeros(3, 2), mean, log_variance, 1.0).isfinite().all()


def test_chunks_do_not_change_scores(monkeypatch):
    scores = []
    for chunk in (256, 3):
        monkeypatch.setattr("deepal_strategies.vaal.training.INPUTS", BlockSize(chunk))
        scores.append(quick().score(make_context(images(20, 8, 8, 1), 6)))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5)


def test_failed_training_is_an_error():
    with pytest.raises(DeepALError, match="at least one sample"):
        ask(quick(), make_context(vectors(10), 0), 1)
    with pytest.raises(DeepALError, match="lower learning_rate"):
        ask(quick(learning_rate=1e30), make_context(vectors(10), 5), 1)


@pytest.mark.parametrize(
    "options",
    [{"variant": "small"}, {"epochs": 0}, {"train_batch_size": 0}, {"latent_dim": 0}, {"width": 0},
     {"learning_rate": 0.0}, {"beta": -1.0}, {"adversary_weight": float("inf")}, {"vae_steps": 0}],
    ids=str,
)  # fmt: skip
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        VAAL(**options)


@pytest.mark.gpu
@pytest.mark.parametrize("array", [vectors(40), images(40, 8, 8, 1)], ids=["vectors", "images"])
def test_on_a_gpu(array):
    context = make_context(array, 10, device="cuda")
    strategy = quick()
    state = torch.cuda.get_rng_state()
    answer = ask(strategy, context, 5)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert all(math.isfinite(value) for value in answer.report.values())
