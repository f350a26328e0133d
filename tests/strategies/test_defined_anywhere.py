"""Strategies that a file or module defines, ``file.py:Mine``, and those registered in this process."""

import json
import os

import numpy as np
import pytest

import deepal_autoal
from deepal_autoal import (
    ActiveLearner,
    InputError,
    RunFolderError,
    ScoringStrategy,
    create_strategy,
    plugin_host,
    register_strategy,
    run,
    select,
)
from deepal_autoal.testing.declarations import options_recreate_it
from deepal_autoal.testing.other_process import describe_maker
from deepal_autoal.testing.subject import Subject

FILE = '''
from helper import SIGN
from deepal_autoal import ScoringStrategy


class Mine(ScoringStrategy):
    """Prefers the first class."""

    requires = frozenset({"probabilities"})

    def __init__(self, power: int = 1):
        self.power = power

    def score(self, context):
        return SIGN * context.candidates.probabilities()[:, 0] ** self.power


def plain(context):
    return context.candidates.probabilities()[:, 1]


made = Mine(power=3)
number = 3
'''


@pytest.fixture
def file(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "helper.py").write_text("SIGN = 1\n")
    path = tmp_path / "code" / "mine.py"
    path.write_text(FILE)
    return path


def config(folder):
    return json.loads((folder / "config.json").read_text())


def queried(folder):
    return [json.loads(line)["queried"] for line in (folder / "rounds.jsonl").read_text().splitlines()]


RUN = ["--model", "linear", "--epochs", "2", "--initial", "12", "--batch-size", "6", "--threads", "1", "--quiet"]


def test_a_run_from_the_command_line_is_resumed_from_anywhere(deepal, file, blob_file, tmp_path, monkeypatch):
    status, _, err = deepal("run", "--strategy", "code/mine.py:Mine", "-o", "power=2", "--dataset", blob_file,
                            "--rounds", 1, "--out", "run", *RUN)  # fmt: skip
    assert status == 0, err
    found = config(tmp_path / "run")["strategy"]
    assert (found["name"], found["options"], found["source"]) == ("Mine", {"power": 2}, f"{file}:Mine")
    monkeypatch.chdir("/")
    assert deepal("run", "--resume", "--out", tmp_path / "run", "--rounds", 2, "--quiet")[0] == 0
    assert len(queried(tmp_path / "run")) == 3
    file.write_text(FILE.replace("[:, 0]", "[:, 1]"))
    os.utime(file, ns=(1, 1))
    status, _, err = deepal("run", "--resume", "--out", tmp_path / "run", "--rounds", 3)
    assert status == 2 and "strategy.code was" in err


def test_as_candidates_with_options_and_sets(deepal, file, blob_file, tmp_path):
    words = "code/mine.py:Mine,code/mine.py:plain,entropy,all-control"
    status, _, err = deepal("run", "--strategy", "vote", "--candidates", words, "-o", "Mine.power=2", "--dataset",
                            blob_file, "--rounds", 1, "--out", "run", *RUN)  # fmt: skip
    assert status == 0, err
    candidates = config(tmp_path / "run")["strategy"]["candidates"]
    assert [item["name"] for item in candidates] == ["Mine", "plain", "entropy", "random"]
    assert candidates[0]["options"] == {"power": 2}
    assert deepal("run", "--resume", "--out", "run", "--rounds", 2, "--quiet")[0] == 0
    assert deepal("run", "--resume", "--candidates", words, "--out", "run", "--rounds", 3, "--quiet")[0] == 0


def test_benchmark_query_check_and_labeling(deepal, file, blob_file, tmp_path):
    status, _, err = deepal("benchmark", "--strategies", "code/mine.py:Mine,two=code/mine.py:Mine[power=2],margin",
                            "--datasets", blob_file, "--seeds", 1, "--rounds", 1, "--out", "study", *RUN)  # fmt: skip
    assert status == 0, err
    folder = tmp_path / "study" / "blobs"
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == ["Mine", "margin", "two"]
    np.save("p.npy", np.random.default_rng(0).dirichlet((1, 1, 1), 30))
    assert (
        deepal("query", "--strategy", "code/mine.py:plain", "-n", 3, "--probabilities", "p.npy", "--out", "o.csv")[0]
        == 0
    )
    expected = np.argsort(-np.load("p.npy")[:, 1])[:3]
    assert (tmp_path / "o.csv").read_text().split()[1:] == [str(row) for row in expected]
    for name in ("Mine", "plain", "made"):
        report = Subject(f"code/mine.py:{name}")
        if name == "Mine":
            options_recreate_it(report)
        assert describe_maker(report)["name"] == f"{file}:{name}"
    np.save("x.npy", np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32))
    status, _, err = deepal("label", "init", "project", "--data", "x.npy", "--strategy", "code/mine.py:Mine",
                            "--embed", "none", "--classes", "a,b")  # fmt: skip
    assert status == 0, err
    assert f"{file}:Mine" in (tmp_path / "project" / "project.json").read_text()


def test_from_python(file, blob_data, quick, tmp_path):
    by_class = run(
        f"{file}:Mine", blob_data, options={"power": 3}, **quick)  # fmt: skip
    by_instance = run(f"{file}:made", blob_data, **quick)
    assert [item["queried"] for item in by_class.rounds] == [item["queried"] for item in by_instance.rounds]
    assert create_strategy(f"{file}:made") is not create_strategy(f"{file}:made")
    assert create_strategy(f"{file}:Mine[power=5]").power == 5
    learner = ActiveLearner(blob_data.x_train, f"{file}:Mine", 3, model="linear", recipe={"epochs": 1})
    learner.tell([0, 1, 2], [0, 1, 2])
    learner.save(tmp_path / "learner.pt")
    assert ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train).strategy.name == "Mine"


@pytest.mark.parametrize(("name", "message"), [
    ("code/none.py:Mine", "there is no file code/none.py"),
    ("code/mine.py:Mien", "code/mine.py has no Mien; it defines Mine, made, plain"),
    ("code/mine.py:number", "is 3 of type int; give a registered name"),
    ("code/bad.py:Mine", "code/bad.py cannot be imported: ZeroDivisionError"),
    ("no.such.module:Mine", "no.such.module cannot be imported: ModuleNotFoundError"),
])  # fmt: skip
def test_what_is_not_there(deepal, file, blob_file, name, message):
    (file.parent / "bad.py").write_text("1 / 0\n")
    status, _, err = deepal("run", "--strategy", name, "--dataset", blob_file)
    assert status == 2 and message in err and "Traceback" not in err


class First(ScoringStrategy):
    """Prefers the first class."""

    requires = frozenset({"probabilities"})

    def __init__(self, power: int = 1):
        self.power = power

    def score(self, context):
        return context.candidates.probabilities()[:, 0] ** self.power


def last(context):
    """Prefers the last class."""
    return context.candidates.probabilities()[:, -1]


@pytest.fixture
def names():
    before = {entry.name for entry in plugin_host().strategies.entries()}
    yield
    new = [entry for entry in plugin_host().strategies.entries() if entry.name not in before]
    plugin_host().strategies.remove(new)


def test_a_registered_strategy_is_as_good_as_any(names, blob_data, quick, tmp_path):
    deepal_autoal.register_strategy("first", First)
    register_strategy("last", last)
    result = run("vote", blob_data, candidates=["first", "last"], options={"first.power": 2}, out=tmp_path, **quick)
    assert [item["options"] for item in result.config["strategy"]["candidates"]] == [{"power": 2}, {}]
    assert plugin_host().strategies.get("last").summary == "Prefers the last class."
    probabilities = np.random.default_rng(0).dirichlet((1, 1, 1), 30)
    assert select("last", 2, None, probabilities).tolist() == np.argsort(-probabilities[:, 2])[:2].tolist()
    register_strategy("last", lambda context: -last(context))  # the cell is executed again
    assert select("last", 1, None, probabilities).tolist() == [probabilities[:, 2].argmin()]
    with pytest.raises(RunFolderError, match="code was"):
        run(out=tmp_path, dataset=blob_data, resume=True, rounds=9)


def test_a_registered_instance_is_copied(names, blob_data, quick, tmp_path):
    instance = First(power=2)
    register_strategy("first", instance)
    instance.power = 3
    copies = [create_strategy("first") for _ in range(2)]
    assert [copied.power for copied in copies] == [2, 2] and copies[0] is not copies[1] and copies[0].name == "first"
    assert create_strategy("vote", ["first", "margin"]).candidates["first"].power == 2
    run("first", blob_data, out=tmp_path, **quick)
    with pytest.raises(InputError, match="power"):
        create_strategy("first", power=3)
    register_strategy("first", First(power=3))
    with pytest.raises(RunFolderError, match="code was"):
        run(out=tmp_path, dataset=blob_data, resume=True, rounds=9)


@pytest.mark.parametrize(("name", "given", "message"), [
    ("margin", First, "already provided by deepal_autoal"),
    ("all-mine", First, "reserved for sets"),
    ("mine", create_strategy("vote", ["margin"]), "give its class"),
    ("mine", int, "not a subclass of Strategy"),
    ("mine", 3, "is 3 of type int"),
    ("a b", First, "use letters, digits"),
])  # fmt: skip
def test_what_cannot_be_registered(names, name, given, message):
    with pytest.raises(InputError, match=message):
        register_strategy(name, given)
    assert name not in set(plugin_host().strategies.names()) - {"margin"}
