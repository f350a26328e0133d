"""Controls of selectors, and TCM: which candidate they query, over histories worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepal_autoal import InputError, Query, Strategy, create_strategy
from deepal_autoal.querying.strategy import check_query
from deepal_strategies.random_candidate import RandomCandidate
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.round_robin import RoundRobin
from deepal_strategies.sub_pool import SubPool
from deepal_strategies.switch import Switch


class Place(Strategy):
    """Queries the candidates from a position of the view on, and counts its queries."""

    def __init__(self, start):
        self.start = start
        self.count = 0

    def query(self, context, batch_size):
        self.count += 1
        return Query(np.roll(context.candidates.indices, -self.start)[:batch_size], {"from": self.start})

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def places():
    return {name: Place(5 * number) for number, name in enumerate("abc")}


@pytest.fixture
def play(make_round):
    """Query a selector in rounds of three samples, all labeled afterwards, and return the arms."""

    def run(selector, n_rounds, n_labeled=6, n_classes=3):
        n = 80
        everything = make_round(n, 0, n_classes, labels=np.arange(n) % n_classes).context
        labeled, arms = np.arange(n_labeled), []
        for number in range(n_rounds):
            context = everything.rebuild(candidates=np.arange(len(labeled), n), labeled=labeled, purpose=str(number))
            context.round = number
            counts = {name: candidate.count for name, candidate in selector.candidates.items()}
            answer = selector.query(context, 3)
            check_query(selector, answer, context.candidates.indices, 3)
            arm = answer.report["arm"]
            # That candidate's batch, report and query, and nobody else's.
            start = selector.candidates[arm].start
            assert answer.indices.tolist() == context.candidates.indices[start : start + 3].tolist()
            assert context.reported["candidates"] == {arm: {"from": start}}
            asked = {name: candidate.count - counts[name] for name, candidate in selector.candidates.items()}
            assert asked == {name: int(name == arm) for name in selector.candidates}
            arms.append(arm)
            labeled = np.arange(len(labeled) + 3)
        return "".join(arms)

    return run


def test_round_robin_takes_turns(play):
    assert play(RoundRobin(places()), 7) == "abcabca"
    assert play(RoundRobin({"a": Place(0)}), 3) == "aaa"


@pytest.mark.parametrize(
    ("options", "arms"),
    [
        ({}, "aaabbbccc"),
        ({"rounds": 1}, "abccccccc"),
        ({"rounds": 4}, "aaaabbbbc"),
        # 6, 9, 12 ... 30 labels of 3 classes: 2, 3, 4 ... 10 a class.
        ({"labels_per_class": 3}, "abbbccccc"),
        ({"labels_per_class": 2.5}, "abbcccccc"),
        ({"labels_per_class": 1}, "ccccccccc"),
        ({"labels_per_class": 20}, "aaaaaaaaa"),
    ],
    ids=str,
)
def test_switch_follows_its_schedule(play, options, arms):
    assert play(Switch(places(), **options), 9) == arms


def test_a_number_of_labels_is_not_missed_by_rounding(make_round):
    for n_labeled, n_classes, per_class in ((11, 10, 1.1), (7, 10, 0.7), (1, 3, 1 / 3)):
        context = make_round(n_labeled, 20, n_classes).context
        assert Switch(places(), labels_per_class=per_class).arm(context) == "b"
    four = {name: Place(number) for number, name in enumerate("abcd")}
    assert Switch(four, labels_per_class=0.2).arm(make_round(6, 20, 10).context) == "d"  # 6 / 10 / 0.2 < 3


def test_tcm_is_typiclust_and_then_margin(make_round):
    tcm = create_strategy("tcm", **{"typiclust.neighbors": 5})
    assert tcm.candidates["typiclust"].neighbors == 5
    for number, name in ((0, "typiclust"), (2, "typiclust"), (3, "margin"), (9, "margin")):
        context = make_round().context
        context.round = number
        answer = tcm.query(context, 4)
        alone = create_strategy(name, **({"neighbors": 5} if name == "typiclust" else {}))
        expected = alone.query(make_round().context.for_candidate(name), 4)
        expected = expected.indices if isinstance(expected, Query) else expected
        assert answer.report == {"arm": name}
        assert answer.indices.tolist() == expected.tolist()
    early = create_strategy("tcm", labels_per_class="2")
    assert [early.arm(make_round(n_labeled, 20).context) for n_labeled in (0, 5, 6)] == ["typiclust"] * 2 + ["margin"]


def test_a_random_candidate_is_drawn_in_every_round(play, make_round):
    arms = play(RandomCandidate(places()), 16)
    assert arms == play(RandomCandidate(places()), 16)
    assert set(arms) == set("abc")
    context = make_round().context
    drawn = [RandomCandidate(places()).arm(context.rebuild(purpose=str(number))) for number in range(300)]
    counts = np.array([drawn.count(name) for name in "abc"])
    assert ((counts - 100) ** 2 / 100).sum() < 13.8  # χ² of two degrees of freedom, 0.1%


def test_memories_are_kept(play):
    selector = RoundRobin(places())
    play(selector, 4)
    fresh = RoundRobin(places())
    fresh.load_state_dict(selector.state_dict())
    assert [candidate.count for candidate in fresh.candidates.values()] == [2, 1, 1]


class Offered(Strategy):
    """Queries the last candidates, and notes what it was offered."""

    def __init__(self):
        self.offered = []

    def query(self, context, batch_size):
        self.offered.append(context.candidates.indices)
        context.report(last=int(context.candidates.indices[-1]))
        return context.candidates.indices[-batch_size:]


def test_sub_pool_is_a_uniform_part_in_every_round(make_round):
    world, inner = make_round(10, 40).context, Offered()
    counts = np.zeros(50)
    for number in range(100):
        context = world.rebuild(purpose=str(number))
        answer = SubPool({"inner": inner}, size=12).query(context, 5)
        part = inner.offered[-1]
        assert len(part) == len(set(part.tolist())) == 12 and np.isin(part, context.candidates.indices).all()
        assert answer.indices.tolist() == part[-5:].tolist()
        assert answer.report == {"arm": "inner", "pool": 12, "candidates": {"inner": {"last": part[-1]}}}
        counts[part] += 1
    assert not counts[world.labeled.indices].any()
    expected = 100 * 12 / 40
    assert np.abs(counts[world.candidates.indices] - expected).max() < 4.5 * np.sqrt(expected * (1 - 12 / 40))


@pytest.mark.parametrize(("size", "batch_size", "n_offered"), [(3, 5, 5), (40, 5, 40), (10_000, 40, 40)])
def test_sub_pool_has_at_least_the_batch_and_at_most_the_pool(make_round, size, batch_size, n_offered):
    context, inner = make_round(10, 40).context, Offered()
    answer = SubPool({"inner": inner}, size=size).query(context, batch_size)
    assert answer.report["pool"] == len(inner.offered[0]) == n_offered
    check_query(inner, answer, context.candidates.indices, batch_size)


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: Switch(places(), rounds=0), "option rounds"),
        (lambda: Switch(places(), labels_per_class=0.0), "option labels_per_class"),
        (lambda: Switch(places(), rounds=3, labels_per_class=1), "give one of them"),
        (lambda: SubPool({"a": RandomSampling()}, size=0), "option size"),
        (lambda: SubPool(places()), "takes one candidate, not 3"),
        (lambda: RoundRobin({}), "at least one candidate"),
    ],
)
def test_bad_options_are_refused(create, message):
    with pytest.raises(InputError, match=message):
        create()
