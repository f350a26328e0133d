"""Third-party code at the core's boundary: strategies, hooks, states, loaders, settings."""

import json
import logging
import time

import numpy as np
import pytest
import torch

from deepal_autoal import (
    Query,
    ScoringStrategy,
    SelectorStrategy,
    Strategy,
    create_strategy,
    hookimpl,
    plugin_host,
    run,
)
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.errors import InputError, PluginCodeError, PluginError, QueryError, RunFolderError
from deepal_autoal.experiment.resume_checks import check_same_settings
from deepal_autoal.experiment.settings import Settings
from deepal_autoal.files import read_tensors, write_tensors
from deepal_autoal.jsonable import to_jsonable


def test_strategies_cannot_modify_views(blob_data, quick):
    class Swaps(Strategy):
        def query(self, context, batch_size):
            context.candidates.indices[:batch_size] = context.labeled.indices[:batch_size]
            return context.candidates.indices[:batch_size]

    with pytest.raises(QueryError, match="read-only"):
        run(Swaps(), blob_data, **quick)


@pytest.mark.parametrize("value", [float("nan"), object(), {"deep": [np.inf]}])
def test_error_for_unserializable_report_names_the_strategy(blob_data, quick, value):
    class Reports(Strategy):
        def query(self, context, batch_size):
            return Query(context.candidates.indices[:batch_size], {"x": value})

    with pytest.raises(QueryError, match=r"Reports.*report that JSON cannot hold"):
        run(Reports(), blob_data, **quick)


def test_reports_of_arrays_are_written_as_lists(tmp_path, blob_data, quick):
    class Reports(Strategy):
        def query(self, context, batch_size):
            report = {"a": np.float32(0.5), "b": torch.arange(2), "c": (np.int64(1), None), 3: True}
            return Query(context.candidates.indices[:batch_size], report)

    run(Reports(), blob_data, out=tmp_path / "run", **quick)
    line = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()[0]
    assert json.loads(line)["strategy"] == {"a": 0.5, "b": [0, 1], "c": [1, None], "3": True}
    assert to_jsonable({"x": float("nan")}, strict=False) == {"x": "nan"}


def test_query_parts_are_timed_once(tmp_path, blob_data, quick):
    class Part(Strategy):
        def query(self, context, batch_size):
            with context.timed("candidate's own"):
                return context.candidates.indices[:batch_size]

    class Times(SelectorStrategy):
        def query(self, context, batch_size):
            for _ in range(2):
                with context.timed("thinking"):
                    time.sleep(0.02)
            with context.timed("asking"):
                return self.ask_candidate("part", context, batch_size)

    result = run(Times({"part": Part()}), blob_data, out=tmp_path / "run", **quick)
    for record in result.rounds[:-1]:
        seconds = record["seconds"]
        assert set(seconds) == {"train", "evaluate", "query", "query.thinking", "query.asking"}
        assert 0.04 <= seconds["query.thinking"] <= seconds["query"]
    assert set(result.rounds[-1]["seconds"]) == {"train", "evaluate", "query"}
    total = result.summary()["seconds"]
    assert total["total"] == pytest.approx(total["train"] + total["evaluate"] + total["query"])
    assert total["query.thinking"] >= 0.12


def test_error_for_unserializable_state_names_the_strategy(tmp_path, blob_data, quick):
    class Remembers(Strategy):
        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

        def state_dict(self):
            return {"names": np.array(["a"])}

    with pytest.raises(QueryError, match=r"Remembers.*failed in state_dict.*array of <U1"):
        run(Remembers(), blob_data, out=tmp_path / "run", **quick)


def test_states_keep_shapes_and_only_their_own_bytes(tmp_path):
    write_tensors(tmp_path / "s.pt", {"zero": np.array(3.5), "view": torch.zeros(1_000_000)[:2]})
    back = read_tensors(tmp_path / "s.pt")
    assert back["zero"].shape == () and back["zero"] == 3.5
    assert (tmp_path / "s.pt").stat().st_size < 10_000


def test_hooks_cannot_rewrite_the_record_or_end_the_process(tmp_path, blob_data, quick, registered, caplog):
    class Meddles:
        @hookimpl
        def deepal_round_finished(self, run, record):
            record["accuracy"] = object()

        @hookimpl
        def deepal_batch_queried(self, run, query):
            query.indices.sort()

        @hookimpl
        def deepal_model_trained(self, run, model, metrics):
            raise SystemExit(7)

    undisturbed = run("random", blob_data, **quick)
    registered(Meddles(), "meddles")
    with caplog.at_level(logging.WARNING):
        result = run("random", blob_data, out=tmp_path / "run", **quick)
    assert [r["queried"] for r in result.rounds] == [r["queried"] for r in undisturbed.rounds]
    assert [r["accuracy"] for r in result.rounds] == [r["accuracy"] for r in undisturbed.rounds]
    assert "deepal_model_trained: SystemExit: 7" in caplog.text and "deepal_batch_queried" in caplog.text


def test_failing_plugin_code_is_named(blob_data, quick, registered, tmp_path):
    def loader(data_dir):
        raise OSError("disk on fire")

    def factory(input_shape, n_classes):
        raise IndexError("no such layer")

    class Fussy(Strategy):
        def __init__(self, size: int = 3):
            raise ZeroDivisionError("size")

        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("fussy", Fussy)

        @hookimpl
        def deepal_register_datasets(self, registry):
            registry.add("burning", loader, summary="x")

        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("layerless", factory, summary="x")

    registered(Plugin(), "plugin")
    with pytest.raises(PluginCodeError, match=r"strategy 'fussy' of this process failed: ZeroDivisionError"):
        create_strategy("fussy")
    with pytest.raises(PluginCodeError, match=r"dataset 'burning' of this process failed: OSError: disk on fire"):
        run("random", "burning")
    with pytest.raises(PluginCodeError, match=r"model 'layerless' of this process failed: IndexError"):
        run("random", blob_data, **{**quick, "model": "layerless"})


@pytest.mark.parametrize(
    "details", [{"family": {"x"}}, {"summary": "two\nlines"}, {"summary": 3}, {"summary": "\x1b[31m"}]
)
def test_details_must_be_single_lines(details):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("odd", "somewhere:Odd", **details)

    with pytest.raises(PluginError, match="one line of text"):
        plugin_host().register(Plugin(), "odd")
    assert "odd" not in plugin_host().strategies


def test_in_process_plugin_cannot_replace_an_installed_name():
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("margin", "somewhere:Margin")

    with pytest.raises(PluginError, match="'margin'"):
        plugin_host().register(Plugin(), "margin")
    assert plugin_host().strategies.get("margin").provider.builtin


class Tuple(ScoringStrategy):
    def __init__(self, layers: tuple[int, ...] = (1, 2)):
        self.layers = layers

    def score(self, context):
        return torch.zeros(len(context.candidates))


def test_resume_compares_single_options_and_accepts_lists_as_tuples(tmp_path, blob_data, quick, registered):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("tuple", Tuple)

    registered(Plugin(), "tuple")
    run("tuple", blob_data, out=tmp_path / "a", **quick)
    run("tuple", blob_data, out=tmp_path / "a", resume=True)
    run("vote", blob_data, out=tmp_path / "b", options={"final": "diverse", "oversample": "4"}, **quick)
    run("vote", blob_data, out=tmp_path / "b", options={"oversample": 4}, resume=True)
    with pytest.raises(RunFolderError, match=r"strategy\.options\.oversample was 4 and is now 5"):
        run("vote", blob_data, out=tmp_path / "b", options={"oversample": 5}, resume=True)
    with pytest.raises(RunFolderError, match="strategy was 'vote' and is now 'entropy'"):
        run("entropy", blob_data, out=tmp_path / "b", resume=True)
    with pytest.raises(RunFolderError, match="pool_size was 120 and is now 10"):
        run(dataset=blob_data, out=tmp_path / "b", resume=True, pool_size=10)


def test_resume_ignores_plugin_versions(tmp_path):
    def config(version):
        candidate = {"name": "x", "version": version, "options": {"a": 1}}
        return {"strategy": {"name": "vote", "candidates": [candidate]}}

    check_same_settings(config("1"), config("2"), tmp_path)
    changed = config("1")
    changed["strategy"]["candidates"][0]["options"]["a"] = 2
    with pytest.raises(RunFolderError, match=r"candidates\.0\.options\.a was 1 and is now 2"):
        check_same_settings(config("1"), changed, tmp_path)


def test_dataset_from_python_resumes_from_python_only(tmp_path, blob_data, quick):
    run("random", blob_data, out=tmp_path / "run", **quick)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["dataset"] is None
    with pytest.raises(InputError, match="dataset created in Python"):
        run(out=tmp_path / "run", resume=True)


def test_numpy_numbers_are_accepted(tmp_path, blob_data, quick):
    quick |= {"rounds": np.int64(1), "seed": np.int32(3), "options": {"final": "diverse", "oversample": np.int64(3)}}
    assert len(run("vote", blob_data, out=tmp_path / "run", **quick).rounds) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": 1.5}, {"rounds": True}, {"initial": "1"}, {"batch_size": "1"}, {"pool_size": "1"}, {"seed": "1"},
        {"duplicates": "1"}, {"threads": "1"}, {"label_noise": "0.1"}, {"epochs": "1"}, {"learning_rate": "0.1"},
    ],
)  # fmt: skip
def test_numbers_of_another_type_are_refused(tmp_path, blob_data, blob_file, quick, wrong):
    name = next(iter(wrong))
    with pytest.raises(InputError, match=f"^(--)?{name.replace('_', '[_-]')} .*{wrong[name]!r}") as caught:
        run("random", blob_data, **quick | wrong)
    if name != "seed":  # a benchmark has seeds
        with pytest.raises(InputError) as of_benchmark:
            run_benchmark("random", [blob_file], 1, tmp_path / "out", **quick | wrong)
        assert str(of_benchmark.value) == str(caught.value)


def test_number_of_jobs_must_be_whole(tmp_path, blob_file):
    with pytest.raises(InputError, match="jobs must be a whole number, not '2'"):
        run_benchmark("random", [blob_file], 1, tmp_path / "out", jobs="2")


def test_relative_dataset_folder_is_made_absolute(tmp_path, blob_data, quick, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for label in "ab":
        (tmp_path / "here" / "imgs" / label).mkdir(parents=True)
    assert Settings(dataset="imgs").with_defaults().dataset == str(tmp_path / "here" / "imgs")
    assert Settings(dataset="digits").with_defaults().dataset == "digits"


def test_selector_needs_candidates():
    with pytest.raises(InputError, match="a candidate is 3 of type int"):
        create_strategy("vote", [3])
    with pytest.raises(InputError, match="at least one candidate"):
        SelectorStrategy({})


def test_record_lists_the_options_of_a_variant(tmp_path, blob_data, quick):
    run("autoal", blob_data, candidates=["entropy"], options={"variant": "printed"}, out=tmp_path / "run", **quick)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    options = config["strategy"]["options"]
    assert options["scores"] == "picks" and options["final"] == "top" and options["objective"] == "loss"
    assert config["precision"] == "float32"
    run(dataset=blob_data, out=tmp_path / "run", resume=True)


def test_deep_dropout_passes_are_extended(image_data):
    from deepal_autoal import ActiveLearner, Recipe, TaskModel

    def build(input_shape, n_classes):
        layers = [torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.Dropout(0.4), torch.nn.ReLU()]
        return TaskModel(torch.nn.Sequential(*layers), 8, n_classes)

    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("deepdrop", build, summary="x")

    class Looks(Strategy):
        def query(self, context, batch_size):
            view = context.candidates
            assert torch.equal(view.mc_probabilities(5)[:3], view.mc_probabilities(3))
            assert view.mc_probabilities(5).std(dim=0).max() > 0
            return view.indices[:batch_size]

    plugin = Plugin()
    plugin_host().register(plugin, "deepdrop")
    try:
        learner = ActiveLearner(image_data.x_train, Looks(), 2, model="deepdrop", recipe=Recipe(epochs=1, min_steps=2))
        learner.tell(np.arange(6), image_data.y_train[:6])
        assert len(learner.ask(3)) == 3
    finally:
        plugin_host().unregister(plugin)
