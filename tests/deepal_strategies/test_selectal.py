"""SelectAL: removals against loops, scripted models for each regime, who judges whom, and the decision's confidence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, InputError, Strategy, create_strategy
from deepal_strategies import selectal
from deepal_strategies.selectal import SelectAL, decide, folds_of, removal_counts, removal_sets

N_CLASSES, CORE, FAR = 3, 12, 8
PER_CLASS = CORE + FAR


class Fixed(Strategy):
    """Queries the candidates from a position on."""

    def __init__(self, start=0):
        self.start = start

    def query(self, context, batch_size):
        return np.roll(np.sort(context.candidates.indices), -self.start)[:batch_size]


def make_selector(**options):
    return SelectAL({"a": Fixed(0), "b": Fixed(10), "c": Fixed(20)}, **options)


@pytest.fixture
def crowds(make_round):
    """A round whose labeled classes are crowds of 12 similar samples, and 8 far from everything; returned with a mask.

    ``skill(core, far)`` gives the accuracy of a model from the shares of both kinds that it was trained on.
    """

    def build(skill, seed=0):
        rng = np.random.default_rng(seed)
        n = N_CLASSES * PER_CLASS
        labels = np.concatenate([np.arange(n) // PER_CLASS, np.zeros(40, dtype=np.int64)])
        is_far = np.concatenate([np.tile(np.arange(PER_CLASS) >= CORE, N_CLASSES), np.zeros(40, dtype=bool)])
        embeddings = rng.normal(size=(n + 40, 30))
        embeddings[is_far] *= 40
        made = make_round(0, n + 40, labels=labels, embeddings=torch.as_tensor(embeddings, dtype=torch.float32))
        rank = rng.permutation(n + 40) / (n + 40)
        plain = made.trainer.fit

        def fit(labeled, unlabeled, *, seed, **settings):
            model = plain(labeled, unlabeled, seed=seed, **settings)
            far = is_far[labeled.indices]
            share = skill((~far).sum() / (N_CLASSES * CORE), far.sum() / (N_CLASSES * FAR))
            predicted = np.where(rank < share, labels, (labels + 1) % N_CLASSES)
            model.logits = torch.nn.functional.one_hot(torch.as_tensor(predicted), N_CLASSES).float()
            return model

        made.trainer.fit = fit
        everything = made.context
        everything._labels = dict(enumerate(labels[:n].tolist()))
        made.context = everything.rebuild(
            candidates=np.arange(n, n + 40), labeled=rng.permutation(n), purpose=f"round {seed}"
        )
        return made

    return build


@pytest.mark.parametrize("validation", ["folds", "holdout"])
@pytest.mark.parametrize(
    ("regime", "candidate", "skill", "cut"),
    [
        ("low", "b", lambda core, far: 0.2 + core, 0.75),  # the crowds are what it learns from
        ("high", "c", lambda core, far: 0.2 + far, 0.65),
        ("random", "a", lambda core, far: 0.2 + 3 * abs(core - far), 1.1),  # any other removal makes it better
    ],
)
def test_the_regime_whose_removal_hurts_most_is_queried(crowds, validation, regime, candidate, skill, cut):
    # Two held-out samples see only whether a model is all right or all wrong.
    made = crowds(skill if validation == "folds" else lambda core, far: float(skill(core, far) > cut))
    selector = make_selector(share=0.3, validation=validation)
    query = selector.query(made.context, 5)
    report = query.report
    assert report["regime"] == regime and report["decided_by"] == validation and report["removed"] == 18
    assert report["weights"] == {name: float(name == candidate) for name in "abc"}
    assert query.indices.tolist() == selector.candidates[candidate].query(made.context, 5).tolist()
    accuracies = report["accuracies"]
    assert list(accuracies) == ["random", "low", "high"] and min(accuracies, key=accuracies.get) == regime
    second = sorted(accuracies.values())[1]
    assert report["difference"] == pytest.approx(second - accuracies[regime])
    assert report["trainings"] == len(made.trainer.fits) - 1 == 35  # the task model's own is not counted
    if validation == "folds":
        assert report["agreement"] > 0.8 and 0 < report["standard_error"] < report["difference"]


def test_every_sample_is_judged_after_each_removal_by_a_model_trained_without_it(crowds):
    made = crowds(lambda core, far: 0.5 * core + 0.5 * far)
    report = make_selector(share=0.3, repeats=1, folds=4).query(made.context, 5).report
    assert report["trainings"] == 12
    labeled = set(made.context.labeled.indices.tolist())
    judged, left, hits = ([[], [], []] for _ in range(3))
    for number, (fit, model) in enumerate(zip(made.trainer.fits[1:], made.trainer.models[1:], strict=True)):
        (swept,) = model.swept
        assert not set(swept) & set(fit[0].indices.tolist()) and set(fit[0].indices.tolist()) < labeled
        assert set(fit[1].indices.tolist()) == set(range(len(made.labels))) - set(fit[0].indices.tolist())
        judged[number % 3] += swept
        left[number % 3] += fit[0].indices.tolist()
        hits[number % 3] += (model.logits[swept].argmax(dim=1).numpy() == made.labels[swept]).tolist()
    for kind in range(3):
        assert sorted(judged[kind]) == sorted(labeled)
        # A sample that stays is in the training set of all folds but its own.
        assert {left[kind].count(index) for index in labeled} == {0, 3}
        assert sum(left[kind].count(index) == 0 for index in labeled) == report["removed"]
    assert list(report["accuracies"].values()) == pytest.approx([np.mean(one) for one in hits])


def test_holdout_judges_five_percent_of_what_stays(crowds):
    made = crowds(lambda core, far: 0.5 * core + 0.5 * far)
    report = make_selector(share=0.3, repeats=2, folds=3, validation="holdout").query(made.context, 5).report
    assert report["trainings"] == 12
    for fit, model in zip(made.trainer.fits[1:], made.trainer.models[1:], strict=True):
        (swept,) = model.swept
        assert len(swept) == 2 and len(fit[0].indices) == 60 - 18 - 2 and not set(swept) & set(fit[0].indices.tolist())


def naive_typicality(rows):
    """Return 1/(mean squared distance to min(20, half) neighbors), infinite without a neighbor."""
    found = []
    for i in range(len(rows)):
        others = sorted(float(((rows[i] - rows[j]) ** 2).sum()) for j in range(len(rows)) if j != i)
        nearest = others[: min(20, len(rows) // 2)]
        found.append(len(nearest) / sum(nearest) if nearest else np.inf)
    return found


def naive_removal(rows, members, clusters, count, inverse):
    """Remove sample by sample: the clusters in turn, each its most or least typical sample of those that are left."""
    sizes = {number: int((clusters == number).sum()) for number in set(clusters.tolist())}
    order = sorted(sizes, key=lambda number: sizes[number] if inverse else (sizes[number] <= 5, -sizes[number]))
    if not inverse and any(size > 5 for size in sizes.values()):
        order = [number for number in order if sizes[number] > 5]
    left = {number: [int(member) for member in members[clusters == number]] for number in order}
    removed, turn = set(), 0
    while len(removed) < count:
        mine = left[order[turn % len(order)]]
        turn += 1
        if mine:
            typicality = naive_typicality(rows[mine])
            removed.add(mine.pop(int(np.argmin(typicality) if inverse else np.argmax(typicality))))
    return removed


@pytest.mark.parametrize("count", [1, 3, 6])
def test_typical_and_atypical_removals_against_loops(monkeypatch, count):
    # Of different sizes, so that no clusters tie, around centers that k-means finds.
    sizes = [13, 12, 11, 10, 9, 8][:count]
    rng = np.random.default_rng(count)
    groups = np.repeat(np.arange(count), sizes)
    one_class = 60 * np.eye(6)[groups] + rng.normal(size=(len(groups), 6))
    labels = rng.permutation(np.repeat([0, 4], len(groups)))
    rows = np.empty((len(labels), 6), dtype=np.float32)
    rows[labels == 0], rows[labels == 4] = one_class, rng.permutation(one_class) - 7
    made, plain = [], selectal.k_means
    monkeypatch.setattr(selectal, "k_means", lambda *given: made.append(plain(*given)) or made[-1])
    removals = removal_sets(torch.as_tensor(rows), labels, np.array([count, count]), 2, np.random.default_rng(0))
    assert len(removals) == 4
    for removal in removals:
        assert [int(removal[labels == label].sum()) for label in (0, 4)] == [count, count]
    assert (removals[0] != removals[1]).any()
    for inverse in (False, True):
        expected = set()
        for label, clusters in zip((0, 4), made, strict=True):
            members = np.flatnonzero(labels == label)
            expected |= naive_removal(rows.astype(np.float64), members, clusters.labels.numpy(), count, inverse)
        assert set(np.flatnonzero(removals[2 + inverse]).tolist()) == expected


def test_atypical_samples_are_those_far_from_all_others():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 4)).astype(np.float32)
    rows[[5, 17, 33]] += [[50, 0, 0, 0], [0, 50, 0, 0], [0, 0, 50, 0]]
    labels = np.zeros(40, dtype=np.int64)
    typical, atypical = removal_sets(torch.as_tensor(rows), labels, np.array([3]), 1, rng)[1:]
    assert set(np.flatnonzero(atypical)) == {5, 17, 33} and not typical[[5, 17, 33]].any() and typical.sum() == 3


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([100, 100], 0.05, [5, 5]),
        ([10, 10, 10], 0.05, [1, 1, 1]),  # less than one sample of each
        ([300, 5, 3, 2, 1], 0.2, [12, 3, 1, 0, 0]),  # 62 // 5, and two of each stay
        ([], 0.05, []),
    ],
)
def test_removal_counts(counts, share, expected):
    labels = np.repeat(np.arange(len(counts)) * 2, counts).astype(np.int64)
    assert removal_counts(np.random.default_rng(0).permutation(labels), share).tolist() == expected


def test_folds_spread_every_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 2, 3, 7], [11, 4, 1, 2]))
    folds = folds_of(labels, 4, np.random.default_rng(1))
    for label in (0, 2, 7):
        sizes = np.bincount(folds[labels == label], minlength=4)
        assert sizes.max() - sizes.min() <= 1
    assert folds[labels == 3].tolist() == [-1]


@pytest.mark.parametrize(
    "labels",
    [[], [0], [0] * 30, [0, 1, 2] * 2, [0] * 9 + [1] * 9 + [2, 3, 4], [0] * 9 + [1] * 2],
    ids=["none", "one", "one class", "two each", "most classes once", "one class of two"],
)
def test_too_few_labels_are_the_low_regime(make_round, labels):
    n = len(labels)
    made = make_round(0, n + 40, n_classes=5, labels=np.array([*labels, *[0] * 40]))
    made.context._labels = dict(enumerate(labels))
    context = made.context.rebuild(candidates=np.arange(n, n + 40), labeled=np.arange(n))
    query = make_selector().query(context, 3)
    assert query.report == {"regime": "low", "decided_by": "too few labels", "weights": {"a": 0.0, "b": 1.0, "c": 0.0}}
    assert query.indices.tolist() == [n + 10, n + 11, n + 12] and len(made.trainer.fits) == 1


def test_a_class_with_one_label_is_in_every_training_and_never_judged(make_round):
    labels = np.array([0] * 9 + [1] * 9 + [2])
    made = make_round(0, 59, labels=np.concatenate([labels, np.zeros(40, dtype=np.int64)]))
    made.context._labels = dict(enumerate(labels.tolist()))
    context = made.context.rebuild(candidates=np.arange(19, 59), labeled=np.arange(19))
    assert make_selector().query(context, 3).report["removed"] == 2
    assert all(18 in fit[0].indices for fit in made.trainer.fits[1:])
    assert not any(18 in swept for model in made.trainer.models[1:] for swept in model.swept)


def test_equal_trainings_are_shared(make_round):
    labels = np.array([0] * 3 + [1] * 3)
    made = make_round(0, 46, labels=np.concatenate([labels, np.zeros(40, dtype=np.int64)]))
    made.context._labels = dict(enumerate(labels.tolist()))
    context = made.context.rebuild(candidates=np.arange(6, 46), labeled=np.arange(6))
    done = []
    context.progress = lambda *steps: done.append(steps)
    report = make_selector(repeats=20, folds=3).query(context, 3).report
    # Nine different removals in each of three folds at most.
    assert report["trainings"] == len(made.trainer.fits) - 1 <= 27
    assert [steps for steps in done if steps[1] == 66] == [(number, 66) for number in range(1, 67)]
    assert set(context.seconds) == {"removal", "training", "candidate"}


def test_the_order_of_the_labeled_samples_does_not_matter(crowds):
    context = crowds(lambda core, far: 0.5 + 0.3 * core - 0.2 * far).context
    order = np.random.default_rng(5).permutation(context.labeled.indices)
    one, other = (
        make_selector(folds=2, repeats=1).query(context.rebuild(labeled=labeled, purpose="same"), 4)
        for labeled in (context.labeled.indices, order)
    )
    assert one.report == other.report and one.indices.tolist() == other.indices.tolist()


def test_standard_error_and_agreement_by_hand():
    rng = np.random.default_rng(0)
    values = [(rng.random(80) < share).astype(float) for share in (0.8, 0.65, 0.7)]
    decision = decide(values, True, np.random.default_rng(1))
    means = [sum(one) / 80 for one in values]
    lowest, second = sorted(range(3), key=means.__getitem__)[:2]
    assert decision.regime == ("random", "low", "high")[lowest] and decision.accuracies == pytest.approx(means)
    differences = [b - a for a, b in zip(values[lowest], values[second], strict=True)]
    mean = sum(differences) / 80
    assert decision.difference == pytest.approx(mean)
    assert decision.standard_error == pytest.approx((sum((one - mean) ** 2 for one in differences) / 79 / 80) ** 0.5)
    wins = 0.0
    for _ in range(2000):
        rows = rng.integers(80, size=80)
        again = [one[rows].sum() for one in values]
        wins += (again[lowest] == min(again)) / again.count(min(again))
    assert decision.agreement == pytest.approx(wins / 2000, abs=0.05)


def test_unpaired_standard_error_by_hand():
    values = [np.array([0.5, 1.0, 0.5, 1.0, 0.9, 0.9]), np.array([0.5, 0.7]), np.array([0.7, 0.9])]
    decision = decide(values, False, np.random.default_rng(0))
    # Splits (0.5, 0.7) and (0.7, 0.9 | 0.8 on average), each with a variance of 0.02 over two.
    assert decision.difference == pytest.approx(0.2) and decision.regime == "low"
    # The second lowest is the mean of six, 0.8, or of two, 0.8: whichever, its own variance counts.
    spreads = [((one - one.mean()) ** 2).sum() / (len(one) - 1) / len(one) for one in values]
    assert any(decision.standard_error == pytest.approx((spreads[1] + other) ** 0.5) for other in spreads[::2])


def test_a_decision_by_chance_says_so():
    rng = np.random.default_rng(0)
    noise = [decide([(rng.random(60) < 0.7).astype(float) for _ in range(3)], True, rng) for _ in range(60)]
    assert np.mean([one.agreement for one in noise]) < 0.8
    assert np.mean([one.difference < 2 * one.standard_error for one in noise]) > 0.8
    assert {one.regime for one in noise} == {"random", "low", "high"}
    tie = [decide([np.ones(60)] * 3, True, np.random.default_rng(seed)) for seed in range(20)]
    assert all(one.agreement == pytest.approx(1 / 3) and one.difference == one.standard_error == 0.0 for one in tie)
    assert {one.regime for one in tie} == {"random", "low", "high"}
    clear = decide([np.ones(60), np.arange(60) < 40, np.ones(60)], True, rng)
    assert clear.regime == "low" and clear.agreement > 0.999


def test_exactly_three_candidates():
    assert list(create_strategy("selectal").candidates) == ["random", "typiclust", "badge"]
    for names in ("badge", "random,badge", "random,typiclust,badge,margin"):
        with pytest.raises(InputError, match="selectal takes three candidates, for the random, the low and the high"):
            create_strategy("selectal", names)
    assert list(create_strategy("selectal", "random,maxherding,margin").candidates)[2] == "margin"


@pytest.mark.parametrize(
    ("name", "value"), [("share", 1.0), ("share", -0.1), ("validation", "test"), ("folds", 1), ("repeats", 0)]
)
def test_options_are_checked(name, value):
    with pytest.raises(InputError, match=f"option {name} is"):
        make_selector(**{name: value})


def test_real_models_decide_alike_again():
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    pool = (2 * np.eye(3, 6)[labels] + rng.normal(size=(150, 6))).astype(np.float32)

    def ask():
        selector = create_strategy("selectal", folds=2, repeats=1)
        learner = ActiveLearner(pool, selector, 3, model="linear[l2=1]", seed=1)
        learner.tell(np.arange(45), labels[:45])
        return learner.query(4)

    first, again = ask(), ask()
    assert first.report == again.report and first.indices.tolist() == again.indices.tolist()
    assert first.report["trainings"] <= 6 and 1 / 3 <= first.report["agreement"] <= 1
    assert set(first.report["accuracies"]) == {"random", "low", "high"}
