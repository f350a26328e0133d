"""Votes, ranks and the uniform vote."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import InputError, QueryError, ScoringStrategy, Strategy
from deepal_autoal.querying.strategy import check_query
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.entropy import Entropy
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.margin import Margin
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.shared.final_stage import FinalStage, budget_width
from deepal_strategies.shared.ranks import mid_ranks
from deepal_strategies.shared.votes import Votes, collect_votes
from deepal_strategies.vote import Vote, vote_scores


class Fixed(ScoringStrategy):
    """Scores by pool index."""

    def __init__(self, table):
        self.table = torch.as_tensor(table, dtype=torch.float32)

    def score(self, context):
        return self.table[torch.tensor(context.candidates.indices)]


class FirstOnes(Strategy):
    """Queries the lowest pool indices; has no scores."""

    def query(self, context, batch_size):
        return context.candidates.indices[:batch_size]


class Failing(ScoringStrategy):
    name = "failing"

    def score(self, context):
        raise ZeroDivisionError("no luck")


def naive_borda(values):
    n = len(values)
    below = [sum(other < value for other in values) for value in values]
    equal = [sum(other == value for other in values) for value in values]
    return [(b + (e - 1) / 2) / (n - 1) for b, e in zip(below, equal, strict=True)]


def test_mid_ranks_are_borda_percentiles():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=30), rng.integers(4, size=30).astype(float), np.ones(5), [np.inf, -np.inf, 0.0]):
        ranks = mid_ranks(torch.as_tensor(values))
        np.testing.assert_allclose(ranks.numpy(), naive_borda(list(values)), atol=1e-6)
    assert mid_ranks(torch.tensor([3.0])).tolist() == [0.5]


def test_votes_of_scoring_and_other_candidates(make_round):
    context = make_round(10, 40).context
    selector = Vote({"entropy": Entropy(), "first": FirstOnes()})
    votes = collect_votes(selector, context, 8)
    scores = Entropy().score(context)
    np.testing.assert_allclose(votes.ranks[0].numpy(), naive_borda(scores.tolist()), atol=1e-6)
    assert set(votes.picks[0].nonzero().ravel().tolist()) == set(scores.topk(8).indices.tolist())
    assert votes.picks[1].tolist() == [1.0] * 8 + [0.0] * 32
    # Places 32 ... 39 of 0 ... 39 have mean 35.5; places 0 ... 31 have mean 15.5.
    np.testing.assert_allclose(votes.ranks[1].numpy(), [35.5 / 39] * 8 + [15.5 / 39] * 32, atol=1e-6)
    np.testing.assert_allclose(votes.ranks.mean(dim=1).numpy(), 0.5, atol=1e-6)


@pytest.mark.parametrize("candidate", [RandomSampling, Entropy, KMeansSampling])
def test_picks_are_what_the_candidate_would_query(make_round, candidate):
    context = make_round(10, 40, logits=torch.zeros(50, 3)).context
    selector = Vote({"a": Entropy(), "b": candidate()})
    picks = collect_votes(selector, context, 8).picks[1]
    asked = selector.ask_candidate("b", make_round(10, 40, logits=torch.zeros(50, 3)).context, 8)
    assert set(context.candidates.indices[picks.bool().numpy()].tolist()) == set(asked.tolist())


def test_a_failing_candidate_is_named(make_round):
    with pytest.raises(QueryError, match=r"failing.*ZeroDivisionError: no luck"):
        Vote({"failing": Failing()}).query(make_round().context, 5)


def test_vote_counts_first_and_ranks_break_ties(make_round):
    # Samples 10 and 11 have two votes, the others one; of these sample 3 has the best mean rank.
    context = make_round(0, 20, labels=np.arange(20) % 3).context
    a, b, c = np.zeros(20), np.zeros(20), np.zeros(20)
    a[[10, 11, 3]] = [9, 8, 7]
    b[[10, 11, 5]] = [9, 8, 7]
    c[[1, 2, 4]] = [9, 8, 7]
    b[3] = c[3] = 6
    votes = Vote({"a": Fixed(a), "b": Fixed(b), "c": Fixed(c)}, scores="picks", final="top")
    assert votes.query(context, 3).indices.tolist()[:2] in ([10, 11], [11, 10])
    assert votes.query(context, 3).indices.tolist()[2] == 3
    report = votes.query(context, 3).report
    assert report["weights"] == {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}


def test_no_mean_rank_outweighs_a_vote():
    picks = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    ranks = torch.tensor([[0.6, 1.0], [0.0, 1.0]])
    first, second = vote_scores(Votes(picks, ranks), "picks").tolist()
    assert first > second
    first, second = vote_scores(Votes(picks, ranks), "ranks").tolist()
    assert (first, second) == pytest.approx((0.3, 1.0))


@pytest.mark.parametrize("final", ["top", "diverse"])
def test_a_vote_is_autoal_with_equal_weights(make_round, final):
    """The control differs only in the weights: the final stage has its own random stream."""
    candidates = {"entropy": Entropy(), "kmeans": KMeansSampling()}
    voted = Vote(candidates, final=final).query(make_round().context, 10)
    weighed = AutoAL(candidates, final=final, shrinkage=1e9).query(make_round().context, 10)
    assert voted.indices.tolist() == weighed.indices.tolist()


@pytest.mark.parametrize("final", ["diverse", "top"])
@pytest.mark.parametrize("batch_size", [1, 7, 60])
def test_vote_returns_exact_batches(make_round, final, batch_size):
    context = make_round(20, 60).context
    vote = Vote({"entropy": Entropy(), "margin": Margin(), "kmeans": KMeansSampling()}, final=final)
    answer = vote.query(context, batch_size)
    check_query(vote, answer, context.candidates.indices, batch_size)


def test_diverse_vote_stays_within_the_filter(make_round):
    context = make_round(10, 90).context
    scores = np.random.default_rng(0).normal(size=100)
    vote = Vote({"fixed": Fixed(scores)}, final="diverse", oversample=3)
    allowed = context.candidates.indices[np.argsort(scores[context.candidates.indices])[::-1][:15]]
    assert set(vote.query(context, 5).indices.tolist()) <= set(allowed.tolist())


@pytest.mark.parametrize("options", [{"final": "best"}, {"oversample": 0}, {"scores": "all"}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError):
        Vote({"entropy": Entropy()}, **options)


@pytest.mark.parametrize(
    ("n_labeled", "n_classes", "expected"), [(200, 10, 10.0), (50, 10, 20.0), (800, 10, 5.0), (2000, 100, 10.0)]
)
def test_the_filter_narrows_with_the_labels(n_labeled, n_classes, expected):
    assert budget_width(n_labeled, n_classes) == pytest.approx(expected)


def test_the_filter_has_limits():
    assert budget_width(1, 10) == 30.0
    assert budget_width(10**6, 10) == 3.0


def test_the_width_is_between_the_batch_and_the_pool(make_round):
    context = make_round(60, 90).context  # twenty labels per class
    widths = [FinalStage("diverse").width(context, b) for b in (1, 5, 9, 90)]
    assert widths == [10, 50, 90, 90]
    assert FinalStage("diverse", 4).width(context, 5) == 20
    assert FinalStage("top").width(context, 5) == 5


def test_a_wide_filter_reaches_low_scores(make_round):
    """With one label per class the filter holds thirty batches, not ten."""
    round_ = make_round(3, 297)
    scores = np.arange(300.0)
    vote = Vote({"fixed": Fixed(scores)}, final="diverse")
    assert scores[vote.query(round_.context, 9).indices].min() < 150
    narrow = Vote({"fixed": Fixed(scores)}, final="diverse", oversample=10).query(make_round(3, 297).context, 9)
    assert scores[narrow.indices].min() >= 200
