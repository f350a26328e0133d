"""The audit in learners and runs."""

import json

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, InputError, run
from deepal_autoal.audit.estimates import HeldOut, accuracy_estimate
from deepal_autoal.audit.sampling import audit_order
from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.pool import draw_initial
from deepal_autoal.training.trainer import Trainer

NO_AUDIT = {"audit": None, "audit_folds": None}
LINEAR = {"model": "linear", "recipe": {"epochs": 2, "min_steps": 2}, "device": "cpu"}


@pytest.fixture
def settings(quick):
    return {**quick, "audit": 0.25, "audit_folds": 2, "initial": 12, "batch_size": 8, "rounds": 3}


def without_times(result):
    left_out = ("seconds", "query_peak_bytes")
    return [{key: value for key, value in record.items() if key not in left_out} for record in result.rounds]


def audit_set(config):
    """Return the run's order of the pool."""
    initial = np.array(config["initial"])
    return audit_order(config["pool_size"], config["seed"], initial)


def test_batches_contain_the_prefix_and_the_rest_is_the_strategys(blob_data, settings):
    result = run("entropy", blob_data, **settings)
    order = audit_set(result.config)
    plain = run("entropy", blob_data, **{**settings, **NO_AUDIT})
    assert result.config["initial"] == plain.config["initial"]
    assert [record["accuracy"] for record in result.rounds[:1]] == [plain.rounds[0]["accuracy"]]
    first = result.rounds[0]["queried"]
    assert first[:2] == order[12:14].tolist()
    # What the strategy likes best is the same where it is not due anyway.
    assert set(first[2:]) <= set(plain.rounds[0]["queried"]) | set(order[12:14].tolist())
    labeled = list(result.config["initial"])
    for number, record in enumerate(result.rounds):
        assert set(order[: 12 + 2 * number].tolist()) <= set(labeled)
        found = record["audit"]
        assert found["n"] == 12 + 2 * number and 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
        assert len(found["recall"]) == len(found["frequencies"]) == 3
        assert record["seconds"]["audit"] > 0
        labeled += record["queried"]
    assert json.loads(json.dumps(result.rounds)) == result.rounds
    assert result.rounds[2]["audit"]["stability"] is None is not result.rounds[3]["audit"]["stability"]


def test_without_an_audit_nothing_changes(blob_data, quick):
    result = run("entropy", blob_data, **quick)
    assert not {"audit", "audit_folds"} & result.config["settings"].keys()
    assert all("audit" not in record and "audit" not in record["seconds"] for record in result.rounds)
    assert without_times(run("entropy", blob_data, audit=0.0, **quick)) == without_times(result)


def test_a_killed_run_ends_the_same(tmp_path, blob_file, settings):
    whole = run("entropy", blob_file, **settings)

    def stop(live, record):
        if record["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("entropy", blob_file, out=tmp_path / "run", on_round=stop, **settings)
    with pytest.raises(RunFolderError, match=r"audit was 0\.25 and is now 0\.5"):
        run(out=tmp_path / "run", resume=True, audit=0.5)
    assert without_times(run(out=tmp_path / "run", resume=True)) == without_times(whole)
    shorter = {**settings, "rounds": 2}
    run("entropy", blob_file, out=tmp_path / "extended", **shorter)
    extended = run(out=tmp_path / "extended", resume=True, rounds=settings["rounds"])
    assert without_times(extended) == without_times(whole)


def test_without_folds_no_further_model_is_trained(tmp_path, blob_file, settings, monkeypatch):
    """The batch's first two samples are audited; the models that answered had not been trained on them."""
    trained = []
    fit = Trainer.fit

    def counting(self, labeled, *arguments, **more):
        trained.append(len(labeled.indices))
        return fit(self, labeled, *arguments, **more)

    monkeypatch.setattr(Trainer, "fit", counting)
    settings = {**settings, "audit_folds": 0}
    whole = run("entropy", blob_file, **settings)
    assert trained == [12, 20, 28, 36]
    assert whole.config["settings"]["audit_folds"] == 0
    found = [record["audit"] for record in whole.rounds]
    assert found[0] is None and [one["n"] for one in found[1:]] == [2, 4, 6]
    assert {one["method"] for one in found[1:]} == {"before training"}
    assert found[3]["equivalent_random_labels"] is None is found[3]["next_gain"]
    assert found[3]["stability"] is not None

    def stop(live, record):
        if record["round"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("entropy", blob_file, out=tmp_path / "run", on_round=stop, **settings)
    assert without_times(run(out=tmp_path / "run", resume=True)) == without_times(whole)
    options = {"target-accuracy": found[2]["accuracy"], "stop-on": "audit"}
    stopped = run("entropy", blob_file, **settings, plugin_options=options)
    assert len(stopped.rounds) <= 3 and stopped.stop_reason.startswith("the audit's estimate")


def make(blob_data, **more):
    return ActiveLearner(blob_data.x_train, "margin", 3, **LINEAR, **{"audit": 0.5, "audit_folds": 3, **more})


def label(learner, blob_data, indices):
    learner.tell(indices, blob_data.y_train[indices])


def test_a_learner_estimates_its_accuracy(tmp_path, blob_data):
    learner = make(blob_data)
    label(learner, blob_data, learner.ask(20))
    batch = learner.ask(10)
    found = learner.estimate()
    assert found is learner.estimate() and found.accuracy.n == 20 and str(found).startswith("accuracy ")
    assert learner.ask(10).tolist() == batch.tolist()
    learner.save(tmp_path / "learner")
    loaded = ActiveLearner.load(tmp_path / "learner", blob_data.x_train)
    for one in (learner, loaded):
        label(one, blob_data, one.ask(10))
    assert loaded.ask(10).tolist() == learner.ask(10).tolist()
    assert loaded.estimate().to_json(10) == learner.estimate().to_json(10)
    assert loaded.estimate().accuracy.n == 25
    assert loaded.advise(10).text
    with pytest.raises(InputError, match="has no audit"):
        make(blob_data, audit=0.0, audit_folds=None).estimate()


def test_answers_are_those_before_training(tmp_path, blob_data):
    learner = make(blob_data, audit_folds=0)
    label(learner, blob_data, learner.ask(10))
    assert learner.estimate() is None
    right, audited, chosen = [], [], []
    for _ in range(3):
        batch = learner.ask(8)
        probabilities = learner.predict_proba(blob_data.x_train[batch])
        right += (probabilities.argmax(1) == blob_data.y_train[batch])[:4].tolist()
        chosen += (probabilities.argmax(1) == blob_data.y_train[batch])[4:].tolist()
        audited += probabilities.max(1)[:4].tolist()
        label(learner, blob_data, batch)
    rest = learner.unlabeled_indices
    confidence = learner.predict_proba(blob_data.x_train[rest]).max(1)
    expected = accuracy_estimate(HeldOut(np.array(right), np.array(audited)), confidence)
    found = learner.estimate()
    assert found.rest.estimate == pytest.approx(expected.estimate, abs=1e-4) and found.accuracy.n == 12
    mean = (np.mean(chosen) + expected.estimate) / 2
    assert found.accuracy.estimate == pytest.approx(0.9 * expected.estimate + 0.1 * mean, abs=1e-4)
    learner.save(tmp_path / "learner")
    loaded = ActiveLearner.load(tmp_path / "learner", blob_data.x_train)
    assert loaded.estimate().to_json(8) == found.to_json(8)


def test_labels_of_other_origin_are_not_audited(blob_data):
    learner = make(blob_data)
    label(learner, blob_data, np.arange(30))
    assert learner.estimate() is None
    label(learner, blob_data, learner.ask(20))
    order = audit_order(120, 0, np.empty(0, dtype=np.int64))
    assert set(order[:10].tolist()) <= set(learner.labeled_indices.tolist())
    assert learner.estimate().accuracy.n == 10


def test_what_was_not_answered_is_asked_again_and_does_not_count(blob_data):
    learner = make(blob_data)
    first = learner.ask(20)
    label(learner, blob_data, first[:14])
    again = learner.ask(10)
    assert set(first[14:].tolist()) <= set(again.tolist())
    label(learner, blob_data, again[:4])
    assert learner.estimate().accuracy.n == 18
    order = audit_order(120, 0, draw_initial(120, 0, 20))
    assert set(again.tolist()) >= set(order[20:24].tolist())


def test_a_whole_batch_may_be_audited(blob_data):
    learner = make(blob_data, audit=1.0)
    label(learner, blob_data, learner.ask(6))
    batch = learner.ask(5)
    assert batch.tolist() == audit_order(120, 0, draw_initial(120, 0, 6))[6:11].tolist() == learner.ask(5).tolist()


def test_estimating_changes_nothing(blob_data):
    learners = [make(blob_data) for _ in range(2)]
    for learner in learners:
        label(learner, blob_data, learner.ask(20))
    learners[0].estimate()
    assert learners[0].ask(10).tolist() == learners[1].ask(10).tolist()
    assert (learners[0].predict_proba(blob_data.x_test) == learners[1].predict_proba(blob_data.x_test)).all()


@pytest.mark.parametrize("wrong", [{"audit": 1.5}, {"audit": "x"}, {"audit_folds": 1}, {"audit_folds": -2},
                                   {"audit": 0, "audit_folds": 5}])  # fmt: skip
def test_bad_values_are_refused(blob_data, quick, wrong):
    with pytest.raises(InputError, match="audit"):
        make(blob_data, **wrong)
    with pytest.raises(InputError, match="audit"):
        run("random", blob_data, **{**quick, "audit": 0.1, **wrong})


def test_runs_stop_as_the_audit_says(blob_data, settings, caplog):
    undisturbed = [
        record["audit"]["accuracy"] for record in run("entropy", blob_data, **{**settings, "rounds": 0}).rounds
    ]
    options = {"target-accuracy": undisturbed[0], "stop-on": "audit"}
    stopped = run("entropy", blob_data, **settings, plugin_options=options)
    assert len(stopped.rounds) == 1 and stopped.stop_reason.startswith("the audit's estimate")
    options = {"patience": 1, "min-gain": 0.9, "stop-on": "audit"}
    assert len(run("entropy", blob_data, **settings, plugin_options=options).rounds) == 2
    for more in ({"stop-on": "audit", "target-accuracy": 1e-9}, {"label-cost": 1, "value-per-point": 0}):
        found = run("entropy", blob_data, **{**settings, **NO_AUDIT, "rounds": 0}, plugin_options=more)
        assert "have no effect without --audit" in caplog.text and found.rounds[0]["accuracy"] > 0
        caplog.clear()
    prices = {"label-cost": 1, "value-per-point": 0}
    assert len(run("entropy", blob_data, **{**settings, "audit_folds": 0}, plugin_options=prices).rounds) == 4
    assert "weighs nothing with --audit-folds 0" in caplog.text
    run("entropy", blob_data, **{**settings, "rounds": 0}, plugin_options={"label-cost": 1})
    assert "no effect without each other" in caplog.text


def test_runs_stop_when_labels_cost_more_than_they_bring(blob_data, settings):
    noisy = {**settings, "initial": 40, "label_noise": 0.3}
    rounds = run("entropy", blob_data, **{**noisy, "rounds": 0}).rounds
    gain = rounds[0]["audit"]["next_gain"]
    assert gain is not None
    prices = {"label-cost": 101 * gain["high"] / 8, "value-per-point": 1.0}
    stopped = run("entropy", blob_data, **noisy, plugin_options=prices)
    assert len(stopped.rounds) == 1 and "stop." in stopped.stop_reason
    prices["value-per-point"] = 100.0
    assert len(run("entropy", blob_data, **{**noisy, "rounds": 1}, plugin_options=prices).rounds) == 2
