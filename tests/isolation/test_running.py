"""What a plugin's code can do wrong while it runs: it is named, and everybody else's numbers stay as they were."""

import contextlib
import logging
import random
import re
import time

import numpy as np
import pluggy
import pytest
import torch

from deepal_autoal import (
    ActiveLearner,
    DeepALError,
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


def stopping(result):
    class Stops:
        @hookimpl
        def deepal_should_stop(self, run):
            return result

    return Stops()


@pytest.mark.parametrize("result", [False, 0, "", " ", [], np.zeros(2)], ids=repr)
def test_what_is_no_reason_does_not_stop(blob_data, quick, registered, caplog, result):
    registered(stopping(result), "stops")
    with caplog.at_level(logging.WARNING):
        assert run("random", blob_data, **quick).status == "finished"
    assert "return a reason or None" in caplog.text


def test_reasons_stop(blob_data, quick, registered):
    registered(stopping("enough\nof it"), "stops")
    result = run("random", blob_data, **quick)
    assert result.status == "stopped" and result.stop_reason == "enough of it"


def test_a_plain_yes_stops_too(blob_data, quick, registered):
    registered(stopping(True), "stops")
    assert run("random", blob_data, **quick).stop_reason == "plugin of this process said so"


def test_hooks_get_copies_of_the_runs_state(blob_data, quick, registered):
    class Meddles:
        @hookimpl
        def deepal_run_started(self, run):
            run.config["rounds"] = 1
            run.config["batch_size"] = 2
            run.options["patience"] = 1

        @hookimpl
        def deepal_model_trained(self, run, model, metrics):
            run.metrics["accuracy"] = 7.0
            for record in run.records:
                record.pop("queried")
            run.records.clear()

        @hookimpl
        def deepal_batch_queried(self, run, query):
            query.indices.setflags(write=True)
            query.indices[:] = query.indices[0]

    undisturbed = run("entropy", blob_data, **quick)
    registered(Meddles(), "meddles")
    result = run("entropy", blob_data, **quick)
    assert picks(result) == picks(undisturbed) and result.config["rounds"] == quick["rounds"]


def test_several_implementations_of_one_plugin_run_once_each(blob_data, quick, registered):
    seen = []

    class Twice:
        @hookimpl
        def deepal_run_finished(self, run):
            seen.append("one")

        @pluggy.HookimplMarker("deepal")(specname="deepal_run_finished")
        def another(self, run):
            seen.append("two")

    registered(Twice(), "twice")
    run("random", blob_data, **{**quick, "rounds": 0})
    assert sorted(seen) == ["one", "two"]


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
def test_writes_by_other_ways_stop_the_run(blob_data, quick, as_strategy, deed, what):
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
def test_later_candidates_see_what_they_would_see_alone(blob_data, quick, as_strategy, caplog, deed, what):
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


class Leaves(First):
    """Calls sys.exit() somewhere."""

    where = "query"

    def __init__(self):
        super().__init__()
        self._exit("constructor")

    def _exit(self, here):
        if here == self.where:
            raise SystemExit(0)

    def query(self, context, batch_size):
        self._exit("query")
        return super().query(context, batch_size)

    def wrap_trainer(self, trainer):
        self._exit("wrap_trainer")
        return trainer

    def state_dict(self):
        self._exit("state_dict")
        return {}


@pytest.mark.parametrize("where", ["query", "constructor", "wrap_trainer", "state_dict"])
def test_exits_of_plugin_code_are_errors(blob_data, quick, registered, monkeypatch, where):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("leaves", Leaves)

    registered(Plugin(), "leaves")
    monkeypatch.setattr(Leaves, "where", where)
    with pytest.raises(PluginError, match=r"strategy 'leaves' of this process failed.*SystemExit"):
        run("leaves", blob_data, **quick)


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ({"requires": property(lambda self: 1 / 0)}, "ZeroDivisionError"),
        ({"requires": None}, "requires|iterable"),
        ({"describe_options": lambda self: 3}, "items"),
        ({"name": property(lambda self: "mine")}, "name"),
        ({"state_dict": lambda self: 1 / 0}, "failed in state_dict: ZeroDivisionError"),
    ],
)
def test_broken_parts_of_a_strategy_name_it(blob_data, quick, registered, attributes, expected):
    broken = type("Broken", (First,), {"__init__": lambda self: First.__init__(self), **attributes})

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("broken", broken, requires=())

    registered(Plugin(), "broken")
    with pytest.raises(DeepALError, match=rf"strategy 'broken'.*({expected})"):
        run("broken", blob_data, **quick)


def test_own_query_errors_are_named_too(blob_data, quick):
    def complain(context):
        raise QueryError("mine")

    with pytest.raises(QueryError, match="strategy 'First' failed in query: mine"):
        run(First(complain), blob_data, **quick)


@pytest.mark.parametrize(
    "given", [lambda n: 1 / 0, lambda n: torch.ones(n + 1), lambda n: torch.full((n,), float("nan"))]
)
def test_wrong_choice_probabilities_name_the_candidate(blob_data, quick, registered, given):
    class Chooses(First):
        def __init__(self):
            super().__init__()

        def choice_probabilities(self, context, batch_size):
            return given(len(context.candidates))

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("chooses", Chooses)

    registered(Plugin(), "chooses")
    with pytest.raises(QueryError, match=r"^strategy 'chooses' of this process.*choice_probabilities"):
        run("albl", blob_data, candidates=["chooses", "entropy"], **quick)


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


def test_training_that_changes_the_process_harms_no_later_run(blob_data, quick):
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


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch has no such setting yet")
def test_new_precision_settings_break_nothing_and_are_put_back(blob_data, quick, caplog):
    def round_off(context):
        torch.backends.cuda.matmul.fp32_precision = "tf32"

    before = torch.backends.cuda.matmul.fp32_precision
    with caplog.at_level(logging.WARNING):
        run(First(round_off), blob_data, **quick)
    assert torch.backends.cuda.matmul.fp32_precision == before and "torch's float32 precision" in caplog.text


@pytest.mark.parametrize("weights", [[0.1, 0.2], 0.5, {"a": "x"}, {"a": None}, None])
def test_weights_that_are_none_do_not_break_the_table(blob_data, quick, weights):
    from deepal_autoal.cli.progress import _table

    class Weighs(First):
        def query(self, context, batch_size):
            return Query(super().query(context, batch_size), {"weights": weights})

    head, rows = _table(run(Weighs(), blob_data, **{**quick, "rounds": 1}))
    assert len(rows) == 2 and "weights" not in head
