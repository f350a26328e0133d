"""Views and contexts of a real learner: one shared pass, no hidden labels, rebuilding."""

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, Query, Recipe, Strategy, create_strategy
from deepal_autoal.errors import InputError
from deepal_autoal.models.cnn import CnnBackbone
from deepal_autoal.numerics.row_blocks import BlockSize
from deepal_autoal.querying.context import damaged_results


class Capture(Strategy):
    """Keeps the context for inspection."""

    def query(self, context, batch_size):
        self.context = context
        return Query(context.candidates.indices[:batch_size])


@pytest.fixture
def learner(image_data):
    learner = ActiveLearner(
        image_data.x_train, Capture(), 2, model="cnn", device="cpu", recipe=Recipe(epochs=2, min_steps=4)
    )
    learner.tell(np.arange(10), image_data.y_train[:10])
    learner.ask(4)
    return learner


@pytest.fixture
def context(learner):
    return learner.strategy.context


def count_rows(module):
    """Count the rows that pass through the network's backbone."""
    rows = []
    module.backbone.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))
    return rows


def test_shapes_and_values(context):
    view = context.candidates
    assert len(view) == 30 and view.indices.tolist() == list(range(10, 40))
    p, h = view.probabilities(), view.embeddings()
    assert p.shape == (30, 2) and h.shape == (30, context.model.module.embedding_dim)
    assert torch.allclose(p.sum(1), torch.ones(30), atol=1e-6)
    assert torch.allclose(view.log_probabilities().exp(), p, atol=1e-6)
    with torch.no_grad():
        direct = context.model.module(view.inputs())
    assert torch.allclose(view.logits(), direct, atol=1e-5)
    q, factor = view.gradient_factors()
    onehot = torch.nn.functional.one_hot(p.argmax(1), 2)
    assert torch.allclose(q, p - onehot) and torch.equal(factor, h)
    assert torch.equal(torch.cat(list(view.batches(7))), view.inputs())
    assert torch.equal(view.inputs([3, 1]), view.inputs()[[3, 1]])


def test_all_views_share_one_pass(learner, image_data):
    rows = count_rows(learner.fit().module)
    context = learner._context(learner.fit(), learner.unlabeled_indices)
    view = context.candidates
    for name in "abcdef":
        other = context.for_candidate(name).candidates
        other.probabilities(), other.embeddings(), other.gradient_factors(), other.mc_probabilities(10)
    assert sum(rows) == 30
    context.labeled.embeddings()
    assert sum(rows) == 40
    part = context.rebuild(candidates=view.indices[::2], labeled=context.labeled.indices[:3])
    part.candidates.probabilities(), part.labeled.embeddings()
    assert sum(rows) == 40


def test_hidden_labels_are_unavailable(context):
    assert not hasattr(context.candidates, "labels")
    assert context.labeled.labels.tolist() == [0, 1] * 5
    with pytest.raises(InputError, match="no label"):
        context.rebuild(candidates=[0], labeled=[1, 20])
    with pytest.raises(InputError, match="both candidates and labeled"):
        context.rebuild(candidates=[1, 2], labeled=[2, 3])
    with pytest.raises(InputError, match="no label"):
        context.fit([0, 25], "probe")


def test_selection_inside_the_labeled_pool(context):
    """Half of the labeled samples are candidates for a model trained on the other half."""
    first, second = context.labeled.indices[:5], context.labeled.indices[5:]
    model = context.fit(first, "half")
    played = context.rebuild(candidates=second, labeled=first, model=model, purpose="play")
    assert played.candidates.indices.tolist() == second.tolist() and played.labeled.labels.tolist() == [0, 1, 0, 1, 0]
    with torch.no_grad():
        assert torch.allclose(played.candidates.logits(), model.module(played.candidates.inputs()), atol=1e-5)
    assert not torch.allclose(played.candidates.logits(), context.labeled.logits()[5:], atol=1e-3)
    again = context.fit(first, "half")
    assert all(torch.equal(a, b) for a, b in zip(model.module.parameters(), again.module.parameters(), strict=True))


def test_streams_depend_on_names_not_on_order(context):
    first = context.for_candidate("a").rng.integers(1 << 30), context.for_candidate("b").rng.integers(1 << 30)
    second = context.for_candidate("b").rng.integers(1 << 30), context.for_candidate("a").rng.integers(1 << 30)
    assert first == second[::-1] and first[0] != first[1]
    assert context.rng is context.rng


def test_mc_passes_are_dropout_and_shared(context):
    p = context.candidates.mc_probabilities(8)
    assert p.shape == (8, 30, 2) and torch.allclose(p.sum(-1), torch.ones(8, 30), atol=1e-5)
    assert p.std(dim=0).max() > 0
    assert torch.equal(context.candidates.mc_probabilities(8), p)
    part = context.rebuild(candidates=context.candidates.indices[5:9])
    assert torch.allclose(part.candidates.mc_probabilities(4), p[:4, 5:9])
    many = context.candidates.mc_probabilities(400)
    module, h = context.model.module, context.candidates.embeddings()
    generator = torch.Generator().manual_seed(0)
    keep = 1 - module.dropout.p
    masks = torch.bernoulli(torch.full((400, 1, h.shape[1]), keep), generator=generator) / keep
    with torch.no_grad():
        independent = module.head(h * masks).softmax(-1)
    assert (many.mean(0) - independent.mean(0)).abs().max() < 0.06


@pytest.mark.parametrize(("name", "kept"), [("margin", False), ("ensvarr", False), ("badge", True), ("bald", True)])
def test_embeddings_are_kept_only_if_required(blob_data, monkeypatch, name, kept):
    """They take most of the outputs' memory. A strategy that uses them undeclared gets them from a second pass."""
    from deepal_autoal.training.fitted_model import FittedModel

    sweeps, sweep = [], FittedModel.sweep

    def watched(self, inputs, indices, *arguments, **named):
        logits, embeddings = sweep(self, inputs, indices, *arguments, **named)
        sweeps.append((len(indices), len(embeddings)))
        return logits, embeddings

    monkeypatch.setattr(FittedModel, "sweep", watched)
    learner = ActiveLearner(blob_data.x_train, name, 3, model="mlp", recipe={"epochs": 2, "min_steps": 1})
    learner.tell(range(9), blob_data.y_train[:9])
    n = len(learner.unlabeled_indices)
    learner.query(4)
    assert set(sweeps) == {(n, n if kept else 0)}

    class Undeclared(Strategy):
        def query(self, context, batch_size):
            assert torch.allclose(
                context.candidates.logits(), context.model.logits_from_embeddings(context.candidates.embeddings())
            )
            return context.candidates.indices[:batch_size]

    learner = ActiveLearner(blob_data.x_train, Undeclared(), 3, model="mlp", recipe={"epochs": 2, "min_steps": 1})
    learner.tell(range(9), blob_data.y_train[:9])
    sweeps.clear()
    learner.query(4)
    assert sweeps == [(n, 0), (n, n)]


def test_more_passes_extend_existing_ones(context, monkeypatch):
    outputs, computed = context.candidates._outputs, []
    original = type(outputs).mc_probabilities

    def watched(self, indices, n_passes, first=0):
        computed.append((len(indices), first, n_passes))
        return original(self, indices, n_passes, first)

    monkeypatch.setattr(type(outputs), "mc_probabilities", watched)
    few, many = context.candidates.mc_probabilities(3), context.candidates.mc_probabilities(8)
    assert computed == [(30, 0, 3), (30, 3, 8)]
    assert torch.equal(many[:3], few) and torch.equal(context.candidates.mc_probabilities(5), many[:5])
    assert torch.equal(torch.cat(list(context.candidates.mc_batches(6)), dim=1), many[:6])
    assert len(computed) == 2
    assert torch.allclose(original(outputs, context.candidates.indices, 8), many)


def test_more_passes_do_not_hide_writes_to_the_first(context):
    """The first passes are copied to a new tensor, for which torch counts no writes."""
    for n_passes in (3, 8, 9):
        context.candidates.mc_probabilities(n_passes)
        assert damaged_results([context.candidates]) == []
    context.candidates.mc_probabilities(9).mul_(0)
    for n_passes in (9, 12, 15):
        context.candidates.mc_probabilities(n_passes)
        assert damaged_results([context.candidates]) == [f"mc_probabilities({n_passes})"]


@pytest.mark.parametrize("deep", [False, True])
def test_passes_that_need_too_much_memory_are_not_kept(context, monkeypatch, deep):
    from deepal_autoal.querying import context as module
    from deepal_autoal.training.task_model import TaskModel

    monkeypatch.setattr(TaskModel, "dropout_only_in_head", property(lambda self: not deep))
    monkeypatch.setattr(module, "_KEPT_BYTES", 4 * 200 * 30 * 2 - 1)
    monkeypatch.setattr(module, "SCORED_PASSES", BlockSize(200 * 2 * 7))
    parts = list(context.candidates.mc_batches(200))
    assert [part.shape for part in parts] == [(200, 7, 2)] * 4 + [(200, 2, 2)]
    # With deeper dropout, masks depend on which samples pass together, so all passes are kept.
    assert context.candidates._n_passes == (200 if deep else 0)
    assert torch.allclose(torch.cat(parts, dim=1), context.candidates.mc_probabilities(200))


def test_ensemble_members_differ_and_start_with_the_task_model(context):
    p = context.candidates.ensemble_probabilities(3)
    assert p.shape == (3, 30, 2) and torch.equal(p[0], context.candidates.probabilities())
    assert (p[1] - p[0]).abs().max() > 1e-4 and (p[2] - p[1]).abs().max() > 1e-4
    assert torch.equal(context.candidates.ensemble_probabilities(2), p[:2])


def test_scoring_does_not_change_the_model(context):
    module = context.model.module
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.get_rng_state()
    context.candidates.mc_probabilities(3), context.candidates.ensemble_probabilities(2)
    context.fit(context.labeled.indices[:4], "other")
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert not module.training and torch.equal(state, torch.get_rng_state())


def test_rebuild_and_fit_check_their_indices(context):
    for wrong in ([-1], [0, 0], [1.5], [True], [[1]], [40]):
        with pytest.raises(InputError, match="candidates must be"):
            context.rebuild(candidates=wrong)
    with pytest.raises(InputError, match="not from this round"):
        context.rebuild(candidates=[20], model=object())


@pytest.mark.parametrize("selector", ["vote", "autoal"])
def test_more_candidates_need_no_further_pass(image_data, selector, monkeypatch):
    """The number of rows that pass through networks in a query is the same for one cheap candidate as for five."""
    counts, plain = [], CnnBackbone.forward
    for candidates in (["entropy"], ["entropy", "margin", "leastconf", "random", "kmeans"]):
        strategy = create_strategy(selector, candidates)
        learner = ActiveLearner(
            image_data.x_train, strategy, 2, model="cnn", device="cpu", recipe=Recipe(epochs=2, min_steps=4)
        )
        learner.tell(np.arange(10), image_data.y_train[:10])
        pool_rows = count_rows(learner.fit().module)
        all_rows = []

        def forward(self, inputs, rows=all_rows):
            rows.append(len(inputs))
            return plain(self, inputs)

        with monkeypatch.context() as patched:
            patched.setattr(CnnBackbone, "forward", forward)
            learner.ask(4)
        assert sum(pool_rows) == 40  # the pool and, for the final stage, the labeled samples once
        counts.append(sum(all_rows))
    assert counts[0] == counts[1] > 0


def test_long_queries_report_progress(blob_data):
    from deepal_autoal import ActiveLearner, Strategy

    class Slow(Strategy):
        def query(self, context, batch_size):
            context.rebuild(purpose="other").for_candidate("x").progress(3, 7)
            context.candidates.ensemble_probabilities(2)
            return context.candidates.indices[:batch_size]

    learner = ActiveLearner(blob_data.x_train, Slow(), 3, model="mlp", recipe={"epochs": 2, "min_steps": 1})
    learner.tell(range(9), blob_data.y_train[:9])
    seen = []
    learner.query(2, lambda done, total: seen.append((done, total)))
    assert seen[0] == (3, 7) and seen[-1] == (2, 2) and len(seen) == 3


def test_dropout_masks_depend_on_the_sample_only(monkeypatch, blob_data):
    from deepal_autoal import ActiveLearner
    from deepal_autoal.querying import outputs

    alike = np.ones_like(blob_data.x_train) + np.arange(6, dtype=np.float32)
    alike[0] = 0
    monkeypatch.setattr(outputs, "DROPOUT_PASSES", BlockSize(60, least_rows=16))
    learner = ActiveLearner(alike, "random", 3, model="linear[passes=dropout,l2=1]")
    learner.tell(range(9), blob_data.y_train[:9])
    context = learner._context(learner.fit(), learner.unlabeled_indices)
    p = context.candidates.mc_probabilities(6)
    # Equal samples have different masks: six features give at most 2**6 sums.
    assert all(len(set(one[:, 0].tolist())) > 5 for one in p)
    assert not torch.equal(p[0], p[1])
    rng = np.random.default_rng(0)
    some = rng.permutation(len(context.candidates))[:40]
    part = context.rebuild(candidates=context.candidates.indices[some], purpose="other")
    assert torch.equal(part.candidates.mc_probabilities(3), p[:3, some])


def test_new_models_are_untrained_and_depend_on_their_purpose(learner):
    fitted = learner.fit()
    context = learner._context(fitted, learner.unlabeled_indices)
    before = torch.get_rng_state()
    first, same, other = context.new_model("a"), context.new_model("a"), context.new_model("b")
    assert torch.equal(torch.get_rng_state(), before)
    weights = {name: value for name, value in fitted.module.named_parameters() if value.ndim > 1}
    assert weights and type(first) is type(fitted.module) and first.training
    for name, trained in weights.items():
        assert torch.equal(first.get_parameter(name), same.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), other.get_parameter(name))
        assert not torch.equal(first.get_parameter(name), trained)
