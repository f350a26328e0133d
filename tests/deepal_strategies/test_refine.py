"""REFINE: its filter against a plain loop, what is shared among its many queries, and its last strategy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, InputError, Query, QueryError, Strategy, UnknownNameError, create_strategy
from deepal_autoal.numerics.calibration import best_temperature
from deepal_autoal.querying.strategy import check_query
from deepal_strategies.herding import UHerding
from deepal_strategies.margin import Margin
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.refine import Refine


class ByKey(Strategy):
    """Queries the candidates whose pool index comes first by a key, and notes what it was offered."""

    def __init__(self, key):
        self.key = key
        self.offered = []

    def query(self, context, batch_size):
        self.offered.append(context.candidates.indices.tolist())
        return Query(sorted(self.offered[-1], key=self.key)[:batch_size], {"offered": len(self.offered[-1])})


class Counting(ByKey):
    """Has a memory: how often it was queried."""

    count = 0

    def query(self, context, batch_size):
        self.count += 1
        return super().query(context, batch_size)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state.get("count", 0)


def up(index):
    return index


def down(index):
    return -index


def scattered(index):
    return index * 37 % 101


def by_keys(last="scattered", **options):
    return Refine({"up": ByKey(up), "down": ByKey(down), "scattered": ByKey(scattered)}, last, **options)


def naive(context, b, *, depth, batches, subset, fraction, cap):
    """The published loop over sets of pool indices; only the random draws are those of the strategy."""
    keys, pool, sizes, picked = [up, down, scattered], set(context.candidates.indices.tolist()), [], []
    for r in range(1, depth + 1):
        n = min(len(pool), max(b, subset if r == 1 else int(fraction * len(pool))))
        ordered, picked = sorted(pool), []
        for key in keys:
            mine = set()
            for _ in range(batches // 3):
                drawn = context.rng.choice(ordered, n, replace=False).tolist()
                mine |= set(sorted(drawn, key=key)[:b])
            picked.append(mine)
        pool = set.union(*picked)
        if len(pool) > max(cap, b):
            pool = set(context.rng.choice(sorted(pool), max(cap, b), replace=False).tolist())
        sizes.append(len(pool))
    batch = sorted(pool, key=scattered)[:b]
    return batch, sizes, [len(mine & set(batch)) for mine in picked]


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 5, "batches": 100, "subset": 40, "fraction": 0.4, "cap": 10_000},
        {"depth": 3, "batches": 7, "subset": 20, "fraction": 0.5, "cap": 10_000},
        {"depth": 4, "batches": 30, "subset": 30, "fraction": 0.7, "cap": 25},
        {"depth": 1, "batches": 3, "subset": 5_000, "fraction": 0.1, "cap": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_filter_is_that_of_a_plain_loop(make_round, settings, batch_size):
    context = make_round(10, 90).context
    refine = by_keys(**settings)
    answer = refine.query(context, batch_size)
    check_query(refine, answer, context.candidates.indices, batch_size)
    batch, sizes, proposed = naive(make_round(10, 90).context, batch_size, **settings)
    assert answer.indices.tolist() == batch
    assert answer.report["pool"] == sizes
    assert answer.report["proposed"] == dict(zip(("up", "down", "scattered"), proposed, strict=True))


def test_subsets_are_drawn_for_each_query(make_round):
    refine = by_keys("up", depth=3, batches=10, subset=20, fraction=0.5)
    context = make_round(0, 60).context
    report = refine.query(context, 4).report
    first, second, third = report["pool"]
    for candidate in refine.candidates.values():
        # The last strategy is one of the candidates; it gets all that the last pass has left.
        filtering = candidate.offered[:9]
        assert [len(part) for part in filtering] == [20] * 3 + [first // 2] * 3 + [second // 2] * 3
    assert [len(part) for part in refine.last.offered[9:]] == [third] == [report["last"]["offered"]]
    first_parts = [tuple(part) for candidate in refine.candidates.values() for part in candidate.offered[:3]]
    assert len(set(first_parts)) == 9
    assert all(part == sorted(set(part)) for part in map(list, first_parts))


def test_first_subsets_are_uniform(make_round):
    everything = make_round(0, 30).context
    counts = np.zeros(30)
    for number in range(100):
        one = ByKey(up)
        Refine({"one": one}, "one", depth=1, batches=5, subset=6).query(everything.rebuild(purpose=str(number)), 2)
        np.add.at(counts, np.concatenate(one.offered[:-1]), 1)
    expected = 100 * 5 * 6 / 30
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected * (1 - 6 / 30))


def test_more_candidates_than_batches_are_asked_once(make_round):
    refine = by_keys(depth=2, batches=2)
    refine.query(make_round(5, 20).context, 3)
    assert [len(candidate.offered) for candidate in refine.candidates.values()] == [2, 2, 3]


@pytest.mark.parametrize("batch_size", [1, 12, 30])
def test_batches_are_exact_whatever_the_limits(make_round, batch_size):
    context = make_round(10, 30).context
    refine = by_keys(subset=2, cap=3, fraction=0.01, batches=6)
    check_query(refine, refine.query(context, batch_size), context.candidates.indices, batch_size)


def test_the_temperature_is_fitted_once_a_round(monkeypatch):
    fits = []

    def counting(logits, labels):
        fits.append(len(labels))
        return best_temperature(logits, labels)

    monkeypatch.setattr("deepal_autoal.querying.outputs.best_temperature", counting)
    rng = np.random.default_rng(0)
    refine = Refine({"uherding": UHerding(), "margin": Margin(calibrated=True)}, depth=2, batches=6, subset=30)
    learner = ActiveLearner(rng.normal(size=(90, 4)), refine, 3, model="linear", device="cpu")
    learner.tell(np.arange(30), np.arange(30) % 3)
    report = learner.query(5).report
    assert fits == [30]
    assert {"radius", "temperature", "coverage_before", "coverage_after"} == set(report["last"])
    assert json.loads(json.dumps(report)) == report


def test_what_is_queried_depends_on_the_round_alone(make_round):
    answers = []
    for _ in range(2):
        world = make_round()
        refine = Refine({"random": RandomSampling(), "margin": Margin()}, "margin", batches=6, subset=20)
        answers.append(refine.query(world.context, 5))
        assert world.task_model.swept == [world.context.candidates.indices.tolist()]  # one pass for all subsets
    assert answers[0].indices.tolist() == answers[1].indices.tolist()
    assert answers[0].report == answers[1].report
    other = Refine({"random": RandomSampling(), "margin": Margin()}, "margin", batches=6, subset=20)
    again = other.query(make_round().context.rebuild(purpose="other"), 5)
    assert again.report["pool"] != answers[0].report["pool"]


def test_the_last_strategy_is_a_candidate_or_any_other():
    refine = create_strategy("refine", ["margin", "uherding"], **{"uherding.radius": "min"})
    assert refine.last is refine.candidates["uherding"] and refine.last.radius == "min"
    other = create_strategy("refine", ["margin"], last="kmeans")
    assert other.last.name == "kmeans" and other.requires == {"probabilities", "embeddings"}
    default = create_strategy("refine")
    assert default.last is default.candidates["uherding"] and len(default.candidates) == 9
    with pytest.raises(UnknownNameError):
        create_strategy("refine", last="uherdin")
    with pytest.raises(InputError, match="'lpl' changes how"):
        create_strategy("refine", last="lpl")


def test_memories_are_kept(make_round):
    refine = Refine({"up": Counting(up), "down": ByKey(down)}, "up", depth=2, batches=6)
    refine.query(make_round().context, 3)
    assert refine.state_dict()["candidates"]["up"] == {"count": 7}  # two passes of three, and the last
    fresh = Refine({"up": Counting(up), "down": ByKey(down)}, "up", depth=2, batches=6)
    fresh.load_state_dict(refine.state_dict())
    assert fresh.last.count == 7

    outside = create_strategy("refine", ["margin"], last="cluster-margin", batches=2)
    assert set(outside.state_dict()["last"]) == {"samples", "clusters"}
    outside.query(make_round().context, 3)
    restored = create_strategy("refine", ["margin"], last="cluster-margin", batches=2)
    restored.load_state_dict(outside.state_dict())
    for key, value in outside.last.state_dict().items():
        np.testing.assert_array_equal(restored.last.state_dict()[key], value)


def test_a_last_strategy_with_a_wrong_answer_is_named(make_round):
    class Repeating(Strategy):
        def query(self, context, batch_size):
            return np.repeat(context.candidates.indices[:1], batch_size)

    refine = Refine({"up": ByKey(up), "repeating": Repeating()}, "repeating", batches=2)
    refine.candidates["repeating"] = ByKey(down)  # the filter's queries are right, so the last one is at fault
    with pytest.raises(QueryError, match="Repeating"):
        refine.query(make_round().context, 3)


@pytest.mark.parametrize(
    "options",
    [{"depth": 0}, {"batches": 0}, {"subset": 0}, {"cap": 0}, {"fraction": 0.0}, {"fraction": 1.5}],
    ids=str,
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=f"option {next(iter(options))}"):
        by_keys(**options)
