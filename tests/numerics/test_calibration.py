"""Temperature scaling by held-out labels."""

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.special import log_softmax

from deepal_autoal import ActiveLearner, create_strategy
from deepal_autoal.numerics.calibration import best_temperature, stratified_folds


@pytest.mark.parametrize("factor", [0.3, 1.0, 6.0])
def test_temperature_maximizes_likelihood(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 4)) * 2
    p = np.exp(log_softmax(logits, axis=1))
    labels = np.array([rng.choice(4, p=row) for row in p])

    def loss(log_t):
        log_p = log_softmax(logits * factor / np.exp(log_t), axis=1)
        return -log_p[np.arange(400), labels].sum() + log_t**2 / 2

    expected = np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)
    found = best_temperature(torch.tensor(logits * factor), torch.tensor(labels))
    assert found == pytest.approx(expected, rel=0.02) and found == pytest.approx(factor, rel=0.25)


def test_no_held_out_labels_leave_temperature_at_one():
    assert best_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == pytest.approx(1.0)
    assert (stratified_folds(np.arange(5), 3, 0) == -1).all()


def test_overconfident_model_is_calibrated(blob_data):
    """Some labels are noise; a network that memorizes them is confident and wrong."""
    rng = np.random.default_rng(1)
    noisy = np.where(rng.random(len(blob_data.y_train)) < 0.4, rng.integers(3, size=120), blob_data.y_train)
    learner = ActiveLearner(blob_data.x_train, "random", 3, model="mlp", recipe={"min_steps": 200})
    learner.tell(np.arange(60), noisy[:60])
    view = learner._context(learner.fit(), learner.unlabeled_indices).candidates
    truth = torch.tensor(noisy[60:])
    before, after = (
        float(torch.nn.functional.nll_loss(table, truth))
        for table in (view.log_probabilities(), view.calibrated_log_probabilities())
    )
    assert after < before - 0.2
    assert view._outputs.temperature() > 1.5
    assert torch.equal(view.log_probabilities().argmax(dim=1), view.calibrated_log_probabilities().argmax(dim=1))
    assert view.calibrated_log_probabilities() is view.calibrated_log_probabilities()


@pytest.mark.parametrize("name", ["entropy", "margin", "leastconf"])
def test_strategies_calibrate_by_option(name, blob_data):
    strategy = create_strategy(name, calibrated="true")
    assert strategy.describe_options() == {"calibrated": True} and create_strategy(name).describe_options() == {}
    picks = []
    for one in (strategy, create_strategy(name)):
        learner = ActiveLearner(blob_data.x_train, one, 3, model="linear")
        learner.tell(np.arange(12), blob_data.y_train[:12])
        trained = []
        learner.wrap_trainer(lambda trainer, trained=trained: _Counting(trainer, trained))
        learner.ask(5)
        picks.append(len(trained))
    assert picks == [4, 1]


class _Counting:
    def __init__(self, trainer, trained):
        self._trainer = trainer
        self._trained = trained

    def fit(self, labeled, *arguments, **settings):
        self._trained.append(len(labeled.indices))
        return self._trainer.fit(labeled, *arguments, **settings)
