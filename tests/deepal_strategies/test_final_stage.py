"""The coverage stage of vote and autoal against the full kernel matrix, and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, InputError, create_strategy
from deepal_autoal.querying.outputs import ModelOutputs
from deepal_strategies.shared import final_stage
from deepal_strategies.shared.final_stage import FinalStage, draw_in_proportion


def naive_covering(rows, labeled, scores, power, n_chosen, uncertainty=1.0):
    """Return the greedy positions by the full kernel matrix of rows without ties."""
    unit, known = (x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, labeled))
    apart = np.linalg.norm(known[:, None] - known[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    sigma = np.median(apart.min(axis=1))
    kernel = np.exp(-(((unit[:, None] - unit[None]) / sigma) ** 2).sum(axis=2))
    covered = np.exp(-(((known[:, None] - unit[None]) / sigma) ** 2).sum(axis=2)).max(axis=0)
    weights = (np.argsort(np.argsort(scores)) / (len(scores) - 1)) ** power * uncertainty
    chosen = []
    for _ in range(n_chosen):
        gains = np.maximum(kernel - covered, 0) @ weights
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        covered = np.maximum(covered, kernel[chosen[-1]])
    return chosen


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_the_coverage_stage_equals_the_full_matrix(make_round, power):
    context = make_round(10, 90, seed=1).context
    scores = torch.randn(90, generator=torch.Generator().manual_seed(2))
    batch = FinalStage("coverage", power=power).choose(context, scores, 20)
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    expected = naive_covering(rows, labeled, scores.numpy(), power, 20)
    # The order among pairs of equal gain may differ.
    assert set(np.searchsorted(context.candidates.indices, batch)) == set(expected)
    report = context.reported["coverage"]
    assert 0 < report["coverage_before"] < report["coverage_after"] <= 1


@pytest.mark.parametrize(("power", "uncertainty"), [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_the_models_uncertainty_is_a_factor(make_round, monkeypatch, power, uncertainty):
    monkeypatch.setattr(ModelOutputs, "temperature", lambda outputs: 1.7)
    context = make_round(20, 90, seed=3).context
    scores = torch.randn(90, generator=torch.Generator().manual_seed(2))
    batch = FinalStage("coverage", power=power, uncertainty=uncertainty).choose(context, scores, 15)
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    logits = context.candidates.logits().double().numpy() / 1.7
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    top = np.sort(probabilities, axis=1)
    factor = (1.0 - (top[:, -1] - top[:, -2])) ** uncertainty
    expected = naive_covering(rows, labeled, scores.numpy(), power, 15, factor)
    assert set(np.searchsorted(context.candidates.indices, batch)) == set(expected)


def test_uncertainty_needs_probabilities_and_alone_is_uherding(make_round, monkeypatch):
    monkeypatch.setattr(ModelOutputs, "temperature", lambda outputs: 1.7)
    assert "probabilities" not in create_strategy("vote", ["kmeans", "coreset"]).requires
    assert "probabilities" in create_strategy("vote", ["kmeans", "coreset"], uncertainty=1.0).requires
    context = make_round(20, 90, seed=3).context
    alone = FinalStage("coverage", power=0.0, uncertainty=1.0).choose(context, torch.zeros(90), 15)
    assert set(alone) == set(create_strategy("uherding").query(make_round(20, 90, seed=3).context, 15).indices)


def test_a_high_power_covers_what_the_scores_point_to(make_round):
    """Two far blobs, one with all high scores: with power 0 both are covered, with 30 only that one."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).repeat_interleave(50, dim=0)
    rows = centers + 0.05 * torch.randn(100, 3, generator=generator)
    context = make_round(0, 100, embeddings=rows, labels=np.arange(100) % 3).context
    in_second = torch.tensor(context.candidates.indices) >= 50
    scores = in_second.float() + 0.01 * torch.rand(100, generator=generator)
    even = FinalStage("coverage", power=0.0).choose(context, scores, 4)
    assert set((even >= 50).tolist()) == {True, False}
    pointed = FinalStage("coverage", power=30.0).choose(context, scores, 4)
    assert set((pointed >= 50).tolist()) == {True}


@pytest.mark.parametrize("power", [0.0, 1.0, 1000.0])
def test_coverage_takes_any_scores(make_round, power):
    """Equal scores, scores of -inf (samples that SearchNet did not need to see), no labels, the whole pool."""
    stage = FinalStage("coverage", power=power)
    context = make_round(0, 40).context
    assert len(set(stage.choose(context, torch.zeros(40), 40).tolist())) == 40
    scores = torch.full((40,), -torch.inf)
    scores[7] = 1.0
    assert len(set(stage.choose(context, scores, 10).tolist())) == 10


def test_large_pools_are_estimated_from_draws(make_round, monkeypatch):
    monkeypatch.setattr(final_stage, "REFERENCE", 60)
    context = make_round(10, 90, seed=1).context
    scores = torch.randn(90, generator=torch.Generator().manual_seed(2))
    sampled = FinalStage("coverage", power=2.0).choose(context, scores, 20)
    monkeypatch.undo()
    exact = FinalStage("coverage", power=2.0).choose(make_round(10, 90, seed=1).context, scores, 20)
    assert len(set(sampled.tolist())) == 20
    assert set(sampled) != set(exact)
    assert len(set(sampled) & set(exact)) >= 8  # 4.4 by chance


def test_draws_are_in_proportion_to_the_weights():
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.0, 1.0, 0.5, 0.0, 2.5, 0.0])
    counts = torch.stack(
        [torch.bincount(draw_in_proportion(weights, 10, generator), minlength=6) for _ in range(400)]
    ).double()
    expected = weights.double() / weights.sum() * 10
    assert (counts.sum(dim=1) == 10).all()
    assert ((counts >= expected.floor()) & (counts <= expected.ceil())).all()
    assert counts.mean(dim=0).tolist() == pytest.approx(expected.tolist(), abs=0.1)


@pytest.mark.parametrize("strategy", ["vote", "autoal"])
def test_selectors_end_with_the_stage(make_round, strategy):
    context = make_round(20, 80).context
    selector = create_strategy(strategy, ["entropy", "margin"], final="coverage", power=2.0)
    query = selector.query(context, 10)
    assert len(set(np.asarray(query.indices).tolist())) == 10
    assert context.reported["coverage"]["radius"] > 0


@pytest.mark.parametrize(
    "options", [{"final": "spread"}, {"power": -1.0}, {"power": float("nan")}, {"uncertainty": -1.0}, {"oversample": 0}]
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError):
        create_strategy("vote", ["entropy"], **options)


@pytest.mark.parametrize(
    ("strategy", "options", "culprit"),
    [
        ("vote", {"oversample": 5}, "oversample has no effect with final=coverage"),
        ("vote", {"final": "top", "oversample": 5}, "oversample has no effect with final=top"),
        ("vote", {"final": "diverse", "power": 3.0}, "power has no effect with final=diverse"),
        ("vote", {"final": "top", "uncertainty": 1.0}, "uncertainty has no effect with final=top"),
        ("vote", {"final": "diverse", "oversample": 5}, None),
        ("vote", {"power": 3.0}, None),
        ("autoal", {"variant": "paper", "power": 3.0}, "power has no effect with final=top"),
        ("autoal", {"pool_threshold": "labeled", "oversample": 5}, "oversample has no effect with final=coverage"),
        ("autoal", {"oversample": 5}, None),  # it sets the pool's own threshold
    ],
)
def test_options_without_effect_are_refused(strategy, options, culprit):
    if culprit is None:
        create_strategy(strategy, ["entropy", "margin"], **options)
        return
    with pytest.raises(InputError, match=culprit):
        create_strategy(strategy, ["entropy", "margin"], **options)


@pytest.mark.parametrize("is_solved", [True, False])
@pytest.mark.parametrize("options", [{}, {"uncertainty": 1.0}, {"search": "random"}], ids=str)
def test_autoal_weighs_by_uncertainty_where_models_are_solved(make_round, monkeypatch, is_solved, options):
    asked = []
    monkeypatch.setattr(ModelOutputs, "temperature", lambda outputs: asked.append(outputs) or 1.7)
    world = make_round(20, 80)
    world.task_model.module.is_solved = is_solved
    query = create_strategy("autoal", ["entropy", "margin"], **options).query(world.context, 10)
    power, uncertainty = (0.5, 1.5) if is_solved else (2.0, 0.0)
    uncertainty = options.get("uncertainty", uncertainty)
    reported = {**world.context.reported, **query.report}
    assert reported["coverage_weights"] == {"power": power, "uncertainty": uncertainty}
    assert bool(asked) == (uncertainty > 0)  # else no model is trained for it
    assert reported.get("temperature") == (1.7 if uncertainty > 0 else None)


def test_which_models_are_solved():
    for name, is_solved in (("linear", True), ("gp", True), ("forest", True), ("tabular", True), ("mlp", False)):
        learner = ActiveLearner(np.zeros((6, 3), dtype=np.float32), "margin", 2, model=name)
        assert learner.new_module().is_solved == is_solved
