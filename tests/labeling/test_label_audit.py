"""The audit of a labeling project: what is audited, and what `status` says of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.files import read_json, remove_file, write_json
from deepal_autoal.labeling.auditing import audit_order, audit_state
from deepal_autoal.labeling.learning import Learning
from deepal_autoal.labeling.project import Project
from tests.conftest import blobs
from tests.labeling.conftest import ask, ids_of, label_batch, truth, write_answers
from tests.labeling.test_label_loop import status_of

AUDITED = ["--strategy", "margin", "--model", "linear", "--batch-size", "8", "--audit", "0.25"]


@pytest.fixture(autouse=True)
def few_models(monkeypatch):
    monkeypatch.setattr("deepal_autoal.experiment.auditing.DEFAULT_FOLDS", 2)


@pytest.fixture
def audited(deepal, vectors):
    """A new project about `vectors`: of each batch of 8, 2 samples are audited."""
    status, _, err = deepal("label", "init", "p", "--data", vectors, *AUDITED)
    assert status == 0, err
    return Path("p")


def test_batches_contain_the_audits_share(deepal, audited, vectors):
    order = audit_order(Project(audited))
    assert sorted(order) == list(range(40))
    first = [int(name) for name in label_batch(deepal)]
    assert first == order[:8].tolist()
    second = [int(name) for name in label_batch(deepal)]
    assert second[:2] == order[8:10].tolist()
    learner = ActiveLearner(np.load(vectors), "margin", 3, model="linear")
    learner.load_state_dict({
        "labeled": first, "labels": ["abc".index(truth(row)) for row in first], "round": 0, "is_current": False,
        "model": None, "strategy": {}, "strategy_before": None, "pending": None,
    })  # fmt: skip
    assert set(second[2:]) <= set(learner.ask(8).tolist()), "the rest is the strategy's"
    remove_file(audited / "learner.pt")
    known = set(first) | set(second)
    due = [row for row in order[10:12].tolist() if row not in known]
    assert [int(name) for name in ids_of(ask(deepal))][: len(due)] == due


def test_status_says_what_the_learner_does(deepal, audited, vectors):
    assert status_of(deepal)["accuracy"] is None
    rows = [int(name) for name in label_batch(deepal)] + [int(name) for name in label_batch(deepal)]
    status = status_of(deepal)
    found = status["accuracy"]
    assert set(found) == {"estimate", "low", "high", "audited"}
    assert found["audited"] == 10
    learner = ActiveLearner(np.load(vectors), "margin", 3, model="linear", audit=0.25)
    learner.load_state_dict({
        "labeled": rows, "labels": ["abc".index(truth(row)) for row in rows], "round": 1, "is_current": False,
        "model": None, "strategy": {}, "strategy_before": None, "pending": None,
        "audit": audit_state(Project(audited)),
    })  # fmt: skip
    accuracy = learner.estimate().accuracy
    assert (found["estimate"], found["low"], found["high"]) == (accuracy.estimate, accuracy.low, accuracy.high)
    assert status["equivalent_random_labels"] is None and status["advice"].startswith("Cannot tell yet")
    _, out, _ = deepal("label", "status", "p")
    rest = learner.estimate().rest
    value, low, high = (f"{100 * share:.1f}%" for share in (rest.estimate, rest.low, rest.high))
    said = f"from 10 audited samples; on those without a label {value} ({low} to {high}). Cannot tell yet"
    assert "Accuracy with 16 labels: " in out and said in out
    path = audited / "audit.json"
    old = {key: value for key, value in read_json(path).items() if key != "rest"}  # as 0.1 wrote it
    write_json(path, old)
    assert "from 10 audited samples. Cannot tell yet" in deepal("label", "status", "p")[1]


def test_status_weighs_gain_against_cost(deepal, audited, monkeypatch):
    label_batch(deepal)
    label_batch(deepal)
    path = audited / "audit.json"
    found = read_json(path)
    assert found["outlook"] == {"batch_size": 8, "gain": None, "stability": None}
    costs = ["--label-cost", "2", "--value-per-point", "10"]
    assert "Cannot tell yet" in deepal("label", "status", "p", *costs)[1]
    for gain, stability, said in (
        ([0.001, 0.01, 0.02], 0.9, "worth 1 to 20, and cost 16: it may pay or not. Second opinion"),
        ([0.001, 0.01, 0.015], None, "cost 16: stop. To go on all the same: deepal label next p"),
        ([0.02, 0.03, 0.04], 0.995, "cost 16: go on. Second opinion: predictions have stopped changing"),
        ([0.02, 0.03, None], None, "worth 20 to 30, and cost 16: go on. "),
    ):
        write_json(path, {**found, "outlook": {"batch_size": 8, "gain": gain, "stability": stability}})
        status, out, _ = deepal("label", "status", "p", *costs)
        assert status == 0 and said in out
        assert json.loads(deepal("label", "status", "p", "--json", *costs)[1])["advice"] in out
    for wrong in (costs[:2], costs[2:], ["--label-cost", "-1", "--value-per-point", "1"]):
        status, _, err = deepal("label", "status", "p", *wrong)
        assert status == 2 and len(err.splitlines()) == 1


def test_estimate_is_computed_once_and_status_trains_nothing(deepal, audited, monkeypatch):
    label_batch(deepal)
    before = status_of(deepal)
    remove_file(audited / "learner.pt")
    with monkeypatch.context() as patched:
        patched.setattr(ActiveLearner, "fit", lambda *arguments: pytest.fail("trained"))
        assert status_of(deepal) == before
        status, _, err = deepal("label", "status", "p", "--estimate")
        assert status == 0, err
    (audited / "audit.json").write_text("{}")
    assert status_of(deepal)["accuracy"] is None
    assert deepal("label", "status", "p", "--estimate")[0] == 0
    assert status_of(deepal)["accuracy"] == before["accuracy"]


def test_an_interrupted_submission_is_completed_by_its_repetition(deepal, audited, monkeypatch):
    path = ask(deepal)
    write_answers(path, [(name, truth(name)) for name in ids_of(path)])

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Learning, "next_rows", killed)
        assert deepal("label", "submit", "p", path)[0] == 130
    assert status_of(deepal)["labeled"] == 8 and status_of(deepal)["accuracy"] is None
    assert deepal("label", "submit", "p", path)[0] == 0
    assert status_of(deepal)["accuracy"] is not None and (audited / "learner.pt").exists()


def test_advice_to_estimate_once_many_labels_came_without_it(deepal, audited, monkeypatch):
    """As from the page, which only chooses batches."""
    hint = "deepal label status p --estimate"
    with monkeypatch.context() as patched:
        patched.setattr(Learning, "estimate", lambda *arguments: None)
        label_batch(deepal)
    assert f"Accuracy is not estimated yet; do it now: {hint}." in status_of(deepal)["advice"]
    assert deepal("label", "status", "p", "--estimate")[0] == 0 and hint not in status_of(deepal)["advice"]
    with monkeypatch.context() as patched:
        patched.setattr(Learning, "estimate", lambda *arguments: None)
        label_batch(deepal)
    status = status_of(deepal)
    assert f"8 labels came since accuracy was estimated; do it now: {hint}." in status["advice"]
    assert status["labeled"] == 16


def test_networks_for_images_are_audited_on_demand(deepal, audited, monkeypatch):
    """Where samples are no vectors, submitting does not train the audit's models."""
    real = Learning.estimate
    monkeypatch.setattr(Learning, "estimate", lambda *arguments: pytest.fail("not asked for"))
    images = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    np.save("i.npy", images)
    deepal("label", "init", "i", "--data", "i.npy", "--strategy", "random", "--model", "linear", "--batch-size", "4")
    _, out, _ = deepal("label", "next", "i")
    names = ids_of(out.strip())
    write_answers("i.csv", [(name, "ab"[position % 2]) for position, name in enumerate(names)])
    assert deepal("label", "submit", "i", "i.csv")[0] == 0 and status_of(deepal, "i")["accuracy"] is None
    monkeypatch.setattr(Learning, "estimate", real)
    assert deepal("label", "status", "i", "--estimate")[0] == 0
    assert status_of(deepal, "i")["accuracy"]["audited"] == 4


def test_skipped_samples_leave_the_order(deepal, audited):
    """They neither stay due nor move others; the next in order takes their place."""
    before = audit_order(Project(audited)).tolist()
    path = ask(deepal)
    names = ids_of(path)
    write_answers(path, [(names[0], "skip"), *((name, truth(name)) for name in names[1:])])
    assert deepal("label", "submit", "p", path)[0] == 0
    project = Project(audited)
    assert audit_order(project).tolist() == before[1:] and audit_state(project)["n_initial"] == 7
    assert status_of(deepal)["accuracy"]["audited"] == 7
    path = ask(deepal)
    names = ids_of(path)
    assert [int(name) for name in names[:2]] == before[8:10]
    write_answers(path, [(names[0], "skip"), *((name, truth(name)) for name in names[1:])])
    assert deepal("label", "submit", "p", path)[0] == 0
    expected = [row for row in before if str(row) not in (names[0], str(before[0]))]
    labeled = Project(audited).state.labels
    # 7 of the first batch and a quarter of the 7 labels of the second.
    assert status_of(deepal)["accuracy"]["audited"] == sum(row in labeled for row in expected[:9])
    due = [row for row in expected[:11] if row not in labeled]
    assert [int(name) for name in ids_of(ask(deepal))][: len(due)] == due


def test_added_samples_take_random_places(deepal, audited):
    before = audit_order(Project(audited)).tolist()
    np.save("more.npy", blobs(60)[0][40:])
    assert deepal("label", "add", "p", "more.npy")[0] == 0
    after = audit_order(Project(audited)).tolist()
    assert [row for row in after if row < 40] == before and sorted(after) == list(range(60))
    assert any(row >= 40 for row in after[:20]) and any(row < 40 for row in after[-20:])


def test_labels_that_the_data_came_with_are_not_audited(deepal, tmp_path):
    x, y = blobs(40)
    np.savez("some.npz", x=x, y=np.where(np.arange(40) < 15, y, -1))
    assert deepal("label", "init", "p", "--data", "some.npz", *AUDITED)[0] == 0
    order = audit_order(Project(Path("p")))
    assert sorted(order) == list(range(15, 40))
    path = ask(deepal)
    names = ids_of(path)
    assert [int(name) for name in names[:2]] == order[:2].tolist()
    write_answers(path, [(name, str(y[int(name)])) for name in names])
    assert deepal("label", "submit", "p", path)[0] == 0
    assert status_of(deepal)["accuracy"]["audited"] == 2


def test_a_batch_beside_a_single_class_contains_the_share(deepal, audited):
    order = audit_order(Project(audited)).tolist()
    path = ask(deepal)
    write_answers(path, [(name, "a") for name in ids_of(path)])
    assert deepal("label", "submit", "p", path)[0] == 0
    rows = [int(name) for name in ids_of(ask(deepal))]
    assert rows[:2] == order[8:10] and len(set(rows)) == 8 and not set(rows) & set(order[:8])
    status, _, err = deepal("label", "status", "p", "--estimate")
    assert status == 2 and "labels of two classes" in err


def test_no_audit(deepal, project):
    label_batch(deepal)
    assert status_of(deepal)["accuracy"] is None and not Path("p/audit.json").exists()
    status, _, err = deepal("label", "status", "p", "--estimate")
    assert status == 2 and "has no audit" in err
