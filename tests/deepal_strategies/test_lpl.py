"""LPL: the ranking loss pair by pair, the parameters it trains, and the queried samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from deepal_autoal import ActiveLearner, BlockSize, InputError, QueryError, TaskModel, load_model, run
from deepal_autoal.models import build_model
from deepal_strategies.lpl.objective import LossPredictionObjective, ranking_accuracy, ranking_loss
from deepal_strategies.lpl.strategy import LPL
from deepal_strategies.vote import Vote
from tests.pretended_cuda.markers import NEEDS_GPU

QUICK = {"epochs": 2, "min_steps": 6, "train_batch_size": 8}


def naive_ranking_loss(predicted, losses, margin):
    n = len(losses)
    terms = []
    for i in range(1, n // 2 + 1):
        j = n + 1 - i
        difference = losses[i - 1] - losses[j - 1]
        sign = 1 if difference > 0 else -1 if difference < 0 else 0
        terms.append(max(0.0, margin - sign * (predicted[i - 1] - predicted[j - 1])))
    return sum(terms) / len(terms) if terms else 0.0


def make_objective(name="mlp", shape=(6,), n_classes=3, **options):
    settings = {"margin": 1.0, "weight": 1.0, "width": 128, "detach_after": 0.6, **options}
    torch.manual_seed(3)
    return LossPredictionObjective(build_model(name, shape, n_classes), **settings)


def pool(n=60, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    return (rng.normal(size=(3, n_features))[labels] + rng.normal(size=(n, n_features))).astype(np.float32), labels


def make_learner(strategy, n_labeled=21, model="mlp", samples=None, recipe=QUICK, **settings):
    vectors, labels = pool()
    learner = ActiveLearner(
        vectors if samples is None else samples, strategy, 3, model=model, recipe=recipe, **settings
    )
    learner.tell(np.arange(n_labeled), labels[:n_labeled])
    return learner


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 64])
@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_ranking_loss_follows_its_definition(n, margin):
    generator = torch.Generator().manual_seed(n)
    losses = torch.rand(n, generator=generator).mul(4).round() / 2  # some are equal
    predicted = torch.randn(n, generator=generator, requires_grad=True)
    loss = ranking_loss(predicted, losses, margin)
    assert loss.item() == pytest.approx(naive_ranking_loss(predicted.tolist(), losses.tolist(), margin), abs=1e-6)
    loss.backward()
    assert predicted.grad.isfinite().all()
    if n % 2:
        assert predicted.grad[n // 2] == 0  # the middle one has no partner


def test_the_loss_is_cross_entropy_plus_the_weighted_ranking_loss():
    objective = make_objective(weight=0.7, margin=0.5).eval()
    inputs, labels = torch.randn(9, 6), torch.arange(9) % 3
    logits, loss = objective(inputs, labels, 0.0)
    predicted = objective.predicted_losses(inputs)
    losses = [-torch.log_softmax(row, 0)[label].item() for row, label in zip(logits, labels, strict=True)]
    expected = np.mean(losses) + 0.7 * naive_ranking_loss(predicted.tolist(), losses, 0.5)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(logits, objective.model(inputs))


def test_the_predictor_has_the_papers_architecture():
    """Global average pool of every stage → FC 128 → ReLU → concatenation → FC 1, by hand."""
    objective = make_objective("cnn", (3, 9, 9)).eval()
    inputs = torch.randn(4, 3, 9, 9)
    maps, parts = inputs, []
    for stage, branch in zip(objective.model.backbone.stages, objective.predictor.branches, strict=True):
        maps = stage(maps)
        assert branch.out_features == 128 and branch.in_features == maps.shape[1]
        parts.append(torch.relu(maps.flatten(2).mean(dim=2) @ branch.weight.T + branch.bias))
    last = objective.predictor.combine
    expected = (torch.cat(parts, dim=1) @ last.weight.T + last.bias)[:, 0]
    torch.testing.assert_close(objective.predicted_losses(inputs), expected)


class Stages(nn.Module):
    """A backbone with any number of stages, each of which works in place on the output of the one before."""

    def __init__(self, n_stages):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4 + k, 5 + k)) for k in range(n_stages)
        )

    def forward(self, inputs):
        hidden = inputs.clone()
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden


@pytest.mark.parametrize("n_stages", [1, 2, 5])
def test_any_number_of_stages(n_stages):
    model = TaskModel(Stages(n_stages), 4 + n_stages, 3)
    model.input_shape = (4,)
    objective = LossPredictionObjective(model, 1.0, 1.0, 16, 0.6).eval()
    assert [branch.in_features for branch in objective.predictor.branches] == list(range(5, 5 + n_stages))
    inputs = torch.randn(6, 4)
    hidden, features = inputs, []
    for stage in model.backbone.stages:
        hidden = stage[1](hidden.relu())
        features.append(hidden)
    torch.testing.assert_close(objective.predicted_losses(inputs), objective.predictor(features))
    objective(inputs, torch.arange(6) % 3, 0.0)[1].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


@pytest.mark.parametrize(("name", "shape"), [("mlp", (5,)), ("cnn", (1, 8, 8)), ("resnet18", (3, 16, 16))])
def test_creating_the_objective_does_not_change_the_model(name, shape):
    torch.manual_seed(0)
    model = build_model(name, shape, 3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    LossPredictionObjective(model, 1.0, 1.0, 8, 0.6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(part.training and not part._forward_hooks for part in model.modules())


def test_models_without_usable_stages_are_refused():
    with pytest.raises(InputError, match=r"has none; choose another --model, such as mlp"):
        make_objective("linear")
    with pytest.raises(InputError, match="has none"):
        ActiveLearner(pool()[0], LPL(), 3, model="linear")
    with pytest.raises(InputError, match="set its input_shape"):
        LossPredictionObjective(TaskModel(Stages(1), 5, 3), 1.0, 1.0, 8, 0.6)
    for stage, form in ((nn.LSTM(4, 4), "tuple"), (nn.Unflatten(1, (2, 2)), r"\(1, 2, 2\)"), (None, "None")):
        model = TaskModel(OneStage(stage), 4, 3)
        model.input_shape = (4,)
        with pytest.raises(InputError, match=rf"backbone.stages.0 returns {form}"):
            LossPredictionObjective(model, 1.0, 1.0, 8, 0.6)


class OneStage(nn.Module):
    """A backbone with the given stage, or with one that it never uses."""

    def __init__(self, stage):
        super().__init__()
        self.used = stage is not None
        self.stages = nn.ModuleList([stage or nn.Identity()])

    def forward(self, inputs):
        if self.used:
            self.stages[0](inputs)
        return inputs


def prediction_gradients(progress, **options):
    """Return the prediction loss's gradient norms of backbone, head and predictor."""
    objective = make_objective(**options)
    inputs, labels = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    torch.manual_seed(5)
    logits, loss = objective(inputs, labels, progress)
    (loss - F.cross_entropy(logits, labels)).backward()
    parts = objective.model.backbone, objective.model.head, objective.predictor
    return [sum(p.grad.abs().sum().item() for p in part.parameters() if p.grad is not None) for part in parts]


@pytest.mark.parametrize(("progress", "reaches"), [(0.0, True), (0.59, True), (0.6, False), (0.99, False)])
def test_late_in_the_training_the_prediction_loss_does_not_reach_the_stages(progress, reaches):
    backbone, head, predictor = prediction_gradients(progress)
    assert (backbone > 1e-3) == reaches and predictor > 1e-3
    if not reaches:
        assert backbone < 1e-6  # only rounding remains, as the cross-entropy was subtracted
    assert head < 1e-6  # the losses to predict have no gradient
    assert prediction_gradients(progress, detach_after=1.0)[0] > 1e-3


@pytest.mark.parametrize("options", [{"detach_after": 0.0}, {"weight": 0.0}], ids=str)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_without_its_gradients_training_is_unchanged_bit_for_bit(options, model):
    samples = None if model == "mlp" else np.random.default_rng(1).integers(256, size=(60, 8, 8, 1), dtype=np.uint8)
    plain = make_learner("random", model=model, samples=samples).fit().module.state_dict()
    ours = make_learner(LPL(**options), model=model, samples=samples).fit()
    assert all(torch.equal(value, plain[key]) for key, value in ours.module.state_dict().items())
    usual = make_learner(LPL(), model=model, samples=samples).fit().module.state_dict()
    assert any(not torch.equal(value, plain[key]) for key, value in usual.items())


def test_initial_weights_are_those_of_the_plain_trainer():
    plain, ours = make_learner("random")._trainer, make_learner(LPL())._trainer
    state = plain.new_objective(7).model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in ours.new_objective(7).model.state_dict().items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_module_learns_to_order_losses(seed):
    """Labels are random on one side of a plane and certain on the other, so the loss depends on the inputs."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(900, 6)).astype(np.float32)
    labels = np.where(vectors[:, 0] > 0, rng.integers(2, size=900), (vectors[:, 1] > 0).astype(int))
    recipe = {"epochs": 12, "min_steps": 0, "train_batch_size": 32}
    learner = ActiveLearner(vectors, LPL(), 2, model="mlp", recipe=recipe, seed=seed)
    learner.tell(np.arange(400), labels[:400])
    model = learner.fit()
    held_out = learner._inputs.batch(np.arange(400, 900))
    with torch.no_grad():
        losses = F.cross_entropy(model.module(held_out), torch.as_tensor(labels[400:]), reduction="none")
        predicted = model.objective.predicted_losses(held_out)
    assert spearmanr(predicted.numpy(), losses.numpy()).statistic > 0.5


def expected_batch(learner, candidates, batch_size):
    model = learner.fit()
    with torch.no_grad():
        predicted = model.objective.predicted_losses(learner._inputs.batch(candidates))
    return set(candidates[predicted.argsort(descending=True)[:batch_size].numpy()].tolist())


def naive_ranking_accuracy(predicted, losses):
    right = n_pairs = 0
    for i in range(len(losses)):
        for j in range(i):
            if losses[i] != losses[j]:
                n_pairs += 1
                difference = (predicted[i] - predicted[j]) * (losses[i] - losses[j])
                right += 0.5 if difference == 0 else difference > 0
    return right / n_pairs if n_pairs else None


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_ranking_accuracy_follows_its_definition(n):
    generator = torch.Generator().manual_seed(n)
    predicted, losses = torch.rand(2, n, generator=generator).mul(9).round()  # some are equal
    expected = naive_ranking_accuracy(predicted.tolist(), losses.tolist())
    assert ranking_accuracy(predicted, losses) == (None if expected is None else pytest.approx(expected))
    assert ranking_accuracy(losses, torch.ones(n)) is None
    if n == 40:
        assert (ranking_accuracy(losses, losses), ranking_accuracy(-losses, losses)) == (1.0, 0.0)


def test_the_report_shows_what_the_module_learned(monkeypatch):
    steps = []
    plain = LossPredictionObjective.forward

    def forward(self, inputs, labels, progress):
        logits, loss = plain(self, inputs, labels, progress)
        steps.append((loss - F.cross_entropy(logits, labels)).item() / self.weight)
        return logits, loss

    monkeypatch.setattr(LossPredictionObjective, "forward", forward)
    learner = make_learner(LPL(weight=2.0))
    report = learner.query(4).report
    weights = 0.9 ** np.arange(len(steps))[::-1]
    assert report["hinge_loss"] == pytest.approx(np.average(steps, weights=weights), abs=1e-5)

    model = learner.fit()
    inputs, labels = learner._inputs.batch(np.arange(21)), torch.as_tensor(pool()[1][:21])
    with torch.no_grad():
        losses = F.cross_entropy(model.module(inputs), labels, reduction="none")
        predicted = model.objective.predicted_losses(inputs)
    expected = naive_ranking_accuracy(predicted.tolist(), losses.tolist())
    assert report["ranking_accuracy_on_labeled"] == pytest.approx(expected)


def test_the_ranking_accuracy_of_many_samples_is_that_of_a_part(monkeypatch):
    monkeypatch.setattr("deepal_strategies.lpl.strategy._COMPARED", 5)
    monkeypatch.setattr("deepal_strategies.lpl.strategy.LPL_INPUTS", BlockSize(3))
    sizes = []
    monkeypatch.setattr(
        "deepal_strategies.lpl.strategy.ranking_accuracy", lambda predicted, losses: sizes.append(len(losses)) or 0.5
    )
    make_learner(LPL()).ask(4)
    assert sizes == [5]


@pytest.mark.parametrize("batch_size", [1, 5, 39])
def test_the_highest_predicted_losses_are_queried(batch_size, monkeypatch):
    monkeypatch.setattr("deepal_strategies.lpl.strategy.LPL_INPUTS", BlockSize(7))
    learner = make_learner(LPL())
    before = {key: value.clone() for key, value in learner.fit().objective.state_dict().items()}
    asked = learner.ask(batch_size)
    assert len(set(asked.tolist())) == batch_size
    assert set(asked.tolist()) == expected_batch(learner, np.arange(21, 60), batch_size)
    objective = learner.fit().objective
    assert all(torch.equal(value, before[key]) for key, value in objective.state_dict().items())
    assert not any(part.training or part._forward_hooks for part in objective.modules())


def test_only_a_seeded_random_subset_is_ranked():
    batches, subsets = [], set()
    for seed in (0, 0, 1):
        learner = make_learner(LPL(subset=10), seed=seed)
        rows = []
        sizes = learner.fit().objective.predicted_losses

        def spy(inputs, sizes=sizes, rows=rows):
            rows.extend(inputs.tolist())
            return sizes(inputs)

        learner.fit().objective.predicted_losses = spy
        batches.append(learner.ask(4).tolist())
        assert len(rows) == 10
        known = learner._inputs.batch(np.arange(60)).tolist()
        subset = np.array([known.index(row) for row in rows])
        assert subset.min() >= 21
        del learner.fit().objective.predicted_losses
        assert set(batches[-1]) == expected_batch(learner, subset, 4)
        subsets.add(tuple(subset))
    assert batches[0] == batches[1] and len(subsets) == 2
    # Never fewer than the batch.
    assert len(set(make_learner(LPL(subset=10)).ask(39).tolist())) == 39


def test_equal_predictions_are_not_chosen_by_position():
    samples = np.ones((60, 6), dtype=np.float32)
    picks = [make_learner(LPL(), samples=samples, seed=seed).ask(5) for seed in range(3)]
    assert len({tuple(sorted(pick)) for pick in picks}) == 3
    assert max(pick.max() for pick in picks) > 40


@pytest.mark.parametrize("n_labeled", [1, 2, 3])
def test_tiny_labeled_sets(n_labeled):
    assert len(set(make_learner(LPL(), n_labeled).ask(6).tolist())) == 6


def test_bfloat16_computes_losses_in_float32():
    learner = make_learner(LPL(), recipe={**QUICK, "precision": "bfloat16"})
    model = learner.fit()
    assert model.precision == "bfloat16" and np.isfinite(model.metrics["train_loss"])
    seen = []
    predictor = model.objective.predictor
    predictor.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0][0].dtype, output.dtype)))
    taps = model.module.backbone.stages[0].register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    assert len(set(learner.ask(39).tolist())) == 39
    taps.remove()
    assert seen == [torch.bfloat16, (torch.float32, torch.float32)] * 2  # candidates, then labeled samples


def test_nan_predictions_are_an_error():
    learner = make_learner(LPL())
    learner.fit().objective.predictor.combine.bias.fill_(float("nan"))
    with pytest.raises(QueryError, match="NaN for 39 samples"):
        learner.ask(3)


def test_a_model_of_another_trainer_is_an_error():
    with pytest.raises(QueryError, match="use it as a run's own strategy"):
        make_learner(Vote({"lpl": LPL()})).ask(3)


def test_unusable_options_are_refused():
    for option in ({"margin": 0.0}, {"weight": -1.0}, {"width": 0}, {"detach_after": -0.1}, {"subset": 0}):
        with pytest.raises(InputError, match=next(iter(option))):
            LPL(**option)


def test_a_saved_learner_continues_in_the_same_way(tmp_path):
    learner = make_learner("lpl")
    learner.fit()
    learner.save(tmp_path / "learner.pt")
    again = ActiveLearner.load(tmp_path / "learner.pt", pool()[0])
    assert np.array_equal(again.predict_proba(pool()[0]), learner.predict_proba(pool()[0]))
    assert again.ask(7).tolist() == learner.ask(7).tolist()
    assert again.query(7).report == learner.query(7).report


@pytest.mark.parametrize("warm_start", [False, True])
def test_runs_are_saved_and_resumed(tmp_path, blob_data, quick, warm_start):
    settings = {**quick, "model": "mlp", "recipe": {"min_steps": 5, "warm_start": warm_start}}
    whole = run("lpl", blob_data, out=tmp_path / "whole", **settings)

    def stop(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("lpl", blob_data, out=tmp_path / "parts", on_round=stop, **settings)
    resumed = run("lpl", blob_data, out=tmp_path / "parts", resume=True)
    assert [record["queried"] for record in resumed.rounds] == [record["queried"] for record in whole.rounds]
    reports = [record["strategy"] for record in whole.rounds[:-1]]
    assert [record["strategy"] for record in resumed.rounds[:-1]] == reports
    assert all(report["hinge_loss"] > 0 and 0 <= report["ranking_accuracy_on_labeled"] <= 1 for report in reports)
    predictor = load_model(tmp_path / "whole")
    accuracy = (predictor.predict(blob_data.x_test) == blob_data.y_test).mean()
    assert accuracy == pytest.approx(whole.rounds[-1]["accuracy"])
    assert np.array_equal(
        load_model(tmp_path / "parts").predict_proba(blob_data.x_test), predictor.predict_proba(blob_data.x_test)
    )


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["cnn", pytest.param("resnet18", marks=NEEDS_GPU)])
def test_on_cuda(model):
    images = np.random.default_rng(1).integers(256, size=(60, 16, 16, 3), dtype=np.uint8)
    learner = make_learner(LPL(subset=20), model=model, samples=images, device="cuda")
    assert len(set(learner.ask(7).tolist())) == 7
