"""The core's single check of every answer, and scores."""

import numpy as np
import pytest
import torch

from deepal_autoal import Query, ScoringStrategy, Strategy, create_strategy, top_scores
from deepal_autoal.errors import QueryError
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.querying.strategy import check_query

ALLOWED = np.array([3, 5, 8, 13, 21], dtype=np.int64)


def check(answer, batch_size=2):
    strategy = Strategy()
    strategy.name, strategy.provider = "odd", Provider("odd-dist", "7.1")
    return check_query(strategy, answer, ALLOWED, batch_size)


@pytest.mark.parametrize(
    "answer", [[5, 13], (5, 13), np.array([5, 13], dtype=np.int32), torch.tensor([5, 13]), Query([5, 13])]
)
def test_good_answers(answer):
    query = check(answer)
    assert query.indices.dtype == np.int64 and query.indices.tolist() == [5, 13]


@pytest.mark.parametrize(
    "answer, problem",
    [
        ([5, 5], "duplicates"),
        ([5, 4], "labeled or not in the pool"),
        ([5, -1], "labeled or not in the pool"),
        ([5], "returned 1 indices"),
        ([3, 5, 8], "returned 3 indices"),
        ([5.0, float("nan")], "NaN"),
        ([5.0, 8.0], "float64"),
        (torch.tensor([[5, 8]]), "shape"),
        ([True, False], "bool"),
        (None, "object"),
        (Query([5, 8], report=["not", "a", "mapping"]), "mapping"),
    ],
)
def test_invalid_answers_name_the_strategy(answer, problem):
    with pytest.raises(QueryError, match=r"strategy 'odd' of odd-dist 7\.1") as caught:
        check(answer)
    assert problem in str(caught.value)


class Fixed(ScoringStrategy):
    def __init__(self, scores):
        self.scores = scores

    def score(self, context):
        return self.scores


class FakeContext:
    device = torch.device("cpu")
    generator = torch.Generator().manual_seed(0)

    class candidates:  # noqa: N801
        indices = ALLOWED

        def __len__(self):
            return 5

    candidates = candidates()


def test_scoring_takes_the_highest():
    assert Fixed(torch.tensor([0.1, 0.9, 0.3, 0.8, 0.0])).query(FakeContext, 2).tolist() == [5, 13]


@pytest.mark.parametrize("scores", [torch.zeros(4), torch.zeros(5, 1), torch.tensor([0.0, 1.0, float("nan"), 1, 1])])
def test_invalid_scores_raise(scores):
    with pytest.raises(QueryError, match="score"):
        Fixed(scores).query(FakeContext, 2)


def test_ties_are_broken_by_the_generator_not_by_position():
    scores = torch.zeros(1000)
    first = top_scores(scores, 10, torch.Generator().manual_seed(1))
    assert torch.equal(first, top_scores(scores, 10, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, top_scores(scores, 10, torch.Generator().manual_seed(2)))
    assert first.unique().numel() == 10 and first.max() > 100


def test_top_scores_equals_sorting():
    scores = torch.rand(500, generator=torch.Generator().manual_seed(3))
    picked = top_scores(scores, 50, torch.Generator().manual_seed(1))
    assert picked.tolist() == sorted(range(500), key=lambda i: -scores[i].item())[:50]


def test_create_strategy_converts_and_checks_options():
    vote = create_strategy("vote", ["entropy", "margin"], oversample="5", final="diverse")
    assert vote.options["oversample"] == 5 and list(vote.candidates) == ["entropy", "margin"]
    assert vote.requires >= {"probabilities"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="entrpy"), "Did you mean 'entropy'"),
        (dict(name="entropy", candidates=["margin"]), "takes no candidates"),
        (dict(name="vote", candidates=["margin", "margin"]), "named twice"),
        (dict(name="vote", candidates=[]), "needs candidates"),
        (dict(name="vote", candidates=["vote"]), "its own candidate"),
        (dict(name="vote", candidates=["margn"]), "Did you mean 'margin'"),
        (dict(name="vote", oversampl=3), "Did you mean 'oversample'"),
        (dict(name="vote", oversample="many"), "oversample"),
        (dict(name="vote", final="sideways"), "final"),
        ({"name": "vote", "candidates": ["margin"], "kmeans.max_iter": 3}, "not among the candidates"),
        ({"name": "entropy", "kmeans.max_iter": 3}, "has no candidates"),
    ],
)
def test_create_strategy_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_strategy(**arguments)


def test_candidate_that_changes_training_is_refused(monkeypatch):
    from deepal_autoal import hookimpl, plugin_host

    class Trains(Strategy):
        def wrap_trainer(self, trainer):
            return trainer

        def query(self, context, batch_size):
            return context.candidates.indices[:batch_size]

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("trains", Trains)

    plugin = Plugin()
    plugin_host().register(plugin, "trains")
    try:
        with pytest.raises(ValueError, match="changes how the task model is trained"):
            create_strategy("vote", ["trains", "margin"])
    finally:
        plugin_host().unregister(plugin)
