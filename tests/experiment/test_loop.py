"""`run`: records, determinism, resume, hooks, early stopping, poisoned labels."""

import dataclasses
import json
import logging
import weakref

import numpy as np
import pytest
import torch

import deepal_autoal.files
from deepal_autoal import ActiveRun, Strategy, create_strategy, hookimpl, load_model, plugin_host, run
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import DeepALError, InputError, QueryError, RunFolderError
from deepal_autoal.experiment.records import area_under_budget_curve

SELECTORS = {"autoal", "vote"}
# Fewer steps of own networks: what is tested here does not depend on how long they train.
BUDGETS = {"vaal": {"epochs": 3}, "autoal": {"steps": 20, "warmup_steps": 5}}


def picks(result):
    return [record["queried"] for record in result.rounds]


def accuracies(result):
    return [record["accuracy"] for record in result.rounds]


def untimed(path):
    records = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "query_peak_bytes")} for record in records]


def test_records(tmp_path, blob_data, quick):
    result = run("margin", blob_data, out=tmp_path / "run", seed=3, **quick)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [r["n_labeled"] for r in result.rounds] == [12, 18, 24, 30]
    assert [len(r["queried"]) for r in result.rounds] == [6, 6, 6, 0]
    labeled = [*config["initial"], *(i for r in result.rounds for i in r["queried"])]
    assert len(set(labeled)) == 30 and max(labeled) < 120
    assert untimed(tmp_path / "run") == [
        {k: v for k, v in r.items() if k not in ("seconds", "query_peak_bytes")} for r in result.rounds
    ]
    assert set(result.rounds[0]["seconds"]) == {"train", "evaluate", "query"}
    assert summary["final_accuracy"] == result.accuracy == result.rounds[-1]["accuracy"]
    assert summary["status"] == "finished" and summary["n_rounds"] == 3 and summary["n_labeled"] == 30
    assert summary["aubc"] == pytest.approx(area_under_budget_curve([12, 18, 24, 30], accuracies(result)))
    assert config["dataset"]["fingerprint"] == blob_data.fingerprint and config["threads"] == 1
    assert config["versions"]["torch"] and config["plugins"]["deepal_autoal"]
    weights = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert {p.name for p in (tmp_path / "run").iterdir()} - {".lock"} == {
        "config.json", "rounds.jsonl", "queried.csv", "summary.json", "model.pt", "state-00002.pt"}  # fmt: skip


def test_area_under_budget_curve_weights_uneven_intervals():
    assert area_under_budget_curve([10, 20, 25], [0.5, 0.7, 0.9]) == pytest.approx((10 * 0.6 + 5 * 0.8) / 15)
    assert area_under_budget_curve([10], [0.4]) == 0.4


def test_loaded_model_reproduces_recorded_accuracy(tmp_path, image_data, quick):
    result = run("entropy", image_data, out=tmp_path / "run", **{**quick, "model": "cnn"})
    predictor = load_model(tmp_path / "run")
    assert (predictor.predict(image_data.x_test) == image_data.y_test).mean() == pytest.approx(result.accuracy)
    assert predictor.class_names == ("left", "right")
    assert np.allclose(predictor.predict_proba(image_data.x_test[..., 0]).sum(axis=1), 1, atol=1e-5)
    with pytest.raises(RunFolderError, match="no finished run"):
        load_model(tmp_path)


# One strategy per family; the conformance checks test all strategies, query by query.
@pytest.mark.parametrize("name", ["random", "badge", "bald", "lpl", "vaal", "albl", "autoal"])
def test_runs_are_reproducible_and_ignore_hidden_labels(tmp_path, blob_data, quick, name):
    """Only queried labels may matter: all others are scrambled, before and during the queries."""
    quick["model"] = "mlp"  # lpl needs stages, which linear does not have
    quick["options"] = BUDGETS.get(name)
    first = run(name, blob_data, out=tmp_path / "a", **quick)
    again = run(name, blob_data, out=tmp_path / "b", **quick)
    assert untimed(tmp_path / "a") == untimed(tmp_path / "b")
    assert picks(first) == picks(again)
    bought = [*first.config["initial"], *(i for record in first.rounds for i in record["queried"])]
    poisoned = (blob_data.y_train + 1) % 3
    poisoned[bought] = blob_data.y_train[bought]
    other = dataclasses.replace(blob_data, y_train=poisoned, y_test=(blob_data.y_test + 1) % 3)
    assert picks(run(name, other, **quick)) == picks(first)
    assert picks(run(name, blob_data, **{**quick, "seed": 1})) != picks(first)


def test_all_strategies_start_alike(blob_data, quick):
    runs = [run(name, blob_data, **{**quick, "rounds": 1}) for name in ("random", "margin", "kmeans")]
    assert len({tuple(r.config["initial"]) for r in runs}) == 1
    assert len({r.rounds[0]["accuracy"] for r in runs}) == 1


@pytest.mark.parametrize("name, warm_start", [("margin", False), ("margin", True), ("autoal", True)])
def test_resume_after_every_round_equals_uninterrupted_run(tmp_path, blob_data, quick, name, warm_start):
    quick["recipe"] = {**quick["recipe"], "warm_start": warm_start}
    quick["options"] = BUDGETS.get(name)
    whole = run(name, blob_data, out=tmp_path / "whole", **quick)
    for stop in range(4):
        folder = tmp_path / f"stop{stop}"

        def interrupt(active, record, stop=stop):
            if record["round"] == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(name, blob_data, out=folder, on_round=interrupt, **quick)
        assert len(untimed(folder)) == stop + 1
        resumed = run(dataset=blob_data, out=folder, resume=True)
        assert untimed(folder) == untimed(tmp_path / "whole")
        assert picks(resumed) == picks(whole)
        first, second = (torch.load(f / "model.pt", weights_only=True) for f in (tmp_path / "whole", folder))
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("file", ["config.json", "state-00001.pt", "rounds.jsonl", "model.pt", "summary.json"])
def test_full_disk_loses_at_most_one_round(tmp_path, blob_data, quick, monkeypatch, file):
    whole = run("entropy", blob_data, **quick)
    replace = deepal_autoal.files.os.replace
    count = {"n": 0}

    def full(source, target):
        if str(target).endswith(file):
            count["n"] += 1
            if file != "rounds.jsonl" or count["n"] == 2:
                raise OSError(28, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(deepal_autoal.files.os, "replace", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        run("entropy", blob_data, out=tmp_path / "run", **quick)
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob("*deepal-tmp*")) and not list((tmp_path / "run").glob(".*deepal-tmp*"))
    resumed = run("entropy", blob_data, out=tmp_path / "run", resume=True, **quick)
    assert picks(resumed) == picks(whole) and accuracies(resumed) == accuracies(whole)


def test_resume_rules(tmp_path, blob_data, quick):
    out = tmp_path / "run"
    finished = run("entropy", blob_data, out=out, resume=True, **quick)  # missing: starts
    before = (out / "rounds.jsonl").read_bytes()
    again = run("entropy", blob_data, out=out, resume=True, **quick)  # finished: does nothing
    assert again.rounds == finished.rounds and (out / "rounds.jsonl").read_bytes() == before
    with pytest.raises(RunFolderError, match="holds a run"):
        run("entropy", blob_data, out=out, **quick)
    for change, message in [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"batch_size": 5}, "batch_size was 6 and is now 5"),
        ({"rounds": 2}, "rounds was 3 and is now 2"),
        ({"epochs": 4}, r"recipe.epochs was 3 and is now 4"),
        ({"threads": 2}, "threads was 1 and is now 2"),
        ({"model": "mlp"}, "model.name was 'linear' and is now 'mlp'"),
    ]:
        with pytest.raises(RunFolderError, match=message):
            run("entropy", blob_data, out=out, resume=True, **{**quick, **change})
    with pytest.raises(RunFolderError, match="strategy was 'entropy' and is now 'margin'"):
        run("margin", blob_data, out=out, resume=True)
    other = dataclasses.replace(blob_data, x_train=blob_data.x_train + 1)
    with pytest.raises(RunFolderError, match=r"dataset.fingerprint"):
        run("entropy", other, out=out, resume=True)
    (tmp_path / "empty").mkdir()
    assert run("entropy", blob_data, out=tmp_path / "empty", resume=True, **quick).accuracy == finished.accuracy
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match="not empty"):
        run("entropy", blob_data, out=tmp_path / "foreign", resume=True, **quick)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="cannot write"):
        run("entropy", blob_data, out=tmp_path / "file", **quick)
    with pytest.raises(InputError, match="--out"):
        run("entropy", blob_data, resume=True)


def test_damaged_folder_is_refused(tmp_path, blob_data, quick):
    run("entropy", blob_data, out=tmp_path / "run", **quick)
    (tmp_path / "run" / "rounds.jsonl").write_text('{"round": 0}\n{"round"')
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl"):
        run("entropy", blob_data, out=tmp_path / "run", resume=True, **quick)


def test_lock_prevents_a_second_run(tmp_path, blob_data, quick):
    def intrude(active, record):
        with pytest.raises(RunFolderError, match="in use"):
            run("entropy", blob_data, out=tmp_path / "run", resume=True, **quick)

    run("entropy", blob_data, out=tmp_path / "run", on_round=intrude, **quick)


class Watcher:
    """Records every event, in order."""

    def __init__(self, stop_at=None):
        self.events = []
        self.stop_at = stop_at

    @hookimpl
    def deepal_run_started(self, run):
        self.events.append("started")

    @hookimpl
    def deepal_model_trained(self, run, model, metrics):
        self.events.append(f"trained {model.module.n_classes} {0 <= metrics['accuracy'] <= 1}")

    @hookimpl
    def deepal_should_stop(self, run):
        return "seen enough" if len(run.records) == self.stop_at else None

    @hookimpl
    def deepal_batch_queried(self, run, query):
        self.events.append(f"queried {len(query.indices)} of {len(run.learner.labeled_indices)}")

    @hookimpl
    def deepal_round_finished(self, run, record):
        written = (run.folder / "rounds.jsonl").read_text().splitlines()
        assert json.loads(written[-1]) == record  # the record is written before such hooks run
        self.events.append(f"round {record['round']}")

    @hookimpl
    def deepal_run_finished(self, run):
        assert (run.folder / "summary.json").exists()
        self.events.append("finished")


@pytest.fixture
def watch():
    registered = []

    def register(plugin):
        plugin_host().register(plugin, f"watcher{len(registered)}")
        registered.append(plugin)
        return plugin

    yield register
    for plugin in registered:
        plugin_host().unregister(plugin)


def test_events_in_order(tmp_path, blob_data, quick, watch):
    watcher = watch(Watcher())
    run("entropy", blob_data, out=tmp_path / "run", **{**quick, "rounds": 1})
    assert watcher.events == [
        "started", "trained 3 True", "queried 6 of 12", "round 0", "trained 3 True", "round 1", "finished"
    ]  # fmt: skip


def test_early_stop(tmp_path, blob_data, quick, watch):
    watch(Watcher(stop_at=2))
    result = run("entropy", blob_data, out=tmp_path / "run", **quick)
    assert result.status == "stopped" and result.stop_reason == "seen enough"
    assert [len(r["queried"]) for r in result.rounds] == [6, 6, 0]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"
    (tmp_path / "run" / "summary.json").unlink()


def test_failing_hook_does_not_stop_the_run(blob_data, quick, watch, caplog):
    class Failing:
        @hookimpl
        def deepal_round_finished(self, run, record):
            raise RuntimeError("boom")

    watch(Failing())
    with caplog.at_level(logging.WARNING):
        assert len(run("entropy", blob_data, **quick).rounds) == 4
    assert "deepal_round_finished: RuntimeError: boom" in caplog.text


def test_missing_class_gives_a_warning(blob_data, quick, caplog):
    with caplog.at_level(logging.WARNING):
        result = run("margin", blob_data, **{**quick, "initial": 2})
    assert "initial labeled set lacks" in caplog.text and len(result.rounds) == 4


def test_vectors_changed_after_their_check_are_checked_again(blob_data, quick):
    blob_data.x_train[7] = np.nan
    with pytest.raises(InputError, match="first in row 7"):
        run("random", blob_data, **quick)


@pytest.mark.parametrize("change, message", [
    ({"initial": 0}, "at most --rounds"), ({"batch_size": 0}, "at most --rounds"),
    ({"rounds": 19}, "at most --rounds 18"),
    ({"batch_size": 200}, "at most --rounds 0"), ({"seed": -1}, "--seed -1"), ({"threads": 0}, "--threads 0"),
    ({"device": "cuda:9"}, "cuda:9"), ({"device": "tpu"}, "tpu"), ({"model": "cnn"}, "cnn"),
    ({"model": "lineer"}, "Did you mean 'linear'"), ({"epochs": 0}, "epochs"),
    ({"recipe": {"optimizer": "adamm"}}, "adamm"),
    ({"pool_size": 999}, "--pool-size 999"),
])  # fmt: skip
def test_invalid_settings_give_one_line_errors(tmp_path, blob_data, quick, change, message):
    with pytest.raises(DeepALError, match=message) as caught:
        run("entropy", blob_data, out=tmp_path / "run", **{**quick, **change})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_pool_size_keeps_row_numbers(blob_data, quick):
    result = run("margin", blob_data, **{**quick, "pool_size": 40, "seed": 4})
    labeled = {*result.config["initial"], *(i for record in result.rounds for i in record["queried"])}
    assert len(labeled) == 30 and max(labeled) >= 40


def test_whole_pool_can_be_labeled(blob_data, quick):
    result = run("autoal", blob_data, **{**quick, "initial": 60, "batch_size": 60, "rounds": 1})
    assert result.rounds[-1]["n_labeled"] == 120


def test_strategy_with_invalid_answer_is_named(blob_data, quick):
    class Greedy(Strategy):
        def query(self, context, batch_size):
            return context.labeled.indices[:batch_size]

    with pytest.raises(QueryError, match=r"Greedy.*labeled or not in the pool"):
        run(Greedy(), blob_data, **quick)


def test_strategy_state_survives_resume(tmp_path, blob_data, quick):
    """A strategy that counts its queries: killed and resumed, it must go on counting."""

    class Counting(Strategy):
        def __init__(self):
            self.seen = []

        def query(self, context, batch_size):
            self.seen.append(len(context.candidates))
            chosen = context.rng.choice(context.candidates.indices, batch_size, replace=False)
            from deepal_autoal import Query

            return Query(chosen, {"seen": list(self.seen)})

        def state_dict(self):
            return {"seen": np.array(self.seen)}

        def load_state_dict(self, state):
            self.seen = state["seen"].tolist()

    def interrupt(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Counting(), blob_data, out=tmp_path / "run", on_round=interrupt, **quick)
    result = run(Counting(), blob_data, out=tmp_path / "run", resume=True, **quick)
    assert result.rounds[2]["strategy"] == {"seen": [108, 102, 96]}


def test_global_state_is_unchanged(blob_data, quick):
    torch.manual_seed(7)
    np.random.seed(7)
    threads = torch.get_num_threads()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(create_strategy("autoal", ["entropy", "kmeans"]), blob_data, **quick)
    assert torch.equal(states[0], torch.get_rng_state()) and (states[1] == np.random.get_state()[1]).all()
    assert torch.get_num_threads() == threads


def test_tiny_images_use_one_thread_by_default(tmp_path, quick, monkeypatch):
    rng = np.random.default_rng(0)
    images = {side: Dataset("noise", rng.integers(0, 255, (40, side, side, 1), np.uint8), np.arange(40) % 2,
                            rng.integers(0, 255, (10, side, side, 1), np.uint8), np.arange(10) % 2, ("a", "b"))
              for side in (8, 16)}  # fmt: skip
    settings = {**quick, "model": "linear", "rounds": 0}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for number, (side, given, used) in enumerate([(8, None, 1), (8, 2, 2), (16, None, 2), (16, 1, 1)]):
            out = tmp_path / str(number)
            run("random", images[side], out=out, **{**settings, "threads": given})
            assert json.loads((out / "config.json").read_text())["threads"] == used
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_strategy_that_raises_is_named(blob_data, quick):
    class Raises(Strategy):
        def query(self, context, batch_size):
            raise KeyError("oops")

    with pytest.raises(QueryError, match=r"Raises.* failed in query: KeyError: 'oops'") as caught:
        run(Raises(), blob_data, **quick)
    assert isinstance(caught.value.__cause__, KeyError)


def test_augmentation_of_vectors_is_refused_before_anything_is_written(tmp_path, blob_data, quick):
    with pytest.raises(InputError, match="give --augmentation none"):
        run("random", blob_data, out=tmp_path / "run", **{**quick, "recipe": {"augmentation": ("flip",)}})
    assert not (tmp_path / "run").exists()
    run("random", blob_data, protocol="deepal+/cifar10", **{**quick, "recipe": {"augmentation": ()}, "rounds": 0})


def stop_after(number):
    def stop(active, record):
        if record["round"] == number:
            raise KeyboardInterrupt

    return stop


def test_run_of_an_earlier_version_is_resumed(tmp_path, blob_data, quick):
    """Its record lacks fields that were added later, and the precision is not resolved."""
    whole = run("margin", blob_data, **quick).rounds
    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_data, out=tmp_path / "run", on_round=stop_after(1), **quick)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["recipe"]["compile"], config["model"]["options"], config["settings"]["recipe"]["precision"]
    del config["checksum"]
    config["recipe"]["precision"] = "auto"
    path.write_text(json.dumps(config))
    again = run("margin", blob_data, out=tmp_path / "run", resume=True, **quick).rounds
    assert [r["queried"] for r in again] == [r["queried"] for r in whole]


def test_resumed_run_keeps_its_original_defaults(tmp_path, image_data, quick):
    """Even if the defaults for this kind of data and the dataset's augmentation have changed since."""
    earlier = {"learning_rate": 2e-4, "schedule": "constant", "train_batch_size": 5, "augmentation": ()}
    settings = {**quick, "model": "cnn", "epochs": 1}
    whole = run("margin", image_data, **{**settings, "recipe": {**quick["recipe"], **earlier}}).rounds
    with pytest.raises(KeyboardInterrupt):
        run("margin", image_data, out=tmp_path / "run", on_round=stop_after(1),
            **{**settings, "recipe": {**quick["recipe"], **earlier}})  # fmt: skip
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    for name in earlier:
        del config["settings"]["recipe"][name]
    del config["recipe"]["averaging"], config["checksum"]
    config["dataset"]["augmentation"] = ["flip"]
    path.write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match=r"recipe.averaging was 0.0 and is now 0.9"):
        run("margin", image_data, out=tmp_path / "run", resume=True, **{**settings, "recipe": {"averaging": 0.9}})
    again = run("margin", image_data, out=tmp_path / "run", resume=True, **settings).rounds
    assert [(r["queried"], r["accuracy"]) for r in again] == [(r["queried"], r["accuracy"]) for r in whole]
    assert {name: getattr(load_model(tmp_path / "run").model.recipe, name) for name in earlier} == earlier


def test_recorded_precision_is_kept_on_another_processor(tmp_path, quick, monkeypatch):
    x = np.random.default_rng(0).integers(0, 256, size=(30, 16, 16, 1), dtype=np.uint8)
    y = np.arange(30) % 2
    images = Dataset("noise", x, y, x[:4], y[:4], ("a", "b"))
    settings = {**quick, "model": "cnn", "rounds": 1, "initial": 6, "batch_size": 3}
    monkeypatch.setattr("deepal_autoal.numerics.precision.cpu_has_bfloat16", lambda: True)
    first = run("random", images, out=tmp_path / "run", **settings)
    assert first.config["precision"] == "bfloat16" == first.config["recipe"]["precision"]
    monkeypatch.setattr("deepal_autoal.numerics.precision.cpu_has_bfloat16", lambda: False)
    assert run("random", images, out=tmp_path / "run", resume=True, **settings).rounds == first.rounds
    assert run("random", images, **settings).config["precision"] == "float32"


def test_hooks_see_one_run_that_ends_with_it(blob_data, quick):
    seen, runs = [], []

    def look(active, *record):
        seen.append(id(active))
        runs.append(weakref.ref(active))
        assert isinstance(active, ActiveRun) and not hasattr(active, "finish")

    run("random", blob_data, on_start=look, on_round=look, **quick)
    assert len(set(seen)) == 1 and runs[0]() is None


def test_a_configuration_without_an_entry_names_it(tmp_path, blob_data, quick):
    run("random", blob_data, out=tmp_path / "run", **quick)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["pool_size"], config["checksum"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError, match="lacks pool_size"):
        run("random", blob_data, out=tmp_path / "run", resume=True, **quick)


def test_images_that_may_not_fit_into_memory_name_a_smaller_size(image_data, quick, caplog, monkeypatch):
    settings = {**quick, "rounds": 0}
    run("random", image_data, **settings)
    assert "GiB" not in caplog.text
    monkeypatch.setattr("deepal_autoal.experiment.loop.memory_size", lambda: 8 * 8 * 16 * 400.0)
    run("random", image_data, **settings)
    assert "a training step on 16 images of 8x8 pixels may take" in caplog.text and "--image-size 224" in caplog.text


def test_a_result_shows_what_was_reached(blob_data, quick):
    result = run(dataset=blob_data, strategy="margin", seed=1, **quick)
    assert repr(result) == (
        f"RunResult(margin on blobs, n_rounds=3, accuracy={result.accuracy:.4f}, aubc={result.aubc:.4f}, "
        "status='finished')"
    )
