"""Runs of strategies that are given as objects: another one is noticed, and a run leaves no memory behind."""

from __future__ import annotations

import functools
import json

import pytest

from deepal_autoal import InputError, QueryError, RunFolderError, ScoringStrategy, create_strategy, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.plugins.code_digest import code_digest

TINY = {"initial": 6, "batch_size": 3, "recipe": {"epochs": 1, "min_steps": 1}, "threads": 1, "model": "linear"}


def make(sign):
    def scores(context):
        return sign * context.candidates.probabilities()[:, 0]

    return scores


class Mine(ScoringStrategy):
    def __init__(self, k: int = 2):
        self.k = k
        self.n_queries = 0

    def score(self, context):
        self.n_queries += 1
        return context.candidates.probabilities()[:, 0] * self.k


@pytest.mark.parametrize(("one", "other"), [
    (make(1), make(-1)),
    (Mine(), Mine(k=5)),
    (functools.partial(lambda n, context: n * context.candidates.probabilities()[:, 0], 1),
     functools.partial(lambda n, context: n * context.candidates.probabilities()[:, 0], 2)),
    (lambda context: context.candidates.probabilities()[:, 0],
     lambda context: context.candidates.probabilities()[:, 1]),
])  # fmt: skip
def test_another_object_of_the_same_name_continues_no_run(blob_data, blob_file, tmp_path, one, other):
    first = run(one, blob_data, out=tmp_path / "run", rounds=1, **TINY)
    assert run(one, blob_data, out=tmp_path / "run", rounds=2, resume=True, **TINY).rounds[0] == first.rounds[0]
    with pytest.raises(RunFolderError, match=r"strategy\.code was"):
        run(other, blob_data, out=tmp_path / "run", resume=True, rounds=3, **TINY)
    shared = {"datasets": str(blob_file), "seeds": 1, "out": tmp_path / "study", "rounds": 1, **TINY}
    run_benchmark({"mine": one}, **shared)
    with pytest.raises(RunFolderError, match=r"strategy\.code was"):
        run_benchmark({"mine": other}, **shared)


def test_a_resumed_class_has_its_recorded_options(blob_data, tmp_path):
    run(Mine, blob_data, options={"k": 3}, out=tmp_path, rounds=1, **TINY)
    result = run(Mine, blob_data, out=tmp_path, resume=True, rounds=2, **TINY)
    assert result.config["strategy"]["options"] == {"k": 3} and len(result.rounds) == 3


def test_a_digest_is_that_of_what_is_done():
    assert code_digest(make(1)) == code_digest(make(1)) != code_digest(make(2))
    used = Mine()
    used.n_queries = 7
    assert code_digest(used) != code_digest(Mine()) != code_digest(Mine(3))
    assert code_digest(Mine) != code_digest(ScoringStrategy)


def test_a_run_leaves_no_memory_in_a_strategy(blob_data):
    settings = {"rounds": 3, **TINY}
    candidates = ["entropy", "margin", "random"]
    albl = create_strategy("albl", candidates)
    fresh = run("albl", blob_data, candidates=candidates, **settings)
    assert any(record.get("strategy", {}).get("reward") for record in fresh.rounds)
    for _ in range(2):
        again = run(albl, blob_data, **settings)
        assert [record["queried"] for record in again.rounds] == [record["queried"] for record in fresh.rounds]
        assert [record["strategy"] for record in again.rounds] == [record["strategy"] for record in fresh.rounds]


def test_candidates_may_come_from_a_generator_but_not_from_a_set(blob_data):
    given = (item for item in (Mine(), "margin"))
    result = run("vote", blob_data, candidates=given, rounds=1, **TINY)
    assert [candidate["name"] for candidate in result.config["strategy"]["candidates"]] == ["Mine", "margin"]
    with pytest.raises(InputError, match="a set has no order"):
        run("vote", blob_data, candidates={"margin", "entropy"}, rounds=1, **TINY)


def test_switches_are_true_or_false(blob_data):
    with pytest.raises(InputError, match="skip_bad is 'no'; give True or False"):
        run("random", blob_data, skip_bad="no", rounds=1, **TINY)


def test_more_rounds_do_not_continue_a_run_that_a_rule_stopped_and_say_so(blob_data, tmp_path, caplog):
    settings = {"plugin_options": {"target-accuracy": 0.01}, **TINY}
    stopped = run("random", blob_data, out=tmp_path, rounds=3, **settings)
    assert stopped.status == "stopped"
    for _ in range(2):
        again = run("random", blob_data, out=tmp_path, resume=True, rounds=6, **settings)
        assert again.rounds == stopped.rounds and again.config["rounds"] == 6
    assert caplog.text.count("more rounds do not continue it") == 1


def test_a_recorded_run_keeps_its_options_under_a_protocol(image_data, tmp_path):
    """An earlier version's protocols had no options of strategies."""
    settings = {**TINY, "protocol": "deepal+/mnist", "rounds": 1}
    run("coreset", image_data, out=tmp_path, **settings)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["strategy"]["options"] == {"pca": 32}
    config["strategy"]["options"], config["settings"]["options"] = {"pca": None}, {}
    del config["checksum"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    summary = json.loads((tmp_path / "summary.json").read_text())
    del summary["checksum"], summary["checksums"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    result = run(dataset=image_data, out=tmp_path, resume=True)
    assert result.config["strategy"]["options"]["pca"] is None


def fails(context):
    raise ZeroDivisionError("not yet")


def test_a_strategy_that_chose_nothing_yet_may_be_repaired(blob_data, blob_file, tmp_path):
    repaired = make(1)
    repaired.__name__ = "fails"
    expected = run(repaired, blob_data, rounds=2, **TINY)
    with pytest.raises(QueryError, match="not yet"):
        run(fails, blob_data, out=tmp_path / "run", rounds=2, **TINY)
    found = run(repaired, blob_data, out=tmp_path / "run", resume=True, **TINY)
    assert [item["queried"] for item in found.rounds] == [item["queried"] for item in expected.rounds]
    assert found.config["strategy"]["code"] == code_digest(repaired)
    assert run(repaired, blob_data, out=tmp_path / "run", resume=True, rounds=3, **TINY).rounds[-1]["round"] == 3
    with pytest.raises(RunFolderError, match=r"strategy\.code was"):
        run(fails, blob_data, out=tmp_path / "run", resume=True, rounds=4, **TINY)
    # A run without rounds has chosen nothing either.
    run(make(-1), blob_data, out=tmp_path / "none", rounds=0, **TINY)
    found = run(make(1), blob_data, out=tmp_path / "none", resume=True, rounds=2, **TINY)
    assert [item["queried"] for item in found.rounds] == [item["queried"] for item in expected.rounds]
    shared = {"datasets": str(blob_file), "out": tmp_path / "study", "rounds": 1, **TINY}
    assert len(run_benchmark({"mine": fails}, seeds=1, **shared).failures) == 1
    assert not run_benchmark({"mine": repaired}, seeds=1, **shared).failures
    with pytest.raises(RunFolderError, match=r"strategy\.code was"):
        run_benchmark({"mine": fails}, seeds=2, **shared)
