import logging

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def few_steps(models_study, monkeypatch):
    monkeypatch.setattr(models_study.baselines, "STEPS", 60)


@pytest.fixture
def problem(models_study):
    return models_study.data.load("iris")


def measured(models_study, problem, name, per_class, options=None, seed=0):
    return models_study.measure.measure(problem, models_study.measure.Model(name, options or {}), per_class, seed)


@pytest.mark.parametrize("scaling", ["", "-standard"])
@pytest.mark.parametrize("name", ["sk-logistic", "sk-svc", "sk-knn"])
@pytest.mark.parametrize("per_class", [1, 3, 30])
def test_scikit_learn_learns(models_study, problem, name, scaling, per_class):
    outcome = measured(models_study, problem, name + scaling, per_class)
    assert outcome.accuracy > {1: 0.5, 3: 0.7, 30: 0.85}[per_class] and outcome.seconds > 0
    assert (outcome.nll is None) == (name == "sk-svc" and per_class == 1)


@pytest.mark.parametrize("name", ["sk-forest", "plain-torch"])
def test_forest_and_plain_torch_learn(models_study, problem, name):
    outcome = measured(models_study, problem, name, 30)
    assert outcome.accuracy > 0.85 and 0 < outcome.nll < 0.6


@pytest.mark.parametrize("name", ["sk-logistic-standard", "plain-torch"])
def test_images(models_study, name):
    problem = models_study.data.load("digits-images")
    assert measured(models_study, problem, name, 10).accuracy > 0.7


def test_options_reach_task_models(models_study, problem):
    short = measured(models_study, problem, "mlp", 10, {"recipe.epochs": 1, "recipe.min_steps": 1})
    usual = measured(models_study, problem, "mlp", 10)
    assert usual.accuracy > 0.8 and usual.nll < short.nll
    with pytest.raises(TypeError, match="no_such"):
        measured(models_study, problem, "mlp", 10, {"no_such": 1})


def test_results_are_repeatable_except_for_time(models_study, problem):
    for name in ("sk-forest", "plain-torch", "linear"):
        one, other = (measured(models_study, problem, name, 3, seed=1) for _ in range(2))
        assert (one.accuracy, one.nll) == (other.accuracy, other.nll)


def test_threads_and_log_level_are_restored(models_study, problem):
    before = torch.get_num_threads()
    logger = logging.getLogger("deepal_autoal")
    level = logger.level
    with models_study.measure.one_thread(), models_study.measure.quiet():
        assert torch.get_num_threads() == 1 and logger.level == logging.ERROR
    assert torch.get_num_threads() == before and logger.level == level


def test_nll_is_clipped_from_below(models_study):
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5]], dtype=np.float32)
    assert models_study.measure.nll(probabilities, np.array([0, 1])) == pytest.approx(np.log(2) / 2)
    assert models_study.measure.nll(probabilities, np.array([1, 1])) == pytest.approx((-np.log(1e-6) + np.log(2)) / 2)
    assert models_study.measure.nll(None, np.array([0])) is None


def test_scalings_use_the_pools_statistics(models_study):
    x = np.random.default_rng(0).normal(5, [1, 100], size=(500, 2)).astype(np.float32)
    one, each = models_study.baselines.one_scale(x)(x), models_study.baselines.standardized(x)(x)
    assert one.mean(axis=0) == pytest.approx([0, 0], abs=1e-4) and one.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    assert one.std(axis=0)[1] / one.std(axis=0)[0] == pytest.approx(x.std(axis=0)[1] / x.std(axis=0)[0], rel=1e-4)
    assert each.std(axis=0) == pytest.approx([1, 1], rel=1e-4)


def test_a_models_label(models_study):
    model = models_study.measure.Model("mlp", {"scaling": "standard", "recipe.epochs": 3})
    assert model.label == "mlp scaling=standard recipe.epochs=3"
    assert model.fits_data(is_image=False) and not models_study.measure.Model("cnn[width=8]").fits_data(is_image=False)
