"""The loop of a person: init, next, submit, status, and what survives."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal.files import remove_file
from deepal_autoal.labeling.journal import Journal
from deepal_autoal.labeling.project import Project, locked
from tests.labeling.conftest import QUICK, ask, ids_of, label_batch, truth, write_answers


def status_of(deepal, name="p"):
    status, out, err = deepal("label", "status", name, "--json")
    assert status == 0, err
    return json.loads(out)


def test_first_batch_covers_the_pool_and_stays(deepal, project):
    path = ask(deepal)
    names = ids_of(path)
    assert path == "p/batches/1.csv" and Path(path).read_text().startswith("id,label\n")
    assert len(set(names)) == 6 and {truth(name) for name in names} == set("abc")
    page = Path("p/batches/1.html").read_text()
    assert all(f"<code>{name}</code>" in page for name in names) and "http" not in page
    assert ask(deepal) == path and ids_of(path) == names
    assert status_of(deepal)["open_batch"] == 6


def test_loop_to_the_last_sample(deepal, project):
    seen = []
    while (left := 40 - len(seen)) > 0:
        seen += label_batch(deepal)
        status = status_of(deepal)
        assert (status["labeled"], status["open_batch"]) == (len(seen), 0) and left <= 40
    assert sorted(seen, key=int) == [str(row) for row in range(40)]
    assert status["by_class"] == {name: sum(truth(other) == name for other in seen) for name in status["by_class"]}
    assert set(status) == {"pool", "labeled", "skipped", "open_batch", "by_class", "strategy", "model", "accuracy",
                           "equivalent_random_labels", "advice"}  # fmt: skip
    assert (status["pool"], status["strategy"], status["model"]) == (40, "margin", "linear")
    code, out, _ = deepal("label", "next", "p")
    assert code == 0 and "Every sample has an answer" in out


def test_next_batch_is_the_learners(deepal, project, vectors):
    """What `ActiveLearner` asks for with the same labels."""
    from deepal_autoal.experiment.learner import ActiveLearner

    names = label_batch(deepal)
    second = ids_of(ask(deepal))
    learner = ActiveLearner(np.load(vectors), "margin", 3, model="linear")
    classes = sorted({truth(name) for name in names})
    learner.load_state_dict({
        "labeled": [int(name) for name in names], "labels": [classes.index(truth(name)) for name in names], "round": 0,
        "is_current": False, "model": None, "strategy": {}, "strategy_before": None, "pending": None,
    })  # fmt: skip
    assert sorted(map(int, second)) == sorted(learner.ask(6).tolist())


def test_same_seed_same_batches_also_without_what_can_be_computed_again(deepal, project, vectors):
    deepal("label", "init", "q", "--data", vectors, *QUICK)
    for _ in range(3):
        names = label_batch(deepal)
        status, out, err = deepal("label", "next", "q")
        assert status == 0 and ids_of(out.strip()) == names, err
        write_answers("answers.csv", [(name, truth(name)) for name in names])
        assert deepal("label", "submit", "q", "answers.csv")[0] == 0
        remove_file(Path("q/learner.pt"))
        remove_file(Path("q/next.json"))
        shutil.rmtree("q/batches")


def test_killed_between_the_files_and_the_event(deepal, project, monkeypatch):
    def killed(*arguments, **content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Project, "add_event", killed)
        status, _, err = deepal("label", "next", "p")
    assert status == 130 and "Repeat the command" in err and status_of(deepal)["open_batch"] == 0
    names = ids_of("p/batches/1.csv")
    leftover = Path("p/batches/.1.csv.7-ab.deepal-tmp")
    leftover.write_text("cut off")
    assert ids_of(ask(deepal)) == names and not leftover.exists()


def test_damaged_learner_is_trained_again(deepal, project):
    label_batch(deepal)
    shutil.copytree("p", "q")
    Path("q/learner.pt").write_bytes(b"damaged")
    Path("q/next.json").write_bytes(b"damaged")
    status, out, err = deepal("label", "next", "q")
    assert status == 0 and "trained again" in err and "q/next.json cannot be used" in err
    assert ids_of(out.strip()) == ids_of(ask(deepal))


def test_a_prepared_batch_is_handed_out_without_torch(deepal, project):
    """Which takes longer to load than all else takes."""
    label_batch(deepal)
    expected = Path("p/next.json").read_text()
    program = (
        "import sys\nfrom deepal_autoal.cli.main import main\n"
        "try:\n    main(['label', 'next', 'p'])\n"
        "except SystemExit as stopped:\n    sys.exit(stopped.code or 'torch' in sys.modules)"
    )
    for _ in range(2):  # chosen ahead, then open
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "p/batches/2.csv\n", "")
    batch = Project(Path("p")).state.batches[-1]
    assert list(batch.rows) == json.loads(expected)["rows"] and (batch.how, batch.model) == ("margin", "linear")


def test_a_prepared_batch_of_another_state_is_not_handed_out(deepal, project):
    names = label_batch(deepal)
    Path("kept.json").write_bytes(Path("p/next.json").read_bytes())
    label_batch(deepal)
    Path("p/next.json").write_bytes(Path("kept.json").read_bytes())
    third = ids_of(ask(deepal))
    assert len(third) == 6 and not set(third) & {*names, *ids_of("p/batches/2.csv")}


def test_later_skip_and_corrections(deepal, project):
    path = ask(deepal)
    names = ids_of(path)
    write_answers(
        path, [(names[0], "a"), (names[1], ""), (names[2], "SKIP"), (names[3], "b"), (names[4], ""), (names[5], "")]
    )
    status, out, _ = deepal("label", "submit", "p", path)
    assert status == 0 and "2 new, 1 skipped" in out and "3 of batch 1 are open" in out
    assert ask(deepal) == path and ids_of(path) == names
    write_answers("more.csv", [(names[0], "b"), (names[2], "c"), (names[3], "skip"), (names[4], "c")])
    status, out, _ = deepal("label", "submit", "p", "more.csv")
    assert status == 0 and "1 new, 2 corrected, 1 skipped" in out
    state = Project(Path("p")).state
    rows = [int(name) for name in names]
    assert state.labels == {rows[0]: "b", rows[2]: "c", rows[4]: "c"} and state.skipped == {rows[3]}
    assert [answer.label for answer in state.history[rows[0]]] == ["a", "b"]
    assert status_of(deepal)["by_class"] == {"b": 1, "c": 2}, "a class without a sample left is none"
    write_answers("rest.csv", [(names[1], "b"), (names[5], "b")])
    deepal("label", "submit", "p", "rest.csv")
    assert names[3] not in ids_of(ask(deepal))


def test_submitting_twice_changes_nothing(deepal, project):
    names = label_batch(deepal)
    before = Path("p/journal.jsonl").read_bytes()
    status, out, _ = deepal("label", "submit", "p", "p/batches/1.csv")
    assert status == 0 and f"{len(names)} known already" in out and Path("p/journal.jsonl").read_bytes() == before


def test_every_prefix_of_the_journal_is_before_or_after(deepal, project):
    """A kill or a full disk leaves a part of the last line."""
    label_batch(deepal)
    content = Path("p/journal.jsonl").read_bytes()
    last = content.rstrip(b"\n").rindex(b"\n") + 1
    for size in range(last, len(content), 7):
        Path("p/journal.jsonl").write_bytes(content[:size])
        journal = Journal(Path("p/journal.jsonl"))
        assert [event["event"] for event in journal.events] == ["data", "batch"]
    status, _, err = deepal("label", "submit", "p", "p/batches/1.csv")
    assert status == 0, err
    assert len(Project(Path("p")).state.labels) == 6


def test_full_disk_takes_nothing(deepal, project, monkeypatch):
    path = ask(deepal)
    names = ids_of(path)
    write_answers(path, [(name, truth(name)) for name in names])
    before = Path("p/journal.jsonl").read_bytes()
    from deepal_autoal.labeling import journal

    real = journal.os.write

    def full(descriptor, content):
        real(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", full)
        status, _, err = deepal("label", "submit", "p", path)
    assert status == 2 and "No space left" in err and "nothing was taken" in err
    assert Path("p/journal.jsonl").read_bytes() == before
    assert deepal("label", "submit", "p", path)[0] == 0


@pytest.mark.parametrize("change", [lambda text: text.replace('"a"', '"b"', 1), lambda text: text.split("\n", 1)[1],
                                    lambda text: text + text.splitlines()[-1] + "\n"])  # fmt: skip
def test_edited_journal_is_noticed(deepal, project, change):
    label_batch(deepal)
    path = Path("p/journal.jsonl")
    path.write_text(change(path.read_text()))
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and "damaged or was edited" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["project.json", "samples/1.json"])
def test_damaged_files_are_noticed(deepal, project, name):
    path = Path("p") / name
    path.write_bytes(path.read_bytes().replace(b"2", b"3", 1).replace(b"null", b"[]  ", 1))
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and "damaged or was edited" in err and err.count("\n") == 1
    assert "put back a copy" in err
    path.write_bytes(b"{")
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and str(path) in err and "put back a copy" in err and err.count("\n") == 1


def test_two_processes(deepal, project, monkeypatch):
    monkeypatch.setattr("deepal_autoal.labeling.project._LOCK_SECONDS", 0.0)
    with locked(Path("p")):
        status, _, err = deepal("label", "next", "p")
        assert status == 2 and "in use by another process" in err
        assert deepal("label", "status", "p")[0] == 0
    assert deepal("label", "next", "p")[0] == 0


def test_moved_together_with_its_data(deepal, project, tmp_path):
    label_batch(deepal)
    (tmp_path / "elsewhere").mkdir()
    shutil.move("p", "elsewhere/p")
    shutil.move("vectors.npy", "elsewhere/vectors.npy")
    assert deepal("label", "next", "elsewhere/p")[0] == 0


def test_moved_data_are_found_again(deepal, project):
    shutil.move("vectors.npy", "moved.npy")
    status, _, err = deepal("label", "next", "p")
    assert status == 2 and "are not at" in err and "deepal label init p --data PATH" in err
    np.save("other.npy", np.zeros((40, 6), np.float32))
    status, _, err = deepal("label", "init", "p", "--data", "other.npy")
    assert status == 2 and "does not hold its data" in err
    status, out, err = deepal("label", "init", "p", "--data", "moved.npy")
    assert status == 0 and "finds its data in moved.npy" in out, err
    assert deepal("label", "next", "p")[0] == 0


def test_journal_with_a_damaged_byte_is_not_cut_there(deepal, project):
    label_batch(deepal)
    path = Path("p/journal.jsonl")
    content = path.read_bytes()
    second = content.index(b"\n") + 1
    path.write_bytes(content[:second] + content[second:].replace(b"-", b"\r", 1))
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and "line 2 of p/journal.jsonl" in err and err.count("\n") == 1


@pytest.mark.parametrize("lost", ["project.json", "journal.jsonl"])
@pytest.mark.parametrize("how", [Path.unlink, Path.touch])
def test_start_does_not_overwrite_what_is_left(deepal, project, vectors, lost, how):
    label_batch(deepal)
    path = Path("p") / lost
    path.unlink()
    if how is Path.touch:
        path.touch()
    before = {file: file.read_bytes() for file in Path("p").rglob("*") if file.is_file() and file.name != ".lock"}
    for command in (["status", "p"], ["next", "p"], ["init", "p", "--data", vectors, *QUICK]):
        status, _, err = deepal("label", *command)
        assert status == 2 and lost in err and err.count("\n") == 1
    assert before == {file: file.read_bytes() for file in before}


def test_a_part_of_a_batch_is_taken_without_the_data(deepal, project):
    names = ids_of(ask(deepal))
    shutil.move("vectors.npy", "moved.npy")
    status, _, err = deepal("label", "submit", "p", write_answers("a.csv", [(names[0], "a")]))
    assert status == 0 and not err


def test_lost_names_of_samples_are_noticed(deepal, project):
    Path("p/samples/1.json").unlink()
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and "p/samples/1.json is missing; put back a copy" in err and err.count("\n") == 1


def test_no_server_without_the_data(deepal, project):
    shutil.move("vectors.npy", "moved.npy")
    status, out, err = deepal("label", "serve", "p", "--no-browser", "--port", "0")
    assert status == 2 and not out and "the data of p are not at" in err and err.count("\n") == 1


@pytest.mark.parametrize(("option", "value"), [("--embed", "foo"), ("--device", "gpu")])
def test_typing_errors_are_found_before_images_are_read(deepal, tmp_path, monkeypatch, option, value):
    monkeypatch.setattr("deepal_autoal.labeling.start.read_source", lambda *arguments: pytest.fail("read"))
    (tmp_path / "images").mkdir()
    status, _, err = deepal("label", "init", "q", "--data", "images", option, value)
    assert status == 2 and f"'{value}'" in err and err.count("\n") == 1 and not Path("q").exists()


def test_changed_data_are_noticed(deepal, project):
    np.save("vectors.npy", np.zeros((40, 6), np.float32))
    status, _, err = deepal("label", "next", "p")
    assert status == 2 and "was changed since" in err and err.count("\n") == 1


def test_killed_start_can_be_repeated(deepal, project, vectors):
    Path("p/journal.jsonl").write_bytes(Path("p/journal.jsonl").read_bytes()[:30])
    status, _, err = deepal("label", "status", "p")
    assert status == 2 and "not complete" in err
    assert deepal("label", "init", "p", "--data", vectors, *QUICK)[0] == 0
    assert status_of(deepal)["pool"] == 40


def test_strategies_memory_lasts(deepal, vectors):
    """A strategy with state continues; a batch that was chosen and not handed out leaves no trace."""
    deepal("label", "init", "p", "--data", vectors, "--strategy", "albl", "--candidates", "margin,entropy",
           "--model", "linear", "--batch-size", "5")  # fmt: skip
    label_batch(deepal)
    label_batch(deepal)
    from deepal_autoal.experiment.saved_learner import SavedLearner

    state = SavedLearner.read(Path("p/learner.pt")).state
    assert state["round"] == 2 and state["pending"] is not None
    before = state["strategy_before"]
    assert repr(before) != repr(state["strategy"])
    names = ids_of("p/batches/2.csv")
    write_answers("corrected.csv", [(names[0], "c" if truth(names[0]) != "c" else "a")])
    assert deepal("label", "submit", "p", "corrected.csv")[0] == 0
    again = SavedLearner.read(Path("p/learner.pt")).state
    assert again["round"] == 2 and repr(again["strategy_before"]) == repr(before)


def test_size_of_a_batch(deepal, project):
    assert len(ids_of(ask(deepal, "-n", "9"))) == 9
    status, out, err = deepal("label", "next", "p", "-n", "4")
    assert status == 0 and len(ids_of(out.strip())) == 9 and "still has 9 open labels" in err
    label_batch(deepal)
    assert len(ids_of(ask(deepal, "-n", "4"))) == 4, "other than the size that was prepared"
    status, _, err = deepal("label", "next", "p", "-n", "0")
    assert status == 2 and "-n 0" in err


def test_default_strategy_is_advised_and_recorded(deepal, vectors):
    status, out, err = deepal("label", "init", "d", "--data", vectors)
    assert status == 0, err
    strategy = status_of(deepal, "d")["strategy"]
    assert strategy != "random" and f"strategy {strategy}" in out


def test_suggested_commands_can_be_pasted(deepal, vectors):
    status, out, _ = deepal("label", "init", "my project", "--data", vectors, *QUICK)
    assert status == 0 and out.endswith("deepal label next 'my project'\n")
    assert deepal("label", "next", "my project")[0] == 0
    assert status_of(deepal, "my project")["advice"].endswith("submit 'my project' 'my project/batches/1.csv'")
