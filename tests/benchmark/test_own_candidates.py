"""Candidates of one selector in a grid, ``vote[candidates=...]``, and candidate sets when a grid is extended."""

import logging

import pytest
import torch

from deepal_autoal import ScoringStrategy
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.grid import plan_grid
from deepal_autoal.benchmark.notation import Contender, read_strategies
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.training.task_model import TaskModel
from tests.benchmark.run_files import read_json, runs_of


class Passes(ScoringStrategy):
    """Requires dropout, which not every model has."""

    requires = frozenset({"mc_dropout"})

    def score(self, context):
        return context.candidates.mc_probabilities(2).mean(dim=0)[:, 0]


class Newcomer(Passes):
    """Installed later."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        return context.candidates.probabilities()[:, 0]


@pytest.fixture
def install(registered):
    """Return a function that registers a strategy of the family ``late``."""
    from deepal_autoal import hookimpl

    def call(name, target):
        class Plugin:
            @hookimpl
            def deepal_register_strategies(self, registry):
                registry.add(name, target, family="late", time="N")

        registered(Plugin(), f"late-{name}")

    return call


def without_dropout(input_shape, n_classes):
    return TaskModel(torch.nn.Flatten(), input_shape[0], n_classes, dropout=0.0)


def names_of(folder):
    return [candidate["name"] for candidate in read_json(folder / "config.json")["strategy"]["candidates"]]


def test_own_candidates_are_parsed():
    assert read_strategies("a=vote[candidates=[entropy, all-hybrid],oversample=3],b=vote[candidates=margin]") == [
        Contender("a", "vote", {"oversample": "3"}, candidates=("entropy", "all-hybrid")),
        Contender("b", "vote", {}, candidates=("margin",)),
    ]
    assert read_strategies("vote")[0].candidates is None


@pytest.mark.parametrize(
    "written, label",
    [
        ("vote[candidates=all-cheap]", "vote-candidates-all-cheap"),
        ("vote[candidates=[entropy,margin]]", "vote-candidates-entropy-margin"),
        ("vote[oversample=3,candidates=[entropy],final=top]", "vote-oversample-3-candidates-entropy-final-top"),
    ],
)
def test_labels_are_formed_from_candidates(written, label):
    assert read_strategies(written)[0].label == label


@pytest.mark.parametrize(
    "written, message",
    [
        ("v=vote[candidates=[]]", "name candidates, such as candidates="),
        ("v=vote[candidates=]", "name candidates, such as candidates="),
        ("v=vote[candidates=margn]", "Did you mean 'margin'"),
        ("v=vote[candidates=[margin,all-foo]]", "no set of candidates 'all-foo'"),
        ("v=vote[candidates=[margin]", "is missing"),
        ("v=vote[candidates=margin,candidates=entropy]", "'candidates' is given twice"),
        (
            "vote[candidates=[entropy,entropy-dropout,margin,margin-dropout,leastconf,leastconf-dropout]]",
            "write LABEL=",
        ),
    ],
)
def test_bad_own_candidates(written, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        read_strategies(written)


def test_own_candidates_take_precedence_over_those_for_all(tmp_path, blob_file, quick):
    strategies = "own=vote[candidates=[entropy,kmeans]],vote,autoal,random"
    grid = plan_grid(strategies, [blob_file], 1, tmp_path / "out", ["margin"], quick)
    candidates = {run.strategy: run.settings["candidates"] for run in grid.runs}
    assert candidates == {"own": ("entropy", "kmeans"), "vote": ("margin",), "autoal": ("margin",), "random": None}
    assert all("candidates" not in run.settings["options"] for run in grid.runs)
    grid = plan_grid("own=vote[candidates=[entropy]]", [blob_file], 1, tmp_path / "out", ["margin"], quick)
    assert [run.settings["candidates"] for run in grid.runs] == [("entropy",)]


def test_strategies_that_take_no_candidates_are_named(tmp_path, quick):
    with pytest.raises(InputError, match="--strategies m: strategy 'margin' takes no candidates; only selectors"):
        plan_grid("vote,m=margin[candidates=entropy]", ["no-such-data"], 1, tmp_path / "out", None, quick)


def test_a_grid_keeps_the_original_meaning_of_its_sets(tmp_path, blob_file, quick, install):
    install("early", Newcomer)
    out, quick["rounds"] = tmp_path / "out", 1

    def grid(strategies, seeds, candidates=None):
        done = []
        run_benchmark(strategies, [blob_file], seeds, out, candidates=candidates, on_run=done.append, **quick)
        return [str(outcome.run) for outcome in done]

    own = "late=vote[candidates=[all-late,margin]]"
    assert len(grid(f"{own},vote", 1, "all-late")) == 2
    install("newcomer", Newcomer)
    assert grid(f"{own},vote", 2, "all-late") == ["late on blobs, seed 1", "vote on blobs, seed 1"]
    for folder in runs_of(out):
        assert names_of(out / folder) == (["early", "margin"] if "/late/" in folder else ["early"])
    config = read_json(out / "blobs/late/seed-1/config.json")
    assert config["settings"]["candidates"] == {"all-late": ["early"], "margin": ["margin"]}
    # Another label is another contender, and other names are other settings.
    grid("again=vote[candidates=[all-late,margin]]", 1)
    assert names_of(out / "blobs/again/seed-0") == ["early", "newcomer", "margin"]
    with pytest.raises(RunFolderError, match="candidates"):
        grid("late=vote[candidates=[margin,all-late]]", 2)


def test_candidates_that_the_model_cannot_run_are_left_out_with_one_warning(
    tmp_path, blob_file, quick, install, register, caplog
):
    install("passes", Passes)
    install("early", Newcomer)
    register(models={"plain": without_dropout})
    quick.update(model="plain", rounds=1)
    result = run_benchmark("vote[candidates=all-late]", [blob_file], 2, tmp_path / "out", **quick)
    assert not result.failures
    assert [names_of(tmp_path / "out" / folder) for folder in runs_of(tmp_path / "out")] == [["early"]] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in warnings if "passes; they require mc_dropout" in line]) == 1
    with pytest.raises(InputError, match="requires mc_dropout"):
        plan_grid("vote[candidates=[early,passes]]", [blob_file], 1, tmp_path / "other", None, quick)
