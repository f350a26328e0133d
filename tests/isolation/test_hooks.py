"""Event hooks that change shared state, raise, are slow or return unusual values."""

import logging
import time

import numpy as np
import pluggy
import pytest
import torch

from deepal_autoal import (
    PluginError,
    hookimpl,
    run,
)
from tests.isolation.misbehaving import First, picks


def test_changes_by_hooks_are_undone_and_reported(blob_data, quick, registered, caplog):
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
    messages = " ".join(record.getMessage() for record in caplog.records)
    assert "plugin of this process changed the task model's train/eval mode in deepal_model_trained" in messages
    assert "numpy's global generator" in messages


def test_hook_that_changes_weights_stops_the_run(blob_data, quick, registered):
    class Breaks:
        @hookimpl
        def deepal_model_trained(self, run, model, metrics):
            model.module.head.weight.zero_()

    registered(Breaks(), "breaks")
    with pytest.raises(PluginError, match=r"plugin of this process changed weights.*in deepal_model_trained"):
        run("entropy", blob_data, **quick)


def test_slow_plugins_are_named_while_they_run(blob_data, quick, registered, caplog, monkeypatch):
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

    monkeypatch.setattr("deepal_autoal.experiment.live_run.SLOW_HOOK", 0.05)
    monkeypatch.setattr("deepal_autoal.querying.asking.SLOW_QUERY", 0.05)
    registered(Slow(), "slow")
    with caplog.at_level(logging.WARNING):
        run(First(dawdle), blob_data, **{**quick, "rounds": 1})
    assert said_while_waiting == [True, True]
    assert "plugin of this process has been in deepal_run_started for" in caplog.text
    assert "strategy 'First' has been choosing for" in caplog.text


def stopping(result):
    class Stops:
        @hookimpl
        def deepal_should_stop(self, run):
            return result

    return Stops()


@pytest.mark.parametrize("result", [False, 0, "", " ", [], np.zeros(2)], ids=repr)
def test_values_that_are_not_a_reason_do_not_stop_the_run(blob_data, quick, registered, caplog, result):
    registered(stopping(result), "stops")
    with caplog.at_level(logging.WARNING):
        assert run("random", blob_data, **quick).status == "finished"
    assert "return a reason or None" in caplog.text


def test_a_reason_stops_the_run(blob_data, quick, registered):
    registered(stopping("enough\nof it"), "stops")
    result = run("random", blob_data, **quick)
    assert result.status == "stopped" and result.stop_reason == "enough of it"


def test_true_without_a_reason_stops_the_run_too(blob_data, quick, registered):
    registered(stopping(True), "stops")
    assert run("random", blob_data, **quick).stop_reason == "plugin of this process requested it"


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


def test_several_implementations_in_one_plugin_run_once_each(blob_data, quick, registered):
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
