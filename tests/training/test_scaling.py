"""The scaling that `auto` chooses on data of many kinds, and its effect on accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier

from deepal_autoal import InputError
from deepal_autoal.numerics.row_blocks import BlockSize
from deepal_autoal.training import scaling as scaling_module
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.scaling import SCALINGS, Scaling, VectorMoments, check_scaling, resolve_scaling

CPU = torch.device("cpu")


def digits():
    return datasets.load_digits(return_X_y=True)


def large_digits():
    """28x28 pixels up to 255 with a black margin and spots, as in MNIST."""
    x, y = digits()
    rng = np.random.default_rng(0)
    images = np.zeros((len(x), 28, 28))
    images[:, 2:26, 2:26] = np.kron(x.reshape(-1, 8, 8), np.ones((3, 3))) * 15.9375
    images *= rng.random(images.shape) > 0.1
    return np.round(images.reshape(len(x), -1)), y


def latent(n, n_classes, width, rng):
    labels = rng.integers(0, n_classes, n)
    return rng.normal(size=(n_classes, width))[labels] + rng.normal(size=(n, width)), labels


def embeddings(seed=1, n=1200, width=128):
    """A signal of 24 dimensions, projected to more dimensions, with noise."""
    rng = np.random.default_rng(seed)
    x, y = latent(n, 10, 24, rng)
    return x @ rng.normal(size=(24, width)) / 5 + 0.3 * rng.normal(size=(n, width)), y


def principal(n_components):
    x, y = embeddings()
    return PCA(n_components, random_state=0).fit_transform(x), y


def reversed_principal():
    x, y = principal(64)
    return x[:, ::-1].copy(), y


def digits_principal():
    x, y = digits()
    return PCA(40, random_state=0).fit_transform(x), y


def rectified():
    x, y = embeddings()
    rng = np.random.default_rng(2)
    return np.maximum(x @ rng.normal(size=(128, 200)) / 11 - 0.3, 0), y


def hidden(activation):
    """The hidden layer of a small network, trained on some digits with other labels than the classes."""
    x, y = digits()
    net = MLPClassifier((64,), activation=activation, max_iter=30, random_state=0)
    net.fit(x[:400] / 16, y[:400] % 5)
    sums = x / 16 @ net.coefs_[0] + net.intercepts_[0]
    return np.maximum(sums, 0) if activation == "relu" else np.tanh(sums), y


def unequal():
    x, y = embeddings()
    return x * np.exp(0.4 * np.random.default_rng(3).normal(size=x.shape[1])), y


def outliers():
    x, y = embeddings()
    x[:, [5, 40, 77]] = np.random.default_rng(4).normal(size=(len(x), 3)) * 50 * x.std()
    return x, y


def unit_rows():
    x, y = embeddings()
    x = x + 2  # a common direction, as in networks
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def words(length=100, first=0):
    """Word counts by Zipf's law, in documents of eight topics; ``first`` omits the most frequent ones."""
    rng = np.random.default_rng(7)
    n, n_words, n_topics = 800, 500, 8
    usual = 1 / np.arange(1, n_words + 1) ** 0.9
    usual /= usual.sum()
    topics = usual * rng.lognormal(0, 1.2, size=(n_topics, n_words))
    topics /= topics.sum(axis=1, keepdims=True)
    labels = rng.integers(0, n_topics, n)
    lengths = (length * rng.lognormal(0, 0.6, size=n)).astype(int) + 5
    pairs = zip(lengths, labels, strict=True)
    counts = np.stack([rng.multinomial(n, (topics[label] + usual) / 2) for n, label in pairs]).astype(float)
    return counts[:, first:], labels


def tfidf():
    x, y = words()
    return TfidfTransformer().fit_transform(x).toarray(), y


def tfidf_svd():
    x, y = tfidf()
    return TruncatedSVD(60, random_state=0).fit_transform(x), y


def one_hot(largest=None):
    """Eight one-hot encoded columns, and a number up to ``largest``."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 3, 1200)
    columns = []
    for n_values in (3, 5, 2, 11, 7, 4, 9, 6):
        shares = rng.dirichlet(np.ones(n_values), size=3)
        columns.append(np.stack([np.eye(n_values)[rng.choice(n_values, p=shares[label])] for label in labels]))
    if largest is not None:
        columns.append((rng.beta(2 + labels, 3) * largest).round()[:, None])
    return np.hstack(columns), labels


def forest():
    """Ten measurements of a place in meters, degrees and shades, and 44 binary columns, as in covtype."""
    rng = np.random.default_rng(6)
    x, labels = latent(2000, 4, 10, rng)
    deviations = np.array([280, 112, 7.5, 212, 58, 1560, 27, 20, 38, 1325])
    numbers = np.round(x * deviations + [2959, 155, 14, 269, 46, 2350, 212, 223, 142, 1980])
    numbers = np.maximum(numbers, [1859, 0, 0, 0, -173, 0, 0, 0, 0, 0])
    areas = np.eye(4)[np.where(rng.random(2000) < 0.5, labels, rng.integers(0, 4, 2000))]
    shares = rng.dirichlet(np.full(40, 0.2), size=4)
    soils = np.stack([np.eye(40)[rng.choice(40, p=shares[label])] for label in labels])
    return np.hstack([numbers, areas, soils]), labels


def patients():
    """Pregnancies, glucose, blood pressure, skin, insulin, body mass, pedigree, age, as in Pima's table."""
    rng = np.random.default_rng(8)
    n = 768
    y = rng.integers(0, 2, n)
    columns = [
        np.clip(rng.poisson(3 + 1.5 * y), 0, 17),
        np.clip(rng.normal(110 + 30 * y, 28), 44, 199).round() * (rng.random(n) > 0.01),
        np.clip(rng.normal(69 + 3 * y, 15), 24, 122).round() * (rng.random(n) > 0.05),
        np.clip(rng.normal(28 + 3 * y, 10), 7, 99).round() * (rng.random(n) > 0.3),
        np.clip(rng.lognormal(4.7 + 0.4 * y, 0.6), 14, 846).round() * (rng.random(n) > 0.49),
        np.clip(rng.normal(30 + 5 * y, 7), 18, 67).round(1) * (rng.random(n) > 0.015),
        np.clip(rng.lognormal(-0.95 + 0.25 * y, 0.6), 0.078, 2.42).round(3),
        np.clip(21 + rng.gamma(1.3 + 0.8 * y, 8, n), 21, 81).round(),
    ]
    return np.stack(columns, axis=1).astype(float), y


def powers():
    rng = np.random.default_rng(9)
    x, y = latent(1200, 4, 20, rng)
    return x * 10 ** rng.uniform(-3, 3, 20), y


def sensors():
    """Twelve signed numbers in one unit, then twelve in another."""
    rng = np.random.default_rng(10)
    x, y = latent(1200, 4, 24, rng)
    return x * np.repeat([300.0, 2.0], 12) * rng.uniform(0.7, 1.3, 24), y


def years():
    """A large, nearly constant column, which gives all rows the same length, and shares."""
    rng = np.random.default_rng(11)
    x, y = latent(1200, 4, 10, rng)
    return np.hstack([2000 + 10 * rng.random((1200, 1)), 1 / (1 + np.exp(-x)) * 10 ** rng.uniform(-2, 1, 10)]), y


def breast_cancer():
    return datasets.load_breast_cancer(return_X_y=True)


def wine():
    return datasets.load_wine(return_X_y=True)


# By name: the data, the right scaling, and by how much its accuracy is better than that of the other one.
KINDS = {
    "digits": (digits, "global", 0.02),
    "large digits": (large_digits, "global", 0.02),
    "embeddings": (embeddings, "global", None),
    "embeddings, unequal": (unequal, "global", None),
    "embeddings, PCA of 64": (lambda: principal(64), "global", 0.2),
    "embeddings, PCA of 16": (lambda: principal(16), "global", None),
    "embeddings, PCA backwards": (reversed_principal, "global", 0.2),
    "embeddings, rectified": (rectified, "global", None),
    "embeddings, unit length": (unit_rows, "global", None),
    "embeddings, outlying dimensions": (outliers, "feature", 0.2),
    "hidden layer, relu": (lambda: hidden("relu"), "global", None),
    "hidden layer, tanh": (lambda: hidden("tanh"), "global", None),
    "digits about their means": (lambda: (digits()[0] - digits()[0].mean(axis=0), digits()[1]), "global", 0.02),
    "digits, PCA": (digits_principal, "global", 0.02),
    "word counts": (lambda: words(first=20), "global", 0.1),
    "word counts, with the most frequent": (words, "global", 0.1),
    "word counts, long": (lambda: words(500), "global", 0.1),
    "TF-IDF": (tfidf, "global", 0.1),
    "TF-IDF, SVD": (tfidf_svd, "global", 0.1),
    "one-hot": (one_hot, "global", None),
    "one-hot and a number": (lambda: one_hot(1000), "feature", 0.05),
    "one-hot and a large number": (lambda: one_hot(1e5), "feature", 0.05),
    "breast cancer": (breast_cancer, "feature", 0.02),
    "wine": (wine, "feature", 0.2),
    "forest": (forest, "feature", 0.1),
    "patients": (patients, "feature", 0.01),
    "powers of ten": (powers, "feature", 0.1),
    "sensors": (sensors, "feature", 0.05),
    "years": (years, "feature", 0.1),
}


def accuracy(x, y, scaling):
    """Return the mean accuracy of a logistic regression and of three neighbors on 60 labels, over three draws."""
    inputs = Inputs(x, Normalization.fit(x, scaling=scaling), CPU).batch(np.arange(len(x))).numpy()
    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(x))
        train, test = order[:60], order[60:660]
        for model in (LogisticRegression(max_iter=50), KNeighborsClassifier(3)):
            found.append(model.fit(inputs[train], y[train]).score(inputs[test], y[test]))
    return np.mean(found)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_auto_chooses_the_more_accurate_scaling(kind):
    make, right, margin = KINDS[kind]
    x, y = make()
    assert resolve_scaling("auto", x).name == right
    found = {name: accuracy(x, y, name) for name in ("auto", "global", "feature")}
    assert found["auto"] == found[right] >= max(found.values()) - 0.015, found
    if margin is not None:
        other = "feature" if right == "global" else "global"
        assert found[right] >= found[other] + margin, found
    # A part of the data, or another type, does not change the choice.
    for seed in range(12):
        rows = np.random.default_rng(seed).choice(len(x), min(250, len(x) * 2 // 3), replace=False)
        assert resolve_scaling("auto", x[rows].astype(np.float32)).name == right, seed


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_if_both_are_right_parts_of_the_data_still_agree(name):
    x = getattr(datasets, f"load_{name}")().data
    whole = resolve_scaling(None, x)
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(len(x), 100, replace=False)
        assert resolve_scaling(None, x[rows]) == whole


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (3, 40)])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_few_rows_and_features(shape, scaling):
    for x in (np.random.default_rng(0).normal(3, 2, size=shape), np.zeros(shape), np.full(shape, 7.5)):
        inputs = Inputs(x, Normalization.fit(x, scaling=scaling), CPU).batch(np.arange(len(x)))
        assert inputs.shape == shape and torch.isfinite(inputs).all()


def test_requested_or_declared_scaling_is_used():
    x, _ = wine()
    assert resolve_scaling("global", x) == Scaling("global", "as asked for")
    assert resolve_scaling("auto", x, is_embeddings=True) == Scaling("global", "embeddings")
    assert resolve_scaling("none", x, is_embeddings=True).name == "none"
    images = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    assert resolve_scaling(None, images).name == resolve_scaling("channel", images).name == "channel"
    with pytest.raises(InputError, match="--scaling l2 is for vectors, and these samples are images"):
        resolve_scaling("l2", images)
    for wrong in ("standard", "channel", ""):
        with pytest.raises(InputError, match="give auto, global, feature, l2 or none"):
            resolve_scaling(wrong, x)
    with pytest.raises(InputError, match="give auto, global, feature, l2 or none"):
        check_scaling("channel")


def test_only_some_of_many_rows_are_read(monkeypatch):
    monkeypatch.setattr(scaling_module, "_ROWS_LOOKED_AT", 50)
    seen = []
    genuine = VectorMoments.of
    monkeypatch.setattr(VectorMoments, "of", lambda x, rows=None: seen.append(rows) or genuine(x, rows))
    x, _ = digits()
    assert resolve_scaling("auto", x).name == "global"
    assert len(seen[0]) == len(set(seen[0])) == 50 and (seen[0][0], seen[0][-1]) == (0, len(x) - 1)


@pytest.mark.parametrize("rows", [None, np.array([4, 9, 9, 30])])
def test_moments_match_numpys(rows, monkeypatch):
    monkeypatch.setattr(scaling_module, "MOMENTS", BlockSize(8 * 6 * 7))
    x = np.random.default_rng(1).normal(3, 2, size=(40, 6)).astype(np.float32)
    x[:, 2] = 0.1
    taken = (x if rows is None else x[rows]).astype(np.float64)
    found = VectorMoments.of(x, rows)
    np.testing.assert_array_equal(found.low, taken.min(axis=0))
    np.testing.assert_array_equal(found.high, taken.max(axis=0))
    np.testing.assert_allclose(found.mean, taken.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, np.where(np.arange(6) == 2, 0, taken.std(axis=0)), rtol=1e-12)
    lengths = np.linalg.norm(taken, axis=1)
    np.testing.assert_allclose(found.lengths, (lengths.min(), lengths.max()), rtol=1e-12)
