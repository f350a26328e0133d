"""The search: its gradient, the networks, and what they are trained on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepal_autoal import DeepALError, global_torch_seed
from deepal_strategies.autoal import equations
from deepal_strategies.autoal.networks import Detached, FitNet, SearchNet, Standardize
from deepal_strategies.autoal.search import Search
from deepal_strategies.autoal.simulation import simulate_cycle
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.entropy import Entropy
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.margin import Margin
from deepal_strategies.shared.loss_predictor import LossPredictor

THREE = {"entropy": Entropy, "margin": Margin, "kmeans": KMeansSampling}


def make_search(round_, seed=0, **options):
    strategy = AutoAL({name: cls() for name, cls in THREE.items()}, **{"networks": "heads", **options})
    search = Search(round_.context, tuple(THREE), strategy.settings)
    cycle = simulate_cycle(strategy, round_.context, 10, 0, strategy.settings)
    with global_torch_seed(seed):
        fit_net = FitNet(nn.Identity(), Standardize(cycle.embeddings), cycle.embeddings.shape[1], 3)
    return search, cycle, fit_net


def gradients(module):
    return {name: parameter.grad for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("variant", ["default", "printed"])
def test_equation_8_reaches_every_parameter_of_searchnet(make_round, variant):
    search, cycle, fit_net = make_search(make_round(), variant=variant, regularizer_weight=0.0)
    rows = torch.arange(len(cycle.held_out))
    search.search_losses(fit_net, cycle, rows)["search_loss"].backward()
    for name, gradient in gradients(search.net).items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 1e-7, name
    assert all(parameter.grad is None for parameter in fit_net.parameters())


@pytest.mark.parametrize("variant", ["default", "printed"])
def test_the_regularizer_alone_reaches_searchnet(make_round, variant):
    search, cycle, _ = make_search(make_round(), variant=variant)
    rows = torch.arange(len(cycle.held_out))
    scores, _ = search.scores(cycle.held_out, rows, cycle.threshold)
    equations.selection_penalty(equations.selected_count(scores, "soft"), 1.0).backward()
    for gradient in gradients(search.net).values():
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 1e-9


def test_steps_raise_the_scores_of_samples_with_high_loss(make_round):
    search, cycle, fit_net = make_search(make_round(), regularizer_weight=0.0)
    rows = torch.arange(len(cycle.held_out))
    logits = fit_net(cycle.held_out.view.embeddings())
    cross_entropy = F.cross_entropy(logits, cycle.held_out.labels, reduction="none")
    utility = equations.utilities(cross_entropy, torch.zeros_like(cross_entropy), "ranked")

    def agreement():
        scores, _ = search.scores(cycle.held_out, rows, cycle.threshold)
        return (scores / equations.spread(scores) * utility).mean().item()

    before = agreement()
    optimizer = torch.optim.SGD(search.net.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        search.search_losses(fit_net, cycle, rows)["search_loss"].backward()
        optimizer.step()
    assert agreement() > before + 0.04


def test_the_loss_module_shapes_searchnet_and_can_be_left_out(make_round):
    search, cycle, fit_net = make_search(make_round())
    rows = torch.arange(len(cycle.held_out))
    search.search_losses(fit_net, cycle, rows)["loss_prediction_loss"].backward()
    reached = gradients(search.net)
    for name in ("stages.0.weight", "stages.1.weight"):
        assert reached[name].abs().max() > 1e-6
    assert reached["strategy_head.weight"] is None and reached["mixing_head.weight"] is None
    for name, gradient in gradients(search.loss_module).items():
        # Only differences count, so the last bias has no gradient.
        assert (gradient.abs().max() > 1e-6) == (name != "combine.bias"), name
    without, cycle, fit_net = make_search(make_round(), loss_module=False)
    assert without.search_losses(fit_net, cycle, rows)["loss_prediction_loss"].item() == 0.0


@pytest.mark.parametrize("variant", ["default", "printed"])
def test_permuting_a_batch_permutes_scores_and_keeps_losses(make_round, variant):
    search, cycle, fit_net = make_search(make_round(), variant=variant)
    rows = torch.arange(len(cycle.held_out))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    scores, _ = search.scores(cycle.held_out, rows, cycle.threshold)
    permuted, _ = search.scores(cycle.held_out, rows[order], cycle.threshold)
    torch.testing.assert_close(permuted, scores[order])
    plain, shuffled = (search.search_losses(fit_net, cycle, which) for which in (rows, rows[order]))
    for name, value in plain.items():
        torch.testing.assert_close(shuffled[name], value)


def test_fitnet_learns_a_fixed_batch_and_leaves_searchnet_alone(make_round):
    search, cycle, fit_net = make_search(make_round())
    rows = torch.arange(len(cycle.seen))
    before = {name: value.clone() for name, value in search.net.state_dict().items()}
    optimizer = torch.optim.Adam(fit_net.parameters(), lr=0.01)
    losses = [search.fit_step(fit_net, optimizer, cycle, rows).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in search.net.state_dict().items())
    assert all(parameter.grad is None for parameter in search.net.parameters())


def test_searchnet_uses_the_trunk_but_does_not_train_it():
    inner = nn.Linear(4, 3)
    net = SearchNet(Detached(inner), Standardize(torch.randn(9, 3)), 3, 2)
    assert not any(parameter is inner.weight for parameter in net.parameters())
    log_weights, theta, _ = net(torch.randn(6, 4))
    (log_weights.sum() + theta.sum()).backward()
    assert inner.weight.grad is None and net.stages[0].weight.grad is not None


def test_fitnet_never_learns_from_the_held_out_half(make_round):
    search, cycle, _ = make_search(make_round())
    fetched = []
    fit_samples = search._fit_samples

    def watch(half, rows):
        if half is cycle.held_out:
            fetched.append(torch.is_grad_enabled())
        return fit_samples(half, rows)

    search._fit_samples = watch
    search.run(cycle)
    assert fetched and not any(fetched)


def test_only_a_trained_searchnet_changes(make_round):
    for mode in ("frozen", "trained"):
        search, cycle, _ = make_search(make_round(), search=mode)
        before = search.net.strategy_head.weight.clone()
        losses = search.run(cycle)
        assert torch.equal(search.net.strategy_head.weight, before) == (mode == "frozen")
        assert set(losses) == {"search_loss", "fit_loss", "regularizer", "loss_prediction_loss"}


def test_the_loss_module_is_trained_with_searchnet(make_round):
    trained = {}
    for loss_module in (True, False):
        search, cycle, _ = make_search(make_round(), loss_module=loss_module)
        before = search.loss_module.combine.weight.clone()
        search.run(cycle)
        assert torch.equal(search.loss_module.combine.weight, before) != loss_module
        trained[loss_module] = search.net.stages[0].weight
    assert not torch.equal(trained[True], trained[False])


def test_initial_weights_are_nearly_uniform(make_round):
    search, cycle, _ = make_search(make_round())
    log_weights, theta, _ = search.net(search.context.labeled.embeddings()[cycle.held_out.rows])
    torch.testing.assert_close(log_weights.exp(), torch.full((20, 3), 1 / 3), atol=0.05, rtol=0)
    assert theta.abs().max() < 0.2


def test_divergence_is_an_error(make_round):
    search, cycle, _ = make_search(make_round(), search_learning_rate=1e30)
    with pytest.raises(DeepALError, match="diverged"):
        search.run(cycle)


def test_batches_cover_all_samples_and_never_hold_only_one(make_round):
    search, _, _ = make_search(make_round(), train_batch_size=2)
    batches = search._batches(7)
    epoch = [next(batches) for _ in range(3)]
    assert sorted(torch.cat(epoch).tolist()) == list(range(7))
    assert min(len(batch) for batch in epoch) >= 2


def test_standardize_combines_parts_and_does_not_scale_dead_units():
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.0])
    result = Standardize(rows[:10], rows[10:])(rows)
    torch.testing.assert_close(result[:, :2].mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(result[:, :2].std(dim=0, correction=0), torch.ones(2))
    assert (result[:, 2] == 0).all()
    assert (Standardize(torch.ones(5, 2))(torch.ones(5, 2)) == 0).all()


def test_loss_prediction_is_one_number_per_sample():
    net = SearchNet(nn.Identity(), Standardize(torch.randn(9, 4)), 4, 5)
    log_weights, theta, stages = net(torch.randn(6, 4))
    assert log_weights.shape == theta.shape == (6, 5)
    assert LossPredictor(net.stage_widths, 7)(stages).shape == (6,)
