"""Training changed by a plugin's strategy or model."""

import contextlib

import pytest
import torch

from deepal_autoal import (
    Objective,
    PluginError,
    QueryError,
    TaskModel,
    hookimpl,
    run,
)
from tests.isolation.misbehaving import First, picks


class _Training(First):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def wrap_trainer(self, trainer):
        return self.wrap(trainer)


class _RaisesAtWork(Objective):
    def forward(self, inputs, labels, progress):
        raise IndexError("in the loss")


class _RaisesWhenMade(Objective):
    def __init__(self, model):
        super().__init__(model)
        raise AttributeError("no stages here")


@pytest.mark.parametrize(
    "wrap, expected",
    [
        (lambda trainer: 1 / 0, "failed in wrap_trainer: ZeroDivisionError"),
        (lambda trainer: None, "wrap_trainer returned None, which has no method fit"),
        (lambda trainer: trainer.with_objective(_RaisesAtWork), "failed in training: IndexError: in the loss"),
        (lambda trainer: trainer.with_objective(_RaisesWhenMade), "failed in training: AttributeError: no stages"),
    ],
)
def test_errors_in_changed_training_name_the_strategy(blob_data, quick, wrap, expected):
    with pytest.raises(QueryError, match=rf"strategy '_Training'.*{expected}"):
        run(_Training(wrap), blob_data, **quick)


def test_error_in_a_third_party_model_names_it(blob_data, quick, registered):
    class Fails(torch.nn.Linear):
        def forward(self, inputs):
            raise RuntimeError("shapes")

    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("failing", lambda input_shape, n_classes: TaskModel(Fails(6, 4), 4, n_classes))

    registered(Plugin(), "failing")
    with pytest.raises(PluginError, match="model 'failing' of this process failed in training: RuntimeError: shapes"):
        run("random", blob_data, **{**quick, "model": "failing"})


def test_model_that_raises_in_evaluation_is_named(blob_data, quick, registered):
    class Shy(torch.nn.Linear):
        def forward(self, inputs):
            if not self.training:
                raise RuntimeError("not now")
            return super().forward(inputs)

    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("shy", lambda input_shape, n_classes: TaskModel(Shy(6, 4), 4, n_classes))

    registered(Plugin(), "shy")
    with pytest.raises(
        PluginError, match=r"^model 'shy' of this process failed in its forward pass: RuntimeError: not now"
    ):
        run("entropy", blob_data, **{**quick, "model": "shy"})


def test_training_that_changes_the_process_does_not_affect_later_runs(blob_data, quick):
    class Doubles(Objective):
        def forward(self, inputs, labels, progress):
            result = super().forward(inputs, labels, progress)
            if progress > 0.5:
                torch.set_default_dtype(torch.float64)
            return result

    undisturbed = run("entropy", blob_data, **quick)
    with contextlib.suppress(QueryError):
        run(_Training(lambda trainer: trainer.with_objective(Doubles)), blob_data, **quick)
    assert torch.get_default_dtype() == torch.float32
    assert picks(run("entropy", blob_data, **quick)) == picks(undisturbed)
