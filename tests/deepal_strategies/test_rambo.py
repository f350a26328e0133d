"""RAMBO: every equation by hand, Sinkhorn against a linear program, the hypergradient against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linprog
from scipy.stats import spearmanr

from deepal_autoal import DeepALError, InputError, create_strategy, without_compiler
from deepal_strategies.rambo import equations
from deepal_strategies.rambo.acquisition import greedy_margin, n_considered, stochastic_greedy
from deepal_strategies.rambo.bilevel import Iterate, adam_step, descend, hypergradient
from deepal_strategies.rambo.dulo import DULO
from deepal_strategies.rambo.samples import UtilitySamples, draw_pairs
from deepal_strategies.rambo.set_network import POOLINGS, SetNetwork
from deepal_strategies.rambo.strategy import RAMBO, ranking_accuracy
from deepal_strategies.rambo.transport import (
    TransportToValidation,
    class_gaussian,
    gaussian_distance,
    ground_costs,
    principal_components,
    sinkhorn,
)
from deepal_strategies.rambo.utility_model import Training, UtilityModel
from deepal_strategies.shared.validation import labels_of, split_labeled

K = 40
QUICK = {"pairs": 3, "interpolated": 4, "epochs": 2, "steps": 2, "width": 8}


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


# Equations.


def test_utility_is_accuracy_not_error():
    assert equations.utility(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 0])) == 0.75


def test_interpolation_gives_the_nearer_sets_accuracy():
    alpha = equations.nearness(vector(0, 1, 3, 0), vector(2, 3, 1, 0))
    assert alpha.tolist() == [1, 0.75, 0.25, 0.5]
    assert equations.interpolated_utility(alpha, 0.4, 0.8).tolist() == pytest.approx([0.4, 0.5, 0.7, 0.6])


def test_ranking_loss_is_a_cross_entropy_of_the_more_useful_set():
    first, second = vector(1, -2, 0.5), vector(0, 1, 2)
    found = equations.ranking_loss(first, second, vector(0.9, 0.8, 0.7), vector(0.1, 0.3, 0.7))
    p = [1 / (1 + math.exp(b - a)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    expected = [-math.log(p[0]), -math.log(p[1]), -0.5 * (math.log(p[2]) + math.log(1 - p[2]))]
    assert found.item() == pytest.approx(np.mean(expected))


def test_transport_loss_has_the_papers_weights():
    found = equations.transport_loss(vector(2, -1), vector(-3, 1), vector(1, 1), vector(0, 3))
    # Squared errors 1 and 9, 4 and 4; negative predictions -3 and -1.
    assert found.item() == pytest.approx(((0.5 * 1 + 0.5 * 9 + 3) + (0.5 * 4 + 0.5 * 4 + 1)) / 2)


def test_multitask_loss_and_regression():
    assert equations.multitask_loss(vector(1.0), vector(2.0), 10.0).item() == 21
    assert equations.multitask_loss(vector(1.0), None, 10.0).item() == 1
    assert equations.regression_loss(vector(1, 3), vector(2, 1)).item() == 2.5


def test_regularizer_weighs_matrices_and_spares_biases():
    parameters = {"a.weight": 2 * torch.ones(2, 3), "a.bias": 9 * torch.ones(2), "b.weight": torch.ones(1, 2)}
    assert equations.regularizer(parameters, vector(math.log(0.5), math.log(3))).item() == pytest.approx(12 + 6)


# Transport.


def exact_cost(costs, a, b):
    """Return the optimal transport cost by linear programming."""
    n, m = costs.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    return linprog(costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b])).fun


def test_sinkhorn_approaches_the_linear_program():
    rng = np.random.default_rng(0)
    costs = rng.random((9, 6)) * 3
    weights = rng.random((4, 9)) * (rng.random((4, 9)) > 0.4)
    weights /= weights.sum(axis=1, keepdims=True)
    target = rng.random(6) + 0.1
    target /= target.sum()
    given = torch.tensor(costs), torch.tensor(weights), torch.tensor(target)
    expected = [exact_cost(costs, one, target) for one in weights]
    found = sinkhorn(*given, regularization=0.005, n_iterations=3000)
    np.testing.assert_allclose(found, expected, rtol=0.01)
    # Regularized, the plan costs more, but not much.
    assert (sinkhorn(*given) > found - 1e-9).all() and (sinkhorn(*given) < 1.15 * found + 0.05).all()


def test_sinkhorn_of_distant_and_of_equal_points():
    costs = torch.tensor([[0.0, 1e6], [2.0, 1e6], [1e6, 3.0]], dtype=torch.float64)
    found = sinkhorn(costs, torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64), vector(0.5, 0.5))
    assert found.item() == pytest.approx(0.25 * 0 + 0.25 * 2 + 0.5 * 3)
    assert sinkhorn(0 * costs, torch.ones(1, 3, dtype=torch.float64) / 3, vector(0.5, 0.5)).item() == 0


def test_gaussian_distance_is_the_textbooks():
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(12, 4)), rng.normal(size=(7, 4)) @ rng.normal(size=(4, 4)) + 1
    one, other = np.cov(x.T, bias=True), np.cov(z.T, bias=True)
    cross = sqrtm(sqrtm(one) @ other @ sqrtm(one)).real
    expected = ((x.mean(0) - z.mean(0)) ** 2).sum() + np.trace(one + other - 2 * cross)
    found = gaussian_distance(*class_gaussian(torch.tensor(x)), *class_gaussian(torch.tensor(z)))
    assert found == pytest.approx(expected)
    assert gaussian_distance(*class_gaussian(torch.tensor(x)), *class_gaussian(torch.tensor(x))) < 1e-9
    # A single sample is a point.
    point = class_gaussian(torch.tensor(x[:1]))
    assert gaussian_distance(*point, *class_gaussian(torch.tensor(z))) == pytest.approx(
        ((x[0] - z) ** 2).sum(axis=1).mean()
    )


def test_ground_costs_add_the_distance_of_the_classes():
    rng = np.random.default_rng(2)
    x, y = torch.tensor(rng.normal(size=(8, 3))), torch.tensor([4, 4, 1, 1, 1, 4, 7, 7])
    z, w = torch.tensor(rng.normal(size=(5, 3))), torch.tensor([1, 1, 4, 4, 1])
    found = ground_costs(x, y, z, w)
    for i in range(8):
        for j in range(5):
            between = gaussian_distance(*class_gaussian(x[y == y[i]]), *class_gaussian(z[w == w[j]]))
            assert found[i, j].item() == pytest.approx(((x[i] - z[j]) ** 2).sum().item() + between)


def test_a_subset_like_the_validation_set_is_nearest():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 5)), np.repeat([0, 1, 2], 10)
    x[y == 2] += 6
    validation, labels = rng.normal(size=(20, 5)), np.tile([0, 1], 10)
    transport = TransportToValidation(*map(torch.tensor, (x, y, validation, labels)))
    like, unlike = (y < 2), (y == 2)
    found = transport.distances(torch.tensor(np.stack([like, unlike, like | unlike])))
    assert found[0] < found[2] < found[1]
    projected = principal_components(torch.tensor(x), torch.tensor(validation), 5)[0]
    np.testing.assert_allclose(
        torch.cdist(projected, projected), torch.cdist(torch.tensor(x), torch.tensor(x)), atol=1e-6
    )


# The set network.


def naive_attention(network, rows):
    """Return the pooled set by softmax attention of each seed and head, member by member."""
    pool, encoded = network.pool, network.encoder(rows)
    n_heads, n_seeds, size = pool.seeds.shape
    keys, values = pool.keys(encoded), pool.values(encoded)
    seeds = []
    for seed in range(n_seeds):
        heads = []
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([key[part] @ pool.seeds[head, seed] / size**0.5 for key in keys])
            scores = 20 * torch.tanh(scores / 20)
            heads.append((scores.softmax(dim=0)[:, None] * values[:, part]).sum(dim=0))
        seeds.append(pool.norm(torch.cat(heads)))
    seeds = torch.stack(seeds)
    queries, keys, values = (
        layer(seeds) for layer in (pool.queries_of_seeds, pool.keys_of_seeds, pool.values_of_seeds)
    )
    mixed = []
    for head in range(n_heads):
        part = slice(head * size, (head + 1) * size)
        mixed.append((queries[:, part] @ keys[:, part].T / size**0.5).softmax(dim=1) @ values[:, part])
    attended = seeds + torch.cat(mixed, dim=1)
    return (attended + pool.feed_forward(pool.last_norm(attended))).mean(dim=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_sets_are_pooled_member_by_member(pooling):
    torch.manual_seed(0)
    network = SetNetwork(5, 8, pooling, 4.0).double()
    features = torch.randn(9, 5, dtype=torch.float64)
    memberships = torch.tensor(np.random.default_rng(0).random((6, 9)) > 0.5).double()
    embedded, scores, distances = network(features, memberships)
    for number, members in enumerate(memberships.bool()):
        encoded = network.encoder(features[members])
        pooled = {
            "mean": lambda encoded=encoded: encoded.mean(dim=0),
            "sum": lambda encoded=encoded: encoded.sum(dim=0) / 4,
            "transformer": lambda members=members: naive_attention(network, features[members]),
        }[pooling]()
        expected = network.latent(pooled)
        torch.testing.assert_close(embedded[number], expected)
        torch.testing.assert_close(scores[number], network.score_head(expected)[0])
        torch.testing.assert_close(distances[number], network.transport_head(expected)[0])
    # A set grows by addition.
    one, two = network.statistics(features[:3]).sum(dim=0), network.statistics(features[3:]).sum(dim=0)
    whole = network(features, torch.ones(1, 9, dtype=torch.float64))[1]
    torch.testing.assert_close(network.score((one + two)[None]), whole)


# Bilevel optimization.


def toy():
    """Return losses of a small nonlinear network with one λ for each of two groups of weights, and its start."""
    torch.manual_seed(1)
    x, y, x_o, y_o = (torch.randn(12, n, dtype=torch.float64) for n in (3, 1, 3, 1))

    def output(w, inputs):
        return torch.tanh(inputs @ w[:12].view(3, 4)) @ w[12:].view(4, 1)

    def inner(w, log_weights):
        penalty = log_weights.exp() @ torch.stack([w[:12].square().sum(), w[12:].square().sum()])
        return (output(w, x) - y).square().mean() + penalty

    def outer(w):
        return (output(w, x_o) - y_o).square().mean()

    state = Iterate.start(torch.randn(16, dtype=torch.float64))
    # Not the first step, whose length hardly depends on the gradient.
    state = descend(state, lambda w: inner(w, vector(-2, -2)), 3, 0.05)
    return inner, outer, state


def test_hypergradient_is_that_of_finite_differences():
    inner, outer, state = toy()
    log_weights = vector(-2.0, -1.0).requires_grad_()
    after, found, loss = hypergradient(state, log_weights, inner, outer, 5, 0.05, 5)

    def value(weights):
        return outer(descend(state, lambda w: inner(w, weights), 5, 0.05).weights).item()

    assert loss == pytest.approx(value(log_weights.detach())) and after.n_steps == 8
    step = 1e-5
    for number in range(2):
        change = step * torch.eye(2, dtype=torch.float64)[number]
        slope = (value(log_weights.detach() + change) - value(log_weights.detach() - change)) / (2 * step)
        assert abs(slope) > 1e-5 and found[number].item() == pytest.approx(slope, rel=1e-5)


def test_the_cheap_form_differentiates_the_last_step_only():
    inner, outer, state = toy()
    log_weights = vector(-2.0, -1.0).requires_grad_()
    after, found, _ = hypergradient(state, log_weights, inner, outer, 5, 0.05, 1)
    before_last = descend(state, lambda w: inner(w, log_weights.detach()), 4, 0.05)
    _, expected, _ = hypergradient(before_last, log_weights, inner, outer, 1, 0.05, 1)
    torch.testing.assert_close(found, expected)
    full_after, full, _ = hypergradient(state, log_weights, inner, outer, 5, 0.05, 5)
    torch.testing.assert_close(after.weights, full_after.weights)
    assert (full - found).norm() > 0.1 * full.norm()


def test_steps_are_adams():
    weights = vector(1.0, 1.5, -2.0)
    parameter = weights.clone().requires_grad_()
    optimizer = without_compiler(torch.optim.Adam)([parameter], 0.1)
    state = Iterate.start(weights)
    for _ in range(4):
        parameter.grad = (parameter**3).detach()
        optimizer.step()
        state = adam_step(state, state.weights.detach() ** 3, 0.1)
    torch.testing.assert_close(state.weights.detach(), parameter.detach(), rtol=1e-5, atol=1e-6)


# Utility samples and the utility model.


def test_pairs_never_mix_sizes():
    rng = np.random.default_rng(0)
    members = np.arange(5, 35)
    drawn = draw_pairs(members, K, 200, rng)
    sizes = drawn.sum(axis=1)
    assert (sizes[::2] == sizes[1::2]).all() and sizes.min() == 3 and sizes.max() == 29
    assert not drawn[:, :5].any() and not drawn[:, 35:].any() and drawn[:, members].any(axis=0).all()
    samples = UtilitySamples(drawn, np.arange(400.0), np.arange(400.0) / 2)
    inner, outer = samples.split_at_median()
    assert inner.sizes.max() <= outer.sizes.min() and len(inner.sizes) == len(outer.sizes) == 100
    for part in (inner, outer):
        assert (part.memberships[::2].sum(axis=1) == part.memberships[1::2].sum(axis=1)).all()
        assert (part.utilities[1::2] - part.utilities[::2] == 1).all() and (part.distances == part.utilities / 2).all()
    joined = UtilitySamples.joined([inner, outer])
    assert sorted(joined.utilities) == list(range(400)) and len(joined.memberships) == 400


def planted(n_pairs, rng, features):
    """Return samples whose utility is their size and their share of samples with a positive first feature."""
    drawn = draw_pairs(np.arange(K), K, n_pairs, rng)
    utilities = np.array([0.3 * one.mean() + (features[one, 0] > 0).mean() for one in drawn])
    return UtilitySamples(drawn, utilities, np.array([3 + features[one, 1].mean() for one in drawn]))


@pytest.mark.parametrize("options", [{}, {"hypergradient": "last-step"}, {"bilevel": False}], ids=str)
def test_a_model_of_shuffled_utilities_loses_its_rank_correlation(options):
    rng = np.random.default_rng(4)
    features = rng.normal(size=(K, 6)).astype(np.float32)
    samples, fresh = planted(60, rng, features), planted(100, rng, features)
    shuffled = UtilitySamples(samples.memberships, rng.permutation(samples.utilities), samples.distances)
    correlations = []
    for given in (samples, shuffled):
        model = UtilityModel(
            torch.tensor(features), Training(width=16, steps=3, learning_rate=0.01, transport=0.1, **options), 0
        )
        model.train(given)
        scores = model.score(fresh.memberships).numpy()
        # Of sets in pairs, so that size alone explains nothing.
        found = spearmanr(scores[::2] - scores[1::2], fresh.utilities[::2] - fresh.utilities[1::2]).statistic
        correlations.append(found)
        assert set(model.losses) == ({"inner"} if options.get("bilevel") is False else {"inner", "outer"})
    assert correlations[0] > 0.6 and abs(correlations[1]) < 0.4


def test_bilevel_moves_the_regularizer_and_the_transport_head_learns():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(K, 6)).astype(np.float32)
    samples = planted(30, rng, features)
    model = UtilityModel(torch.tensor(features), Training(width=8, epochs=5), 0)
    start = model.log_weights
    model.train(samples)
    assert len(start) == 7 and all(a != b for a, b in zip(start, model.log_weights, strict=True))
    fixed = UtilityModel(torch.tensor(features), Training(width=8, bilevel=False, epochs=10, learning_rate=0.01), 0)
    fixed.train(samples)
    assert fixed.log_weights == start
    distances = fixed.network(torch.tensor(features), torch.tensor(samples.memberships).float())[2].detach()
    assert spearmanr(distances, samples.distances).statistic > 0.5
    again = UtilityModel(torch.tensor(features), Training(width=8, bilevel=False, epochs=10, learning_rate=0.01), 0)
    again.train(samples)
    assert torch.equal(again.score(samples.memberships), fixed.score(samples.memberships))
    with pytest.raises(DeepALError, match="learning_rate"):
        UtilityModel(torch.tensor(features), Training(width=8, epochs=2, learning_rate=1e30), 0).train(samples)


def test_ranking_accuracy_counts_pairs_of_different_utility():
    class Scored:
        def score(self, memberships):
            return torch.tensor([2.0, 1.0, 0.0, 5.0, 3.0, 4.0])

    def accuracy(*utilities):
        return ranking_accuracy(Scored(), UtilitySamples(np.ones((6, 2), bool), np.array(utilities), np.zeros(6)))

    assert accuracy(0.9, 0.1, 0.9, 0.1, 0.5, 0.5) == 0.5
    assert accuracy(0.5, 0.5, 0.5, 0.5, 0.5, 0.5) is None


# Acquisition.


def test_greedy_margin_takes_the_best_chunk_of_the_smallest_margins():
    values = np.random.default_rng(6).normal(size=60)
    seen = []

    def score(chosen, chunks):
        seen.append((chosen.tolist(), chunks.copy()))
        return values[chunks].sum(axis=1)

    chosen = greedy_margin(60, 23, 4, 5, score, np.random.default_rng(0)).tolist()
    assert len(set(chosen)) == 23 and max(chosen) < n_considered(60, 23, 4, 5) == 47
    taken = []
    for before, chunks in seen:
        assert before == taken
        left = [place for place in range(60) if place not in taken]
        size = min(6, 23 - len(taken))
        assert chunks.shape == (5, size) and set(chunks.ravel()) == set(left[: 5 * size])
        best = max(chunks.tolist(), key=lambda chunk: values[chunk].sum())
        assert chosen[len(taken) : len(taken) + size] == best
        taken += best
    # The control takes random chunks of the same filter; with no choice left, both take all.
    control = [greedy_margin(60, 6, 1, 5, None, np.random.default_rng(seed)).tolist() for seed in range(40)]
    assert {place for batch in control for place in batch} == set(range(30))
    assert sorted(greedy_margin(7, 7, 3, 5, score, np.random.default_rng(0))) == list(range(7))


def test_stochastic_greedy_is_greedy_where_all_are_compared():
    values = np.random.default_rng(7).normal(size=(30, 4))

    def score(chosen, chunks):
        # Diminishing returns: largest coordinates of the batch.
        return np.array([values[[*chosen, *chunk]].max(axis=0).sum() for chunk in chunks])

    found = stochastic_greedy(30, 5, 1, 1e-12, score, np.random.default_rng(0)).tolist()
    expected = []
    for _ in range(5):
        left = [one for one in range(30) if one not in expected]
        expected.append(max(left, key=lambda one: values[[*expected, one]].max(axis=0).sum()))
    assert found == expected
    blocked = stochastic_greedy(30, 7, 3, 0.1, score, np.random.default_rng(0))
    assert len(set(blocked.tolist())) == 7


# The strategies.


def test_models_learn_parts_of_the_labeled_set_and_judge_on_another(make_round):
    made = make_round(n_labeled=40)
    query = RAMBO(**QUICK, validation=12).query(made.context, 7)
    report, fits = query.report, made.trainer.fits[1:]
    validation, labeled = set(report["validation"].tolist()), set(made.context.labeled.indices.tolist())
    assert report["learned"] and len(validation) == 12 and validation < labeled
    assert report["trainings"] == len(fits) == 2 * 3 + 4 and len(report["accuracies"]) == 4
    learned = [set(known.indices.tolist()) for known, _, _ in fits]
    assert all(one <= labeled - validation for one in learned)
    assert [len(one) for one in learned[:6:2]] == [len(one) for one in learned[1:6:2]]
    # The start, and chunk by chunk all of S₀.
    assert learned[6] < learned[7] < learned[8] < learned[9] == labeled - validation
    assert [len(one) for one in learned[6:]] == [7, 14, 21, 28]
    for known, _, recipe in fits:
        assert (known.labels == made.labels[known.indices]).all()
        assert recipe.stop_at_full_accuracy and not recipe.augmentation
    for model, accuracy in zip(made.trainer.models[-4:], report["accuracies"], strict=True):
        rows = sorted(validation)
        assert model.swept == [rows]
        assert accuracy == pytest.approx((model.logits[rows].argmax(dim=1).numpy() == made.labels[rows]).mean())
    assert set(query.indices.tolist()) <= set(made.context.candidates.indices.tolist())


@pytest.mark.parametrize("strategy", [lambda: RAMBO(**QUICK), lambda: DULO(pairs=2, steps=3, width=8)])
def test_no_label_of_the_pool_is_touched(make_round, strategy):
    picks = [strategy().query(make_round(seed=3, poison=poison).context, 9).indices.tolist() for poison in (0, 1)]
    assert picks[0] == picks[1] and len(set(picks[0])) == 9


@pytest.fixture
def useful(make_round):
    """A round in which a model's accuracy is the share of its samples whose first embedding is positive."""
    made = make_round(n_labeled=90, n_unlabeled=200, n_features=5)
    embeddings = made.trainer.embeddings
    plain = made.trainer.fit

    def fit(labeled, unlabeled, *, seed, **settings):
        model = plain(labeled, unlabeled, seed=seed, **settings)
        share = float((embeddings[torch.as_tensor(labeled.indices), 0] > 0).float().mean())
        right = np.random.default_rng(0).permutation(len(made.labels)) < share * len(made.labels)
        predicted = np.where(right, made.labels, (made.labels + 1) % 3)
        model.logits = torch.nn.functional.one_hot(torch.as_tensor(predicted), 3).float()
        return model

    made.trainer.fit = fit
    return made


@pytest.mark.parametrize(
    "strategy",
    [
        RAMBO(validation=40, pairs=30, interpolated=0, parts=3, learning_rate=0.01, bilevel=False, transport=0.1),
        DULO(validation=40, pairs=40, width=16, steps=150),
    ],
    ids=str,
)
def test_the_batch_is_what_made_models_accurate(useful, strategy):
    context = useful.context
    values = useful.trainer.embeddings[:, 0].numpy()
    query = strategy.query(context, 30)
    # A random chunk of the same filter: the mean of the filter.
    usual = RAMBO(parts=1, alternatives=1, choice="random").query(useful.context, n_considered(200, 30, 3, 10))
    assert len(usual.indices) == 120
    assert query.report["ranking_accuracy"] > 0.75
    assert (values[query.indices] > 0).mean() > (values[usual.indices] > 0).mean() + 0.1


def test_the_control_and_few_labels_train_nothing(make_round):
    made = make_round(n_labeled=40, n_unlabeled=200)
    query = RAMBO(choice="random", parts=2, alternatives=3).query(made.context, 10)
    margins = made.context.candidates.probabilities().sort(dim=1).values
    order = made.context.candidates.indices[(margins[:, -1] - margins[:, -2]).argsort().numpy()]
    assert len(made.trainer.fits) == 1 and query.report == {"learned": False}
    assert set(query.indices) <= set(order[:20]) and set(query.indices) != set(order[:10])
    few = make_round(n_labeled=7)
    assert RAMBO().query(few.context, 5).report == DULO().query(few.context, 5).report == {"learned": False}
    assert len(few.trainer.fits) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ranking": False},
        {"transport": 0.0},
        {"bilevel": False},
        {"ranking": False, "transport": 0.0, "bilevel": False},
        {"interpolated": 0, "hypergradient": "last-step"},
        {"pooling": "transformer"},
        {"pooling": "sum", "pairs": 1, "chunks": 1, "parts": 1},
    ],
    ids=str,
)
def test_the_papers_ablation(make_round, options):
    query = create_strategy("rambo", **{**QUICK, **options}).query(make_round(n_labeled=16).context, 11)
    assert len(set(query.indices.tolist())) == 11 and query.report["learned"]


def test_validation_set_is_random_and_leaves_something_to_learn_from(make_round):
    context = make_round(n_labeled=40).context
    known, validation = split_labeled(context, None)
    assert len(validation) == 10 and sorted([*known, *validation]) == sorted(context.labeled.indices)
    assert split_labeled(context, 10)[1].tolist() != validation.tolist()
    by_index = dict(zip(context.labeled.indices.tolist(), context.labeled.labels.tolist(), strict=True))
    assert labels_of(context.labeled, known).tolist() == [by_index[index] for index in known.tolist()]
    for strategy in (RAMBO(validation=37), DULO(validation=37), create_strategy("glister", validation=37)):
        with pytest.raises(InputError, match="validation is 37, but 40"):
            strategy.query(context, 3)


@pytest.mark.parametrize("name", ["rambo", "dulo"])
def test_the_runs_validation_set_judges_subsets_of_all_labeled_samples(make_round, name):
    made = make_round(n_labeled=16, n_validation=9)
    context = made.context
    known, validation = split_labeled(context, None)
    assert known.tolist() == sorted(context.labeled.indices) and validation is context.validation.indices
    options = QUICK if name == "rambo" else {"pairs": 3}
    query = create_strategy(name, **options).query(context, 11)
    assert query.report["learned"] and "validation" not in query.report
    learned = [set(labeled.indices.tolist()) for labeled, _, _ in made.trainer.fits[1:]]
    assert set.union(*learned) == set(known)
    judged = made.trainer.logits[context.validation.indices.tolist()].argmax(dim=1) == context.validation.labels
    expected = judged.double().mean().item()  # the models of the table are all alike
    measured = query.report["accuracies" if name == "rambo" else "utilities"]
    assert list(measured) == pytest.approx([expected] * len(measured))
    with pytest.raises(InputError, match="option validation is 4, but the run has a validation set"):
        create_strategy(name, validation=4).query(context, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rambo", {"validation": 0}),
        ("rambo", {"pairs": 0}),
        ("rambo", {"interpolated": -1}),
        ("rambo", {"pooling": "max"}),
        ("rambo", {"transport": -1}),
        ("rambo", {"width": 1}),
        ("rambo", {"choice": "best"}),
        ("dulo", {"precision": 1.0}),
        ("dulo", {"pairs": 0}),
        ("glister", {"validation": -1}),
        ("glister", {"learning_rate": 0}),
    ],
    ids=str,
)
def test_options_are_checked(name, options):
    with pytest.raises(InputError, match=next(iter(options))):
        create_strategy(name, **options)
