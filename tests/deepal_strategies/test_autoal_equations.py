"""The equations against hand-computed values, and the departures from their printed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepal_strategies.autoal import equations
from deepal_strategies.autoal.simulation import selection_rate
from deepal_strategies.autoal.threshold import draw_scores, fit_mixture, shared_threshold, top_quantile


def test_2_to_4_mixture_finds_two_groups_and_can_be_sampled():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.2, 0.02, 300), rng.normal(0.8, 0.05, 100)])
    weights, means, deviations = fit_mixture(scores, n_components=2)
    order = np.argsort(means)
    np.testing.assert_allclose(means[order], [0.2, 0.8], atol=0.02)
    np.testing.assert_allclose(weights[order], [0.75, 0.25], atol=0.02)
    np.testing.assert_allclose(deviations[order], [0.02, 0.05], atol=0.02)
    draws = draw_scores((weights, means, deviations), rng, 4000)
    assert abs(draws.mean() - scores.mean()) < 0.02
    assert abs((draws > 0.5).mean() - 0.25) < 0.03


@pytest.mark.parametrize("kind", ["uniform", "groups", "ties", "picks"])
def test_3_finds_the_highest_likelihood_that_scikit_learn_finds_from_ten_starts(kind):
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(1)
    groups = np.concatenate([rng.normal(0.2, 0.05, 120), rng.normal(0.6, 0.1, 60)])
    scores = {
        "uniform": rng.uniform(size=150), "groups": groups, "ties": rng.integers(0, 7, 90) / 6,
        "picks": rng.binomial(7, 0.1, 90) / 7,
    }[kind]  # fmt: skip
    standardized = (scores - scores.mean()) / scores.std()
    reference = GaussianMixture(3, reg_covar=1e-3, n_init=10, tol=1e-6, max_iter=1000, random_state=0)
    best = reference.fit(standardized[:, None]).score(standardized[:, None])
    weights, means, deviations = fit_mixture(scores, 3)
    means, deviations = (means - scores.mean()) / scores.std(), deviations / scores.std()
    densities = weights * np.exp(-0.5 * ((standardized[:, None] - means) / deviations) ** 2) / deviations
    assert np.log(densities.sum(axis=1) / np.sqrt(2 * np.pi)).mean() > best - 1e-3


def test_3_a_single_component_is_the_normal_distribution_of_the_scores():
    scores = np.random.default_rng(0).uniform(size=50)
    weights, means, deviations = fit_mixture(scores, 1)
    assert (weights, means) == (pytest.approx(1.0), pytest.approx(scores.mean()))
    assert deviations == pytest.approx(scores.std(), rel=1e-3)


def test_2_the_variance_floor_does_not_dominate_small_scores():
    scores = 1e-5 * np.random.default_rng(0).normal(size=200)
    _, _, deviations = fit_mixture(scores, 3)
    assert deviations.max() < 3e-5


def test_5_quantile():
    assert top_quantile(np.arange(101.0), 0.1) == pytest.approx(90.0)


@pytest.mark.parametrize("method", ["mixture", "quantile"])
def test_threshold_passes_about_the_rate(method):
    scores = np.random.default_rng(0).uniform(size=400)
    threshold = shared_threshold(scores, 0.1, np.random.default_rng(1), method, 3)
    assert 0.05 < (scores > threshold).mean() < 0.2


@pytest.mark.parametrize("scores", [np.full(10, 0.5), np.array([0.0, 1.0]), np.array([0.0, 0, 0, 1])])
def test_threshold_of_few_and_equal_scores_is_within_their_range(scores):
    threshold = shared_threshold(scores, 0.25, np.random.default_rng(0), "mixture", 3)
    assert scores.min() <= threshold <= scores.max()


def test_threshold_depends_only_on_its_generator():
    scores = np.random.default_rng(0).uniform(size=50)
    first, second = (shared_threshold(scores, 0.1, np.random.default_rng(4), "mixture", 3) for _ in range(2))
    assert first == second


def test_5_and_6_by_hand():
    scores = torch.tensor([[1.0, 0.0], [0.5, 0.9]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    hatted = equations.thresholded(scores, 0.6, weights)
    torch.testing.assert_close(hatted, torch.tensor([[0.1, -0.45], [-0.05, 0.15]]))
    theta = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    combined = equations.combined(hatted, theta)
    torch.testing.assert_close(combined, torch.tensor([0.05 - 0.3375, 0.05]))
    torch.testing.assert_close(equations.combined(hatted, theta, scale=2.0), 2 * combined)


def test_7_weights_are_positive_ordered_and_sum_to_one():
    scores = torch.tensor([-0.4, -0.1, 0.3, -0.2])
    weights = equations.fit_weights(scores, "softmax")
    assert (weights > 0).all()
    assert weights.sum().item() == pytest.approx(1.0)
    assert weights.argsort().tolist() == scores.argsort().tolist()
    # As printed: S̄/n, negative for samples that no candidate picked.
    torch.testing.assert_close(equations.fit_weights(scores, "printed"), scores / 4)


def test_7_updates_only_fitnet():
    scores = torch.tensor([0.2, -0.1], requires_grad=True)
    losses = torch.tensor([1.0, 3.0], requires_grad=True)
    regularizer = equations.selection_regularizer(equations.selected_count(scores, "soft"), 1.0)
    weights = torch.tensor([0.75, 0.25])
    value = equations.fit_loss(weights, losses, regularizer, 2.0)
    assert value.item() == pytest.approx(1.5 + 2 * regularizer.item())
    value.backward()
    assert losses.grad.tolist() == [0.75, 0.25]
    assert scores.grad is None
    assert not equations.fit_weights(scores, "softmax").requires_grad
    assert not equations.fit_weights(scores, "printed").requires_grad


def test_8_utilities_compare_samples():
    losses, none = torch.tensor([0.1, 5.0, 0.2, 0.3]), torch.zeros(4)
    ranks = torch.tensor([-1.0, 1.0, -1 / 3, 1 / 3])
    torch.testing.assert_close(equations.utilities(losses, none, "ranked"), ranks)
    torch.testing.assert_close(equations.utilities(none, losses, "alignment"), ranks)
    centred = equations.utilities(losses, none, "centred")
    torch.testing.assert_close(centred.mean(), torch.tensor(0.0))
    torch.testing.assert_close(centred.std(correction=0), torch.tensor(1.0))
    assert torch.equal(equations.utilities(losses, none, "loss"), losses)
    for objective in ("ranked", "centred", "alignment"):
        equal = torch.full((3,), 2.0)
        torch.testing.assert_close(equations.utilities(equal, equal, objective), torch.zeros(3))


def test_8_alignment_is_the_inner_product_of_gradients():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 5, generator=generator, requires_grad=True)
    features, labels = torch.randn(7, 5, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    gradients = [
        torch.autograd.grad(F.cross_entropy((features @ weight.T)[j : j + 1], labels[j : j + 1]), weight)[0]
        for j in range(7)
    ]
    expected = [sum((gradients[i] * gradients[j]).sum() for i in range(7) if i != j).item() for j in range(7)]
    residuals = (features @ weight.T).softmax(dim=1).detach() - F.one_hot(labels, 3)
    torch.testing.assert_close(equations.gradient_alignment(residuals, features), torch.tensor(expected))


def test_8_by_hand():
    scores, utility = torch.tensor([0.5, -0.5]), torch.tensor([1.0, -1.0])
    assert equations.search_loss(scores, utility, torch.tensor(0.25), 2.0).item() == pytest.approx(-0.5 + 0.5)


def test_9_as_printed():
    assert equations.selection_regularizer(torch.tensor(5.0), 5.0).item() == 0.0
    assert equations.selection_regularizer(torch.tensor(7.0), 5.0).item() == pytest.approx(1 / (1 + math.e) - 0.5)
    assert equations.selection_regularizer(torch.tensor(3.0), 5.0).item() == pytest.approx(1 / (1 + math.e) - 0.5)


def test_9_penalty_is_the_log_of_the_printed_form_at_relative_distance():
    for count in (2.0, 10.0, 14.0, 60.0):
        relative = torch.tensor(10.0 + abs(count - 10) / 10)
        printed = equations.selection_regularizer(relative, 10.0).item()
        rescaled = equations.selection_penalty(torch.tensor(count), 10.0).item()
        assert rescaled == pytest.approx(-math.log(2 * (printed + 0.5)), abs=1e-6)


@pytest.mark.parametrize("count", [0.0, 9.0, 11.0, 100.0, 5000.0])
def test_9_has_a_gradient_on_both_sides_and_far_away(count):
    n_selected = torch.tensor(count, requires_grad=True)
    equations.selection_penalty(n_selected, 10.0).backward()
    slope = n_selected.grad.item()
    assert math.copysign(1, slope) == (1 if count > 10 else -1)
    assert abs(slope) >= 0.025
    if count == 100:
        # The printed form has almost no gradient there.
        far = torch.tensor(count, requires_grad=True)
        equations.selection_regularizer(far, 10.0).backward()
        assert abs(far.grad.item()) < 1e-12


def test_soft_count_counts_and_has_a_gradient():
    scores = torch.tensor([0.9, 0.8, -0.7, -0.9, -0.8], requires_grad=True)
    count = equations.selected_count(scores, "soft")
    assert count.item() == pytest.approx(2.0, abs=0.1)
    count.backward()
    assert (scores.grad > 0).all()
    # The unit of S̄ does not matter.
    assert equations.selected_count(1e-4 * scores.detach(), "soft").item() == pytest.approx(count.item(), abs=1e-4)
    assert equations.selected_count(torch.zeros(4), "soft").item() == 2.0


@pytest.mark.parametrize("start", [-1.0, 1.0])
def test_regularizer_reaches_the_goal_from_no_and_all_samples_selected(start):
    scores = (start + 0.3 * torch.randn(50, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.SGD([scores], lr=1.0)
    for _ in range(400):
        optimizer.zero_grad()
        equations.selection_penalty(equations.selected_count(scores, "soft"), 10.0).backward()
        optimizer.step()
    assert abs(equations.selected_count(scores, "soft").item() - 10) < 2


def test_pair_ranking_loss_by_hand_in_any_order():
    predicted = torch.tensor([0.0, 2.0, 0.5], requires_grad=True)
    losses = torch.tensor([1.0, 2.0, 2.0])
    # Pairs with unequal losses: (0,1) in order by 2: 0; (0,2) in order by 0.5: 0.5; each counted both ways.
    value = equations.pair_ranking_loss(predicted, losses)
    assert value.item() == pytest.approx(0.25)
    order = torch.tensor([2, 0, 1])
    assert equations.pair_ranking_loss(predicted[order], losses[order]).item() == pytest.approx(0.25)
    value.backward()
    assert predicted.grad[0] > 0 > predicted.grad[2]
    assert equations.pair_ranking_loss(predicted, torch.ones(3)).item() == 0.0


@pytest.mark.parametrize(
    ("n_half", "n_pool", "batch_size", "expected"),
    [
        (2, 100, 10, 1),  # fewer than all
        (10, 1000, 10, 2),  # at least two
        (50, 10_000, 100, 5),  # at least a tenth
        (50, 200, 100, 25),  # t of the half
        (50, 100, 100, 49),  # fewer than all
    ],
)
def test_selection_rate(n_half, n_pool, batch_size, expected):
    assert selection_rate(n_half, n_pool, batch_size, 0.1) * n_half == pytest.approx(expected)


def test_the_papers_rate_is_the_share_of_the_pool():
    assert selection_rate(50, 10_000, 100, 0.0) == 0.01
    assert selection_rate(2, 10, 10, 0.0) == 0.5  # fewer than all


def test_an_exact_count_is_the_number_above_0_without_a_gradient():
    scores = torch.tensor([0.9, 1e-6, 0.0, -0.9], requires_grad=True)
    count = equations.selected_count(scores, "exact")
    assert count.item() == 2.0 and not count.requires_grad


def test_the_scale_of_the_scores_has_no_gradient():
    """Otherwise a search whose picks have low loss would shrink all of S̄ toward 0 instead of choosing."""
    scores = torch.tensor([0.3, -0.2, 0.9, -0.4], requires_grad=True)
    utility = torch.tensor([-1.0, 0.5, -0.25, 0.75])
    loss = equations.search_loss(scores / equations.spread(scores), utility, torch.tensor(0.0), 0.0)
    (slope,) = torch.autograd.grad(loss + equations.selected_count(scores, "soft"), scores)
    assert slope.abs().max() > 1e-2
    assert abs(float((slope * scores).sum().detach())) < 1e-6
