"""WAAL: losses by their formulas, alternating updates, numbers of steps, and the score."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepal_autoal import ActiveLearner, InputError, QueryError, Recipe, UnlabeledData
from deepal_autoal.models import build_model
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_strategies.vote import Vote
from deepal_strategies.waal.objective import (
    Critic,
    Settings,
    UnlabeledStream,
    WassersteinObjective,
    gradient_penalty,
)
from deepal_strategies.waal.strategy import WAAL, loss_bounds, published_epochs
from tests.pretended_cuda import pretended_cuda

QUICK = {"epochs": 2, "min_steps": 6, "train_batch_size": 8}


def pool(n=60, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    return (rng.normal(size=(3, n_features))[labels] + rng.normal(size=(n, n_features))).astype(np.float32), labels


def learner_of(strategy, n_labeled=21, samples=None, **settings):
    vectors, labels = pool()
    settings = {"model": "mlp", "recipe": QUICK, **settings}
    learner = ActiveLearner(vectors if samples is None else samples, strategy, 3, **settings)
    learner.tell(np.arange(n_labeled), labels[:n_labeled])
    return learner


class Fixed:
    """A stream of always the same inputs."""

    def __init__(self, inputs):
        self.inputs = inputs

    def next(self, n):
        return self.inputs[:n]


def objective_of(**changes):
    torch.manual_seed(3)
    settings = {"alpha": 0.3, "penalty": 2.0, "critic_learning_rate": 0.1, "critic_steps": 1, **changes}
    stream = Fixed(torch.randn(9, 6))
    return WassersteinObjective(build_model("mlp", (6,), 3), Settings(**settings), stream, gamma=0.25).eval()


def test_the_loss_is_that_of_the_paper():
    objective = objective_of(critic_learning_rate=1e-12)
    inputs, labels = torch.randn(9, 6), torch.arange(9) % 3
    logits, loss = objective(inputs, labels, 0.0)
    model, critic = objective.model, objective.critic
    torch.testing.assert_close(logits, model(inputs))
    scores = [critic(model.features(x[None])).item() for x in (*objective.stream.inputs, *inputs)]
    losses = [-torch.log_softmax(row, 0)[label].item() for row, label in zip(logits, labels, strict=True)]
    expected = np.mean(losses) + 0.3 * (np.mean(scores[:9]) - 0.25 * np.mean(scores[9:]))
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # The model's optimizer leaves the critic alone.
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in critic.parameters())


def test_the_critic_follows_its_own_loss():
    """One step of Adam down penalty · (‖∇D‖ - 1)² - (E_U D - γ E_L D), on embeddings without the model's gradients."""
    objective = objective_of(critic_learning_rate=0.01)
    torch.manual_seed(5)
    plain = Critic(objective.model.embedding_dim)
    plain.load_state_dict(objective.critic.state_dict())
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    inputs = torch.randn(9, 6)
    with torch.no_grad():
        known, others = objective.model.features(inputs), objective.model.features(objective.stream.inputs)
    state = torch.get_rng_state()
    shares = torch.rand(9, 1)
    points = [shares[i] * known[i] + (1 - shares[i]) * others[i] for i in range(9)]
    norms = [
        torch.autograd.grad(plain(point[None]).sum(), point, create_graph=True)[0].norm()
        for point in (row.clone().requires_grad_() for row in (*points, *others, *known))
    ]
    penalty = torch.stack([(norm - 1) ** 2 for norm in norms]).mean()
    (2.0 * penalty - (plain(others).mean() - 0.25 * plain(known).mean())).backward()
    optimizer.step()
    torch.set_rng_state(state)
    torch.testing.assert_close(gradient_penalty(objective.critic, known, others), penalty, rtol=1e-3, atol=1e-3)
    torch.set_rng_state(state)
    objective(inputs, torch.zeros(9, dtype=torch.int64), 0.0)
    for ours, theirs in zip(objective.critic.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_the_critic_learns_to_tell_unlabeled_samples():
    samples = pool()[0].copy()
    samples[21:] += 2.0
    recipe = {**QUICK, "min_steps": 60}
    found = [
        learner_of(WAAL("equal", alpha, gamma=1.0), samples=samples, recipe=recipe).fit().metrics["wasserstein"]
        for alpha in (0.0, 3.0)
    ]
    # With a large α, the model hides the difference.
    assert found[0] > 0.3 and found[1] < found[0]


def test_numbers_of_steps():
    recipe = Recipe(epochs=4, train_batch_size=8)
    # 100 unlabeled samples are 13 batches, 20 labeled ones 3.
    assert published_epochs(recipe, 20, 100) == 18  # 4 · 13 = 52 steps, in epochs of 3
    assert published_epochs(recipe, 100, 20) == 4
    plain = learner_of(Vote({"margin": _margin()})).fit().metrics["steps"]
    equal, published = (learner_of(WAAL(steps)).fit() for steps in ("equal", "published"))
    assert equal.metrics["steps"] == plain == 6
    assert published.metrics["steps"] == 12  # 2 epochs · 5 batches of 39 unlabeled, in epochs of 3
    assert published.recipe == equal.recipe and published.objective.stream is None


def _margin():
    from deepal_strategies.margin import Margin

    return Margin()


def test_batches_of_unlabeled_samples():
    images = np.random.default_rng(0).integers(256, size=(10, 8, 8, 1)).astype(np.uint8)
    inputs = Inputs(images, Normalization.fit(images), torch.device("cpu"))
    stream = UnlabeledStream(UnlabeledData(inputs, np.arange(3, 10)), (), 0)
    both = torch.cat([stream.next(4), stream.next(10)])
    expected = inputs.batch(np.arange(3, 10))
    # Two whole epochs of seven.
    for epoch in (both[:7], both[7:]):
        found = sorted(int((expected == row).flatten(1).all(dim=1).nonzero()) for row in epoch)
        assert found == list(range(7))
    shifted = UnlabeledStream(UnlabeledData(inputs, np.arange(3, 4)), ("crop",), 0).next(20)
    assert len({tuple(row.flatten().tolist()) for row in shifted}) > 3


def test_the_score_is_that_of_the_released_code():
    learner = learner_of(WAAL())
    context = learner._context(learner.fit(), learner.unlabeled_indices)
    scores = WAAL(selection=7.0).score(context)
    p, embeddings = context.candidates.probabilities(), context.candidates.embeddings()
    expected = [
        -(0.5 * row.log().norm() + 0.5 * (-row.log()).sum() - 7.0 * context.model.objective.critic(z[None])).item()
        for row, z in zip(p, embeddings, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    certain = F.log_softmax(torch.tensor([[300.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), dim=1)
    assert loss_bounds(certain)[0] > loss_bounds(certain)[1]  # the certain sample has the larger bounds


def test_a_saved_learner_asks_for_the_same(tmp_path):
    learner = learner_of(WAAL())
    learner.fit()
    learner.save(tmp_path / "saved")
    expected = learner.ask(5)
    again = ActiveLearner.load(tmp_path / "saved", pool()[0], strategy=WAAL())
    assert again.ask(5).tolist() == expected.tolist()


def test_everything_may_be_labeled():
    learner = learner_of(WAAL(), n_labeled=60)
    assert "wasserstein" not in learner.fit().metrics


def test_it_cannot_be_a_candidate_and_needs_weights():
    context = learner_of(Vote({"margin": _margin()}))
    context = context._context(context.fit(), context.unlabeled_indices)
    with pytest.raises(QueryError, match="run's own strategy"):
        WAAL().score(context)
    with pytest.raises(InputError, match="gradient steps"):
        learner_of(WAAL(), model="forest")


def test_on_a_device():
    images = np.random.default_rng(0).integers(0, 255, size=(60, 8, 8, 1)).astype(np.uint8)
    recipe = {**QUICK, "augmentation": ("crop",)}
    expected = learner_of(WAAL(), samples=images, model="cnn", recipe=recipe, device="cpu").ask(5)
    with pretended_cuda():
        learner = learner_of(
            WAAL(), samples=images, model="cnn", recipe={**recipe, "precision": "float32"}, device="cuda"
        )
        assert learner.ask(5).tolist() == expected.tolist()


@pytest.mark.parametrize(
    "options",
    [{"steps": "many"}, {"alpha": -1}, {"gamma": -1.0}, {"selection": -1}, {"penalty": -1},
     {"critic_learning_rate": 0.0}, {"critic_steps": 0}],
)  # fmt: skip
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        WAAL(**options)
