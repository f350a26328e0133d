"""Oracles: what they query, what they may see, what they record, and that nothing else can have one."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, QueryError, create_strategy, hookimpl, plugin_host, run
from deepal_autoal.errors import InputError, PluginError, RunFolderError, UnknownNameError
from deepal_autoal.experiment.live_run import LiveRun
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.experiment.records import RunFolder
from deepal_autoal.oracles import read_trials
from deepal_autoal.oracles.creation import ORACLES, create_named
from deepal_autoal.oracles.judge import Judge
from deepal_autoal.oracles.third_split import default_pool_size, draw_third_split, n_scored
from deepal_autoal.oracles.trials import Trial
from deepal_autoal.training.task_model import TaskModel
from tests.benchmark.run_files import untimed
from tests.conftest import blobs

NAMES = ["margin", "entropy", "random"]


@pytest.fixture
def toy(quick, blob_data):
    """Settings of a run whose accuracies differ: noisy blobs, few labels."""
    rng = np.random.default_rng(3)
    x_train, x_test = (x + rng.normal(size=x.shape) * 2 for x in (blob_data.x_train, blob_data.x_test))
    data = type(blob_data)(
        "noisy", x_train.astype(np.float32), blob_data.y_train, x_test.astype(np.float32), blob_data.y_test,
        blob_data.class_names,
    )  # fmt: skip
    return {**quick, "dataset": data, "initial": 6, "rounds": 2}


def script(monkeypatch, scores):
    """Have the judge give each strategy's batch the next of its scores, (accuracy, loss), without training."""
    scores = {name: iter(found) for name, found in scores.items()}
    monkeypatch.setattr(
        Judge, "try_batch", lambda self, name, size, batch: Trial(name, size, batch, *next(scores[name]))
    )


def test_the_best_candidate_has_the_highest_accuracy_then_the_lowest_loss(toy, tmp_path, monkeypatch):
    script(monkeypatch, {"margin": [(0.7, 0.1), (0.5, 3.0)], "entropy": [(0.9, 2.0), (0.6, 3.0)],
                         "random": [(0.9, 1.0), (0.4, 0.1)]})  # fmt: skip
    rounds = run("oracle-best", candidates=NAMES, out=tmp_path / "run", **toy).rounds
    assert [record["strategy"]["chosen"] for record in rounds[:2]] == ["random", "entropy"]
    for record, found in zip(rounds, read_trials(tmp_path / "run"), strict=False):
        assert [trial.strategy for trial in found.trials] == NAMES
        assert record["queried"] == found.trials[found.chosen].batch.tolist()


def test_the_previous_best_is_queried_a_round_later(toy, tmp_path, monkeypatch):
    best = ["entropy", "margin", "random", "entropy"]
    scores = {name: [(0.9 if name == winner else 0.1, 1.0) for winner in best] for name in NAMES}
    toy["rounds"] = 4
    script(monkeypatch, scores)
    whole = run("oracle-previous", candidates=NAMES, out=tmp_path / "whole", **toy).rounds
    assert [record["strategy"]["chosen"] for record in whole[1:4]] == best[:3]
    # What was best is part of the state of an interrupted run.
    script(monkeypatch, scores)
    with pytest.raises(KeyboardInterrupt):
        run("oracle-previous", candidates=NAMES, out=tmp_path / "run", on_round=_stop_after(1), **toy)
    script(monkeypatch, {name: found[2:] for name, found in scores.items()})
    run(dataset=toy["dataset"], out=tmp_path / "run", resume=True)
    assert untimed(tmp_path / "run") == untimed(tmp_path / "whole")


@pytest.mark.parametrize("more", [{}, {"pool_size": 60}, {"duplicates": 2, "pool_size": 100, "label_noise": 0.2}])
def test_the_third_split_is_neither_in_the_pool_nor_seen_by_training(toy, tmp_path, more, monkeypatch):
    members = []
    monkeypatch.setattr(LiveRun, "start", _noting(members, LiveRun.start))
    result = run("oracle-best", candidates=NAMES, out=tmp_path / "run", seed=1, **toy, **more)
    pool_size = more.get("pool_size", 96)  # of 120, a fifth is left out
    assert len(members[0]) == pool_size == result.config["pool_size"]
    rounds = read_trials(tmp_path / "run")
    for found in rounds:
        assert not set((members[0] % 120).tolist()) & set(found.third_split.tolist())
        assert len(found.third_split) == 120 - len(set((members[0] % 120).tolist()))
        for trial in found.trials:
            assert set(trial.batch.tolist()) <= set(members[0].tolist()) - set(found.labeled.tolist())
    # Training in a trial is that of the next round, to the last bit.
    for found, after in pairwise(rounds):
        best = found.trials[found.chosen]
        assert (best.accuracy, best.loss) == (after.accuracy, after.loss)
        assert after.labeled.tolist() == [*found.labeled.tolist(), *best.batch.tolist()]


def test_third_split_is_fixed_by_the_seed_and_bounded():
    in_play, members = np.arange(9000), np.arange(1000)
    one, again, other = (draw_third_split(in_play, members, 9000, seed) for seed in (1, 1, 2))
    assert len(one) == len(set(one.tolist())) == 5000 and min(one) >= 1000
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize("n_copies", [1, 2, 5])
def test_a_fifth_of_the_distinct_samples_scores_by_default_also_with_duplicates(n_copies):
    in_play = np.arange(1000 * n_copies)
    pool_size = default_pool_size(len(in_play), n_copies)
    assert pool_size == 800 * n_copies and n_scored(len(in_play), pool_size, n_copies) == 200
    for size, left in ((pool_size, 200), (pool_size - n_copies + 1, 200), (pool_size - n_copies, 201)):
        members = draw_members(len(in_play), 3, size, n_copies)
        assert len(draw_third_split(in_play, members, 1000, 0)) == left == n_scored(len(in_play), size, n_copies)


def test_scores_are_accuracy_and_loss_of_the_labels(toy, tmp_path):
    run("oracle-greedy", options={"tau": 1}, out=tmp_path / "run", **{**toy, "rounds": 1})
    (found,) = read_trials(tmp_path / "run")
    data = toy["dataset"]
    learner = ActiveLearner(
        data.x_train, "random", 3, model="linear", recipe={"epochs": 3, "min_steps": 5}, scaling="auto",
        members=np.setdiff1d(np.arange(120), found.third_split), n_rounds=1,
    )  # fmt: skip
    learner.tell(found.labeled, data.y_train[found.labeled])
    probabilities = learner.predict_proba(data.x_train[found.third_split])
    truth = data.y_train[found.third_split]
    assert found.accuracy == (probabilities.argmax(axis=1) == truth).mean()
    assert found.loss == pytest.approx(-np.log(probabilities[np.arange(len(truth)), truth]).mean(), rel=1e-4)
    assert np.allclose(found.gains, [trial.accuracy - found.accuracy for trial in found.trials])


def test_greedy_keeps_the_best_sample_of_each_step(toy, tmp_path):
    toy = {**toy, "batch_size": 3, "rounds": 1}
    queried = run("oracle-greedy", options={"tau": 4}, out=tmp_path / "run", **toy).rounds[0]["queried"]
    (found,) = read_trials(tmp_path / "run")
    assert [len(trial.batch) for trial in found.trials] == [1] * 4 + [2] * 4 + [3] * 4
    for step in range(3):
        tried = found.trials[4 * step : 4 * step + 4]
        kept = min(tried, key=lambda trial: (-trial.accuracy, trial.loss))
        assert kept.batch.tolist() == queried[: step + 1]
        assert all(trial.batch[:step].tolist() == queried[:step] for trial in tried)
    assert found.trials[found.chosen].accuracy == max(trial.accuracy for trial in found.trials[8:])


@pytest.mark.parametrize("name, options, total", [("best", {}, 2), ("boss", {"batches": 4, "recheck": 1}, 5)])
def test_progress_counts_trials_and_not_the_steps_of_candidates(toy, name, options, total):
    seen = []
    run(
        f"oracle-{name}", candidates=["typiclust", "maxherding"], options=options,
        progress=lambda phase, done, n: seen.append((done, n)) if phase == "query" else None, **{**toy, "rounds": 1},
    )  # fmt: skip
    assert [step for step in seen if step[1] != 1] == [(done, total) for done in range(total)]


def test_boss_tries_candidates_on_random_parts_of_the_pool(toy, tmp_path):
    options = {"batches": 30, "least": 2, "largest": 50, "recheck": 2}
    candidates = ["random", "margin", "typiclass"]
    run("oracle-boss", candidates=candidates, options=options, out=tmp_path / "run", **{**toy, "rounds": 1})
    (found,) = read_trials(tmp_path / "run")
    sizes = [trial.subpool_size for trial in found.trials]
    assert len(sizes) == 30 and 12 <= min(sizes) < 20 and 40 < max(sizes) <= 50
    assert {trial.strategy for trial in found.trials} == set(candidates)
    ranked = sorted(found.trials, key=lambda trial: (-trial.accuracy, trial.loss))
    again = [trial for trial in found.trials if not np.isnan(trial.accuracy_again)]
    assert {id(trial) for trial in again} == {id(trial) for trial in ranked[:2]}
    assert any(trial.accuracy != trial.accuracy_again or trial.loss != trial.loss_again for trial in again)
    best = max(again, key=lambda trial: (trial.accuracy + trial.accuracy_again, -trial.loss - trial.loss_again))
    assert found.trials[found.chosen] is best


def test_candidates_that_the_model_cannot_serve_are_left_out_of_the_default_ones(toy, registered, caplog):
    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("plain", _without_dropout, summary="of a test", inputs="any")

    registered(Plugin(), "of a test")
    toy |= {"model": "plain", "rounds": 0}
    result = run("oracle-boss", **toy)
    names = [candidate["name"] for candidate in result.config["strategy"]["candidates"]]
    assert "typiclass" in names and "dropquery" not in names and "dropqueryclass" not in names
    assert result.config["strategy"]["name"] == "oracle-boss"
    assert "dropquery, dropqueryclass; they require mc_dropout" in caplog.text
    with pytest.raises(InputError, match="requires mc_dropout"):
        run("oracle-boss", candidates=["dropquery"], **toy)


def test_typiclass_fills_the_rarest_classes_with_central_samples(toy, tmp_path, monkeypatch):
    script(monkeypatch, {"typiclass": [(0.5, 1.0)]})
    toy = {**toy, "rounds": 1, "model": "linear", "scaling": "none"}
    queried = run("oracle-best", candidates=["typiclass"], out=tmp_path / "run", **toy).rounds[0]["queried"]
    (found,) = read_trials(tmp_path / "run")
    x, y = toy["dataset"].x_train.astype(float), toy["dataset"].y_train  # a linear model's embeddings
    pool = np.setdiff1d(np.arange(120), np.concatenate([found.third_split, found.labeled]))
    counts = np.bincount(y[found.labeled], minlength=3)
    for sample in queried:
        assert counts[y[sample]] == counts.min()
        counts[y[sample]] += 1
    for number in range(3):
        own = pool[y[pool] == number]
        sums = {row: ((x[own] - x[row]) ** 2).sum() for row in own.tolist()}
        mine = [row for row in queried if y[row] == number]
        assert mine == sorted(sums, key=lambda row: sums[row])[: len(mine)]


def test_an_interrupted_run_ends_as_an_undisturbed_one(toy, tmp_path, monkeypatch):
    toy |= {"options": {"batches": 3}, "candidates": ["random", "margin"]}
    run("oracle-boss", out=tmp_path / "whole", **toy)
    # Killed after a round's trials were written, and before the round was.
    with monkeypatch.context() as patch:
        write = RunFolder.write_round

        def write_first(self, records, state):
            if len(records) > 1:
                raise KeyboardInterrupt
            write(self, records, state)

        patch.setattr(RunFolder, "write_round", write_first)
        with pytest.raises(KeyboardInterrupt):
            run("oracle-boss", out=tmp_path / "run", **toy)
    assert len(read_trials(tmp_path / "run")) == 2
    (tmp_path / "run" / "trials-00001.npz").write_bytes(b"stale")
    run(dataset=toy["dataset"], out=tmp_path / "run", resume=True)
    assert untimed(tmp_path / "run") == untimed(tmp_path / "whole")
    for number in range(2):
        name = f"trials-{number:05d}.npz"
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_damaged_and_missing_trials_are_reported(toy, tmp_path):
    with pytest.raises(RunFolderError, match="holds no trials"):
        read_trials(tmp_path)
    np.savez(tmp_path / "trials-00000.npz", x=np.array([{}], dtype=object))
    with pytest.raises(RunFolderError, match="damaged"):
        read_trials(tmp_path)


def test_oracles_are_in_no_registry_and_belong_to_simulations(toy, registered, deepal):
    assert not [name for name in plugin_host().strategies.names() if "oracle" in name]
    for name in ORACLES:
        with pytest.raises(UnknownNameError):
            create_strategy(f"oracle-{name}")
        with pytest.raises(UnknownNameError):
            ActiveLearner(blobs(20)[0], f"oracle-{name}", 3)
    learner = ActiveLearner(blobs(20)[0], create_named("oracle-greedy", None, {}, {}), 3, model="linear")
    learner.tell([0, 1, 2], [0, 1, 2])
    with pytest.raises(QueryError, match="hidden labels, which only a simulated run has"):
        learner.ask(2)
    assert "oracle" not in deepal("strategies")[1]
    assert "unknown strategy" in deepal("run", "--strategy", "oracle-best")[2].lower()

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("oracle-mine", "tests.conftest:Mine")

    with pytest.raises(PluginError, match="reserved for oracles"):
        registered(Plugin(), "of a test")


def test_wrong_use_is_explained(toy):
    with pytest.raises(UnknownNameError, match="bos"):
        run("oracle-bos", **toy)
    with pytest.raises(InputError, match=r"--pool-size 120.*give at most 96"):
        run("oracle-best", candidates=NAMES, pool_size=120, **toy)
    for name, options in (("boss", {"batches": 0}), ("greedy", {"tau": 0}), ("best", {"recheck": -1})):
        with pytest.raises(InputError, match=r"give [01] or more"):
            run(f"oracle-{name}", options=options, **toy)


def _without_dropout(input_shape, n_classes):
    return TaskModel(torch.nn.Flatten(), input_shape[0], n_classes, dropout=0.0)


def _stop_after(number):
    calls = iter(range(number + 1))

    def stop(*arguments):
        if next(calls) == number:
            raise KeyboardInterrupt

    return stop


def _noting(found, start):
    def call(live):
        start(live)
        learner = live.learner
        found.append(np.concatenate([learner.labeled_indices, learner.unlabeled_indices]))

    return call
