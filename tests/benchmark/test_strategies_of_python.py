"""Strategies of a benchmark given from Python: instances, classes, functions, by label or by their own names."""

import json
import sys

import pytest

from deepal_autoal import ScoringStrategy, Strategy, plugin_host, register_strategy, run
from deepal_autoal.benchmark import Backend, run_benchmark
from deepal_autoal.errors import InputError
from deepal_autoal.plugins.code_digest import code_digest


class Counts(Strategy):
    """Has a memory, so runs that shared one instance would differ from runs alone."""

    requires = frozenset({"probabilities"})

    def __init__(self, start: int = 0):
        self.n_queries = start

    def query(self, context, batch_size):
        self.n_queries += 1
        return context.candidates.indices[self.n_queries :][:batch_size]

    def state_dict(self):
        return {"n": self.n_queries}

    def load_state_dict(self, state):
        self.n_queries = state.get("n", self.n_queries)


class NeedsPower(ScoringStrategy):
    def __init__(self, power: int):
        self.power = power

    def score(self, context):
        return context.candidates.probabilities()[:, 0] ** self.power


def entropy(context):
    """Has the name of a registered strategy."""
    return -context.candidates.probabilities()[:, 0]


def picks(folder):
    return [json.loads(line)["queried"] for line in (folder / "rounds.jsonl").read_text().splitlines()]


@pytest.fixture
def grid(tmp_path, blob_file, quick):
    def execute(strategies, seeds=1, **changes):
        given = {key: value for key, value in quick.items() if key != "seed"} | {"rounds": 2, "threads": 1} | changes
        return run_benchmark(strategies, [blob_file], seeds, tmp_path / "study", **given)

    return execute


def test_each_run_has_a_strategy_of_its_own(tmp_path, grid, blob_file, quick):
    instance = Counts(3)
    result = grid({"mine": instance, "fresh": Counts, "scores": entropy, "m": "margin"}, seeds=2)
    assert not result.failures
    assert [row["strategy"] for row in result.tables.summary()] == ["fresh", "m", "mine", "scores"]
    alone = quick | {"rounds": 2, "threads": 1}
    for label, new in (
        ("mine", lambda: Counts(3)),
        ("fresh", Counts),
        ("scores", lambda: entropy),
        ("m", lambda: "margin"),
    ):
        for seed in (0, 1):
            folder = tmp_path / "study" / "blobs" / label / f"seed-{seed}"
            found = run(new(), blob_file, **alone | {"seed": seed})
            assert picks(folder) == [record["queried"] for record in found.rounds]
            assert (
                json.loads((folder / "config.json").read_text())["strategy"]["name"] == found.config["strategy"]["name"]
            )
    assert instance.n_queries == 3


def test_names_of_their_own_are_the_labels(tmp_path, grid):
    assert not grid([Counts, entropy, "margin"]).failures
    labels = sorted(path.name for path in (tmp_path / "study" / "blobs").iterdir() if not path.name.startswith("."))
    assert labels == ["Counts", "entropy-function", "margin"]
    again = grid({"Counts": Counts, "more": lambda context: entropy(context)})  # continued
    assert not again.failures and len(again.tables.summary()) == 4


def test_a_study_goes_on_once_its_strategies_are_registered(grid):
    given = {"mine": Counts(3), "scores": entropy}
    assert not grid(given, rounds=1).failures
    try:
        register_strategy("mine", Counts)
        register_strategy("scores", entropy)
        assert not grid(given, rounds=1, seeds=2).failures
        with pytest.raises(InputError, match="strategies: mine: the label 'mine' is the name of another strategy"):
            grid({"mine": entropy}, rounds=1)
    finally:
        registry = plugin_host().strategies
        registry.remove([entry for entry in registry.entries() if entry.name in ("mine", "scores")])


def test_what_is_registered_by_its_own_name_keeps_it(grid):
    def mine(context):
        return entropy(context)

    given = {"mine": mine, "m": "margin"}
    assert not grid(given, rounds=1).failures
    try:
        register_strategy("mine", mine)
        assert not grid(given, rounds=1, seeds=2).failures
    finally:
        plugin_host().strategies.remove([plugin_host().strategies.get("mine")])


def test_a_failed_run_is_a_warning_unless_the_caller_is_told(grid, caplog):
    def broken(context):
        raise RuntimeError("no scores")

    assert len(grid({"broken": broken, "m": "margin"}, rounds=1, progress=False).failures) == 1
    (record,) = [record for record in caplog.records if record.levelname == "WARNING" and "failed" in record.message]
    assert "run of broken on blobs, seed 0, failed: " in record.message and "no scores" in record.message
    caplog.clear()
    told = []
    assert grid({"broken": broken}, rounds=1, on_run=told.append).failures
    assert len(told) == 1 and "failed: " not in caplog.text


@pytest.mark.parametrize("name", ["progress", "on_round", "on_run", "on_start"])
def test_what_is_called_must_be_callable(grid, name):
    with pytest.raises(InputError, match=f"{name} is 7; give a function, or leave it out"):
        grid("margin", **{name: 7})


def test_candidates_of_selectors_are_objects_too(tmp_path, grid):
    assert not grid("vote", candidates=[Counts(2), entropy, "margin"]).failures
    config = json.loads((tmp_path / "study" / "blobs" / "vote" / "seed-0" / "config.json").read_text())
    assert [item["name"] for item in config["strategy"]["candidates"]] == ["Counts", "entropy (function)", "margin"]


def test_sets_stand_beside_objects(tmp_path, grid):
    assert not grid("vote", candidates=[Counts(2), "all-control"], rounds=1).failures
    config = json.loads((tmp_path / "study" / "blobs" / "vote" / "seed-0" / "config.json").read_text())
    assert [item["name"] for item in config["strategy"]["candidates"]] == ["Counts", "random"]
    assert not grid("vote", candidates=[Counts(2), "all-control"], rounds=1, seeds=2).failures  # continued


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        (3, "an item is 3 of type int; give a registered name such as 'margin'"),
        (None, "an item is None of type NoneType"),
        ([3, "margin"], "an item is 3 of type int"),
        ({"mine": 3}, "strategies: mine is 3 of type int"),
        ({"mine": int}, "strategies: mine: the class int is not a subclass of Strategy"),
        ({"mine": "margn"}, "unknown strategy 'margn'"),
        ({"margin": Counts}, "the label 'margin' is the name of another strategy"),
        ({"a/b": Counts}, "the label 'a/b' is not a safe folder name"),
        ({"a/b": "margin"}, "the label 'a/b' is not a safe folder name"),
        ({3: Counts}, r"the label 3 is no text; write {'mine': Mine\(\)"),
        ({"x": Counts, "X": Counts}, "two strategies are labeled 'X'"),
        ([Counts, Counts(2)], "two strategies are labeled 'Counts'"),
        ({"mine": NeedsPower}, r"give NeedsPower\(power=\.\.\.\)"),
        ({}, "no strategies given"),
    ],
)
def test_anything_else_is_refused(tmp_path, grid, strategies, message):
    with pytest.raises(InputError, match=message):
        grid(strategies)
    assert not list((tmp_path / "study").glob("*/*/*/config.json"))


def test_other_processes_import_what_is_in_a_module(tmp_path, grid, caplog):
    register_strategy("counts", Counts)
    try:
        assert not grid({"mine": Counts(3), "scores": entropy, "n": "counts"}, jobs=2, rounds=1).failures
    finally:
        plugin_host().strategies.remove([plugin_host().strategies.get("counts")])
    assert not caplog.text
    for label, strategy in (("mine", Counts(3)), ("scores", entropy)):
        folder = tmp_path / "study" / "blobs" / label / "seed-0"
        recorded = json.loads((folder / "config.json").read_text())["strategy"]
        assert recorded["code"] == code_digest(strategy)


@pytest.mark.parametrize(("given", "message"), [
    (lambda context: entropy(context), "cannot be sent to another process"),
    (type("Notebook", (Counts,), {"__module__": "__main__"}), "defined in a script or notebook"),
])  # fmt: skip
def test_what_no_other_process_can_import_stays_here_and_that_is_said(grid, caplog, monkeypatch, given, message):
    monkeypatch.setattr(sys.modules["__main__"], "Notebook", given, raising=False)
    assert not grid({"mine": given}, jobs=2, seeds=2, rounds=1).failures
    assert "all runs are executed in this process, one at a time" in caplog.text and message in caplog.text


def test_other_machines_do_not_have_an_object(grid, monkeypatch):
    backend = type("Elsewhere", (Backend,), {"open": None})()
    monkeypatch.setattr("deepal_autoal.benchmark.runner.create_backend", lambda *given, **flags: backend)
    for given in ({"strategies": {"mine": Counts}}, {"strategies": "vote", "candidates": [Counts, "margin"]}):
        with pytest.raises(InputError, match=r"^(mine|vote): .* in this process only; leave out backend"):
            grid(seeds=2, **given)
