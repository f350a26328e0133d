"""DDU: norms against singular values, densities against scipy's, and the training that connects them."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import nn
from torch.nn.utils import parametrize
from torchvision.models.resnet import BasicBlock

from deepal_autoal import ActiveLearner, BlockSize, InputError, QueryError, TaskModel, load_model, run
from deepal_autoal.models import build_model
from deepal_strategies.ddu import density
from deepal_strategies.ddu.backbone import AveragedShortcut, SensitiveObjective, average_shortcuts, make_leaky
from deepal_strategies.ddu.density import ClassGaussians
from deepal_strategies.ddu.spectral import SoftSpectralNorm, linear_map, normalize_layers
from deepal_strategies.ddu.strategy import DDU
from tests.pretended_cuda.markers import NEEDS_GPU

QUICK = {"epochs": 2, "min_steps": 6, "train_batch_size": 8}

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 5)),
    "strided groups": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 7, 6)),
    "circular": (lambda: nn.Conv2d(2, 3, 3, padding=2, dilation=2, padding_mode="circular"), (2, 6, 6)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (2, 4, 5)),
    "1x1": (lambda: nn.Conv2d(3, 4, 1, stride=3), (3, 7, 7)),
    "1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), (2, 9)),
    "3d": (lambda: nn.Conv3d(1, 2, 2), (1, 3, 4, 3)),
}


def make_layer(kind):
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    return make(), shape


def true_norm(layer, shape):
    """Return the largest singular value of a layer as an explicit matrix, without its bias."""
    with torch.no_grad():
        n = int(np.prod(shape))
        basis = torch.eye(n).reshape(n, *shape)
        columns = layer(basis) - layer(torch.zeros(1, *shape))
    return np.linalg.norm(columns.flatten(1).double().numpy(), 2)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_norm_is_the_largest_singular_value(kind):
    layer, shape = make_layer(kind)
    part = SoftSpectralNorm(layer, shape, 1.0)
    for _ in range(500):
        part.iterate(layer.weight)
    norm = linear_map(layer)(part.direction, layer.weight).norm().item()
    assert norm == pytest.approx(true_norm(layer, shape), rel=2e-3)
    assert part.direction.norm().item() == pytest.approx(1, abs=1e-5) and tuple(part.direction.shape[1:]) == shape


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_weight_is_scaled_down_to_the_coefficient_but_never_up(kind, factor):
    layer, shape = make_layer(kind)
    norm, weight = true_norm(layer, shape), layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", SoftSpectralNorm(layer, shape, factor * norm))
    for _ in range(500):
        layer.parametrizations.weight[0].iterate(layer.parametrizations.weight.original)
    torch.testing.assert_close(layer.weight.detach(), min(1.0, factor) * weight, rtol=3e-3, atol=1e-6)
    if factor > 1:
        assert torch.equal(layer.weight, weight)


def test_the_gradient_follows_the_norm_too():
    """Against finite differences, with the direction converged: σ changes with the weight."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    part = SoftSpectralNorm(layer, (4,), 0.5).double()
    for _ in range(200):
        part.iterate(layer.weight)
    part.eval()
    probe = torch.randn(3, 4, dtype=torch.float64)
    scaled = [weight / (np.linalg.norm(weight, 2) / 0.5) for weight in differences(layer.weight.detach().numpy())]
    values = [(probe.numpy() * weight).sum() for weight in scaled]
    expected = np.array([(up - down) / 2e-6 for up, down in zip(values[::2], values[1::2], strict=True)]).reshape(3, 4)
    (gradient,) = torch.autograd.grad((probe * part(layer.weight)).sum(), layer.weight)
    np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-5)


def differences(weight):
    for place in np.ndindex(*weight.shape):
        for step in (1e-6, -1e-6):
            moved = weight.copy()
            moved[place] += step
            yield moved


def test_one_iteration_per_training_step_and_none_elsewhere():
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    parametrize.register_parametrization(layer, "weight", SoftSpectralNorm(layer, (6,), 0.1))
    part, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original.detach().double()
    inputs = torch.randn(4, 6)
    for _ in range(3):
        before = part.direction.double()[0]
        layer(inputs).sum().backward()
        expected = weight.T @ (weight @ before)
        torch.testing.assert_close(part.direction[0], (expected / expected.norm()).float(), rtol=1e-4, atol=1e-6)
    kept = part.direction.clone()
    with torch.no_grad():
        layer(inputs)
    layer.eval()
    layer(inputs)
    assert torch.equal(part.direction, kept)


def test_two_passes_before_one_backward():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 2, 3)
    parametrize.register_parametrization(layer, "weight", SoftSpectralNorm(layer, (2, 5, 5), 0.1))
    inputs = torch.randn(2, 2, 5, 5)
    (layer(inputs).sum() + layer(inputs).sum()).backward()
    assert layer.parametrizations.weight.original.grad.abs().sum() > 0


def test_a_zero_weight_stays_zero_and_can_be_trained():
    layer = nn.Linear(3, 3)
    nn.init.zeros_(layer.weight)
    parametrize.register_parametrization(layer, "weight", SoftSpectralNorm(layer, (3,), 1.0))
    layer(torch.ones(2, 3)).sum().backward()
    original = layer.parametrizations.weight.original
    assert original.grad.isfinite().all() and original.grad.abs().sum() > 0
    with torch.no_grad():
        original.copy_(5 * torch.eye(3))
    layer(torch.ones(2, 3))
    assert np.linalg.norm(layer.eval().weight.detach().numpy(), 2) == pytest.approx(1, abs=1e-4)


def test_a_model_is_freed_without_the_garbage_collector():
    objective = SensitiveObjective(build_model("cnn", (1, 8, 8), 3), 3.0)
    objective(torch.randn(4, 1, 8, 8), torch.arange(4) % 3, 0.0)[1].backward()
    twin = copy.deepcopy(objective)
    parts = [weakref.ref(part) for part in (*objective.modules(), *twin.modules())]
    gc.collect()
    gc.disable()
    try:
        del objective, twin
        assert not [part for part in parts if part() is not None]
    finally:
        gc.enable()


def layers_of(backbone):
    return {name: part for name, part in backbone.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}


@pytest.mark.parametrize(("name", "shape"), [("mlp", (5,)), ("cnn", (1, 9, 8)), ("resnet18", (3, 9, 9))])
def test_only_the_backbone_is_changed(name, shape):
    torch.manual_seed(0)
    plain = build_model(name, shape, 3)
    torch.manual_seed(0)
    objective = SensitiveObjective(build_model(name, shape, 3), 3.0)
    model = objective.model
    weights = {key.replace("parametrizations.weight.original", "weight"): v for key, v in model.state_dict().items()}
    for key, value in plain.state_dict().items():
        assert "downsample" in key or torch.equal(weights[key], value), key
    kept = [part for key, part in layers_of(model.backbone).items() if "downsample" not in key]
    assert kept and all(parametrize.is_parametrized(part, "weight") for part in kept)
    assert not parametrize.is_parametrized(model.head)
    activations = [part for part in model.modules() if isinstance(part, nn.ReLU | nn.LeakyReLU)]
    assert activations and all(getattr(part, "negative_slope", None) == 0.01 for part in activations)
    assert all(part.training and not part._forward_hooks for part in model.modules())
    assert model.features(torch.randn(2, *shape)).shape == (2, model.embedding_dim)


def test_an_activation_used_twice_is_replaced_twice():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared, nn.Sequential(shared))
    make_leaky(network)
    assert not any(isinstance(part, nn.ReLU) for part in network.modules())
    assert isinstance(network[1], nn.LeakyReLU) and isinstance(network[3], nn.LeakyReLU)
    assert isinstance(network[4][0], nn.LeakyReLU)


@pytest.mark.parametrize("side", [1, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_shortcuts_average_squares(side, stride):
    block = nn.Module()
    block.downsample = nn.Sequential(nn.Conv2d(2, 5, 1, stride=stride, bias=False), nn.BatchNorm2d(5))
    shape = block.downsample(torch.zeros(3, 2, side, side)).shape
    average_shortcuts(block)
    maps = torch.randn(3, 2, side, side)
    result = block.downsample(maps)
    assert result.shape == shape and (result[:, 2:] == 0).all()
    for row, column in np.ndindex(*shape[2:]):
        square = maps[:, :, stride * row : stride * (row + 1), stride * column : stride * (column + 1)]
        torch.testing.assert_close(result[:, :2, row, column], square.mean(dim=(2, 3)))


def test_other_shortcuts_are_not_changed():
    for first in (nn.AvgPool2d(2), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 3, padding=1)):
        block = nn.Module()
        block.downsample = nn.Sequential(first)
        average_shortcuts(block)
        assert block.downsample[0] is first
    block = BasicBlock(4, 4)
    average_shortcuts(block)
    assert block.downsample is None


def test_models_that_cannot_be_probed_are_refused():
    with pytest.raises(InputError, match="set its input_shape"):
        normalize_layers(TaskModel(nn.Linear(3, 4), 4, 2), 3.0)


def test_linear_layers_can_work_on_sequences():
    model = TaskModel(nn.Sequential(nn.Unflatten(1, (3, 4)), nn.Linear(4, 2), nn.Flatten()), 6, 2)
    model.input_shape = (12,)
    model = SensitiveObjective(model, 1.0).model
    assert model.backbone[1].parametrizations.weight[0].direction.shape == (1, 4)
    assert model(torch.randn(5, 12)).shape == (5, 2)


def test_unused_layers_are_left_out():
    backbone = nn.Sequential(nn.Linear(3, 4))
    backbone.unused = nn.Module()
    backbone.unused.layer = nn.Linear(3, 3)
    backbone.forward = nn.Sequential.forward.__get__(backbone[:1])
    model = TaskModel(backbone, 4, 2)
    model.input_shape = (3,)
    normalize_layers(model, 3.0)
    assert parametrize.is_parametrized(backbone[0]) and not parametrize.is_parametrized(backbone.unused.layer)


def make_learner(strategy, n_labeled=21, model="mlp", recipe=QUICK, seed=0, samples=None, **settings):
    rng = np.random.default_rng(5)
    labels = rng.integers(3, size=60)
    vectors = (rng.normal(size=(3, 6))[labels] + rng.normal(size=(60, 6))).astype(np.float32)
    images = rng.integers(0, 100, size=(60, 4, 4, 1), dtype=np.uint8)
    images[np.arange(60), labels] += 100
    if samples is None:
        samples = vectors if model in ("mlp", "linear") else images
    learner = ActiveLearner(samples, strategy, 3, model=model, recipe=recipe, seed=seed, **settings)
    learner.tell(np.arange(n_labeled), labels[:n_labeled])
    return learner


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_trained_network_keeps_its_norms(model):
    recipe = {"epochs": 10, "min_steps": 60, "train_batch_size": 8, "learning_rate": 0.02}
    free = make_learner(DDU(None), model=model, recipe=recipe).fit().module
    bound = make_learner(DDU(1.0), model=model, recipe=recipe).fit().module
    shapes = {}
    for name, part in layers_of(bound.backbone).items():
        part.register_forward_hook(lambda _, inputs, __, name=name: shapes.update({name: tuple(inputs[0].shape[1:])}))
    bound.features(torch.zeros(1, *bound.input_shape))
    norms = [
        {name: true_norm(layers_of(network.backbone)[name], shape) for name, shape in shapes.items()}
        for network in (free, bound)
    ]
    assert max(norms[0].values()) > 1.5, "without the coefficient norms must exceed it"
    assert max(norms[1].values()) < 1.05


@pytest.mark.parametrize("model", ["mlp", "cnn", "linear"])
def test_a_query_changes_no_buffer(model):
    learner = make_learner(DDU(0.5), model=model)
    fitted = learner.fit()
    before = {key: value.clone() for key, value in fitted.objective.state_dict().items()}
    assert len(set(learner.ask(5).tolist())) == 5
    assert all(torch.equal(value, before[key]) for key, value in fitted.objective.state_dict().items())
    assert not any(part.training for part in fitted.module.modules())


def test_weights_restore_the_function():
    learner = make_learner(DDU(0.5), model="cnn")
    fitted = learner.fit()
    other = learner._trainer.new_objective(99)
    inputs = learner._inputs.batch(np.arange(60))
    with torch.no_grad():
        assert not torch.equal(other.eval().model(inputs), fitted.module(inputs))
        other.load_state_dict(fitted.objective.state_dict())
        # The fitted model is channels last, which rounds differently.
        torch.testing.assert_close(other.model(inputs), fitted.module(inputs))


def test_without_a_coefficient_training_is_unchanged():
    plain, ours = make_learner("random"), make_learner(DDU(None))
    assert DDU().changes_training and not DDU(None).changes_training
    assert DDU(None).wrap_trainer(plain._trainer) is plain._trainer
    state = plain.fit().module.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in ours.fit().module.state_dict().items())
    assert len(set(ours.ask(5).tolist())) == 5


def test_initial_weights_are_those_of_the_plain_trainer():
    plain, ours = make_learner("random")._trainer, make_learner(DDU())._trainer
    state = ours.new_objective(7).model.state_dict()
    for key, value in plain.new_objective(7).model.state_dict().items():
        names = (key, key.replace("weight", "parametrizations.weight.original"))
        assert torch.equal(state[next(name for name in names if name in state)], value)


def test_bfloat16():
    learner = make_learner(DDU(0.5), model="cnn", recipe={**QUICK, "precision": "bfloat16"})
    assert np.isfinite(learner.fit().metrics["train_loss"])
    layer = next(iter(layers_of(learner.fit().module.backbone).values()))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.weight.dtype == torch.float32
    assert len(set(learner.ask(5).tolist())) == 5


def naive_log_density(rows, labels, points, jitter=0.0):
    terms = []
    for label in set(labels.tolist()):
        own = rows[labels == label]
        normal = multivariate_normal(own.mean(axis=0), np.cov(own.T) + jitter * np.eye(rows.shape[1]))
        terms.append(np.log(len(own) / len(rows)) + np.atleast_1d(normal.logpdf(points)))
    return logsumexp(terms, axis=0)


def sample(n, n_dims, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    mix = rng.normal(size=(n_classes, n_dims, n_dims))
    rows = np.einsum("nd,nde->ne", rng.normal(size=(n, n_dims)), mix[labels]) + 3 * labels[:, None]
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("small", [False, True], ids=["one group", "groups and chunks"])
@pytest.mark.parametrize(("n_dims", "n_classes"), [(1, 2), (5, 3), (30, 4)])
def test_density_equals_scipys(monkeypatch, n_dims, n_classes, small):
    if small:
        monkeypatch.setattr(density, "COVARIANCES", BlockSize(1))
        monkeypatch.setattr(density, "DENSITIES", BlockSize(8 * n_dims * 7))
    rows, labels = sample(60 * n_classes, n_dims, n_classes)
    labels = np.where(labels == 1, 7, labels)  # classes 1, 5, 6 have no samples
    points = np.concatenate([rows[:20], 100 * rows[:20]])
    gaussians = ClassGaussians(torch.tensor(rows), torch.tensor(labels))
    result = gaussians.log_density(torch.tensor(points))
    assert gaussians.jitter == 0 and result.dtype == torch.float64
    expected = naive_log_density(rows.astype(np.float64), labels, points.astype(np.float64))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-8)


def test_densities_that_underflow_are_distinguished():
    rows, labels = sample(900, 200, 2)
    points = np.outer([10, 20, 30], np.ones(200)).astype(np.float32)
    result = ClassGaussians(torch.tensor(rows), torch.tensor(labels)).log_density(torch.tensor(points)).numpy()
    assert (result < -800).all() and result[0] > result[1] > result[2]


@pytest.mark.parametrize("small", [False, True], ids=["one group", "groups"])
def test_singular_covariances_get_the_smallest_sufficient_jitter(monkeypatch, small):
    """Five samples per class in 20 dimensions: the jitter is one of `JITTERS`, and the density follows from it."""
    if small:
        monkeypatch.setattr(density, "COVARIANCES", BlockSize(1))
    rows, labels = sample(15, 20, 3, seed=1)
    labels = np.arange(15) % 3
    gaussians = ClassGaussians(torch.tensor(rows), torch.tensor(labels))
    wide = rows.astype(np.float64)
    unit = sum(np.cov(wide[labels == k].T) * 4 for k in range(3)).trace() / 12 / 20
    relative = gaussians.jitter / unit
    assert 1e-16 < relative < 1e-12 and np.log10(relative) == pytest.approx(round(np.log10(relative)), abs=1e-6)
    tenth = np.stack([np.cov(wide[labels == k].T) for k in range(3)]) + gaussians.jitter / 100 * np.eye(20)
    assert min(np.linalg.eigvalsh(one)[0] / one.trace() for one in tenth) < 1e-14
    points = rows + np.random.default_rng(0).normal(size=rows.shape).astype(np.float32)
    result = gaussians.log_density(torch.tensor(points)).numpy()
    # By hand: a few directions with variance, the rest with the jitter alone.
    terms = []
    for k in range(3):
        own = wide[labels == k]
        _, values, directions = np.linalg.svd(own - own.mean(axis=0), full_matrices=True)
        variances = np.zeros(20)
        variances[:5] = values**2 / 4
        variances[4:] = 0
        variances += gaussians.jitter
        along = (points - own.mean(axis=0)) @ directions.T
        terms.append(-np.log(3) - 0.5 * (along**2 / variances + np.log(2 * np.pi * variances)).sum(axis=1))
    np.testing.assert_allclose(result, logsumexp(terms, axis=0), rtol=0.1)


def test_the_order_of_the_samples_does_not_matter():
    rows, _ = sample(12, 10, 2)
    labels = np.arange(12) % 2
    points = torch.tensor(sample(30, 10, 2, seed=3)[0])
    results = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(12)
        gaussians = ClassGaussians(torch.tensor(rows[order]), torch.tensor(labels[order]))
        results.append((gaussians.jitter, gaussians.log_density(points).numpy()))
    for jitter, values in results[1:]:
        assert jitter == pytest.approx(results[0][0], rel=1e-9, abs=0)
        np.testing.assert_allclose(values, results[0][1], rtol=0.1)


def test_a_class_of_one_sample_shares_the_others_covariance():
    rows, labels = sample(120, 4, 2)
    rows, labels = np.append(rows, [[9, 9, 9, 9]], axis=0).astype(np.float32), np.append(labels, 2)
    points = (rows[::5] + 1).astype(np.float64)
    wide = rows.astype(np.float64)
    covariances = [np.cov(wide[labels == k].T) for k in range(2)]
    counts = [(labels == k).sum() for k in range(2)]
    shared = sum((n - 1) * one for n, one in zip(counts, covariances, strict=True)) / (121 - 3)
    terms = [
        np.log(n / 121) + multivariate_normal(wide[labels == k].mean(axis=0), one).logpdf(points)
        for k, (n, one) in enumerate(zip([*counts, 1], [*covariances, shared], strict=True))
    ]
    result = ClassGaussians(torch.tensor(rows), torch.tensor(labels)).log_density(torch.tensor(points).float())
    np.testing.assert_allclose(result.numpy(), logsumexp(terms, axis=0), rtol=1e-5)


def test_classes_of_one_sample_alone_are_spheres():
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    points = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    result = ClassGaussians(torch.tensor(rows), torch.arange(4)).log_density(torch.tensor(points))
    variance = rows.astype(np.float64).var(axis=0).mean()
    terms = [multivariate_normal(row, variance * np.eye(6)).logpdf(points) - np.log(4) for row in rows]
    np.testing.assert_allclose(result.numpy(), logsumexp(terms, axis=0), rtol=1e-5)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


HARD = {
    "one sample": (normal(1, 5), torch.tensor([2])),
    "identical": (torch.full((9, 5), 0.1), torch.arange(9) % 3),
    "identical within classes": ((torch.arange(9) % 3)[:, None].repeat(1, 5).float(), torch.arange(9) % 3),
    "zeros": (torch.zeros(9, 5), torch.arange(9) % 3),
    "dead features": (normal(40, 5) * torch.tensor([1.0, 0, 0, 1, 0]), torch.arange(40) % 3),
    "huge": (1e30 * normal(40, 5), torch.arange(40) % 3),
    "tiny": (1e-30 * normal(40, 5), torch.arange(40) % 3),
    "both": (torch.logspace(-30, 30, 40)[:, None] * normal(40, 5), torch.arange(40) % 3),
    "two of a class": (normal(2, 5), torch.zeros(2, dtype=torch.int64)),
}


@pytest.mark.parametrize("case", HARD)
def test_hard_cases_give_finite_densities(case):
    rows, labels = HARD[case]
    points = torch.cat([rows, torch.zeros(2, 5), torch.ones(2, 5), torch.full((1, 5), 1e30), torch.full((1, 5), 3e38)])
    result = ClassGaussians(rows, labels).log_density(points)
    assert result.isfinite().all()
    if case not in ("huge", "both"):
        assert result[:-2].min() > result[-2] > result[-1], "distant points must be less likely"


def test_embeddings_that_are_not_finite_are_an_error():
    rows = normal(20, 3)
    rows[4, 1] = float("nan")
    with pytest.raises(QueryError, match="not finite"):
        ClassGaussians(rows, torch.arange(20) % 2)


@pytest.mark.parametrize("batch_size", [1, 8, 60])
def test_the_lowest_densities_are_queried(make_round, batch_size):
    context = make_round(60, 60, 3, 6).context
    labeled = context.labeled
    points = context.candidates.embeddings().double().numpy()
    expected = naive_log_density(labeled.embeddings().double().numpy(), labeled.labels.numpy(), points)
    np.testing.assert_allclose(DDU().score(context).numpy(), -expected, rtol=1e-6)
    chosen = DDU().query(context, batch_size)
    assert set(chosen.tolist()) == set(context.candidates.indices[np.argsort(expected)[:batch_size]].tolist())


@pytest.mark.parametrize(("n_labeled", "n_classes"), [(1, 2), (3, 2), (40, 1000), (500, 1000)])
def test_few_labels_and_many_classes(make_round, n_labeled, n_classes):
    context = make_round(n_labeled, 50, n_classes, 4).context
    assert DDU().score(context).isfinite().all()
    assert len(set(DDU().query(context, 50).tolist())) == 50


def test_equal_densities_are_not_chosen_by_position(make_round):
    picks = [DDU().query(make_round(5, 50, embeddings=torch.ones(55, 3), seed=s).context, 5).tolist() for s in range(3)]
    assert len({tuple(sorted(pick)) for pick in picks}) == 3


def test_far_away_inputs_have_a_lower_density():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    centers = 2 * rng.normal(size=(3, 6))
    near = centers[labels] + 0.5 * rng.normal(size=(300, 6))
    strange = 6 * rng.normal(size=(20, 6))
    samples = np.concatenate([near, strange]).astype(np.float32)
    recipe = {"epochs": 20, "min_steps": 0, "train_batch_size": 16}
    learner = ActiveLearner(samples, DDU(), 3, model="mlp", recipe=recipe)
    learner.tell(np.arange(250), labels[:250])
    asked = learner.ask(20)
    assert (asked >= 300).mean() > 0.75  # 20 of 70 candidates


@pytest.mark.parametrize("n_labeled", [1, 2, 3])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_tiny_labeled_sets(n_labeled, model):
    assert len(set(make_learner(DDU(), n_labeled, model).ask(6).tolist())) == 6


def test_unusable_options_are_refused():
    for coefficient in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="coefficient"):
            DDU(coefficient)


def test_a_saved_learner_continues_in_the_same_way(tmp_path):
    learner = make_learner("ddu", model="cnn")
    learner.fit()
    samples = learner._inputs._array
    learner.save(tmp_path / "learner.pt")
    again = ActiveLearner.load(tmp_path / "learner.pt", samples)
    assert np.array_equal(again.predict_proba(samples), learner.predict_proba(samples))
    assert again.ask(7).tolist() == learner.ask(7).tolist()


@pytest.mark.parametrize("warm_start", [False, True])
def test_runs_are_saved_and_resumed(tmp_path, blob_data, quick, warm_start):
    settings = {**quick, "model": "mlp", "recipe": {"min_steps": 5, "warm_start": warm_start}}
    settings["options"] = {"coefficient": "0.8"}
    whole = run("ddu", blob_data, out=tmp_path / "whole", **settings)

    def stop(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("ddu", blob_data, out=tmp_path / "parts", on_round=stop, **settings)
    resumed = run("ddu", blob_data, out=tmp_path / "parts", resume=True)
    assert [record["queried"] for record in resumed.rounds] == [record["queried"] for record in whole.rounds]
    predictor = load_model(tmp_path / "whole")
    accuracy = (predictor.predict(blob_data.x_test) == blob_data.y_test).mean()
    assert accuracy == pytest.approx(whole.rounds[-1]["accuracy"])
    parts = load_model(tmp_path / "parts")
    assert np.array_equal(parts.predict_proba(blob_data.x_test), predictor.predict_proba(blob_data.x_test))


def test_a_run_without_a_coefficient_is_loaded_as_a_plain_one(tmp_path, blob_data, quick):
    run("ddu", blob_data, out=tmp_path / "run", options={"coefficient": "none"}, **{**quick, "rounds": 1})
    assert load_model(tmp_path / "run").predict(blob_data.x_test).shape == (60,)


def test_the_resnet_has_averaged_shortcuts():
    objective = SensitiveObjective(build_model("resnet18", (3, 9, 9), 3), 3.0)
    shortcuts = [part for part in objective.modules() if isinstance(part, AveragedShortcut)]
    assert [part.n_added for part in shortcuts] == [64, 128, 256]


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["cnn", pytest.param("resnet18", marks=NEEDS_GPU)])
def test_on_cuda(model):
    learner = make_learner(DDU(0.5), model=model, device="cuda")
    scores = DDU().score(learner._context(learner.fit(), learner.unlabeled_indices))
    assert scores.device.type == "cuda" and scores.dtype == torch.float64 and scores.isfinite().all()
    assert len(set(learner.ask(7).tolist())) == 7
