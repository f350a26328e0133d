"""Stochastic batches against draws one by one, and their probabilities against plain arithmetic."""

import numpy as np
import pytest
import torch

from deepal_autoal import InputError, QueryError, create_strategy
from deepal_autoal.errors import DeepALError
from deepal_autoal.querying.selector import describe_strategy
from deepal_autoal.strategies.factory import recreate_strategy
from deepal_strategies.power import Power, draw, sequential_probabilities


def fixed(scores, **options):
    """Return a strategy whose scores are given."""
    strategy = Power("entropy", **options)
    strategy.scorer.score = lambda context: torch.as_tensor(scores)
    return strategy


def weights_of(scores, form, beta):
    scores = np.asarray(scores, dtype=float)
    if form == "power":
        return scores**beta
    if form == "softmax":
        return np.exp(beta * scores)
    return (1.0 + (scores[:, None] < scores).sum(axis=1)) ** -beta


@pytest.mark.parametrize(("form", "beta"), [("power", 1), ("power", 3), ("softmax", 0.5), ("softrank", 1.5)])
def test_draws_have_their_probabilities(form, beta):
    scores = [0.1, 2.0, 0.7, 1.1]
    weights, generator = weights_of(scores, form, beta), torch.Generator().manual_seed(0)
    log_weights = fixed(scores, form=form, beta=beta)._log_weights(torch.tensor(scores).double(), generator)
    counts, n = np.zeros((4, 4)), 2000
    for _ in range(n):
        first, second = draw(log_weights, 2, generator).tolist()
        counts[first, second] += 1
    expected = [[a * b / weights.sum() / (weights.sum() - a) for b in weights] for a in weights]
    np.fill_diagonal(expected := np.array(expected), 0.0)
    np.testing.assert_allclose(counts / n, expected, atol=4 * np.sqrt(0.25 / n))


@pytest.mark.parametrize(("form", "beta"), [("power", 2), ("softmax", 1), ("softrank", 1)])
def test_recorded_probabilities_are_those_of_each_draw(make_round, form, beta):
    scores = np.random.default_rng(0).random(30)
    context = make_round(0, 30, 2, labels=np.arange(30) % 2).context
    query = fixed(scores, form=form, beta=beta).query(context, 30)
    weights, left = weights_of(scores, form, beta), list(range(30))
    expected = []
    for i in query.indices.tolist():
        expected.append(weights[i] / weights[left].sum())
        left.remove(i)
    np.testing.assert_allclose(query.report["selection_probabilities"], expected, rtol=1e-9)
    assert expected[-1] == 1


@pytest.mark.parametrize(("form", "beta"), [("power", 2), ("softmax", 1.5), ("softrank", 1)])
def test_choice_probabilities_are_those_of_batches(make_round, form, beta):
    scores = np.array([0.5, 2.0, 2.0, 0.0, 1.0, 2.0])
    context = make_round(0, 6, 2, labels=np.arange(6) % 2).context
    strategy, n = fixed(scores, form=form, beta=beta), 1500
    chances = strategy.choice_probabilities(context, 3)
    counts = np.zeros(6)
    for number in range(n):
        query = strategy.query(context.for_candidate(str(number)), 3)
        counts[np.searchsorted(context.candidates.indices, query.indices)] += 1
    np.testing.assert_allclose(counts / n, chances, atol=4 * np.sqrt(0.25 / n))
    assert float(chances.sum()) == pytest.approx(3) and chances[1] == chances[2] == chances[5]
    assert (chances[3] == 0) == (form == "power")


def test_albl_knows_the_chances_of_what_power_drew(make_round):
    context = make_round(10, 30).context
    albl = create_strategy("albl", ["power", "margin"], **{"power.score": "entropy", "power.beta": 3})
    expected = albl.candidates["power"].choice_probabilities(context, 4)
    batch = context.candidates.indices[[3, 8, 11, 20]]
    chances = albl._choices("power", context, batch[:0], batch)
    np.testing.assert_allclose(chances, expected[[3, 8, 11, 20]] / 4)


def test_the_scored_strategy_takes_options(make_round):
    strategy = create_strategy("power", score="epig[n_passes=7,n_targets=5]", beta=2)
    assert (strategy.scorer.n_passes, strategy.scorer.n_targets) == (7, 5)
    assert recreate_strategy(describe_strategy(strategy)).scorer.n_passes == 7
    for score, message in (
        ("epig[n_passes=7", "NAME or NAME"),
        ("epig[passes=7]", "n_passes"),
        ("bald[n_passes=0]", "n_passes"),
    ):
        with pytest.raises(DeepALError, match=message):
            create_strategy("power", score=score)


def test_candidates_of_weight_0_come_last_at_random(make_round):
    context = make_round(0, 12, 2, labels=np.arange(12) % 2).context
    scores = np.array([0.0] * 10 + [1e-30, 3.0])
    orders = set()
    for name in "abc":
        query = fixed(scores).query(context.for_candidate(name), 5)
        assert set(query.indices[:2].tolist()) == {10, 11}
        np.testing.assert_allclose(query.report["selection_probabilities"][2:], [1 / 10, 1 / 9, 1 / 8])
        orders.add(tuple(query.indices[2:]))
    assert len(orders) == 3
    nothing = fixed(np.zeros(12)).query(context, 12)
    np.testing.assert_allclose(nothing.report["selection_probabilities"], 1 / np.arange(12, 0, -1))


def test_probabilities_far_apart_do_not_underflow():
    weights = torch.tensor([0.0, -2000.0, -4000.0], dtype=torch.float64)
    assert sequential_probabilities(weights, torch.tensor([0, 1, 2])).tolist() == [1, 1, 1]
    assert sequential_probabilities(weights / 100, torch.tensor([1]))[0] == pytest.approx(np.exp(-20), rel=1e-6)


def test_a_high_beta_takes_the_highest_scores(make_round):
    context = make_round().context
    expected = create_strategy("entropy").query(context, 6)
    assert Power("entropy", beta=1e6).query(context, 6).indices.tolist() == expected.tolist()


def test_forms_that_have_no_weights_for_the_scores_are_refused(make_round):
    context = make_round(10, 20).context
    with pytest.raises(QueryError, match=r"scores of 'margin' are below 0, down to .*; use -o form=softrank or"):
        Power("margin").query(context, 3)
    for form in ("softmax", "softrank"):
        assert len(set(Power("margin", form=form).query(context, 3).indices.tolist())) == 3
    infinite = [0.5] * 19 + [np.inf]
    with pytest.raises(QueryError, match="are infinite; use -o form=softrank"):
        fixed(infinite).query(context, 3)
    # Ranks need no finite score.
    assert len(fixed(infinite, form="softrank").query(context, 20).indices) == 20


def test_ranks_of_equal_scores_are_random(make_round):
    context = make_round(0, 40, 2, labels=np.arange(40) % 2).context
    strategy = fixed(np.zeros(40), form="softrank", beta=1e6)
    assert len({tuple(strategy.query(context.for_candidate(name), 3).indices) for name in "abc"}) == 3


def test_it_needs_what_the_scores_need():
    assert Power().requires == {"mc_dropout"} and Power("entropy").requires == {"probabilities"}
    assert create_strategy("power", score="epig", beta="2").scorer.name == "epig"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "badge"}, "'badge' does not choose by scores alone"),
        ({"score": "power"}, "'power' does not choose by scores alone"),
        ({"score": "vote"}, "'vote' does not choose by scores alone"),
        ({"score": "ddu"}, "'ddu' changes how the task model is trained"),
        ({"score": "entrpy"}, "Did you mean 'entropy'"),
        ({"form": "rank"}, "option form is 'rank'"),
        ({"beta": 0}, "option beta is 0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        Power(**options)
