"""The tasks, simulator and policies of the search across tasks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "autoal" / "meta"
OWN = ("digits", "wine", "mixture", "manifold")


@pytest.fixture
def meta(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    import policies
    import simulator
    import tasks

    yield tasks, simulator, policies
    for name in set(sys.modules) - before:
        if name in ("policies", "simulator", "tasks"):
            del sys.modules[name]


@pytest.mark.parametrize("number", range(8))
def test_a_number_determines_a_task(meta, number, tmp_path):
    tasks = meta[0]
    one, other = (tasks.draw_task(number, OWN, tmp_path) for _ in range(2))
    assert one.family == OWN[number % 4] and np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)
    assert one.initial + one.rounds * one.batch_size <= len(one.x)
    assert np.isfinite(one.x).all() and one.y.max() < one.n_classes and len(one.x_test) == len(one.y_test) > 0


def test_a_file_of_vectors_is_a_family_of_its_own(meta, tmp_path):
    tasks = meta[0]
    rng, place = np.random.default_rng(0), str(tmp_path / "own.npz")
    np.savez(place, x=rng.normal(size=(300, 6)) + 4 * (np.arange(300) % 3 == 1)[:, None], y=np.arange(300) % 3)
    parser = argparse.ArgumentParser()
    tasks.add_families(parser)
    families = parser.parse_args(["--families", f"wine,{place}"]).families
    task = tasks.draw_task(1, families, FOLDER)
    assert task.family == place and task.n_classes == 3 and task.x.shape[1] == 6 and len(task.x) <= 300
    with pytest.raises(SystemExit):
        parser.parse_args(["--families", "wein"])


def test_the_simulator_repeats_and_sees_no_hidden_label(meta):
    tasks, simulator, policies = meta
    task = tasks.draw_task(1, ("wine",), FOLDER)
    assert simulator.simulate(task, policies.margin) == simulator.simulate(task, policies.margin)
    seen = []

    def watching(state, n):
        seen.append(len(state.labels))
        assert len(state.labels) == len(state.labeled) == len(torch.unique(state.labeled))
        return policies.random(state, n)

    area = simulator.simulate(task, watching)
    assert seen == [task.initial + number * task.batch_size for number in range(task.rounds)]
    assert 30 < area <= 100


def test_coverage_weighs_by_uncertainty_and_rarity(meta):
    _, simulator, policies = meta
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 5, generator=generator)
    logits = torch.zeros(50, 3)
    logits[:25, 0] = 8.0  # certain, of the class with many labels
    labels = torch.tensor([0] * 8 + [1, 2])
    state = simulator.State(
        0, rows, torch.nn.functional.normalize(rows, dim=1), torch.arange(50), torch.arange(50, 60), labels, 3, logits,
        1.0, 0.5, generator,
    )  # fmt: skip
    small = {"log_radius": -3.0}
    assert (policies.Coverage(alpha=2.0, **small)(state, 5) >= 25).all()
    assert (policies.Coverage(alpha=0.0, gamma=3.0, **small)(state, 5) >= 25).all()


@pytest.fixture
def fitting(meta, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import prior
    import proof

    yield prior, proof
    for name in ("landscape", "prior", "proof"):
        sys.modules.pop(name, None)


def landscape_of(prior, gain, n=3_000, noise=0.3):
    """Return runs of drawn parameters whose gains are those of a function and noise."""
    rng = np.random.default_rng(0)
    low, high = np.array([0.0, -0.5, -0.5, -1.0]), np.array([5.0, 1.0, 2.0, 1.5])
    parameters = np.where(rng.random((n, 4)) < 0.5, rng.uniform(low, high, (n, 4)), [1.0, 0.0, 0.0, 0.0])
    log_labels, families = rng.uniform(0, 2.2, n), np.array(["a", "b", "c"])[np.arange(n) % 3]
    return prior.Runs(parameters, log_labels, gain(parameters, log_labels) + noise * rng.normal(size=n), families)


def test_the_fitted_schedule_finds_where_the_gain_is(fitting):
    prior, _ = fitting

    def gain(parameters, log_labels):
        own = prior.terms(parameters)
        return 3.0 * (own[:, 2] - 0.5 * own[:, 2] ** 2) - 2.0 * own[:, 3] * (log_labels - 1.2) - own[:, 3] ** 2

    found = np.array(prior.schedule(prior.fit(landscape_of(prior, gain))))
    assert np.abs(found[:, 2] - 1.0).max() <= 0.3  # the best gamma at all numbers of labels
    assert found[0, 3] > 0.3 and found[-1, 3] < -0.3  # a radius that shrinks with the labels
    # Where nothing is to be gained, the parameters of the base are the surest.
    found = np.array(prior.schedule(prior.fit(landscape_of(prior, lambda p, n: -((p - [1, 0, 0, 0]) ** 2).sum(1)))))
    assert np.abs(found - [1.0, 0.0, 0.0, 0.0]).max() <= 0.3


def test_schedules_are_judged_on_tasks(fitting, meta, tmp_path):
    prior, proof = fitting
    tasks, simulator, policies = meta
    task = tasks.draw_task(5, ("wine",), FOLDER)
    same = policies.Scheduled((0.0, 2.0), ((1.0, 0.0, 0.0, 0.0),) * 2)
    assert simulator.simulate(task, same) == simulator.simulate(task, policies.Coverage())
    found = proof.policies(landscape_of(prior, lambda p, n: p[:, 2], 300))
    assert found["half"].values[0][2] == found["schedule"].values[0][2] / 2 > 0.5
    assert found["shuffled"].values != found["schedule"].values
    common = {"family": "wine", "labels_per_class": 10.0, "base": 50.0}
    rows = [{**common, "areas": {"schedule": 50.0 + gain, "random": 40.0}} for gain in (1.0, 3.0)]
    assert "| wine | 2 | +2.00 ± 1.00 | -10.00 ± 0.00 |" in proof.table(rows)


@pytest.fixture
def ranking(meta, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import ranker
    import triples

    monkeypatch.setattr(ranker, "DECAYS", (0.1,))
    monkeypatch.setattr(ranker, "STEPS", 100)
    yield triples, ranker
    for name in ("landscape", "ranker", "triples"):
        sys.modules.pop(name, None)


def test_batches_are_tried_from_one_state_and_described_without_their_labels(ranking, meta):
    triples, _ = ranking
    tasks, simulator, _ = meta
    task = tasks.draw_task(10, ("wine",), FOLDER)
    found = triples.measure(task)
    assert [batch["policy"] for batch in found["batches"]] == list(triples.candidates(10))
    # Hidden labels decide gains alone: with others, the first state has the same batches and traits.
    state, *_ = next(simulator.run(task, triples.BASE))
    assert len(state.labeled) == task.initial
    batch = triples.filtered(state, task.batch_size)
    describe = triples.Describe(state)
    traits = describe.traits(batch)
    assert set(traits) == set(triples.TRAITS) and np.isfinite(list(traits.values())).all()
    sure, unsure = (describe._uncertainty.topk(4, largest=largest).indices for largest in (False, True))
    assert describe.traits(unsure)["uncertainty"] > describe.traits(sure)["uncertainty"]
    # A greedy batch covers more of what it was chosen to cover than copies of one sample do.
    greedy = triples.BASE(state, 4)
    assert describe.traits(greedy)["covers_uncertain"] > describe.traits(greedy[:1].repeat(4))["covers_uncertain"]
    assert describe.traits(greedy)["spread"] > describe.traits(greedy[:1].repeat(4))["spread"] < 1e-6


@pytest.mark.parametrize("n_families", [7, 14, 28])
def test_both_policies_lead_in_every_family(ranking, monkeypatch, tmp_path, n_families):
    triples, leads = ranking[0], {}

    def run(task, lead):
        leads[task.seed] = lead
        return ()

    def draw_task(number, families, data):
        return argparse.Namespace(seed=number, rounds=1, batch_size=1)

    monkeypatch.setattr(triples, "run", run)
    monkeypatch.setattr(triples, "draw_task", draw_task)
    families = ",".join(["digits"] * n_families)
    triples.main(["--tasks", f"0:{4 * n_families}", "--families", families, "--out", str(tmp_path / "triples.jsonl")])
    turns = [triples.BASE, triples.random] * 2
    assert all([leads[family + n_families * turn] for turn in range(4)] == turns for family in range(n_families))


def made_up_states(ranker, gain, families=("a", "b", "c"), n=16):
    """Return states whose batches gain what a function of traits and the state says."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(n * len(families)):
        traits = torch.from_numpy(rng.normal(size=(12, len(ranker.TRAITS)))).float()
        state = torch.from_numpy(rng.normal(size=3)).float()
        gains = np.asarray(gain(traits.numpy(), state.numpy())) + 0.1 * rng.normal(size=12)
        found.append(ranker.Tried(families[number % len(families)], traits, state, gains, 0))
    return found


def with_equal_gains(ranker, states, families):
    """Return the states; in those of some families all batches gain nothing."""
    return [ranker.Tried(one.family, one.traits, one.state, one.gains * (one.family not in families), one.base)
            for one in states]  # fmt: skip


def test_a_ranker_learns_what_batches_gain_on_families_left_out(ranking):
    ranker = ranking[1]
    rows = ranker.judge(made_up_states(ranker, lambda traits, state: traits[:, 0] - 0.5 * traits[:, 3]))
    means = {name: np.mean([row[name] for row in rows]) for name in ranker.CHOICES}
    assert means["best"] >= means["ranker"] > 0.8 * means["best"] > means["shuffled"] + 1.0
    assert abs(means["any"]) < 0.6 and len(rows) == 48
    assert np.mean([row["correlations"]["linear"] for row in rows]) > 0.9
    # What is good in one state and bad in another takes the network.
    rows = ranker.judge(made_up_states(ranker, lambda traits, state: np.sign(state[0]) * traits[:, 1]))
    means = {name: np.mean([row[name] for row in rows]) for name in ranker.CHOICES}
    assert means["ranker"] > 0.5 * means["best"] > means["linear"] + 0.3
    text = ranker.table([row | {"log_labels": 2.0} for row in rows])
    assert "| 50 and more labels per class | 48 |" in text and "| all | 48 |" in text


@pytest.mark.parametrize(("families", "equal", "n"), [("", "", 0), ("ab", "", 2), ("abc", "abc", 0), ("abc", "a", 2)])
def test_states_that_teach_nothing_are_refused(ranking, monkeypatch, capsys, families, equal, n):
    ranker = ranking[1]
    states = with_equal_gains(ranker, made_up_states(ranker, lambda traits, state: traits[:, 0], families, 2), equal)
    monkeypatch.setattr(ranker, "read", lambda path: states)
    monkeypatch.setattr(ranker, "tried", lambda state, gain: state)
    with pytest.raises(SystemExit):
        ranker.main(["triples.jsonl"])
    assert f"at least three families of tasks in which not all batches gain the same; there are {n}" in (
        capsys.readouterr().err
    )


def test_batches_that_gain_alike_teach_nothing(ranking):
    ranker = ranking[1]
    states = made_up_states(ranker, lambda traits, state: traits[:, 0])
    equal = [ranker.Tried(one.family, one.traits, one.state, np.zeros(12), 0) for one in states[:12]]
    assert len(ranker.judge([*states, *equal])) == 60


def test_a_family_in_which_batches_gain_alike_is_judged_by_the_others(ranking):
    ranker = ranking[1]
    states = with_equal_gains(ranker, made_up_states(ranker, lambda traits, state: traits[:, 0], "abcd", 6), "a")
    rows = ranker.judge(states)
    assert {row["ranker"] for row in rows if row["family"] == "a"} == {0.0}
    assert "| a | 6 | +0.00 ± 0.00 |" in ranker.table(rows) and "| rank correlation | 18 |" in ranker.table(rows)
