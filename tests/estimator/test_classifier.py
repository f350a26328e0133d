"""`ActiveLearningClassifier` as scikit-learn's users use it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepal_autoal import ActiveLearner, ActiveLearningClassifier, InputError, ScoringStrategy, create_strategy
from deepal_autoal.estimator.classifier import is_unlabeled
from deepal_autoal.plugins.code_digest import code_digest


def without_by_design(estimator):
    reason = "its labels are -1 and 1, and -1 is an unlabeled sample here, as in scikit-learn's semi_supervised"
    return {"check_classifiers_classes": reason}


@parametrize_with_checks([ActiveLearningClassifier("margin", model="linear")], expected_failed_checks=without_by_design)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture
def iris():
    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


def partly(y, n):
    known = np.full(len(y), -1)
    known[:n] = y[:n]
    return known


def test_a_loop_learns(iris):
    x, y = iris
    known = partly(y[:100], 12)
    classifier = ActiveLearningClassifier(model="linear", random_state=0).fit(x[:100], known)
    for _ in range(4):
        rows = classifier.query(5)
        assert len(set(rows)) == 5 and (known[rows] == -1).all()
        known[rows] = y[rows]
        classifier.teach(rows, y[rows])
    assert classifier.score(x[100:], y[100:]) >= 0.9 and len(classifier.learner_.labels) == 32


def test_it_is_the_learner(iris):
    x, y = iris
    classifier = ActiveLearningClassifier("badge", random_state=3).fit(x, partly(y, 20))
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    learner = ActiveLearner(x.astype(np.float32), "badge", 3, seed=seed)
    learner.tell(np.arange(20), y[:20])
    assert np.array_equal(classifier.query(7), learner.ask(7))
    assert np.array_equal(classifier.predict_proba(x), learner.predict_proba(x.astype(np.float32)))


def test_names_as_labels_and_new_classes(iris):
    x, y = iris
    names = np.array(["setosa", "versicolor", "virginica"], dtype=object)
    known = np.full(len(x), None, dtype=object)
    rows = np.flatnonzero(y < 2)[:8]
    known[rows] = names[y[rows]]
    classifier = ActiveLearningClassifier(model="linear", random_state=0).fit(x, known)
    assert list(classifier.classes_) == ["setosa", "versicolor"]
    other = np.flatnonzero(y == 2)[:4]
    classifier.teach(other, names[y[other]])
    assert list(classifier.classes_) == list(names)
    assert (classifier.predict(x) == names[y]).mean() > 0.8


def test_from_no_label_over_one_class_to_two(iris):
    x, y = iris
    classifier = ActiveLearningClassifier(model="linear", random_state=0).fit(x, np.full(len(x), -1))
    first = classifier.query(5)
    assert len(set(first)) == 5
    with pytest.raises(InputError, match="no labels yet"):
        classifier.predict(x)
    one, two = np.flatnonzero(y == 1)[:2], np.flatnonzero(y == 2)[:2]
    classifier.teach(one, y[one])
    assert (classifier.predict(x) == 1).all() and not set(classifier.query(3)) & set(one)
    classifier.teach(two, y[two])
    assert set(classifier.predict(x)) == {1, 2}


def test_it_composes(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), ActiveLearningClassifier(model="linear", random_state=0))
    assert pipeline.fit(x, partly(y, 40)).score(x, y) > 0.85
    search = GridSearchCV(ActiveLearningClassifier(random_state=0), {"model": ["linear", "forest"]}, cv=2)
    assert search.fit(x, y).best_score_ > 0.8
    other = clone(ActiveLearningClassifier("vote", candidates=["margin", "kmeans"], options={"power": 1.0}))
    assert len(other.fit(x, partly(y, 20)).query(4)) == 4


def test_pickle_keeps_the_batch(iris):
    x, y = iris
    classifier = ActiveLearningClassifier("margin", model="linear", random_state=0).fit(x, partly(y, 20))
    batch = classifier.query(4)
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.query(4), batch) and np.array_equal(again.predict(x), classifier.predict(x))


def gini(context):
    return 1 - (context.candidates.probabilities() ** 2).sum(dim=1)


class Powered(ScoringStrategy):
    def __init__(self, power: int = 2):
        self.power = power

    def score(self, context):
        return -(context.candidates.probabilities() ** self.power).sum(dim=1)


@pytest.mark.parametrize("given", [
    {"strategy": gini}, {"strategy": Powered}, {"strategy": Powered, "options": {"power": 3}},
    {"strategy": Powered(3)}, {"strategy": "vote", "candidates": [gini, Powered(3), "entropy"]},
    {"model": LogisticRegression(C=0.1)}, {"strategy": Powered(3), "model": make_pipeline(LogisticRegression())},
])  # fmt: skip
def test_pickle_takes_objects(iris, given):
    x, y = iris
    classifier = ActiveLearningClassifier(**{"model": "linear", **given}, random_state=0).fit(x, partly(y, 20))
    batch = classifier.query(4)
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.query(4), batch) and np.array_equal(again.predict_proba(x), classifier.predict_proba(x))
    classifier.set_params(strategy="entropy", candidates=None, options=None)  # for the next fit
    assert np.array_equal(pickle.loads(pickle.dumps(classifier)).query(4), batch)


def test_fit_forgets_what_a_given_strategy_learned(iris):
    x, y = iris
    strategy = create_strategy("albl")
    before = code_digest(strategy.state_dict())
    classifier = ActiveLearningClassifier(strategy, model="linear", random_state=0)
    batches = []
    for _ in range(2):
        classifier.fit(x, partly(y, 20))
        for _ in range(2):
            rows = classifier.query(4)
            classifier.teach(rows, y[rows])
            batches.append(rows.tolist())
    assert batches[:2] == batches[2:] and classifier.strategy is strategy
    assert code_digest(strategy.state_dict()) == before


def test_a_failed_teach_keeps_nothing(iris, monkeypatch):
    x, y = iris
    classifier = ActiveLearningClassifier(model="linear", random_state=0).fit(x, partly(y, 20))
    expected, probabilities = classifier.query(3), classifier.predict_proba(x)
    classes, labels = classifier.classes_, classifier._labels.copy()
    other = {"same classes": y[expected], "a new class": np.array([7, 7, 7])}
    for given in other.values():
        with monkeypatch.context() as patched:
            patched.setattr(ActiveLearner, "fit", lambda self, *given: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                classifier.teach(expected, given)
        assert np.array_equal(classifier._labels, labels) and np.array_equal(classifier.classes_, classes)
        assert np.array_equal(classifier.predict_proba(x), probabilities)
        assert np.array_equal(classifier.query(3), expected)
    assert len(classifier.teach(expected, y[expected]).learner_.labels) == 23


def test_what_cannot_be_used_is_said(iris):
    x, y = iris
    classifier = ActiveLearningClassifier(model="linear", random_state=0)
    with pytest.raises(NotFittedError):
        classifier.query(3)
    classifier.fit(x, partly(y, 20))
    for rows, labels, words in (
        ([3], [1], "unlabeled samples"),
        ([500], [1], "unlabeled samples"),
        ([30, 30], [1, 1], "twice"),
        ([30], [-1], "no label"),
        ([30, 31], [1], "one label for each"),
        ([0.5], [1], "whole numbers"),
        ([30], [np.nan], "NaN"),
        ([30, 31], [0.5, 1.7], "label type"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier.teach(rows, labels)
    with pytest.raises(InputError, match="give 1 to 130"):
        classifier.query(131)
    with pytest.raises(InputError, match="samples without a label have -1"):
        classifier.fit(x, np.where(np.arange(len(y)) < 20, y, np.nan))
    with pytest.raises(InputError, match="margin"):
        ActiveLearningClassifier("margni").fit(x, y)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, -1, 2]), [False, True, False]),
        (np.array([0.0, 2.0, -1.0]), [False, False, True]),
        (np.array(["a", "", "-1"]), [False, True, True]),
        (np.array(["a", None, float("nan"), -1], dtype=object), [False, True, True, True]),
        (np.array([True, False]), [False, False]),
        (np.array([0, 3], dtype=np.uint8), [False, False]),
    ],
)
def test_missing_labels(labels, expected):
    assert is_unlabeled(labels).tolist() == expected
