"""Scores over dropout passes against loops over samples, passes and classes."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepal_autoal import InputError, QueryError
from deepal_strategies.bald import BALD
from deepal_strategies.dropout_scores import EntropyDropout, LeastConfidenceDropout, MarginDropout
from deepal_strategies.meanstd import MeanStd
from deepal_strategies.shared.uncertainty import mean_of_passes, variation_ratio
from deepal_strategies.varratio import VariationRatio


def naive_mean(passes):
    return [sum(column) / len(passes) for column in zip(*passes, strict=True)]


def naive_entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def naive_entropy_dropout(passes):
    return naive_entropy(naive_mean(passes))


def naive_margin_dropout(passes):
    first, second = sorted(naive_mean(passes), reverse=True)[:2]
    return second - first


def naive_leastconf_dropout(passes):
    return -max(naive_mean(passes))


def naive_bald(passes):
    return naive_entropy(naive_mean(passes)) - sum(naive_entropy(row) for row in passes) / len(passes)


def naive_varratio(passes):
    votes = [row.index(max(row)) for row in passes]
    return 1 - max(votes.count(label) for label in votes) / len(passes)


def naive_varratio_of_probabilities(passes):
    return 1 - max(naive_mean(passes))


def naive_meanstd(passes):
    total = 0.0
    for column in zip(*passes, strict=True):
        mean = sum(column) / len(column)
        total += math.sqrt(sum((p - mean) ** 2 for p in column) / len(column))
    return total / len(passes[0])


def varratio_of_probabilities(n_passes=10):
    return VariationRatio(n_passes, form="confidence")


SCORES = [
    pytest.param(EntropyDropout, naive_entropy_dropout, id="entropy-dropout"),
    pytest.param(MarginDropout, naive_margin_dropout, id="margin-dropout"),
    pytest.param(LeastConfidenceDropout, naive_leastconf_dropout, id="leastconf-dropout"),
    pytest.param(BALD, naive_bald, id="bald"),
    pytest.param(VariationRatio, naive_varratio, id="varratio"),
    pytest.param(varratio_of_probabilities, naive_varratio_of_probabilities, id="varratio-probabilities"),
    pytest.param(MeanStd, naive_meanstd, id="meanstd"),
]
STRATEGIES = [pytest.param(score.values[0], id=score.id) for score in SCORES]
# Measures of disagreement: 0 where the passes are equal.
DISAGREEMENT = [pytest.param(strategy, id=strategy.__name__) for strategy in (BALD, VariationRatio, MeanStd)]


@pytest.fixture
def round_of(make_round):
    """Return a function that builds a context whose candidates have the given passes, (T, N, C)."""

    def build(passes, seed=0):
        _, n, n_classes = passes.shape
        context = make_round(5, n, n_classes, seed=seed).context

        def answer(n_passes=10):
            assert n_passes == len(passes)
            return iter(passes.split(7, dim=1))

        # A score may use nothing else.
        forbidden = dict.fromkeys(("probabilities", "log_probabilities", "logits", "embeddings", "inputs"))
        vars(context.candidates).update(forbidden, mc_batches=answer)
        return context

    return build


def random_passes(n_passes, n, n_classes, spread=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shared = 2 * torch.randn(1, n, n_classes, generator=generator)
    return (shared + spread * torch.randn(n_passes, n, n_classes, generator=generator)).softmax(dim=-1)


def expected_scores(reference, passes):
    table = passes.double().tolist()
    return [reference([one[i] for one in table]) for i in range(passes.shape[1])]


@pytest.mark.parametrize(("strategy", "reference"), SCORES)
@pytest.mark.parametrize("n_classes", [2, 3, 100])
@pytest.mark.parametrize("n_passes", [2, 10])
def test_score_follows_its_definition(round_of, strategy, reference, n_classes, n_passes):
    passes = random_passes(n_passes, 40, n_classes)
    before = passes.clone()
    expected = expected_scores(reference, passes)
    assert np.ptp(expected) > 0.004
    context = round_of(passes)
    scores = strategy(n_passes).score(context)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores.numpy(), expected, atol=2e-6)
    assert torch.equal(passes, before)
    chosen = np.isin(context.candidates.indices, strategy(n_passes).query(context, 7))
    # Of equal scores, any may be chosen.
    assert chosen.sum() == 7
    assert np.array(expected)[chosen].min() >= np.array(expected)[~chosen].max() - 2e-6


@pytest.mark.parametrize(("strategy", "reference"), SCORES)
def test_ten_passes_of_a_thousand_classes_by_default(round_of, strategy, reference):
    passes = random_passes(10, 5, 1000)
    np.testing.assert_allclose(
        strategy().score(round_of(passes)).numpy(), expected_scores(reference, passes), atol=1e-5
    )


@pytest.mark.parametrize(("strategy", "reference"), SCORES)
def test_one_hot_passes_give_finite_scores(round_of, strategy, reference):
    # Row by row: all agree, one differs, half and half, all different.
    votes = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 2, 2], [0, 1, 2, 3]]).T
    passes = torch.nn.functional.one_hot(votes, 4).float()
    scores = strategy(4).score(round_of(passes))
    np.testing.assert_allclose(scores.numpy(), expected_scores(reference, passes), atol=1e-6)
    assert scores[0] < scores[1]


def test_bald_of_certain_passes_that_disagree_is_the_entropy_of_their_mean(round_of):
    passes = torch.eye(4)[:, None].repeat(1, 3, 1)
    np.testing.assert_allclose(BALD(4).score(round_of(passes)).numpy(), math.log(4), rtol=1e-6)


@pytest.mark.parametrize("strategy", DISAGREEMENT)
@pytest.mark.parametrize("n_passes", [3, 10])
def test_equal_passes_have_a_disagreement_of_exactly_zero(round_of, strategy, n_passes):
    passes = random_passes(1, 500, 7).repeat(n_passes, 1, 1)
    assert strategy(n_passes).score(round_of(passes)).tolist() == [0.0] * 500


def test_bald_is_never_negative(round_of):
    passes = random_passes(10, 2000, 5, spread=1e-4)
    scores = BALD().score(round_of(passes))
    assert scores.min() == 0.0
    np.testing.assert_allclose(scores.numpy(), expected_scores(naive_bald, passes), atol=1e-6)


def test_meanstd_is_accurate_for_small_spreads(round_of):
    passes = random_passes(10, 50, 5, spread=1e-3)
    np.testing.assert_allclose(
        MeanStd().score(round_of(passes)).numpy(), expected_scores(naive_meanstd, passes), rtol=1e-3
    )


def test_a_tie_within_a_pass_goes_to_the_first_class_at_any_position(round_of):
    tied = torch.tensor([[0.4, 0.4, 0.2], [0.0, 1.0, 0.0]])
    passes = tied[:, None].repeat(1, 6, 1)
    assert VariationRatio(2).score(round_of(passes)).tolist() == [0.5] * 6
    assert VariationRatio(2).score(round_of(passes[..., [1, 0, 2]])).tolist() == [0.0] * 6


def test_varratio_of_probabilities_ranks_as_least_confidence(round_of):
    context = round_of(random_passes(10, 200, 6))
    ours, others = varratio_of_probabilities().score(context), LeastConfidenceDropout().score(context)
    assert ours.argsort().tolist() == others.argsort().tolist()
    assert ours.argsort().tolist() != VariationRatio().score(context).argsort(stable=True).tolist()
    assert ours.min() >= 0 and ours.max() < 1


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("passes", [torch.full((10, 50, 4), 0.25), torch.eye(4)[[2]].repeat(10, 50, 1)])
def test_equal_scores_are_not_chosen_by_position(round_of, strategy, passes):
    picks = []
    for seed in range(3):
        context = round_of(passes, seed)
        picks.append(np.searchsorted(context.candidates.indices, strategy().query(context, 10)))
    assert all(len(set(pick.tolist())) == 10 for pick in picks)
    assert not all(pick.max() < 10 or pick.min() >= 40 for pick in picks)
    assert len({tuple(sorted(pick)) for pick in picks}) == 3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nan_is_refused(round_of, strategy):
    passes = random_passes(10, 20, 3)
    passes[4, 7] = math.nan
    with pytest.raises(QueryError, match="NaN for 1 of 20"):
        strategy().query(round_of(passes), 3)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("batch_size", [1, 30])
def test_any_batch_size_is_exact(round_of, strategy, batch_size):
    context = round_of(random_passes(10, 30, 3))
    chosen = strategy().query(context, batch_size)
    assert len(set(chosen.tolist())) == batch_size
    assert np.isin(chosen, context.candidates.indices).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_dropout_is_required_of_the_model(make_round, strategy):
    assert strategy().requires == {"mc_dropout"}
    drawn = make_round(10, 40, 3)
    weights = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    model = drawn.task_model
    model.module = SimpleNamespace(
        dropout_only_in_head=True, dropout=SimpleNamespace(p=0.5), n_classes=3, embedding_dim=8
    )
    model.logits_from_embeddings = lambda embeddings: embeddings @ weights
    before = torch.get_rng_state()
    context = drawn.context
    chosen = strategy(6).query(context, 5)
    assert len(set(chosen.tolist())) == 5
    passes = context.candidates.mc_probabilities(6)
    assert passes.shape == (6, 40, 3) and passes.std(dim=0).max() > 0.1
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("strategy", [EntropyDropout, MarginDropout, LeastConfidenceDropout])
def test_a_single_pass_is_enough_where_no_spread_is_measured(round_of, strategy):
    assert strategy(1).score(round_of(random_passes(1, 9, 3))).isfinite().all()
    with pytest.raises(InputError, match="n_passes is 0; it must be a finite number of at least 1"):
        strategy(0)


@pytest.mark.parametrize("strategy", [*DISAGREEMENT, varratio_of_probabilities])
def test_a_single_pass_is_refused_where_spread_is_measured(strategy):
    with pytest.raises(InputError, match="n_passes is 1; it must be a finite number of at least 2"):
        strategy(1)


def test_unknown_forms_are_refused():
    with pytest.raises(InputError, match="choose one of votes, confidence"):
        VariationRatio(form="members")


def test_the_mean_of_passes():
    passes = random_passes(7, 20, 5)
    np.testing.assert_allclose(mean_of_passes(passes).numpy(), passes.double().mean(dim=0).numpy(), rtol=1e-5)
    assert torch.equal(mean_of_passes(passes[:1]), passes[0])
    extremes = torch.tensor([[1.0, 0.0], [0.0, 1e-30], [0.0, 1.0]])
    np.testing.assert_allclose(mean_of_passes(extremes).numpy(), [1 / 3, 1 / 3], rtol=1e-6)


def test_temporaries_are_no_larger_than_a_pass():
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            # Iterating over the passes returns views of them, in a tuple.
            if isinstance(result, torch.Tensor) and result._base is None:
                largest = max(largest, result.numel())
            return result

    passes = random_passes(10, 30, 4)

    class View:
        def __len__(self):
            return 30

        def mc_batches(self, n_passes):
            return [passes]

    context = SimpleNamespace(candidates=View())
    for strategy in (EntropyDropout(), MarginDropout(), LeastConfidenceDropout(), BALD(), MeanStd(), VariationRatio()):
        with Watch():
            strategy.score(context)
    # BALD's entropies are one number per pass and sample.
    assert 120 <= largest <= 300


def test_votes_are_counted_in_any_dtype():
    passes = random_passes(5, 10, 3).double()
    assert variation_ratio(passes).dtype == torch.float64
