"""TAILOR: a plain implementation from the definitions over scripted histories, its memory, and what counts when."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, InputError, QueryError, Strategy
from deepal_autoal.files import read_tensors, write_tensors
from deepal_strategies.coreset import CoreSet
from deepal_strategies.entropy import Entropy
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.tailor import Tailor, class_values, draw_arm

N = 60


class Ranking(Strategy):
    """Queries the candidates in a fixed order of pool indices; the memory counts its queries."""

    def __init__(self, order):
        self.order = list(order)
        self.count = 0

    def query(self, context, batch_size):
        self.count += 1
        free = set(context.candidates.indices.tolist())
        return [index for index in self.order if index in free][:batch_size]

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Failing(Strategy):
    name = "failing"

    def query(self, context, batch_size):
        raise ZeroDivisionError("no luck")


# Every tenth sample is of the rare class 2; classes 0 and 1 share the rest, two to one.
LABELS = np.array([2 if index % 10 == 9 else int(index % 3 == 2) for index in range(N)])
RARE_FIRST = [*range(9, N, 10), *range(N)]


@pytest.fixture
def world(make_round):
    """Return a function that builds contexts, given the labeled samples."""

    def build(labeled, number=0, labels=LABELS):
        everything = make_round(N, 0, labels=np.asarray(labels)).context
        return everything.rebuild(
            candidates=np.setdiff1d(np.arange(N), labeled), labeled=np.array(labeled, dtype=int), purpose=f"r{number}"
        )

    return build


def arms():
    return {"rare": Ranking(dict.fromkeys(RARE_FIRST)), "down": Ranking(range(N - 1, -1, -1))}


class ByHand:
    """The definitions, for candidates with fixed rankings."""

    def __init__(self, rankings, n_classes, discount):
        self.rankings, self.discount = rankings, discount
        self.a = [[1.0] * n_classes for _ in rankings]

    def choose(self, labeled, labels, rng, size):
        n = [sum(labels[index] == c for index in labeled) for c in range(len(self.a[0]))]
        v = [(-1 if share > len(labeled) / 2 else 1) / max(share, 1) for share in n]
        batch, sources = [], []
        for _ in range(size):
            worth = []
            for row in self.a:
                # Dirichlet: independent gamma variates, divided by their sum.
                gamma = [rng.standard_gamma(count + 1) for count in row]
                worth.append(sum(g / sum(gamma) * value for g, value in zip(gamma, v, strict=True)))
            best = worth.index(max(worth))
            batch.append(next(i for i in self.rankings[best] if i not in labeled and i not in batch))
            sources.append(best)
        return batch, sources

    def learn(self, batch, sources, labels):
        self.a = [[self.discount * count for count in row] for row in self.a]
        for index, source in zip(batch, sources, strict=True):
            self.a[source][labels[index]] += 1


def counts_of(tailor):
    return tailor.state_dict()["tailor"]["counts"].tolist()


@pytest.mark.parametrize("discount", [0.9, 0.5, 1.0])
@pytest.mark.parametrize("size", [1, 5])
def test_a_scripted_history_equals_the_definitions(world, size, discount):
    tailor = Tailor(arms(), discount=discount)
    by_hand = ByHand([arm.order for arm in arms().values()], 3, discount)
    labeled, drawn = [0, 1, 3, 4, 2, 9], set()
    for number in range(6):
        answer = tailor.query(world(labeled, number), size)
        batch, sources = by_hand.choose(labeled, LABELS, world(labeled, number).rng, size)
        assert list(answer.indices) == batch
        report = answer.report
        assert report["arms"] == {"rare": sources.count(0), "down": sources.count(1)}
        assert report["weights"] == {name: count / size for name, count in report["arms"].items()}
        counts = np.bincount(LABELS[labeled], minlength=3)
        assert report["class_shares"] == pytest.approx(
            {"largest": max(counts) / len(labeled), "smallest": min(counts) / len(labeled)}
        )
        assert json.loads(json.dumps(report)) == report
        np.testing.assert_allclose(counts_of(tailor), by_hand.a)
        by_hand.learn(batch, sources, LABELS)
        labeled += batch
        drawn |= set(sources)
    assert drawn == {0, 1}


def test_values_of_classes_by_hand():
    assert class_values(np.array([4, 2, 0, 1])).tolist() == [-1 / 4, 1 / 2, 1, 1]
    assert class_values(np.array([4, 2, 2])).tolist() == [1 / 4, 1 / 2, 1 / 2]  # exactly half is not more than half
    assert class_values(np.array([0, 0])).tolist() == [1, 1]


def test_draws_follow_the_dirichlet_distribution():
    # Two classes: θ of the first ~ Beta(a_1 + 1, a_2 + 1); P(X > Y) for X ~ Beta(3, 1), Y ~ Beta(2, 2) is 0.8:
    # ∫ 3x²·F(x) dx with F(x) = 3x² - 2x³ gives 9/5 - 1.
    rng = np.random.default_rng(0)
    counts, values = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])
    share = np.mean([draw_arm(counts, values, rng) == 0 for _ in range(2000)])
    assert share == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 2000))


def test_equal_classes_draw_every_candidate():
    # θ·v is the same for all candidates but for rounding.
    rng = np.random.default_rng(0)
    counts = np.array([[9.0, 1, 1], [1, 1, 1], [1, 1, 7]])
    drawn = np.bincount([draw_arm(counts, np.full(3, 1 / 7), rng) for _ in range(900)], minlength=3) / 900
    assert drawn.tolist() == pytest.approx([1 / 3] * 3, abs=4 * np.sqrt(2 / 9 / 900))


def test_the_candidate_that_finds_the_rare_class_gains(make_round):
    labels = np.array([2 if index < 100 else index % 2 for index in range(400)])
    everything = make_round(400, 0, labels=labels).context
    tailor = Tailor({"rare": Ranking(range(400)), "common": Ranking(range(399, -1, -1))})
    labeled, shares, expected = [*range(200, 350), 0], [], []
    for number in range(5):
        context = everything.rebuild(
            candidates=np.setdiff1d(np.arange(400), labeled), labeled=np.array(labeled), purpose=str(number)
        )
        answer = tailor.query(context, 10)
        labeled += answer.indices
        shares.append(answer.report["weights"]["rare"])
        expected.append(answer.report["expected_rewards"])
    assert expected[0]["rare"] == pytest.approx(expected[0]["common"])
    assert all(later["rare"] > later["common"] for later in expected[1:])
    assert np.mean(shares[1:]) > 0.7
    assert (labels[labeled] == 2).sum() > 30


def test_labels_of_unlabeled_samples_are_never_read(world):
    labeled = [0, 1, 3, 2, 9]
    poisoned = (LABELS + 1) % 3
    poisoned[labeled] = LABELS[labeled]
    answers = [Tailor(arms()).query(world(labeled, labels=labels), 12) for labels in (LABELS, poisoned)]
    assert answers[0].indices == answers[1].indices
    assert answers[0].report == answers[1].report


def started(world, size=4):
    """Return a strategy after its first query, the labeled samples, and what it queried."""
    tailor = Tailor({"only": Ranking([9, 0, 1, 2, *range(10, N)])})
    labeled = [3, 5, 19]
    return tailor, labeled, list(tailor.query(world(labeled), size).indices)


def test_late_labels_count_when_they_come(world):
    tailor, labeled, batch = started(world)  # classes 2, 0, 0, 1
    assert counts_of(tailor) == [[1, 1, 1]]
    tailor.query(world([*labeled, *batch[:2]], 1), 1)
    assert counts_of(tailor) == [pytest.approx([1.9, 0.9, 1.9])]
    tailor.query(world([*labeled, *batch[:2]], 2), 1)  # nothing new: no discount
    assert counts_of(tailor) == [pytest.approx([1.9, 0.9, 1.9])]
    tailor.query(world([*labeled, *batch], 3), 1)
    assert counts_of(tailor) == [pytest.approx([2.71, 1.81, 1.71])]
    tailor.query(world([*labeled, *batch], 4), 1)
    assert counts_of(tailor) == [pytest.approx([2.71, 1.81, 1.71])]


def test_a_round_that_is_queried_again_counts_once(world):
    tailor, labeled, batch = started(world)
    again = list(tailor.query(world(labeled), 4).indices)
    assert again == batch
    assert counts_of(tailor) == [[1, 1, 1]]
    for _ in range(2):
        tailor.query(world([*labeled, *batch], 1), 4)
        assert counts_of(tailor) == [pytest.approx([2.9, 1.9, 1.9])]


def test_samples_labeled_otherwise_do_not_count(world):
    tailor, labeled, _ = started(world)
    tailor.query(world([*labeled, 40, 41, 49], 1), 4)
    assert counts_of(tailor) == [[1, 1, 1]]


def test_a_candidate_that_fails_leaves_no_trace(world):
    tailor, labeled, batch = started(world)
    before = copy.deepcopy(tailor.state_dict())
    tailor.candidates["only"] = Failing()
    with pytest.raises(QueryError, match="failing"):
        tailor.query(world([*labeled, *batch], 1), 4)
    tailor.candidates["only"] = Ranking([])
    tailor.candidates["only"].count = 1
    np.testing.assert_equal(tailor.state_dict(), before)


def test_each_candidate_is_queried_once_for_a_batch(world):
    tailor = Tailor(arms())
    report = tailor.query(world([0, 1, 3, 2, 9]), 20).report
    assert all(report["arms"].values())
    assert [candidate.count for candidate in tailor.candidates.values()] == [1, 1]


def play(world, tailor, rounds, labeled=(0, 1, 3, 2, 9)):
    labeled, reports = list(labeled), []
    for number in rounds:
        answer = tailor.query(world(labeled, number), 4)
        labeled += answer.indices
        reports.append({**answer.report, "batch": answer.indices})
    return reports, labeled


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_memory_is_the_same_after_saving_and_loading(world, tmp_path, stop):
    undisturbed, _ = play(world, Tailor(arms()), range(6))
    tailor = Tailor(arms())
    before, labeled = play(world, tailor, range(stop))
    write_tensors(tmp_path / "state", tailor.state_dict())
    again = Tailor(arms())
    again.load_state_dict(read_tensors(tmp_path / "state"))
    after, _ = play(world, again, range(stop, 6), labeled)
    assert before + after == undisturbed
    assert sum(candidate.count for candidate in again.candidates.values()) >= 6


def test_a_state_is_a_snapshot_and_can_be_undone(world):
    tailor = Tailor(arms())
    first = copy.deepcopy(tailor.state_dict())
    play(world, tailor, range(2))
    kept, copied = tailor.state_dict(), copy.deepcopy(tailor.state_dict())
    play(world, tailor, range(2, 4), labeled=range(12))
    np.testing.assert_equal(kept, copied)
    tailor.load_state_dict(first)
    np.testing.assert_equal(tailor.state_dict(), first)


@pytest.mark.parametrize("names", [["b", "a"], ["a"], ["a", "b", "c"]])
def test_a_state_of_other_candidates_is_refused(names):
    state = Tailor({"a": Entropy(), "b": Entropy()}).state_dict()
    with pytest.raises(InputError, match="arms"):
        Tailor({name: Entropy() for name in names}).load_state_dict(state)


@pytest.mark.parametrize("discount", [0.0, -1.0, 1.1, float("nan"), float("inf")])
def test_discounts_out_of_range_are_refused(discount):
    with pytest.raises(InputError, match="discount"):
        Tailor({"a": Entropy()}, discount=discount)


def test_the_learner_undoes_a_query_when_another_size_is_requested(blob_data):
    def make_learner():
        learner = ActiveLearner(
            blob_data.x_train, Tailor({"random": RandomSampling(), "coreset": CoreSet()}), 3, model="linear",
            recipe={"epochs": 1, "min_steps": 2}, device="cpu",
        )  # fmt: skip
        learner.tell(np.arange(6), blob_data.y_train[:6])
        return learner

    restless, calm = make_learner(), make_learner()
    for _ in range(2):
        restless.query(9)
        first, second = restless.query(5), calm.query(5)
        assert first.indices.tolist() == second.indices.tolist()
        assert first.report == second.report
        np.testing.assert_equal(restless.strategy.state_dict(), calm.strategy.state_dict())
        for each in (restless, calm):
            each.tell(first.indices, blob_data.y_train[first.indices])
    assert restless.strategy.state_dict()["tailor"]["counts"].sum() == pytest.approx(2 * 3 * 0.9 + 5)
