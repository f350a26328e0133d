"""Moving averages of weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import Objective, Recipe, load_model, run
from deepal_autoal.training import trainer as training_module
from deepal_autoal.training.averaging import AveragedWeights


class Part(nn.Module):
    """Weights, BatchNorm statistics and a buffer that every step replaces."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.bare = nn.BatchNorm1d(3, track_running_stats=False)
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("direction", torch.zeros(2))


def expected_average(values, decay):
    average = values[0].double()
    for step, value in enumerate(values[1:]):
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * value.double()
    return average.float()


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.99])
def test_averages_are_exponential_and_forget_the_start(decay):
    part, generator = Part(), torch.Generator().manual_seed(0)
    averages = AveragedWeights(part, decay)
    seen = {name: [value.clone()] for name, value in part.state_dict().items()}
    for step in range(30):
        with torch.no_grad():
            for tensor in (*part.parameters(), part.norm.running_mean, part.norm.running_var):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
        part.direction = torch.full((2,), float(step))
        part.norm.num_batches_tracked += 1
        averages.update()
        for name, value in part.state_dict().items():
            seen[name].append(value.clone())
    parameters = list(part.parameters())
    averages.write()
    assert all(ours is theirs for ours, theirs in zip(part.parameters(), parameters, strict=True))
    for name, value in part.state_dict().items():
        if name in ("direction", "norm.num_batches_tracked"):
            assert torch.equal(value, seen[name][-1])
        else:
            torch.testing.assert_close(value, expected_average(seen[name], decay))


class Beside(Objective):
    """An objective with a network beside the model that records the weights at every step."""

    history: list[dict[str, torch.Tensor]]

    def __init__(self, model):
        super().__init__(model)
        self.beside = nn.Linear(model.n_classes, 1)
        self.history = []

    def forward(self, inputs, labels, progress):
        self.history.append({name: value.clone() for name, value in self.state_dict().items()})
        logits, loss = super().forward(inputs, labels, progress)
        return logits, loss + self.beside(logits).square().mean()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_whole_objective_gets_the_averages(setup, precision):
    setup.trainer = setup.trainer.with_objective(Beside)
    recipe = Recipe(epochs=4, min_steps=0, train_batch_size=8, averaging=0.9, precision=precision, learning_rate=0.01)
    no_unlabeled = training_module.UnlabeledData(setup.inputs, np.arange(0))
    averaged, last = (
        setup.trainer.fit(setup.data(np.arange(24)), no_unlabeled, seed=1, recipe=chosen).objective
        for chosen in (recipe, replace(recipe, averaging=0.0))
    )
    # Averaging does not affect training: both took the same steps.
    for one, other in zip(averaged.history, last.history, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    for name, final in last.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        values = [weights[name] for weights in last.history] + [final]
        torch.testing.assert_close(averaged.state_dict()[name], expected_average(values, 0.9), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(averaged.beside.weight, last.beside.weight)


def test_averages_are_reproducible_bit_for_bit(setup, equal):
    recipe = Recipe(epochs=2, min_steps=0, train_batch_size=8, augmentation=("affine",), averaging=0.9)
    first, again = (setup.fit(np.arange(21), recipe=recipe) for _ in range(2))
    assert equal(first, again) and not equal(first, setup.fit(np.arange(21), recipe=replace(recipe, averaging=0.2)))


def test_a_warm_start_averages_from_the_given_weights(setup):
    before = setup.fit(np.arange(30))
    frozen = Recipe(epochs=3, min_steps=0, learning_rate=1e-30, averaging=0.9)
    warm = setup.fit(np.arange(40), seed=1, initial_state=before.module.state_dict(), recipe=frozen)
    for name, parameter in before.module.named_parameters():
        assert torch.equal(warm.module.get_parameter(name), parameter)


def test_averaging_learns_and_stops_at_full_accuracy(setup):
    recipe = Recipe(epochs=100, min_steps=0, train_batch_size=8, averaging=0.95, stop_at_full_accuracy=True)
    model = setup.fit(np.arange(45), recipe=recipe)
    logits, _ = model.sweep(setup.inputs, np.arange(45, 60))
    assert model.metrics["epochs"] < 100 and (logits.argmax(dim=1).numpy() == setup.labels[45:]).mean() > 0.9


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("strategy", ["margin", "lpl", "ddu"])
def test_runs_are_resumed_and_loaded(tmp_path, blob_data, quick, strategy, warm_start):
    """This also holds if a strategy trains networks beside the model, or has buffers that are not averaged."""
    recipe = {"min_steps": 12, "averaging": 0.9, "warm_start": warm_start}
    settings = {**quick, "model": "mlp", "rounds": 2, "recipe": recipe}

    def stop(_, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    whole = run(strategy, blob_data, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(strategy, blob_data, out=tmp_path / "run", on_round=stop, **settings)
    again = run(strategy, blob_data, out=tmp_path / "run", resume=True, **settings)
    assert [r["queried"] for r in again.rounds] == [r["queried"] for r in whole.rounds]
    assert again.accuracy == whole.accuracy and again.config["recipe"]["averaging"] == 0.9
    predictor = load_model(tmp_path / "run")
    assert (predictor.predict(blob_data.x_test) == blob_data.y_test).mean() == pytest.approx(again.accuracy)
