"""Objectives with which strategies that change training replace cross-entropy."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import (
    ActiveLearner,
    InputError,
    Objective,
    RunFolderError,
    Strategy,
    hookimpl,
    load_model,
    plugin_host,
    run,
)
from deepal_autoal.training.trainer import Trainer


class Doubled(Objective):
    """Twice the cross-entropy, with a module of its own, on a network whose activation is changed."""

    seen: ClassVar[list[float]] = []

    def __init__(self, model):
        super().__init__(model)
        if not len(model.backbone.stages):
            raise InputError("this needs stages")
        model.backbone.stages[0][2] = nn.Tanh()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs, labels, progress):
        self.seen.append(progress)
        logits, loss = super().forward(inputs, labels, progress)
        return logits, 2 * loss + (self.scale - 3).square()


class Changed(Strategy):
    def wrap_trainer(self, trainer):
        return trainer.with_objective(Doubled)

    def query(self, context, batch_size):
        assert float(context.model.objective.scale) > 1.001 and not context.model.objective.training
        return context.candidates.indices[:batch_size]


def test_the_plain_objective_is_cross_entropy(make_setup, stripes, equal):
    setup = make_setup(*stripes)
    again = setup.trainer.with_objective(lambda model: Objective(model))
    first = setup.fit(range(20))
    assert equal(first, again.fit(setup.data(range(20)), None, seed=0))
    logits, loss = first.objective(setup.inputs.batch(np.arange(5)), torch.tensor([0, 1, 2, 0, 1]), 0.0)
    picked = logits.log_softmax(dim=1)[range(5), [0, 1, 2, 0, 1]]
    torch.testing.assert_close(loss, -picked.mean())


def test_own_parts_are_optimized_and_progress_is_passed(make_setup, stripes):
    setup = make_setup(*stripes, model="mlp")
    Doubled.seen.clear()
    fitted = setup.trainer.with_objective(Doubled).fit(setup.data(range(20)), None, seed=0)
    assert Doubled.seen == pytest.approx([step / 6 for step in range(6)])
    assert float(fitted.objective.scale) > 1.001
    assert fitted.module is fitted.objective.model and isinstance(fitted.module.backbone.stages[0][2], nn.Tanh)
    assert not any(parameter.requires_grad for parameter in fitted.objective.parameters())


def test_a_model_that_lacks_something_is_refused_before_training(blob_data):
    with pytest.raises(InputError, match="needs stages"):
        ActiveLearner(blob_data.x_train, Changed(), 3, model="linear")


def test_a_changed_network_is_rebuilt_from_its_weights(tmp_path, blob_data):
    learner = ActiveLearner(blob_data.x_train, Changed(), 3, model="mlp", recipe={"epochs": 2, "min_steps": 5})
    learner.tell(range(12), blob_data.y_train[:12])
    learner.ask(3)
    learner.save(tmp_path / "learner.pt")
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, strategy=Changed())
    assert np.array_equal(loaded.predict_proba(blob_data.x_test), learner.predict_proba(blob_data.x_test))
    assert loaded.ask(5).tolist() == learner.ask(5).tolist()  # another size asks the strategy again


def test_a_finished_run_of_a_changed_network_loads(tmp_path, blob_data, quick):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("changed", Changed, summary="Changed training.")

    plugin = Plugin()
    plugin_host().register(plugin, "changed-plugin")
    try:
        result = run("changed", blob_data, out=tmp_path / "run", **{**quick, "model": "mlp"})
        assert plugin_host().strategies.get("changed").details["changes_training"]
        predictor = load_model(tmp_path / "run")
    finally:
        plugin_host().unregister(plugin)
    assert (predictor.predict(blob_data.x_test) == blob_data.y_test).mean() == pytest.approx(result.accuracy)
    assert isinstance(predictor.module.backbone.stages[0][2], nn.Tanh)
    assert result.config["strategy"]["changes_training"]


def test_a_trainer_of_another_kind_needs_only_fit(tmp_path, blob_data, quick):
    class Recording:
        def __init__(self, inner):
            self.inner, self.calls = inner, []

        def fit(self, labeled, unlabeled, **arguments):
            self.calls.append((len(labeled.indices), len(unlabeled.indices), hasattr(unlabeled, "labels")))
            return self.inner.fit(labeled, unlabeled, **arguments)

    class Wrapping(Strategy):
        def wrap_trainer(self, trainer):
            assert isinstance(trainer, Trainer)
            self.trainer = Recording(trainer)
            return self.trainer

        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

    strategy = Wrapping()
    run(strategy, blob_data, out=tmp_path / "run", **quick)
    assert strategy.trainer.calls == [(12, 108, False), (18, 102, False), (24, 96, False), (30, 90, False)]
    assert load_model(tmp_path / "run", strategy=strategy).module.n_classes == 3


class Foreign:
    """A custom trainer around a changed objective, which cannot be rebuilt without its help."""

    def __init__(self, inner):
        self.inner = inner

    def fit(self, *arguments, **named):
        return self.inner.fit(*arguments, **named)


class Rebuilding(Foreign):
    def new_objective(self):
        return self.inner.new_objective()


@pytest.mark.parametrize("kind", [Foreign, Rebuilding])
def test_a_custom_trainer_that_changes_the_network_must_rebuild_it(tmp_path, blob_data, quick, kind):
    class Wrapped(Changed):
        def wrap_trainer(self, trainer):
            return kind(trainer.with_objective(Doubled))

    learner = ActiveLearner(blob_data.x_train, Wrapped(), 3, model="mlp", recipe={"epochs": 2, "min_steps": 5})
    learner.tell(range(12), blob_data.y_train[:12])
    learner.fit()
    learner.save(tmp_path / "learner.pt")
    if kind is Foreign:
        with pytest.raises(InputError, match="new_objective"):
            ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, strategy=Wrapped())
    else:
        loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, strategy=Wrapped())
        assert np.array_equal(loaded.predict_proba(blob_data.x_test), learner.predict_proba(blob_data.x_test))


def test_a_run_of_a_strategy_created_in_python_loads_with_it(tmp_path, blob_data, quick):
    result = run(Changed(), blob_data, out=tmp_path / "run", **{**quick, "model": "mlp"})
    with pytest.raises(RunFolderError, match="strategy="):
        load_model(tmp_path / "run")
    predictor = load_model(tmp_path / "run", strategy=Changed())
    assert (predictor.predict(blob_data.x_test) == blob_data.y_test).mean() == pytest.approx(result.accuracy)
