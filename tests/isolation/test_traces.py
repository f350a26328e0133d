"""Side effects of a query are undone and named, or stop the run; other results stay unchanged."""

import logging
import random
import re

import numpy as np
import pytest
import torch

from deepal_autoal import (
    QueryError,
    TaskModel,
    hookimpl,
    run,
)
from tests.isolation.misbehaving import First, picks


def set_train(context):
    context.model.module.train()


def require_gradients(context):
    context.model.module.requires_grad_(True)


def seed_all(context):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def one_more_thread(context):
    torch.set_num_threads(torch.get_num_threads() + 1)


def double_precision(context):
    torch.set_default_dtype(torch.float64)


DEEDS = {
    set_train: "the task model's train/eval mode",
    require_gradients: "the task model's requires_grad flags",
    seed_all: "random's global generator",
    one_more_thread: "torch's number of threads",
    double_precision: "torch's default dtype",
}


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("as_candidate", [False, True], ids=["alone", "candidate"])
def test_side_effects_are_undone_and_named(blob_data, quick, caplog, as_strategy, deed, as_candidate):
    name, candidates = ("vote", ["first", "entropy"]) if as_candidate else ("first", None)
    as_strategy(lambda context: None)
    undisturbed = run(name, blob_data, candidates=candidates, **quick)
    before = torch.get_num_threads(), torch.get_default_dtype(), random.getstate(), np.random.get_state()[1].tolist()
    from deepal_autoal import plugin_host

    monkey = plugin_host().strategies.get("first").target
    monkey.__init__ = lambda self: First.__init__(self, deed)
    with caplog.at_level(logging.WARNING):
        result = run(name, blob_data, candidates=candidates, **quick)
    assert picks(result) == picks(undisturbed)
    after = torch.get_num_threads(), torch.get_default_dtype(), random.getstate(), np.random.get_state()[1].tolist()
    assert after == before
    lines = [record.getMessage() for record in caplog.records if DEEDS[deed] in record.getMessage()]
    assert len(lines) == 1 and "strategy 'first' of this process changed" in lines[0]  # once, not every round


def test_global_random_numbers_depend_only_on_seed_and_round(blob_data, quick):
    drawn = []

    def draw(context):
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))

    for burned in (1, 2):
        random.seed(burned), np.random.seed(burned), torch.manual_seed(burned)
        run(First(draw), blob_data, **quick)
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:] and len(set(drawn)) == half


@pytest.mark.parametrize(
    "deed, what",
    [
        (lambda context: context.candidates.probabilities().mul_(2), "probabilities()"),
        (lambda context: context.labeled.embeddings().zero_(), "embeddings()"),
        (lambda context: context.candidates.gradient_factors()[1].add_(1), "gradient_factors()"),
        (lambda context: context.candidates.mc_probabilities(3)[0].zero_(), "mc_probabilities(3)"),
        (lambda context: torch.exp(context.candidates.logits(), out=context.candidates.logits()), "logits()"),
    ],
)
def test_changed_outputs_stop_the_run_and_name_the_strategy(blob_data, quick, as_strategy, deed, what):
    as_strategy(deed)
    with pytest.raises(QueryError, match=rf"strategy 'first' of this process changed .*{re.escape(what)}.*in place"):
        run("vote", blob_data, candidates=["entropy", "first"], **{**quick, "model": "mlp"})


@pytest.mark.parametrize(
    "deed",
    [
        lambda context: context.model.module.head.weight.mul_(2),
        lambda context: context.model.module.train()(context.candidates.inputs()),  # changes BatchNorm's statistics
        lambda context: setattr(context.model.module, "head", torch.nn.Linear(128, 3)),
    ],
    ids=["weights", "statistics", "layer"],
)
def test_changed_weights_stop_the_run(blob_data, quick, deed):
    with pytest.raises(QueryError, match=r"'First' changed weights or statistics of the task model in query"):
        run(First(deed), blob_data, **{**quick, "model": "mlp"})


def test_views_computed_in_inference_mode_can_be_used_later(blob_data, quick):
    def look(context):
        with torch.inference_mode():
            context.candidates.embeddings()
            context.candidates.probabilities()

    class Learns(First):
        def query(self, context, batch_size):
            look(context)
            weight = torch.zeros(3, requires_grad=True)
            (context.candidates.probabilities() * weight).sum().backward()
            return super().query(context, batch_size)

    run(Learns(), blob_data, **quick)


def test_built_in_strategies_have_no_side_effects(blob_data, quick, caplog):
    with caplog.at_level(logging.WARNING):
        run("autoal", blob_data, **{**quick, "model": "mlp", "rounds": 1})
        run("albl", blob_data, candidates=["badge", "coreset"], **{**quick, "rounds": 1})
    assert not [record for record in caplog.records if "changed" in record.getMessage()]


def wrong_view(context):
    context.rebuild(candidates=context.candidates.indices[:20]).candidates.logits().zero_()


def set_label(context):
    context.labeled.labels.zero_()


def write_data(context):
    context.model.module.head.weight.data.mul_(3)


@pytest.mark.parametrize(
    "deed, what",
    [
        (wrong_view, "outputs of the model in place"),
        (set_label, "labels in place"),
        (write_data, "weights or statistics"),
    ],
)
def test_other_kinds_of_writes_stop_the_run(blob_data, quick, as_strategy, deed, what):
    as_strategy(deed)
    with pytest.raises(QueryError, match=rf"strategy 'first' of this process changed {what}"):
        run("vote", blob_data, candidates=["first", "entropy"], **{**quick, "model": "mlp"})


def drop_less(context):
    context.model.module.dropout.p = 0.01


def lower_precision(context):
    context.model.precision = "bfloat16"


def leave_a_hook(context):
    context.model.module.head.register_forward_hook(lambda module, inputs, output: output * 0)


def cast_outputs(context):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context.candidates.probabilities()
        context.candidates.mc_probabilities(10)


def no_gradients(context):
    with torch.no_grad(), torch.inference_mode():
        context.candidates.ensemble_probabilities(5)


@pytest.mark.parametrize(
    "deed, what",
    [
        (drop_less, "the task model's setting 'p'"),
        (lower_precision, "the task model's setting 'precision'"),
        (leave_a_hook, "the task model's hooks"),
        (cast_outputs, None),
        (no_gradients, None),
    ],
)
def test_later_candidates_are_unaffected_by_earlier_ones(blob_data, quick, as_strategy, caplog, deed, what):
    settings = {**quick, "model": "mlp", "rounds": 1}
    candidates = ["first", "bald", "ensvarr", "badge"]
    as_strategy(lambda context: None)
    undisturbed = run("vote", blob_data, candidates=candidates, **settings)
    from deepal_autoal import plugin_host

    plugin_host().strategies.get("first").target.__init__ = lambda self: First.__init__(self, deed)
    with caplog.at_level(logging.WARNING):
        assert picks(run("vote", blob_data, candidates=candidates, **settings)) == picks(undisturbed)
    assert what is None or what in caplog.text


def test_inference_mode_left_on_is_named(blob_data, quick, as_strategy):
    mode = torch.inference_mode()
    as_strategy(lambda context: mode.__enter__())
    try:
        with pytest.raises(QueryError, match="strategy 'first' of this process left torch's inference mode on"):
            run("first", blob_data, **quick)
    finally:
        mode.__exit__(None, None, None)


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch has no such setting yet")
def test_new_precision_settings_are_restored(blob_data, quick, caplog):
    def round_off(context):
        torch.backends.cuda.matmul.fp32_precision = "tf32"

    before = torch.backends.cuda.matmul.fp32_precision
    with caplog.at_level(logging.WARNING):
        run(First(round_off), blob_data, **quick)
    assert torch.backends.cuda.matmul.fp32_precision == before and "torch's float32 precision" in caplog.text


def odd_rate(context):
    context.model.module.dropout.p = torch.ones(3)


def another_generator(context):
    np.random.set_bit_generator(np.random.PCG64(3))


def hook_everywhere(context):
    torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: output * 0)


@pytest.mark.parametrize(
    "deed, what",
    [
        (odd_rate, "setting 'p'"),
        (another_generator, "numpy's global generator"),
        (hook_everywhere, "torch's global module hooks"),
    ],
)
def test_unusual_side_effects_are_undone_too(blob_data, quick, caplog, deed, what):
    settings = {**quick, "model": "mlp"}
    undisturbed = run(First(), blob_data, **settings)
    generator = np.random.get_bit_generator()
    with caplog.at_level(logging.WARNING):
        assert picks(run(First(deed), blob_data, **settings)) == picks(undisturbed)
    assert what in caplog.text and np.random.get_bit_generator() is generator


def test_third_party_models_may_keep_counts(blob_data, quick, registered, caplog):
    class Counts(torch.nn.Linear):
        def __init__(self):
            super().__init__(6, 4)
            self.calls, self.shape = 0, ()
            self.register_buffer("waves", torch.zeros(2, dtype=torch.complex128))

        def forward(self, inputs):
            self.calls, self.shape = self.calls + 1, tuple(inputs.shape)
            return super().forward(inputs)

    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("counts", lambda input_shape, n_classes: TaskModel(Counts(), 4, n_classes))

    registered(Plugin(), "counts")
    with caplog.at_level(logging.WARNING):
        run(First(lambda context: context.candidates.probabilities()), blob_data, **{**quick, "model": "counts"})
    assert "this was undone" not in caplog.text


def test_inference_mode_left_on_by_one_run_does_not_affect_the_next(blob_data, quick):
    mode = torch.inference_mode()

    class Enters(First):
        def state_dict(self):
            if not torch.is_inference_mode_enabled():
                mode.__enter__()
            return {}

    undisturbed = run("badge", blob_data, **quick)
    try:
        with pytest.raises(QueryError, match=r"'Enters' left torch's inference mode on in state_dict"):
            run(Enters(), blob_data, **quick)
        assert picks(run("badge", blob_data, **quick)) == picks(undisturbed)
    finally:
        mode.__exit__(None, None, None)
