"""Selectors on trained networks, which the tables of the other tests do not cover."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from deepal_autoal import LabeledData, QueryContext, Recipe, Trainer, UnlabeledData
from deepal_autoal.models.cnn import build
from deepal_autoal.querying.outputs import OutputCache
from deepal_autoal.querying.strategy import check_query
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_strategies.autoal.networks import Backbone
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.entropy import Entropy
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.margin import Margin
from deepal_strategies.vote import Vote


@pytest.fixture(scope="module")
def fitted():
    """A small network trained on 60 digits, with 200 more to choose from."""
    x, y = load_digits(return_X_y=True)
    images = (x.reshape(-1, 8, 8, 1)[:260] * 15).astype(np.uint8)
    labels = y[:260].astype(np.int64)
    device = torch.device("cpu")
    inputs = Inputs(images, Normalization.fit(images), device)
    trainer = Trainer(lambda: build((1, 8, 8), 10), Recipe(epochs=2, min_steps=20), device)
    labeled, unlabeled = np.arange(60), np.arange(60, 260)
    known = LabeledData(inputs, labeled, labels[labeled])
    model = trainer.fit(known, UnlabeledData(inputs, unlabeled), seed=0)

    def context():
        cache = OutputCache(inputs, trainer, (0, 0))
        cache.add(model, known, UnlabeledData(inputs, unlabeled), (0, 0))
        return QueryContext(
            candidates=unlabeled,
            labeled=labeled,
            labels=labels[labeled],
            model=model,
            cache=cache,
            n_classes=10,
            round=0,
            n_rounds=1,
            key=(0, 0, "query"),
        )

    return model, context


def three():
    return {"entropy": Entropy(), "margin": Margin(), "kmeans": KMeansSampling()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "printed"},
        {"networks": "heads"},
        {"networks": "half-heads", "n_cycles": 2},
        {"networks": "trunk", "memory": "warm"},
        {"networks": "backbones"},
        {"networks": "backbones", "variant": "printed"},
    ],
    ids=str,
)
def test_autoal_on_a_trained_network(fitted, options):
    model, context = fitted
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    answers = []
    for _ in range(2):
        strategy = AutoAL(three(), warmup_steps=2, steps=4, **options)
        current = context()
        answers.append(check_query(strategy, strategy.query(current, 10), current.candidates.indices, 10))
    assert answers[0].indices.tolist() == answers[1].indices.tolist()
    assert answers[0].report == answers[1].report
    weights = answers[0].report["weights"].values()
    assert sum(weights) == pytest.approx(1) and min(weights) >= 0  # NaN fails both
    # Only copies are trained, never the task model: its weights, BatchNorm statistics and mode stay.
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_vote_on_a_trained_network(fitted):
    _, context = fitted
    current = context()
    vote = Vote(three())
    check_query(vote, vote.query(current, 10), current.candidates.indices, 10)


def test_a_backbone_copy_equals_the_fitted_one_and_can_learn(fitted):
    model, context = fitted
    view = context().labeled
    body = Backbone(model.module)
    body.train()
    embeddings = body(view.inputs())
    torch.testing.assert_close(embeddings, view.embeddings(), atol=1e-5, rtol=1e-5)
    embeddings.square().mean().backward()
    gradients = [parameter.grad for parameter in body.model.parameters() if parameter.grad is not None]
    assert gradients and any(gradient.abs().max() > 0 for gradient in gradients)


def test_the_search_trains_the_backbones(fitted, monkeypatch):
    _, context = fitted
    created = []
    original = Backbone.__init__

    def remember(self, module):
        original(self, module)
        created.append((self, {name: value.clone() for name, value in self.model.state_dict().items()}))

    monkeypatch.setattr(Backbone, "__init__", remember)
    AutoAL(three(), warmup_steps=2, steps=4, networks="backbones").query(context(), 10)
    assert len(created) == 2
    AutoAL(three(), warmup_steps=2, steps=4, networks="trunk").query(context(), 10)
    assert len(created) == 3  # one for both networks
    for body, before in created:
        after = body.model.state_dict()
        moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert moved
        assert not any("running" in name for name in moved)
