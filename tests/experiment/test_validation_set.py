"""Labeled samples that are held out for validation, by --validation."""

import json

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, Recipe, Strategy, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.cost.probe import Probe
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.errors import InputError, QueryError, RunFolderError
from deepal_autoal.experiment.pool import draw_validation
from deepal_autoal.files import read_json
from deepal_autoal.report.study import read_study
from deepal_strategies.ceal import CEAL


class Watching(Strategy):
    """Keeps what it sees."""

    requires = frozenset({"probabilities"})

    def __init__(self):
        self.seen = []

    def query(self, context, batch_size):
        view = context.validation
        self.seen.append(
            (
                set(context.candidates.indices.tolist()),
                set(context.labeled.indices.tolist()),
                None if view is None else (view.indices.tolist(), view.labels.tolist()),
            )
        )
        return context.candidates.indices[:batch_size]


def untimed(result):
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "query_peak_bytes")}
        for record in result.rounds
    ]


def test_it_is_drawn_uniformly_by_seed_and_pool_size():
    assert draw_validation(50, 0, 9).tolist() == sorted(set(draw_validation(50, 0, 9).tolist()))
    assert set(draw_validation(50, 0, 9)) < set(draw_validation(50, 0, 20)) and len(draw_validation(50, 0, 0)) == 0
    assert draw_validation(50, 1, 9).tolist() != draw_validation(50, 0, 9).tolist()
    counts = np.bincount(np.concatenate([draw_validation(20, seed, 5) for seed in range(400)]), minlength=20)
    assert (abs(counts - 100) < 5 * np.sqrt(400 * 0.25 * 0.75)).all()


def test_strategies_see_it_and_it_is_neither_trained_on_nor_queried(tmp_path, blob_file, blob_data, quick):
    watching = Watching()
    result = run(watching, blob_data, validation=15, pool_size=90, **quick)
    found = set(result.config["validation_set"])
    assert len(found) == 15 and result.config["pool_size"] == 90
    assert set(result.config["initial"]) == watching.seen[0][1]
    for candidates, labeled, (indices, labels) in watching.seen:
        assert set(indices) == found and labels == blob_data.y_train[indices].tolist()
        assert not found & (candidates | labeled) and len(candidates | labeled) == 75
    run(watching, blob_data, **quick)
    assert watching.seen[-1][2] is None


def test_trainers_do_not_get_it_as_unlabeled_data_either(blob_data, quick, monkeypatch):
    given = []
    wrapped = CEAL.wrap_trainer

    def wrap(self, trainer):
        inner = wrapped(self, trainer)

        class Keeping:
            def __getattr__(self, name):
                return getattr(inner, name)

            def fit(self, labeled, unlabeled, **settings):
                given.append({*labeled.indices.tolist(), *unlabeled.indices.tolist()})
                return inner.fit(labeled, unlabeled, **settings)

        return Keeping()

    monkeypatch.setattr(CEAL, "wrap_trainer", wrap)
    result = run("ceal", blob_data, validation=15, **quick | {"model": "mlp", "rounds": 1})
    assert given and all(part == {*range(120)} - {*result.config["validation_set"]} for part in given)


def test_labels_are_counted_or_free(tmp_path, blob_file, quick):
    counted = run("margin", blob_file, out=tmp_path / "counted", validation=10, **quick)
    free = run("margin", blob_file, out=tmp_path / "free", validation=10, validation_labels="free", **quick)
    assert [record["n_labeled"] for record in counted.rounds] == [22, 28, 34, 40]
    assert [record["n_labeled"] for record in free.rounds] == [12, 18, 24, 30]
    assert [record["queried"] for record in counted.rounds] == [record["queried"] for record in free.rounds]
    assert read_json(tmp_path / "free/summary.json")["n_labeled"] == 30
    for name in ("counted", "free"):
        config = read_json(tmp_path / name / "config.json")
        assert config["validation_labels"] == name and len(config["validation_set"]) == 10
    # They are not compared as if they had the same labels.
    run("entropy", blob_file, out=tmp_path / "other", validation=10, **quick)
    assert read_study([tmp_path / "counted", tmp_path / "other"]).strategies == ("entropy", "margin")
    with pytest.raises(InputError, match="validation_labels is 'free' and 'counted'"):
        read_study([tmp_path / "free", tmp_path / "other"])


def test_the_wrong_labels_of_a_noisy_oracle_are_in_it(blob_data, quick):
    watching = Watching()
    run(watching, blob_data, validation=60, label_noise=0.5, **quick)
    _, _, (indices, labels) = watching.seen[0]
    assert 10 < (blob_data.y_train[indices] != labels).sum() < 50


def test_a_run_goes_on_with_its_own_set_only(tmp_path, blob_file, quick):
    def killed(live, record):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run("glister", blob_file, out=folder, validation=10, on_round=killed, **quick | {"model": "mlp"})
    whole = run("glister", blob_file, validation=10, **quick | {"model": "mlp"})
    assert untimed(run(out=folder, resume=True)) == untimed(whole)
    for more, message in (
        ({"validation": 11}, "validation was 10 and is now 11"),
        ({"validation": 0}, "validation was 10 and is now 0"),
        ({"validation_labels": "free"}, "validation_labels was 'counted' and is now 'free'"),
    ):
        with pytest.raises(RunFolderError, match=message):
            run(out=folder, resume=True, **more)
    run("random", blob_file, out=tmp_path / "without", **quick)
    config = read_json(tmp_path / "without/config.json")
    assert not any("validation" in name for name in (*config, *config["settings"]))
    with pytest.raises(RunFolderError, match="validation was 0 and is now 5"):
        run(out=tmp_path / "without", resume=True, validation=5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 120}, "--validation 120: give 0 to 119"),
        ({"validation": -1}, "--validation -1"),
        ({"validation": 5, "validation_labels": "some"}, "give counted or free"),
        ({"validation_labels": "free"}, "no effect without --validation"),
        ({"validation": 95}, "25 samples beside --validation 95, so with --initial 12 .* at most --rounds 2"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, blob_data, blob_file, quick, settings, message):
    with pytest.raises(InputError, match=message):
        run("random", blob_data, **quick, **settings)
    with pytest.raises(InputError, match=message):
        run_benchmark("random", [blob_file], 1, tmp_path / "study", **quick, **settings)


def test_commands_say_it(deepal, blob_file, tmp_path):
    quick = ["--dataset", blob_file, "--model", "linear", "--initial", "12", "--batch-size", "6", "--rounds", "1",
             "--validation", "10", "--validation-labels", "free"]  # fmt: skip
    status, _, err = deepal("run", "--out", "run", *quick)
    assert status == 0 and "validation: 10 samples, whose labels are free" in err
    status, out, _ = deepal("run", "--dry-run", *quick)
    assert status == 0 and "12 + 1 x 6 labels, all asked for at once, 10 held out for validation;" in out
    status, out, _ = deepal("report", "run", "--format", "markdown")
    assert status == 0


def test_benchmarks_and_their_probes(tmp_path, blob_file, blob_data, quick):
    study = tmp_path / "study"
    for strategies in ("random", "random,glister"):
        run_benchmark(strategies, [blob_file], 1, study, validation=10, **quick | {"model": "mlp", "rounds": 1})
    sets = [read_json(folder / "config.json")["validation_set"] for folder in study.glob("*/*/seed-0")]
    assert len(sets) == 2 and sets[0] == sets[1]
    with pytest.raises(RunFolderError, match="validation was 10 and is now"):
        run_benchmark("random", [blob_file], 1, study, **quick | {"model": "mlp", "rounds": 1})
    planned = plan_grid("random", str(blob_file), 1, tmp_path / "new", None, {**quick, "validation": 10}).runs[0]
    assert planned.setup.n_validation == 10
    watching = Watching()
    Probe(blob_data, planned.setup, planned.settings, 0.05).of(lambda: watching)
    assert watching.seen and all(len(view[0]) == 10 for _, _, view in watching.seen)


def test_a_learner_keeps_it(tmp_path, blob_data):
    held, y = [3, 5, 8, 13], blob_data.y_train

    def make(**more):
        return ActiveLearner(blob_data.x_train, "glister", 3, model="mlp", device="cpu",
                             recipe=Recipe(epochs=2, min_steps=5), **more)  # fmt: skip

    learner = make(validation=(held, y[held]))
    first = learner.ask(12)
    learner.tell(first, y[first])
    assert learner.validation_indices.tolist() == held and not {*held} & {*first, *learner.unlabeled_indices}
    with pytest.raises(InputError, match="index 3 is not in the pool"):
        learner.tell([3], [0])
    learner.save(tmp_path / "learner.pt")
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)
    assert loaded.validation_indices.tolist() == held and loaded.ask(9).tolist() == learner.ask(9).tolist()
    for given, message in (
        (([3, 3], [0, 0]), "given twice"),
        (([120], [0]), "index 120 is not in the pool"),
        (([3], [3]), "label 3 is not a class"),
        ((range(120), y), "leave some to learn from"),
    ):
        with pytest.raises(InputError, match=message):
            make(validation=given)


def test_a_rebuilt_context_has_it_through_the_other_model(blob_data, quick):
    class Rebuilding(Strategy):
        def query(self, context, batch_size):
            part = context.labeled.indices[:6]
            other = context.rebuild(
                labeled=part, model=context.fit(part, "other"), candidates=context.labeled.indices[6:]
            )
            assert other.validation.indices.tolist() == context.validation.indices.tolist()
            assert other.validation.labels.tolist() == context.validation.labels.tolist()
            assert (other.validation.logits() != context.validation.logits()).any()
            assert context.for_candidate("one").validation is context.validation
            with pytest.raises(InputError, match="no label in this context"):
                context.fit(context.validation.indices, "forbidden")
            return context.candidates.indices[:batch_size]

    assert len(run(Rebuilding(), blob_data, validation=10, **quick | {"rounds": 1}).rounds) == 2


def test_modifying_it_in_place_is_an_error(blob_data, quick):
    class Damaging(Strategy):
        def query(self, context, batch_size):
            context.validation.labels.add_(1)
            return context.candidates.indices[:batch_size]

    with pytest.raises(QueryError, match="labels"):
        run(Damaging(), blob_data, validation=10, **quick)


@pytest.mark.parametrize("name", ["rambo", "dulo", "glister"])
def test_strategies_judge_by_it(blob_data, quick, name):
    options = {"rambo": {"pairs": 2, "interpolated": 2, "epochs": 1, "steps": 1, "width": 8}, "dulo": {"pairs": 2}}
    settings = {**quick, "rounds": 1, "model": "mlp", "options": options.get(name)}
    report = run(name, blob_data, validation=30, **settings).rounds[0]["strategy"]
    assert "validation" not in report and json.dumps(report)
    if name == "rambo":  # parts of the whole labeled set are judged: in units of 1/30
        assert report["learned"] and all(abs(30 * u - round(30 * u)) < 1e-6 for u in report["accuracies"])
    if name == "dulo":
        assert report["learned"] and all(abs(30 * u - round(30 * u)) < 1e-6 for u in report["utilities"])
    own = {**(options.get(name) or {}), "validation": 4}
    assert len(run(name, blob_data, **settings | {"options": own}).rounds[0]["strategy"]["validation"]) == 4
    with pytest.raises(QueryError, match="option validation is 4, but the run has a validation set"):
        run(name, blob_data, validation=30, **settings | {"options": own})
