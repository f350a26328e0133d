"""ALBL: EXP4.P's formulas in plain floats over scripted histories, its memory, and what counts as a reward."""

from __future__ import annotations

import copy
import json
import math
import operator

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, InputError, QueryError, Strategy
from deepal_autoal.files import read_tensors, write_tensors
from deepal_autoal.querying.strategy import check_query
from deepal_strategies.albl.exp4p import (
    arm_credits,
    arm_probabilities,
    importance_weighted_accuracy,
    minimum_probability,
    query_probabilities,
    updated_log_weights,
)
from deepal_strategies.albl.strategy import ALBL
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.entropy import Entropy
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.leastconf import LeastConfidence
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.vote import Vote


class Scripted(Strategy):
    """Queries the given pool indices, by round."""

    def __init__(self, batches):
        self.batches = batches

    def query(self, context, batch_size):
        return np.array(self.batches[context.round][:batch_size])


class Places(Strategy):
    """Queries the candidates starting from a position of the view."""

    def __init__(self, start=0):
        self.start = start

    def query(self, context, batch_size):
        return np.roll(context.candidates.indices, -self.start)[:batch_size]


class Counting(Places):
    """Has a memory: how often it was queried."""

    count = 0

    def query(self, context, batch_size):
        self.count += 1
        return super().query(context, batch_size)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Failing(Strategy):
    name = "failing"

    def query(self, context, batch_size):
        raise ZeroDivisionError("no luck")


@pytest.fixture
def world(make_round):
    """Contexts over 30 samples of 3 classes, given the labeled ones and those that the task model classifies right."""

    def build(labeled, correct, *, number=0, n_rounds=5, n=30, labels=None, purpose=None):
        labels = np.arange(n) % 3 if labels is None else labels
        correct = np.isin(np.arange(n), correct)
        predicted = torch.as_tensor(np.where(correct, labels, (labels + 1) % 3))
        logits = 4.0 * torch.nn.functional.one_hot(predicted, 3).float()
        embeddings = torch.arange(2.0 * n).reshape(n, 2)
        everything = make_round(n, 0, labels=labels, logits=logits, embeddings=embeddings).context
        context = everything.rebuild(
            candidates=np.setdiff1d(np.arange(n), labeled),
            labeled=np.array(labeled),
            purpose=purpose or f"round{number}",
        )
        context.round, context._n_rounds = number, n_rounds
        return context

    return build


# Batches of three arms in five rounds, as positions in the round's block of nine samples, with and without overlap.
PATTERNS = {
    1: [([0], [1], [2]), ([0], [0], [1]), ([0], [0], [0]), ([0], [1], [1]), ([2], [5], [2])],
    3: [
        ([0, 1, 2], [3, 4, 5], [6, 7, 8]),
        ([0, 1, 2], [1, 0, 3], [4, 5, 1]),
        ([0, 1, 2], [2, 0, 1], [1, 2, 0]),
        ([0, 1, 2], [2, 3, 4], [4, 5, 0]),
        ([0, 1, 8], [2, 3, 8], [4, 5, 8]),
    ],
}


def script_of(batch_size):
    """Return pool indices, by arm and round."""
    positions = PATTERNS[batch_size]
    return [
        [[3 + 9 * number + position for position in positions[number][arm]] for number in range(5)] for arm in range(3)
    ]


class ByHand:
    """EXP4.P over indices, in plain floats; the drawn arm is given."""

    def __init__(self, n_arms, horizon, delta):
        self.K, self.T, self.delta = n_arms, horizon, delta
        self.pmin = min(1 / n_arms, math.sqrt(math.log(n_arms) / (n_arms * horizon)))
        self.w = [1.0] * n_arms
        self.q = {}

    def probabilities(self):
        total = sum(self.w)
        return [(1 - self.K * self.pmin) * w / total + self.pmin for w in self.w]

    def draw(self, batches, arm):
        self.p, self.batches, self.arm = self.probabilities(), batches, arm
        for x in batches[arm]:
            self.q[x] = sum(p / len(batch) for p, batch in zip(self.p, batches, strict=True) if x in batch)

    def settle(self, correct, n):
        reward = sum(1 / q for x, q in self.q.items() if x in correct) / (n * self.T)
        drawn = self.batches[self.arm]
        for k in range(self.K):
            shares = [(x in self.batches[k]) / len(drawn) for x in drawn]
            estimate = reward * sum(share / self.q[x] for share, x in zip(shares, drawn, strict=True)) / len(drawn)
            bonus = math.sqrt(math.log(self.K / self.delta) / (self.K * self.T)) / self.p[k]
            self.w[k] *= math.exp(self.pmin / 2 * (estimate + bonus))
        return reward


@pytest.mark.parametrize("history", range(4))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_scripted_history_equals_the_naive_bandit(world, batch_size, history):
    script, rng = script_of(batch_size), np.random.default_rng(history)
    names = ["a", "b", "c"]
    albl = ALBL({name: Scripted(batches) for name, batches in zip(names, script, strict=True)}, delta=0.2)
    by_hand, labeled, arms = ByHand(3, 5 * batch_size, 0.2), [0, 1, 2], set()
    for number in range(5):
        correct = rng.choice(60, size=30, replace=False).tolist()
        context = world(labeled, correct, number=number, n=60, purpose=f"{history}-{number}")
        answer = albl.query(context, batch_size)
        check_query(albl, answer, context.candidates.indices, batch_size)
        reward = by_hand.settle(correct, 60) if number else None
        report = answer.report
        assert report["reward"] == (pytest.approx(reward, rel=1e-12) if number else None)
        assert list(report["probabilities"]) == list(report["weights"]) == names
        assert list(report["probabilities"].values()) == pytest.approx(by_hand.probabilities(), rel=1e-12)
        assert list(report["weights"].values()) == pytest.approx([w / sum(by_hand.w) for w in by_hand.w], rel=1e-12)
        batches = [arm[number] for arm in script]
        drawn = names.index(report["arm"])
        assert answer.indices.tolist() == batches[drawn]
        by_hand.draw(batches, drawn)
        bandit = albl.state_dict()["bandit"]
        assert dict(zip(bandit["queried"].tolist(), bandit["q"].tolist(), strict=True)) == pytest.approx(by_hand.q)
        assert json.loads(json.dumps(report)) == report
        labeled += batches[drawn]
        arms.add(drawn)
    assert len(arms) > 1


def test_the_formulas_on_small_numbers():
    assert minimum_probability(3, 4) == pytest.approx(0.302574, abs=1e-6)  # √(1.0986123/12)
    assert minimum_probability(3, 1) == 1 / 3
    assert minimum_probability(1, 7) == 0
    # 1 - 3·0.1 = 0.7 is shared 4 : 1 : 5.
    p = arm_probabilities(np.log([4.0, 1.0, 5.0]) + 1000, 0.1)
    assert p.tolist() == pytest.approx([0.38, 0.17, 0.45])
    choices = np.array([[0.5, 0.5], [0.0, 0.5], [0.5, 0.0]])
    q = query_probabilities(p, choices)
    assert q.tolist() == pytest.approx([0.415, 0.275])
    assert arm_credits(choices, q).tolist() == pytest.approx(
        [(0.5 / 0.415 + 0.5 / 0.275) / 2, 0.5 / 0.275 / 2, 0.5 / 0.415 / 2]
    )
    assert arm_credits(choices[:, :1], q[:1]).tolist() == pytest.approx([0.5 / 0.415, 0, 0.5 / 0.415])
    # (1/0.5 + 1/0.25)/(10·3)
    assert importance_weighted_accuracy(
        np.array([True, False, True]), np.array([0.5, 0.1, 0.25]), 10, 3
    ) == pytest.approx(0.2)


def test_one_update_by_hand():
    # ln(2/0.1) = 2.995732; √(2.995732/(2·8)) = 0.432704; exponents 0.05·(0.6 + 0.432704/0.25) and 0.05·0.432704/0.75.
    updated = updated_log_weights(np.log([0.5, 0.5]), np.array([0.6, 0.0]), np.array([0.25, 0.75]), 0.1, 0.1, 8)
    first, second = math.exp(0.1165408), math.exp(0.0288469)
    assert np.exp(updated).tolist() == pytest.approx([first / (first + second), second / (first + second)], abs=1e-6)


@pytest.mark.parametrize("batches", [([4], [7], [4]), ([1, 2], [2, 3], [1, 2]), ([1, 2], [3, 4], [2, 5])], ids=str)
def test_credits_are_unbiased(batches):
    # E[r̂_κ] over the draw is the reward itself for every arm, including arms that agree in part.
    p = np.array([0.2, 0.5, 0.3])
    expected = np.zeros(3)
    for drawn in range(3):
        choices = np.array([np.isin(batches[drawn], batch) / len(batch) for batch in batches])
        expected += p[drawn] * arm_credits(choices, query_probabilities(p, choices))
    assert expected.tolist() == pytest.approx([1, 1, 1])


def test_drawn_batches_estimate_the_accuracy_and_credit_every_arm_alike(make_round):
    """One seed for each of 400 draws: two identical arms and a uniform one, half of the pool is classified right."""
    n, size, n_rounds = 40, 4, 3
    everything = make_round(n, 0, labels=np.zeros(n, dtype=int), logits=torch.eye(2)[np.arange(n) % 2]).context
    context = everything.rebuild(candidates=np.arange(n), labeled=np.array([], dtype=int))
    context._n_rounds = n_rounds
    credits, rewards = [], []
    for number in range(400):
        albl = ALBL({"a": Places(), "b": Places(), "random": RandomSampling()})
        batch = albl.query(context.rebuild(purpose=str(number)), size).indices
        credits.append(albl.state_dict()["bandit"]["last"]["credits"])
        after = everything.rebuild(
            candidates=np.setdiff1d(np.arange(n), batch), labeled=batch, purpose=f"after{number}"
        )
        after._n_rounds = n_rounds
        rewards.append(albl.query(after, size).report["reward"])
    error = np.std(credits, axis=0) / 20
    assert (abs(np.mean(credits, axis=0) - 1) < 4 * error).all()
    assert error.max() < 0.1
    # After one batch of three the reward is a third of the accuracy, which is one half on the pool.
    assert np.mean(rewards) == pytest.approx(0.5 / n_rounds, abs=4 * np.std(rewards) / 20)


def test_many_arms_and_few_rounds_are_not_a_coin(world):
    # With T = rounds, p_min would be 1/K: ten rounds and eight arms drew uniformly, whatever the rewards.
    albl = ALBL({name: Places(2 * place) for place, name in enumerate("abcdefgh")})
    batch = albl.query(world([0], [], n_rounds=10), 2)
    answer = albl.query(world([0, *batch.indices], range(30), number=1, n_rounds=10), 2)
    report = answer.report
    p_min = math.sqrt(math.log(8) / (8 * 20))
    assert report["probabilities"] == pytest.approx(
        {name: (1 - 8 * p_min) * weight + p_min for name, weight in report["weights"].items()}
    )
    assert max(report["probabilities"], key=report["probabilities"].get) == batch.report["arm"]
    assert len({round(p, 9) for p in report["probabilities"].values()}) > 1


def test_samples_of_several_arms_have_their_summed_probability(world):
    albl = ALBL({"a": Scripted([[5, 6]]), "b": Scripted([[6, 5]]), "c": Scripted([[6, 7]])})
    report = albl.query(world([0], [], n_rounds=10), 2).report
    bandit = albl.state_dict()["bandit"]
    q = dict(zip(bandit["queried"].tolist(), bandit["q"].tolist(), strict=True))
    assert q == pytest.approx(
        {"a": {5: 1 / 3, 6: 1 / 2}, "b": {5: 1 / 3, 6: 1 / 2}, "c": {6: 1 / 2, 7: 1 / 6}}[report["arm"]]
    )


def settled(world, *, labels=None, correct=(), others=(), labeled_of_batch=slice(None)):
    """Return the strategy, the first round's batch and the second round's answer."""
    albl = ALBL({"a": Places(), "b": Places(6)})
    batch = albl.query(world([0, 1, 2], []), 4).indices
    known = batch[labeled_of_batch].tolist()
    context = world([0, 1, 2, *others, *known], [*correct, *known[:2]], number=1, labels=labels)
    return albl, batch, albl.query(context, 4)


def test_only_queried_samples_count(world):
    _, batch, plain = settled(world)
    _, _, rest_correct = settled(world, correct=[0, 1, 2, *range(20, 30)], others=range(20, 30))
    assert plain.report == rest_correct.report
    # Two of the batch of four are right, p = 1/2, q = 1/8, n = 30, T = 5·4.
    assert plain.report["reward"] == pytest.approx(2 * 8 / (30 * 20))
    _, _, all_correct = settled(world, correct=batch)
    assert all_correct.report["reward"] == pytest.approx(4 * 8 / (30 * 20))


def test_labels_of_unlabeled_samples_are_never_read(world):
    _, batch, plain = settled(world)
    poisoned = np.arange(30) % 3
    hidden = np.setdiff1d(np.arange(30), [0, 1, 2, *batch])
    poisoned[hidden] = (poisoned[hidden] + 1) % 3
    _, _, answer = settled(world, labels=poisoned)
    assert answer.report == plain.report
    assert answer.indices.tolist() == plain.indices.tolist()


def test_missing_labels_do_not_count(world):
    _, _, partial = settled(world, labeled_of_batch=slice(0, 1))
    assert partial.report["reward"] == pytest.approx(8 / (30 * 20))


def test_late_labels_count_with_the_probability_of_their_query(world):
    albl = ALBL({"a": Scripted([[5, 6], [8, 9], [10, 11]]), "b": Scripted([[5, 7], [8, 6], [12, 13]])})
    first = albl.query(world([0], []), 2)
    late = first.indices[1]  # 6 or 7
    second = albl.query(world([0, 5], [5], number=1), 2)
    assert second.report["reward"] == pytest.approx(2 / (30 * 10))  # q = 1/2
    third = albl.query(world([0, 5, late, 8], [5, late], number=2), 2)
    queried_again = late in second.indices
    p_late = second.report["probabilities"]["b"] if queried_again else first.report["probabilities"]["a"]
    assert third.report["reward"] == pytest.approx((2 + 2 / p_late) / (30 * 10))


@pytest.mark.parametrize("others", [[], [20, 21, 22]], ids=["asked again", "other labels"])
def test_a_draw_without_labels_has_no_outcome(world, others):
    albl = ALBL({"a": Places(), "b": Places(6)})
    albl.query(world([0, 1, 2], []), 4)
    number = 1 if others else 0
    answer = albl.query(world([0, 1, 2, *others], range(30), number=number, purpose="again"), 4)
    assert answer.report["reward"] is None
    assert answer.report["weights"] == pytest.approx({"a": 0.5, "b": 0.5})
    # The new draw is settled next, by its own labels.
    after = albl.query(world([0, 1, 2, *others, *answer.indices], answer.indices, number=2), 4)
    assert after.report["reward"] == pytest.approx(4 * 8 / (30 * 20))
    weights = after.report["weights"]
    assert max(weights, key=weights.get) == answer.report["arm"]


def test_querying_the_same_round_again_gives_the_same_batch(world):
    albl, _, first = settled(world)
    labeled = [0, 1, 2, *first.indices]
    before = copy.deepcopy(albl.state_dict())
    answers = []
    for size in (2, 5, 2):
        albl.load_state_dict(before)
        answers.append(albl.query(world(labeled, range(20), number=2), size))
    assert answers[0].indices.tolist() == answers[2].indices.tolist()
    assert answers[0].report == answers[2].report == answers[1].report


def play(world, albl, rounds, labeled=(0, 1, 2)):
    """Label all queried samples; return (reports, labeled)."""
    labeled, reports = list(labeled), []
    for number in rounds:
        correct = np.random.default_rng(number).choice(30, size=12, replace=False).tolist()
        answer = albl.query(world(labeled, correct, number=number, n_rounds=8), 3)
        labeled += answer.indices.tolist()
        reports.append({**answer.report, "batch": answer.indices.tolist()})
    return reports, labeled


def arms():
    return {
        "random": RandomSampling(),
        "leastconf": LeastConfidence(),
        "nested": ALBL({"a": Places(), "b": Counting(3)}),
    }


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_memory_is_the_same_after_saving_and_loading(world, tmp_path, stop):
    undisturbed, _ = play(world, ALBL(arms()), range(8))
    albl = ALBL(arms())
    before, labeled = play(world, albl, range(stop))
    write_tensors(tmp_path / "state", albl.state_dict())
    again = ALBL(arms())
    again.load_state_dict(read_tensors(tmp_path / "state"))
    after, _ = play(world, again, range(stop, 8), labeled)
    assert before + after == undisturbed
    assert again.candidates["nested"].candidates["b"].count == 8
    assert any(report["reward"] for report in after)


def test_a_state_is_a_snapshot(world):
    albl = ALBL(arms())
    play(world, albl, range(2))
    kept, copied = albl.state_dict(), copy.deepcopy(albl.state_dict())
    play(world, albl, range(2, 4), labeled=range(12))
    np.testing.assert_equal(kept, copied)
    for value in albl.state_dict()["bandit"].values():
        if isinstance(value, np.ndarray):
            value[:] = 0
    assert albl.state_dict()["bandit"]["log_weights"].all()


def test_the_first_draw_can_be_undone(world):
    albl = ALBL(arms())
    before = copy.deepcopy(albl.state_dict())
    play(world, albl, range(2))
    albl.load_state_dict(before)
    np.testing.assert_equal(albl.state_dict(), before)


@pytest.mark.parametrize("names", [["b", "a"], ["a"], ["a", "b", "c"]])
def test_a_state_of_other_arms_is_refused(names):
    state = ALBL({"a": Places(), "b": Places()}).state_dict()
    with pytest.raises(InputError, match="arms"):
        ALBL({name: Places() for name in names}).load_state_dict(state)


def test_the_learner_undoes_a_query_when_another_size_is_requested(blob_data):
    def make_learner():
        learner = ActiveLearner(
            blob_data.x_train, ALBL({"random": RandomSampling(), "entropy": Entropy()}), 3, model="linear",
            recipe={"epochs": 1, "min_steps": 2}, device="cpu", n_rounds=6,
        )  # fmt: skip
        learner.tell(np.arange(6), blob_data.y_train[:6])
        return learner

    restless, calm = make_learner(), make_learner()
    for _ in range(2):  # the very first query is undone too
        restless.query(9)
        restless.query(2)
        first, second = restless.query(5), calm.query(5)
        assert first.indices.tolist() == second.indices.tolist()
        assert first.report == second.report
        np.testing.assert_equal(restless.strategy.state_dict(), calm.strategy.state_dict())
        for each in (restless, calm):
            each.tell(first.indices, blob_data.y_train[first.indices])
    assert restless.query(5).report["reward"] is not None


def test_simulations_on_parts_of_the_labeled_set_do_not_change_the_memory(make_round):
    albl = ALBL({"random": RandomSampling(), "kmeans": KMeansSampling()})
    first = make_round(30, 40).context
    batch = albl.query(first, 6).indices
    labeled = np.union1d(first.labeled.indices, batch)
    everything = make_round(70, 0).context
    context = everything.rebuild(candidates=np.setdiff1d(np.arange(70), labeled), labeled=labeled)
    before = copy.deepcopy(albl.state_dict())
    # Labeled sets with none, some and all of the queried samples, which are candidates where they are missing.
    for kept in (first.labeled.indices, np.union1d(batch[:3], labeled[:5]), labeled):
        part = context.rebuild(candidates=np.setdiff1d(labeled, kept[:-2]), labeled=kept[:-2])
        actor = copy.deepcopy(albl)
        check_query(actor, actor.query(part, 2), part.candidates.indices, 2)
    autoal = AutoAL({"albl": albl, "entropy": Entropy()}, warmup_steps=1, steps=2)
    check_query(autoal, autoal.query(context, 5), context.candidates.indices, 5)
    after = albl.state_dict()["bandit"]
    # Only the pool's own query counts: six samples before, five now.
    assert set(after["queried"].tolist()) == {*before["bandit"]["queried"].tolist(), *after["last"]["batch"].tolist()}
    assert len(after["queried"]) == 11


def test_albl_votes_as_a_candidate(world):
    vote = Vote({"albl": ALBL({"a": Places(), "b": Places(6)}), "entropy": Entropy()}, final="top")
    vote.query(world([0, 1, 2], []), 4)
    again = Vote({"albl": ALBL({"a": Places(), "b": Places(6)}), "entropy": Entropy()}, final="top")
    again.load_state_dict(copy.deepcopy(vote.state_dict()))
    np.testing.assert_equal(again.state_dict(), vote.state_dict())
    assert len(again.candidates["albl"].state_dict()["bandit"]["queried"]) == 4


@pytest.mark.parametrize("n_rounds", [1, 5])
@pytest.mark.parametrize("names", ["a", "ab", "abcde"])
def test_few_arms_and_few_rounds(world, names, n_rounds):
    albl = ALBL({name: Places(2 * place) for place, name in enumerate(names)})
    labeled = [0, 1]
    for number in range(4):  # with n_rounds = 1, more rounds than announced
        answer = albl.query(world(labeled, range(30), number=number, n_rounds=n_rounds), 2)
        labeled += answer.indices.tolist()
        probabilities = list(answer.report["probabilities"].values())
        assert sum(probabilities) == pytest.approx(1)
        assert min(probabilities) > 0
        if len(names) == 1 or (len(names) == 5 and n_rounds == 1):  # 1/K is p_min's bound
            assert probabilities == pytest.approx([1 / len(names)] * len(names))
    assert answer.report["reward"] > 0


def test_the_number_of_labels(world):
    def spread(number_known, **options):
        albl = ALBL({"a": Places(), "b": Places(6)}, **options)
        batch = albl.query(world([0], [], n_rounds=number_known), 2).indices
        return albl.query(world([0, *batch], batch, number=1, n_rounds=number_known), 2).report["reward"]

    assert spread(25) == pytest.approx(2 * 4 / (30 * 50))
    assert spread(None) == pytest.approx(2 * 4 / (30 * 20))
    assert spread(25, horizon=7) == spread(None, horizon=7) == pytest.approx(2 * 4 / (30 * 7))


def test_the_number_of_labels_stays_when_the_last_batch_is_smaller(world):
    albl = ALBL({"a": Places(), "b": Places(6)})
    first = albl.query(world([0], [], n_rounds=3), 4)
    second = albl.query(world([0, *first.indices], [], number=1, n_rounds=3), 1)
    p_min = math.sqrt(math.log(2) / (2 * 12))
    for answer in (first, second):
        weights, p = answer.report["weights"], answer.report["probabilities"]
        assert p == pytest.approx({name: (1 - 2 * p_min) * w + p_min for name, w in weights.items()})


def test_a_state_of_version_0_1_is_refused():
    albl = ALBL({"a": Places()})
    state = albl.state_dict()
    del state["bandit"]["n_labels"]
    with pytest.raises(InputError, match="counts labels now"):
        albl.load_state_dict(state)


def test_delta_widens_the_confidence_bonus(world):
    def weight(delta):
        albl = ALBL({"a": Places(), "b": Places(6), "c": Places(12)}, delta=delta)
        state = albl.state_dict()
        state["bandit"]["log_weights"] = np.log([0.98, 0.01, 0.01])
        albl.load_state_dict(state)
        batch = albl.query(world([0], [], n_rounds=200), 2).indices
        return albl.query(world([0, *batch], [], number=1, n_rounds=200), 2).report["weights"]["a"]

    assert weight(1e-9) < weight(0.1) < weight(0.9) < 0.98


def test_thousands_of_rounds_do_not_overflow():
    for horizon, reward in ((5000, 50.0), (10, 1e6)):
        p_min = minimum_probability(3, horizon)
        log_weights = np.log(np.full(3, 1 / 3))
        for number in range(5000):
            p = arm_probabilities(log_weights, p_min)
            estimates = np.array([reward / p[0] if number % 2 else 0.0, 0.0, 0.0])
            log_weights = updated_log_weights(log_weights, estimates, p, p_min, 0.1, horizon)
            assert np.isfinite(log_weights).all()
            assert abs(np.exp(log_weights).sum() - 1) < 1e-9
        # From the final weights.
        last = arm_probabilities(log_weights, p_min)
        assert last.tolist() == pytest.approx([1 - 2 * p_min, p_min, p_min], abs=0.01)


def test_arms_are_drawn_with_their_probabilities(world):
    albl = ALBL({"a": Places(), "b": Places(6), "c": Places(12)}, horizon=40)
    state = albl.state_dict()
    state["bandit"]["log_weights"] = np.log([0.6, 0.3, 0.1])
    context = world([0], [])
    drawn = []
    for number in range(600):
        albl.load_state_dict(state)
        report = albl.query(context.rebuild(purpose=f"draw{number}"), 1).report
        drawn.append(report["arm"])
    for name, p in report["probabilities"].items():
        assert abs(drawn.count(name) / 600 - p) < 4 * math.sqrt(p * (1 - p) / 600)


def test_an_arm_that_helps_gets_the_largest_weight(world):
    # The task model is right on all samples after a query of the good arm, and wrong after any other.
    for seed in range(4):
        albl = ALBL({"bad": Places(), "good": Places(20), "worse": Places(40)})
        labeled, answer = [0], None
        for number in range(40):
            correct = range(130) if answer is not None and answer.report["arm"] == "good" else ()
            context = world(labeled, correct, number=number, n_rounds=40, n=130, purpose=f"{seed}-{number}")
            answer = albl.query(context, 3)
            labeled += answer.indices.tolist()
        weights = answer.report["weights"]
        assert weights["good"] > 1.01 * max(weights["bad"], weights["worse"])


@pytest.mark.parametrize("good", range(3))
def test_the_bandit_finds_the_best_arm(good):
    # Rewards of 1 with probability 0.8 from the good arm and 0.3 from the others.
    rng, horizon = np.random.default_rng(good), 3000
    chances = np.where(np.arange(3) == good, 0.8, 0.3)
    p_min, log_weights = minimum_probability(3, horizon), np.zeros(3)
    for _ in range(horizon):
        p = arm_probabilities(log_weights, p_min)
        drawn = rng.choice(3, p=p)
        choices = np.arange(3)[:, None] == drawn
        estimates = arm_credits(choices, query_probabilities(p, choices)) * (rng.random() < chances[drawn])
        log_weights = updated_log_weights(log_weights, estimates, p, p_min, 0.1, horizon)
    assert arm_probabilities(log_weights, p_min)[good] > 0.9


def test_a_failing_candidate_is_named_and_the_reward_counts_once(world):
    albl = ALBL({"a": Places(), "b": Places(6)})
    batch = albl.query(world([0], []), 4).indices
    before = albl.state_dict()
    good = albl.candidates["b"]
    albl.candidates["b"] = Failing()
    with pytest.raises(QueryError, match=r"failing.*ZeroDivisionError: no luck"):
        albl.query(world([0, *batch], batch, number=1), 4)
    albl.candidates["b"] = good
    np.testing.assert_equal(albl.state_dict(), before)


def test_a_short_batch_is_reported_as_the_candidates_error(world):
    short = Scripted([[4, 5]])
    short.name = "short"
    with pytest.raises(QueryError, match=r"short.*returned 2 indices"):
        ALBL({"a": Places(), "short": short}).query(world([0], []), 3)


@pytest.mark.parametrize("batch_size", [1, 7, 60])
@pytest.mark.parametrize("n_classes", [2, 40])
def test_exact_batches(make_round, batch_size, n_classes):
    albl = ALBL({"random": RandomSampling(), "leastconf": LeastConfidence(), "kmeans": KMeansSampling()})
    context = make_round(1, 60, n_classes=n_classes, embeddings=torch.ones(61, 4)).context
    answer = check_query(albl, albl.query(context, batch_size), context.candidates.indices, batch_size)
    assert answer.indices.tolist() == albl.ask_candidate(answer.report["arm"], context, batch_size).tolist()


def test_requirements():
    assert ALBL({"random": RandomSampling()}).requires == {"probabilities"}
    assert ALBL({"kmeans": KMeansSampling()}).requires == {"probabilities", "embeddings"}


@pytest.mark.parametrize("options", [{"delta": 0}, {"delta": 1.0}, {"delta": math.nan}, {"horizon": 0}], ids=str)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ALBL({"random": RandomSampling()}, **options)


def test_a_random_arm_may_query_any_sample(world):
    """ψ of a uniform draw is 1/N: rare samples weigh more, and the reward estimates the accuracy on the pool."""
    first = world([0], [], number=0, n_rounds=4)
    albl = ALBL({"random": RandomSampling(), "b": Scripted([[5, 6], [7, 8]])})
    state = albl.state_dict()
    drawn = {}
    for purpose in range(30):
        albl.load_state_dict(state)
        context = world([0], [], number=0, n_rounds=4, purpose=f"try{purpose}")
        batch = albl.query(context, 2)
        p = batch.report["probabilities"]
        arm = batch.report["arm"]
        uniform = p["random"] / len(first.candidates)
        expected = [uniform + (p["b"] / 2 if index in (5, 6) else 0) for index in batch.indices.tolist()]
        assert [albl._queried[index] for index in batch.indices.tolist()] == pytest.approx(expected)
        if arm not in drawn:
            drawn[arm] = batch.indices.tolist()
            right = world([0, *drawn[arm]], drawn[arm], number=1, n_rounds=4)
            reward = albl.query(right, 2).report["reward"]
            assert reward == pytest.approx(sum(1 / q for q in expected) / (30 * 8))
            # Every arm is credited with the mean of its ψ/q over the batch.
            psi = {"random": [1 / len(first.candidates)] * 2}
            psi["b"] = [0.5 * (index in (5, 6)) for index in batch.indices.tolist()]
            bonus = math.sqrt(math.log(2 / 0.1) / (2 * 8))
            gain = {name: reward * sum(map(operator.truediv, psi[name], expected)) / 2 + bonus / p[name] for name in p}
            pmin = math.sqrt(math.log(2) / (2 * 8))
            w = {name: math.exp(pmin / 2 * gain[name]) for name in p}
            after = np.exp(albl._log_weights)
            assert after.tolist() == pytest.approx([w[name] / sum(w.values()) for name in ("random", "b")])
    assert set(drawn) == {"random", "b"}


def test_random_sampling_returns_its_choice_probabilities(make_round):
    context = make_round(5, 40).context
    chances = RandomSampling().choice_probabilities(context, 8)
    assert chances.shape == (40,) and float(chances.sum()) == pytest.approx(8)
    counts = np.zeros(45)
    for number in range(400):
        counts[RandomSampling().query(context.rebuild(purpose=str(number)), 8)] += 1
    assert abs(counts[context.candidates.indices] / 400 - 0.2).max() < 0.1
    assert Entropy().choice_probabilities(context, 8) is None
