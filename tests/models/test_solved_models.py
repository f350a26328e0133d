"""`linear`, `gp` and `forest` compared with scikit-learn, scipy and the explicit formulas."""

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial
import scipy.stats
import torch
from scipy.special import log_softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression

from deepal_autoal import ActiveLearner, load_model, run
from deepal_autoal.errors import InputError
from deepal_autoal.models import build_model
from deepal_autoal.models.gp import Kernel, _marginal_likelihood
from deepal_autoal.models.laplace import laplace
from deepal_autoal.models.softmax_regression import BIAS_PRECISION, Features, minimize
from deepal_autoal.numerics.calibration import stratified_folds
from deepal_autoal.numerics.dropout_masks import normal_noise


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = rng.normal(size=(60, 5)) + np.eye(3, 5)[labels] * 1.5
    return rows, labels


def objective(flat, rows, labels, weights, precision, n_classes=3):
    parameters = flat.reshape(-1, n_classes)
    log_p = log_softmax(rows @ parameters[:-1] + parameters[-1], axis=1)
    penalty = precision * (parameters[:-1] ** 2).sum() + BIAS_PRECISION * (parameters[-1] ** 2).sum()
    return -(weights * log_p[np.arange(len(labels)), labels]).sum() + penalty / 2


@pytest.mark.parametrize("precision", [0.01, 1.0, 100.0])
def test_several_problems_together_each_reach_scipys_minimum(problem, precision):
    rows, labels = problem
    weights = np.stack([np.ones(60), np.arange(60) % 4 != 0, np.linspace(0.1, 2, 60)])
    features = Features(torch.tensor(rows), torch.tensor(labels), 3)
    found, steps = minimize(features, torch.tensor(weights, dtype=torch.float64), precision)
    assert steps < 200
    for one, mine in zip(weights, found.numpy(), strict=True):
        start = np.zeros(18)
        theirs = scipy.optimize.minimize(
            objective, start, (rows, labels, one, precision), method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}
        )
        assert objective(mine.ravel(), rows, labels, one, precision) <= theirs.fun * (1 + 1e-8)
        np.testing.assert_allclose(mine.ravel(), theirs.x, atol=2e-3)


def test_a_start_changes_the_steps_but_not_the_minimum(problem):
    rows, labels = problem
    features = Features(torch.tensor(rows), torch.tensor(labels), 3)
    ones = torch.ones(1, 60, dtype=torch.float64)
    cold, n_cold = minimize(features, ones, 1.0, tolerance=1e-13)
    warm, n_warm = minimize(features, ones, 1.0, start=cold + 1e-3, tolerance=1e-13)
    assert n_warm < n_cold
    torch.testing.assert_close(warm, cold, atol=1e-4, rtol=0)


@pytest.fixture
def free_biases(monkeypatch):
    """Scikit-learn does not penalize biases."""
    monkeypatch.setattr("deepal_autoal.models.softmax_regression.BIAS_PRECISION", 1e-9)


@pytest.mark.parametrize("shape", [(60, 5), (60, 200)])
def test_linear_is_scikit_learns_logistic_regression(shape, free_biases):
    rng = np.random.default_rng(1)
    labels = np.arange(shape[0]) % 3
    rows = (rng.normal(size=shape) + np.eye(3, shape[1])[labels] * 2).astype(np.float32)
    model = build_model("linear[l2=2]", (shape[1],), 3)
    model.solve(torch.tensor(rows), torch.tensor(labels), seed=0)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(rows.astype(float), labels)
    new = rng.normal(size=(40, shape[1])).astype(np.float32)
    mine = model(torch.tensor(new)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(mine, theirs.predict_proba(new), atol=3e-4)


def test_the_chosen_strength_depends_on_the_data(problem):
    rows, labels = problem
    noise = np.random.default_rng(2).integers(3, size=60)
    chosen = []
    for targets in (labels, noise):
        model = build_model("linear", (5,), 3)
        metrics = model.solve(torch.tensor(rows, dtype=torch.float32), torch.tensor(targets), seed=0)
        chosen.append(metrics["l2"])
        assert metrics["held_out_loss"] < np.log(3) * 1.15
    assert chosen[1] > 5 * chosen[0]


def test_a_class_without_labels_keeps_a_probability(problem):
    rows, labels = problem
    for name in ("linear", "gp"):
        model = build_model(name, (5,), 4)
        model.solve(torch.tensor(rows, dtype=torch.float32), torch.tensor(labels), seed=0)
        p = model(torch.tensor(rows, dtype=torch.float32)).softmax(dim=1)
        assert p.isfinite().all() and (p[:, 3] > 1e-5).all() and (p[:, 3] < 0.1).all()


@pytest.mark.parametrize("name", ["linear", "gp", "linear[class_weights=balanced]", "gp[length=1]"])
@pytest.mark.parametrize("labels", [[1], [0, 0], [0, 1], [2, 2, 2, 0]])
def test_very_few_labels_and_equal_rows(name, labels):
    model = build_model(name, (4,), 3)
    rows = torch.ones(len(labels), 4)
    rows[-1] *= -1
    for inputs in (rows, torch.ones_like(rows)):
        metrics = model.solve(inputs, torch.tensor(labels), seed=0)
        assert np.isfinite(metrics["train_loss"])
        new = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        assert model(new).isfinite().all()
        deviations, rotation = model.logit_deviations(new)
        assert deviations.isfinite().all() and (deviations > 0).all()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-4, rtol=0)


def test_balanced_weights_give_every_class_the_same_weight(problem, free_biases):
    rows, labels = problem
    kept = np.concatenate(
        [np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:4], np.flatnonzero(labels == 2)[:4]]
    )
    rows, labels = rows[kept].astype(np.float32), labels[kept]
    model = build_model("linear[l2=1,class_weights=balanced]", (5,), 3)
    model.solve(torch.tensor(rows), torch.tensor(labels), seed=0)
    theirs = LogisticRegression(C=1, class_weight="balanced", tol=1e-10, max_iter=10_000).fit(rows, labels)
    mine = model(torch.tensor(rows)).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(mine, theirs.predict_proba(rows), atol=3e-4)


def test_the_posterior_is_that_of_the_kronecker_factored_curvature(problem):
    rows, labels = problem
    rows = rows - rows.mean(axis=0)
    rows = rows @ np.linalg.svd(rows, full_matrices=False)[2].T
    features = Features(torch.tensor(rows), torch.tensor(labels), 3)
    ones = torch.ones(60, dtype=torch.float64)
    weights = minimize(features, ones[None], 2.0)[0][0]
    found = laplace(features, ones, weights, 2.0)
    # Written out: the covariance of vec(W) as the inverse of the whole matrix.
    log_p = log_softmax(rows @ weights[:-1].numpy() + weights[-1].numpy(), axis=1)
    p = np.exp(log_p)
    curvature = np.mean([np.diag(one) - np.outer(one, one) for one in p], axis=0)
    covariance = np.linalg.inv(np.kron(rows.T @ rows, curvature) + 2.0 * np.eye(15))
    x = rows[7]
    jacobian = np.kron(x, np.eye(3))
    expected = jacobian @ covariance @ jacobian.T + np.linalg.inv(60 * curvature + BIAS_PRECISION * np.eye(3))
    rotation = found.rotation.numpy()
    mine = rotation @ np.diag(x**2 @ found.variances.numpy() + found.bias_variances.numpy()) @ rotation.T
    np.testing.assert_allclose(mine, expected, rtol=1e-8)


def test_linear_posterior_outside_the_span_of_the_labels(problem):
    """Directions without labeled samples keep the prior's variance."""
    rows, labels = problem
    wide = np.concatenate([rows, np.zeros((60, 3))], axis=1).astype(np.float32)
    model = build_model("linear[l2=4]", (8,), 3)
    model.solve(torch.tensor(wide), torch.tensor(labels), seed=0)
    center = wide.mean(axis=0)
    away = center.copy()
    away[7] = 10.0
    deviations, _ = model.logit_deviations(torch.tensor(np.stack([center, away])))
    variances = deviations.square()
    torch.testing.assert_close(variances[1] - variances[0], torch.full((3,), 100.0 / 4), rtol=1e-4, atol=1e-4)


def test_a_gaussian_process_learns_what_a_linear_model_cannot():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(1100, 3)).astype(np.float32)
    labels = (np.linalg.norm(rows, axis=1) > 1.5).astype(np.int64)
    train, test = slice(0, 100), slice(100, None)
    accuracies = {}
    for name in ("linear", "gp"):
        model = build_model(name, (3,), 2)
        model.solve(torch.tensor(rows[train]), torch.tensor(labels[train]), seed=0)
        accuracies[name] = float((model(torch.tensor(rows[test])).argmax(dim=1).numpy() == labels[test]).mean())
    theirs = GaussianProcessClassifier().fit(rows[train], labels[train]).score(rows[test], labels[test])
    assert accuracies["gp"] > max(theirs - 0.02, accuracies["linear"] + 0.2, 0.85)


def test_kernel_values_match_the_formula():
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(6, 3)), rng.normal(size=(4, 3))
    kernel = Kernel(0.3, 0.25, 3.0)
    expected = [[0.25 * a @ b / 3 + 0.75 * np.exp(-((a - b) ** 2).sum() / (2 * 0.3 * 3)) for b in other] for a in one]
    np.testing.assert_allclose(kernel(torch.tensor(one), torch.tensor(other)), expected)
    np.testing.assert_allclose(
        kernel.diagonal(torch.tensor(one)), np.diag(kernel(torch.tensor(one), torch.tensor(one)))
    )


def test_the_marginal_likelihood_is_that_of_gaussian_process_regression():
    """Up to a constant, it is the highest density of the targets over amplitudes and the ridges tried."""
    rng = np.random.default_rng(4)
    rows, targets = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    differences = {}
    for scale in (0.5, 3.0):
        gram = np.exp(-scipy.spatial.distance.cdist(rows, rows, "sqeuclidean") / (2 * scale))
        values, vectors = np.linalg.eigh(gram)
        powers = ((vectors.T @ targets) ** 2).sum(axis=1)
        best = -np.inf
        for power in range(-5, 2):
            covariance = gram + 10.0**power * values.mean() * np.eye(10)

            def negative(log_amplitude, covariance=covariance):
                full = np.exp(log_amplitude) * covariance
                return -sum(scipy.stats.multivariate_normal(np.zeros(10), full).logpdf(column) for column in targets.T)

            best = max(best, -scipy.optimize.minimize_scalar(negative, bounds=(-15, 15), method="bounded").fun)
        differences[scale] = best - _marginal_likelihood(torch.tensor(values), torch.tensor(powers), 2)
    assert differences[0.5] == pytest.approx(differences[3.0], abs=1e-5)


def _shells(offset=0.0, n_constant=0, unit=1.0, n=300):
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(n + 500, 2))
    labels = (np.sin(2.5 * rows[:, 0]) * np.sin(2.5 * rows[:, 1]) > 0).astype(np.int64)
    rows = np.concatenate([rows, np.full((len(rows), n_constant), 3.0)], axis=1) * unit + offset
    return rows.astype(np.float32), labels, slice(0, n), slice(n, None)


@pytest.mark.parametrize("changes", [{"n_constant": 500}, {"offset": 500.0}, {"unit": 1e-3}, {"unit": 1e3}])
def test_constant_features_offsets_and_units_matter_little(changes):
    found = []
    for rows, labels, train, test in (_shells(), _shells(**changes)):
        model = build_model("gp", (rows.shape[1],), 2)
        metrics = model.solve(torch.tensor(rows[train]), torch.tensor(labels[train]), seed=0)
        hits = model(torch.tensor(rows)).argmax(dim=1).numpy() == labels
        assert metrics["train_accuracy"] == pytest.approx(hits[train].mean())
        found.append(hits[test].mean())
    assert found[0] > 0.8 and found[1] == pytest.approx(found[0], abs=0.03)


def test_a_mixture_saved_before_forests_were_calibrated_is_loaded(problem):
    rows, labels = problem
    model = build_model("tabular", (5,), 3)
    model.solve(torch.tensor(rows, dtype=torch.float32), torch.tensor(labels), seed=0)
    state = {name: value for name, value in model.state_dict().items() if name != "head.temperature"}
    assert len(state) == len(model.state_dict()) - 1
    other = build_model("tabular", (5,), 3)
    other.load_state_dict(state)
    assert float(other.head.temperature) == 1.0 and float(other.head.share) == float(model.head.share)


def test_copies_are_out_of_the_bag_together():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 5)), rng.integers(0, 2, 60)  # labels that cannot be predicted
    inputs = torch.tensor(np.repeat(rows, 3, axis=0), dtype=torch.float32)
    model = build_model("forest", (5,), 2)
    model.solve(inputs, torch.tensor(np.repeat(labels, 3)), seed=0)
    out_of_bag = model.out_of_bag.exp().numpy()
    np.testing.assert_array_equal(out_of_bag[::3], out_of_bag[1::3])
    assert (out_of_bag[::3].argmax(axis=1) == labels).mean() < 0.7


@pytest.mark.parametrize("name", ["linear", "gp"])
def test_copies_of_samples_add_no_information(name, problem):
    rows, labels = problem
    noisy = np.where(np.random.default_rng(9).random(60) < 0.3, (labels + 1) % 3, labels)
    found = []
    for repeats in (1, 2):
        model = build_model(name, (5,), 3)
        x = torch.tensor(np.tile(rows, (repeats, 1)), dtype=torch.float32)
        found.append(model.solve(x, torch.tensor(np.tile(noisy, repeats)), seed=0))
    assert found[1]["held_out_loss"] > found[0]["held_out_loss"] * 0.8
    if name == "gp":
        assert found[0]["length"] == found[1]["length"]


def test_more_labels_than_anchors(monkeypatch):
    monkeypatch.setattr("deepal_autoal.models.gp.MOST_ANCHORS", 50)
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, 2)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    model = build_model("gp", (2,), 2)
    model.solve(torch.tensor(rows[:300]), torch.tensor(labels[:300]), seed=0)
    assert len(model.head.anchors) == 50
    assert (model(torch.tensor(rows[300:])).argmax(dim=1).numpy() == labels[300:]).mean() > 0.9


def test_folds_hold_out_part_of_each_class_and_never_its_only_label():
    folds = stratified_folds(np.array([0] * 7 + [1] + [2] * 3), 5, seed=0)
    assert folds[7] == -1
    assert sorted(np.bincount(folds[:7], minlength=5)) == [1, 1, 1, 2, 2]
    assert len(set(folds[8:])) == 3


def test_noise_is_normal_and_depends_only_on_the_sample():
    noise = normal_noise(torch.arange(2000), 5, range(4), (1, "mc"))
    assert noise.shape == (4, 2000, 5) and noise.dtype == torch.float32
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.02
    assert scipy.stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.001
    flat = noise.permute(0, 2, 1).flatten(0, 1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(20)).max() < 0.1
    again = normal_noise(torch.tensor([17, 3]), 5, range(1, 3), (1, "mc"))
    assert torch.equal(again, noise[1:3][:, [17, 3]])


@pytest.mark.parametrize("name", ["linear", "gp"])
def test_passes_have_the_posteriors_variance(name, blob_data):
    learner = ActiveLearner(blob_data.x_train, "bald", 3, model=name, seed=0)
    learner.tell(np.arange(12), blob_data.y_train[:12])
    fitted = learner.fit()
    view = learner._context(fitted, learner.unlabeled_indices).candidates
    logits = view.mc_probabilities(400).log()
    logits = logits - logits.mean(dim=2, keepdim=True)
    deviations, rotation = fitted.module.logit_deviations(view.embeddings())
    centering = torch.eye(3) - 1 / 3
    expected = torch.stack(
        [(centering @ rotation @ torch.diag(row**2) @ rotation.T @ centering).diagonal() for row in deviations]
    )
    ratio = logits.var(dim=0) / expected
    assert 0.9 < float(ratio.median()) < 1.1
    assert len(learner.ask(5)) == 5


@pytest.mark.parametrize("name", ["linear", "gp"])
def test_members_of_an_ensemble_differ(name, blob_data):
    learner = ActiveLearner(blob_data.x_train, "ensvarr", 3, model=name, seed=0)
    learner.tell(np.arange(12), blob_data.y_train[:12])
    view = learner._context(learner.fit(), learner.unlabeled_indices).candidates
    members = view.ensemble_probabilities(3)
    assert not torch.allclose(members[1], members[2]) and not torch.allclose(members[0], members[1])


@pytest.mark.parametrize("name", ["linear", "gp", "linear[passes=dropout,l2=0.5]", "forest[trees=9]"])
def test_runs_are_saved_resumed_and_loaded(name, blob_data, tmp_path):
    settings = {"model": name, "initial": 10, "batch_size": 5, "rounds": 2, "seed": 1}
    whole = run("bald", blob_data, out=tmp_path / "whole", **settings)

    def stop(active, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("bald", blob_data, out=tmp_path / "parts", on_round=stop, **settings)
    parts = run("bald", blob_data, out=tmp_path / "parts", resume=True)
    picks = [[record["queried"], record["accuracy"]] for record in whole.rounds]
    assert [[record["queried"], record["accuracy"]] for record in parts.rounds] == picks
    predictor = load_model(tmp_path / "whole", device="cpu")
    assert (predictor.predict(blob_data.x_test) == blob_data.y_test).mean() == whole.accuracy
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model=name, seed=0)
    learner.tell(np.arange(12), blob_data.y_train[:12])
    learner.fit()
    learner.save(tmp_path / "learner.pt")
    again = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)
    np.testing.assert_array_equal(again.predict_proba(blob_data.x_test), learner.predict_proba(blob_data.x_test))


@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_a_forest_is_scikit_learns(kind):
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(150, 6)).astype(np.float32).round(1)  # many values are at thresholds
    labels = np.where(rows[:, 0] * rows[:, 1] > 0, 0, 2)
    model = build_model(f"forest[trees=30,class_weights={kind}]", (6,), 4)
    model.solve(torch.tensor(rows[:100]), torch.tensor(labels[:100]), seed=5)
    theirs = RandomForestClassifier(30, random_state=5, class_weight=None if kind == "none" else kind)
    theirs.fit(rows[:100], labels[:100])
    expected = np.zeros((150, 4))
    expected[:, [0, 2]] = theirs.predict_proba(rows)
    mine = model(torch.tensor(rows)).exp().numpy()
    np.testing.assert_allclose(mine, (30 * expected + 0.25) / 31, atol=1e-6)


def test_passes_of_a_forest_use_some_of_its_trees(blob_data):
    learner = ActiveLearner(blob_data.x_train, "bald", 3, model="forest[trees=20]", seed=0)
    learner.tell(np.arange(12), blob_data.y_train[:12])
    view = learner._context(learner.fit(), learner.unlabeled_indices).candidates
    passes = view.mc_probabilities(8)
    assert torch.equal(view.mc_probabilities(3), passes[:3])
    # A pass is the mean of two trees and one vote for all classes, a third each.
    votes = passes * 3 - 1 / 3
    assert torch.allclose(votes.sum(dim=2), torch.full(votes.shape[:2], 2.0), atol=1e-5) and (votes > -1e-5).all()
    assert passes.std(dim=0).mean() > 0.01 and len(learner.ask(5)) == 5


def test_a_strategy_that_changes_training_gets_a_network(blob_data):
    learner = ActiveLearner(blob_data.x_train, "lpl", 3)
    assert learner.model_name == "mlp"
    with pytest.raises(InputError, match="choose another --model, such as mlp"):
        ActiveLearner(blob_data.x_train, "lpl", 3, model="gp")


def test_options_out_of_range():
    for written in (
        "linear[l2=0]",
        "linear[l2=-1]",
        "gp[length=0]",
        "linear[passes=dropout,dropout=0]",
        "forest[trees=0]",
    ):
        with pytest.raises(InputError, match="give a"):
            build_model(written, (4,), 3)
