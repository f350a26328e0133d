"""What a plugin's code can do wrong while it runs: it is named, and everybody else's numbers stay as they were."""

import logging
import random
import re
import time

import numpy as np
import pytest
import torch

from deepal_autoal import (
    ActiveLearner,
    Objective,
    PluginError,
    Query,
    QueryError,
    ScoringStrategy,
    Strategy,
    TaskModel,
    guards,
    hookimpl,
    run,
)
from deepal_autoal.asking import ask


def picks(result):
    return [record["queried"] for record in result.rounds], [record["accuracy"] for record in result.rounds]


class First(Strategy):
    """Queries the first candidates, after having done something that it should not."""

    def __init__(self, deed=lambda context: None):
        self.deed = deed

    def query(self, context, batch_size):
        self.deed(context)
        return context.candidates.indices[:batch_size]


@pytest.fixture(autouse=True)
def told_anew():
    guards._told.clear()


@pytest.fixture
def as_strategy(registered):
    """Return a function that registers `First` with a deed as the strategy ``first``."""

    def make(deed):
        class Doer(First):
            def __init__(self):
                super().__init__(deed)

        class Plugin:
            @hookimpl
            def deepal_register_strategies(self, registry):
                registry.add("first", Doer)

        registered(Plugin(), "first")

    return make


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
def test_traces_are_put_back_and_named(blob_data, quick, caplog, as_strategy, deed, as_candidate):
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


def test_global_numbers_depend_on_seed_and_round_alone(blob_data, quick):
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
def test_changed_outputs_stop_the_run_and_name_who_did_it(blob_data, quick, as_strategy, deed, what):
    as_strategy(deed)
    with pytest.raises(QueryError, match=rf"strategy 'first' of this process changed .*{re.escape(what)}.*in place"):
        run("vote", blob_data, candidates=["entropy", "first"], **{**quick, "model": "mlp"})


@pytest.mark.parametrize(
    "deed",
    [
        lambda context: context.model.module.head.weight.mul_(2),
        lambda context: context.model.module.train()(context.candidates.inputs()),  # moves BatchNorm's statistics
        lambda context: setattr(context.model.module, "head", torch.nn.Linear(128, 3)),
    ],
    ids=["weights", "statistics", "layer"],
)
def test_changed_weights_stop_the_run(blob_data, quick, deed):
    with pytest.raises(QueryError, match=r"'First' changed weights or statistics of the task model in query"):
        run(First(deed), blob_data, **{**quick, "model": "mlp"})


def test_an_error_of_its_own_is_not_hidden_by_what_it_left(blob_data, quick):
    def both(context):
        context.model.module.head.weight.zero_()
        raise KeyError("mine")

    with pytest.raises(QueryError, match="KeyError: 'mine'"):
        run(First(both), blob_data, **quick)


def test_views_computed_in_inference_mode_serve_the_others(blob_data, quick):
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


def test_built_in_strategies_leave_nothing_to_tell(blob_data, quick, caplog):
    with caplog.at_level(logging.WARNING):
        run("autoal", blob_data, **{**quick, "model": "mlp", "rounds": 1})
        run("albl", blob_data, candidates=["badge", "coreset"], **{**quick, "rounds": 1})
    assert not [record for record in caplog.records if "changed" in record.getMessage()]


def test_hooks_that_meddle(blob_data, quick, registered, caplog):
    class Meddles:
        @hookimpl
        def deepal_model_trained(self, run, model, metrics):
            model.module.train()
            metrics["accuracy"] = 2.0
            torch.manual_seed(5)
            np.random.seed(5)

        @hookimpl
        def deepal_batch_queried(self, run, query):
            query.report["injected"] = 1

    undisturbed = run("entropy", blob_data, **quick)
    registered(Meddles(), "meddles")
    with caplog.at_level(logging.WARNING):
        result = run("entropy", blob_data, **quick)
    assert picks(result) == picks(undisturbed)
    assert not [record for record in result.rounds if "injected" in record["strategy"]]
    told = " ".join(record.getMessage() for record in caplog.records)
    assert "plugin of this process changed the task model's train/eval mode in deepal_model_trained" in told
    assert "numpy's global generator" in told


def test_hook_that_changes_weights_stops_the_run(blob_data, quick, registered):
    class Breaks:
        @hookimpl
        def deepal_model_trained(self, run, model, metrics):
            model.module.head.weight.zero_()

    registered(Breaks(), "breaks")
    with pytest.raises(PluginError, match=r"plugin of this process changed weights.*in deepal_model_trained"):
        run("entropy", blob_data, **quick)


def test_slow_ones_are_named_while_they_are_at_it(blob_data, quick, registered, caplog, monkeypatch):
    said_while_waiting = []

    class Slow:
        @hookimpl
        def deepal_run_started(self, run):
            deadline = time.monotonic() + 10
            while "has been in deepal_run_started" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
            said_while_waiting.append("has been in deepal_run_started" in caplog.text)

    def dawdle(context):
        deadline = time.monotonic() + 10
        while "has been choosing" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        said_while_waiting.append("has been choosing" in caplog.text)

    monkeypatch.setattr("deepal_autoal.loop.SLOW_HOOK", 0.05)
    monkeypatch.setattr("deepal_autoal.asking.SLOW_QUERY", 0.05)
    registered(Slow(), "slow")
    with caplog.at_level(logging.WARNING):
        run(First(dawdle), blob_data, **{**quick, "rounds": 1})
    assert said_while_waiting == [True, True]
    assert "plugin of this process has been in deepal_run_started for" in caplog.text
    assert "strategy 'First' has been choosing for" in caplog.text


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


def test_error_of_a_third_partys_model_names_it(blob_data, quick, registered):
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


def test_reports_of_the_context_and_of_the_query_are_joined(blob_data, quick):
    class Reports(First):
        def query(self, context, batch_size):
            context.report(loss=np.float32(0.5), steps=3)
            context.report(steps=4)
            return Query(super().query(context, batch_size), {"own": [1, 2]})

    class Scores(ScoringStrategy):
        def score(self, context):
            context.report(mean=torch.tensor(2.0))
            return context.candidates.probabilities()[:, 0]

    assert run(Reports(), blob_data, **quick).rounds[0]["strategy"] == {"loss": 0.5, "steps": 4, "own": [1, 2]}
    assert run(Scores(), blob_data, **quick).rounds[0]["strategy"] == {"mean": 2.0}


def test_report_that_json_cannot_hold_is_refused(blob_data, quick):
    with pytest.raises(QueryError, match="a report that JSON cannot hold"):
        run(First(lambda context: context.report(loss=float("nan"))), blob_data, **quick)


def test_candidates_report_to_the_selector_and_not_into_its_record(blob_data):
    def report(context):
        context.report(seen=len(context.candidates))

    learner = ActiveLearner(blob_data.x_train, First(), 3, model="linear", recipe={"epochs": 1})
    learner.tell(np.arange(12), blob_data.y_train[:12])
    context = learner._context(learner.fit(), learner.unlabeled_indices)
    answer = ask(First(report), context.for_candidate("a"), 4)
    assert answer.report == {"seen": 108} and answer.scores is None and context.reported == {}


def test_reports_of_candidates_enter_the_record_where_they_tell_of_the_rounds_own_query(blob_data, quick, as_strategy):
    as_strategy(lambda context: context.report(seen=len(context.candidates)))
    result = run("vote", blob_data, candidates=["first", "entropy"], **quick)
    assert result.rounds[0]["strategy"]["candidates"] == {"first": {"seen": 108}}
    searched = run("autoal", blob_data, candidates=["first", "entropy"], **quick)
    assert searched.rounds[0]["strategy"]["candidates"] == {"first": {"seen": 108}}  # not of the halves
    assert "candidates" not in run("vote", blob_data, candidates=["margin", "entropy"], **quick).rounds[0]["strategy"]


def test_report_that_json_cannot_hold_names_where(blob_data, quick):
    with pytest.raises(QueryError, match=r"cannot hold: losses\.vae\[1\]: inf of type float"):
        run(First(lambda context: context.report(losses={"vae": [1.0, float("inf")]})), blob_data, **quick)
