"""BatchBALD against joint entropies summed over all configurations of labels."""

import itertools
import math

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies import batchbald
from deepal_strategies.batchbald import BatchBALD, Configurations


def entropy(p):
    p = np.asarray(p)
    return -(p[p > 0] * np.log(p[p > 0])).sum()


def naive_information(passes, chosen):
    """Return H(y_S) - Σ_s mean_k H(y_s | ω_k) of passes (K, N, C)."""
    joint = [
        np.mean([math.prod(one[i, y] for i, y in zip(chosen, labels, strict=True)) for one in passes])
        for labels in itertools.product(range(passes.shape[2]), repeat=len(chosen))
    ]
    return entropy(joint) - sum(np.mean([entropy(one[i]) for one in passes]) for i in chosen)


def naive_greedy(passes, b):
    chosen = []
    for _ in range(b):
        rest = [i for i in range(passes.shape[1]) if i not in chosen]
        chosen.append(max(rest, key=lambda i: naive_information(passes, [*chosen, i])))
    return chosen


def random_passes(n_passes, n, n_classes, seed=0, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, n, n_classes, generator=generator)
    # Few directions of disagreement, so that samples are redundant.
    common = torch.randn(n_passes, 1, n_classes, generator=generator) * torch.randn(1, n, 1, generator=generator)
    own = torch.randn(n_passes, n, n_classes, generator=generator)
    return (shared + spread * common + 0.5 * own).softmax(dim=-1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_classes", "b"), [(2, 5), (3, 4), (5, 3)])
def test_batch_is_that_of_the_plain_computation(round_of_shared_passes, seed, n_classes, b):
    passes = random_passes(6, 14, n_classes, seed)
    expected = naive_greedy(passes.double().numpy(), b)
    query = BatchBALD(6).query(round_of_shared_passes(passes), b)
    assert query.indices.tolist() == expected
    assert query.report["information"] == pytest.approx(naive_information(passes.double().numpy(), expected), abs=1e-6)
    assert query.report["exact_choices"] == b and query.report["sampled_configurations"] == 0
    assert query.report["evaluated"] <= 14 * (b - 1)


def test_candidates_whose_bound_is_low_are_not_evaluated(round_of_shared_passes, monkeypatch):
    monkeypatch.setattr(batchbald, "JOINT_ROWS", batchbald.JOINT_ROWS.__class__(1))
    passes = random_passes(6, 60, 3)
    passes[:, 20:] = passes[:1, 20:]  # no disagreement
    query = BatchBALD(6).query(round_of_shared_passes(passes), 4)
    assert query.indices.tolist() == naive_greedy(passes[:, :20].double().numpy(), 4)
    assert query.report["evaluated"] < 3 * 20


def test_passes_that_are_not_kept_are_requested_again(round_of_shared_passes, monkeypatch):
    passes = random_passes(6, 30, 3)
    kept = BatchBALD(6).query(round_of_shared_passes(passes), 5)
    monkeypatch.setattr(batchbald, "_MOST_KEPT", 0)
    assert BatchBALD(6).query(round_of_shared_passes(passes), 5).indices.tolist() == kept.indices.tolist()


def test_sampled_configurations_estimate_the_same(round_of_shared_passes):
    """The estimate is unbiased: its error falls with the number of configurations."""
    passes = random_passes(5, 8, 3).double()
    known = Configurations.none(5, torch.device("cpu"))
    sampled = Configurations.to_sample(5, 40_000, torch.device("cpu"))
    assert len(sampled.shares) == 40_000 and sampled.sources.bincount().tolist() == [8000] * 5
    generator = torch.Generator().manual_seed(0)
    for i in range(3):
        known = known.extended(passes[:, i])
        sampled = sampled.drawn(passes[:, i], torch.rand(40_000, generator=generator, dtype=torch.float64))
    assert len(known.shares) == 27 and known.shares.sum() == pytest.approx(1)
    rest = passes[:, 3:].transpose(0, 1)
    exact = known.conditional_entropies(rest)
    expected = [
        naive_information(passes.numpy(), [0, 1, 2, i])
        - naive_information(passes.numpy(), [0, 1, 2])
        + np.mean([entropy(one[i]) for one in passes.numpy()])
        for i in range(3, 8)
    ]
    np.testing.assert_allclose(exact, expected, atol=1e-12)
    np.testing.assert_allclose(sampled.conditional_entropies(rest), exact, atol=4e-3)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_settled_configurations_are_pooled_without_changing_entropies(precision):
    passes = random_passes(5, 8, 3).log().mul(4).softmax(dim=-1).to(precision)
    passes[1, :4] = passes[0, :4]  # which labels of these cannot tell apart
    generator = torch.Generator().manual_seed(0)
    known = Configurations.to_sample(5, 500, torch.device("cpu"))
    for i in 10 * (0, 1, 2, 3):
        known = known.drawn(passes[:, i].double(), torch.rand(500, generator=generator, dtype=torch.float64))
    pooled = known.pooled()
    assert 200 <= len(pooled.shares) < 400 and pooled.shares.sum() == pytest.approx(1)
    rest = passes[:, 4:].transpose(0, 1)
    expected = [np.mean([entropy(weights @ one) for weights in known.weights.numpy()]) for one in rest.double().numpy()]
    np.testing.assert_allclose(pooled.conditional_entropies(rest), expected, rtol=1e-5)


def test_where_the_passes_are_known_the_rest_follows_by_bounds(round_of_shared_passes, monkeypatch):
    monkeypatch.setattr(batchbald, "JOINT_ROWS", batchbald.JOINT_ROWS.__class__(30))
    passes = random_passes(6, 30, 3)
    passes[:, :2] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]).repeat(2, 1)[:, None]  # tell 3 groups apart
    passes[:, 1] = passes[[0, 0, 0, 1, 1, 1], 0]  # and tells the two of a group apart
    query = BatchBALD(6).query(round_of_shared_passes(passes), 10)
    first, second, *rest = query.indices.tolist()
    assert {first, second} == {0, 1}
    assert query.report["information"] == pytest.approx(math.log(6)) and query.report["evaluated"] == 29
    bounds = {i: naive_information(passes.double().numpy(), [first, i]) for i in range(2, 30)}
    assert rest == sorted(bounds, key=bounds.__getitem__, reverse=True)[:8]


def test_beyond_the_limit_configurations_are_sampled(round_of_shared_passes):
    passes = random_passes(5, 12, 3)
    expected = naive_greedy(passes.double().numpy(), 4)
    query = BatchBALD(5, n_configurations=20_003).query(round_of_shared_passes(passes), 4)
    assert query.report["exact_choices"] == 4
    # With 9 configurations, the last two choices are sampled.
    few = BatchBALD(5, n_configurations=9).query(round_of_shared_passes(passes), 4)
    assert few.report["exact_choices"] == 3 and few.report["sampled_configurations"] == 5
    assert few.indices[:3].tolist() == expected[:3]


def test_sampled_choices_are_worth_about_as_much_as_those_by_all_configurations(round_of_shared_passes):
    passes = random_passes(8, 20, 3)
    exact = BatchBALD(8, n_configurations=20_000).query(round_of_shared_passes(passes), 10)
    sampled = BatchBALD(8, n_configurations=2000).query(round_of_shared_passes(passes), 10)
    assert exact.report["exact_choices"] == 10 and sampled.report["exact_choices"] == 7
    assert sampled.report["sampled_configurations"] == 2000
    assert sampled.report["information"] == pytest.approx(exact.report["information"], abs=0.02)
    assert len({*sampled.indices.tolist()} & {*exact.indices.tolist()}) >= 8


@pytest.mark.parametrize("batch_size", [1, 39, 40])
@pytest.mark.parametrize(
    "passes",
    [
        torch.full((4, 40, 3), 1 / 3),
        torch.eye(3)[torch.arange(160) % 3].view(4, 40, 3),
        torch.eye(3)[torch.arange(40) % 3].expand(4, 40, 3),
    ],
)
def test_any_batch_is_exact(round_of_shared_passes, batch_size, passes):
    query = BatchBALD(4, n_configurations=30).query(round_of_shared_passes(passes), batch_size)
    assert sorted(set(query.indices.tolist())) == sorted(query.indices.tolist()) and len(query.indices) == batch_size
    assert math.isfinite(query.report["information"])


def test_equal_candidates_are_not_chosen_by_position(round_of_shared_passes):
    context = round_of_shared_passes(torch.full((4, 40, 3), 1 / 3))
    batches = {tuple(sorted(BatchBALD(4).query(context.for_candidate(name), 3).indices)) for name in "abc"}
    assert len(batches) == 3


@pytest.mark.parametrize("options", [{"n_passes": 1}, {"n_passes": 20, "n_configurations": 19}])
def test_options_are_checked(options):
    with pytest.raises(InputError, match=list(options)[-1]):
        BatchBALD(**options)
