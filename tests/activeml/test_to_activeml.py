"""`to_activeml`: our strategies in a loop of scikit-activeml, with the picks of `select`."""

import importlib.util

import numpy as np
import pytest

pytest.importorskip("skactiveml")

from skactiveml.base import SingleAnnotatorPoolQueryStrategy
from skactiveml.classifier import ParzenWindowClassifier, SklearnClassifier
from skactiveml.pool import SubSamplingWrapper, UncertaintySampling
from skactiveml.utils import MISSING_LABEL, check_random_state, unlabeled_indices
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from deepal_autoal import InputError, QueryError, Strategy, from_activeml, select, to_activeml
from tests.conftest import blobs

N, C = 90, 3
LABELED = np.sort(np.random.default_rng(3).permutation(N)[:15])
OPEN = np.setdiff1d(np.arange(N), LABELED)


@pytest.fixture
def data():
    """X, y with missing labels, and a classifier that is not fitted."""
    x, labels = blobs(N, C)
    y = np.full(N, MISSING_LABEL)
    y[LABELED] = labels[LABELED]
    return x, y, SklearnClassifier(LogisticRegression(), classes=np.arange(C))


def seed_of(random_state, n_open=N - 15):
    """The engine's seed, as it follows from theirs and the number of open labels."""
    return int(check_random_state(random_state, n_open + 1).randint(2**31 - 1))


@pytest.mark.parametrize("name", [
    "random", "entropy", "margin", "leastconf", "kmeans", "coreset", "badge", "typiclust", "maxherding", "probcover",
    "uherding[temperature=1]", "galaxy", "power[score=entropy]",
])  # fmt: skip
def test_the_picks_are_those_of_select(data, name):
    x, y, clf = data
    query_strategy = to_activeml(name, random_state=7)
    assert isinstance(query_strategy, SingleAnnotatorPoolQueryStrategy)
    picks = query_strategy.query(X=x, y=y, clf=clf, batch_size=8)
    probabilities = clone(clf).fit(x, y).predict_proba(x)
    expected = select(name, 8, x, probabilities, LABELED, blobs(N, C)[1][LABELED], seed_of(7))
    assert picks.tolist() == expected.tolist()
    assert query_strategy.query(X=x, y=y, clf=clf, batch_size=8).tolist() == picks.tolist()


def test_a_selector_with_options(data):
    x, y, clf = data
    candidates = ["entropy", "kmeans", "badge"]
    given = {"candidates": candidates, "options": {"final": "diverse"}}
    picks = to_activeml("vote", random_state=1, **given).query(x, y, clf=clf, batch_size=8)
    probabilities = clone(clf).fit(x, y).predict_proba(x)
    labels = blobs(N, C)[1][LABELED]
    assert picks.tolist() == select("vote", 8, x, probabilities, LABELED, labels, seed_of(1), **given).tolist()


def test_a_loop_learns(data):
    x, y, clf = data
    _, labels = blobs(N, C)
    query_strategy = to_activeml("margin", random_state=0)
    for _ in range(4):
        picks = query_strategy.query(X=x, y=y, clf=clf, batch_size=5)
        assert np.isnan(y[picks]).all() and len(set(picks.tolist())) == 5
        y[picks] = labels[picks]
    assert len(unlabeled_indices(y)) == N - 15 - 20
    assert clone(clf).fit(x, y).score(x, labels) > 0.9


def test_a_classifier_that_is_fitted_already(data):
    x, y, clf = data
    fitted = clone(clf).fit(x, y)
    margin = to_activeml("margin", random_state=0)
    expected = margin.query(x, y, clf=clf, batch_size=6).tolist()
    assert margin.query(x, y, clf=fitted, fit_clf=False, batch_size=6).tolist() == expected
    weights = np.where(np.arange(N) % 2, 1.0, 50.0)
    weighted = margin.query(x, y, clf=clf, sample_weight=weights, batch_size=6).tolist()
    heavy = clone(clf).fit(x, y, weights)
    assert weighted == margin.query(x, y, clf=heavy, fit_clf=False, batch_size=6).tolist() != expected


def test_a_classifier_that_is_not_needed_is_not_fitted(data):
    x, y, _ = data

    class Untouched(ParzenWindowClassifier):
        def fit(self, *data):
            raise AssertionError

    coreset = to_activeml("coreset", random_state=0)
    assert coreset.query(x, y, clf=Untouched()).tolist() == coreset.query(x, y).tolist()


def test_candidates_by_number(data):
    x, y, clf = data
    some = OPEN[::-2]
    margin = to_activeml("margin", random_state=0)
    picks = margin.query(x, y, clf=clf, candidates=some, batch_size=6)
    probabilities = np.sort(clone(clf).fit(x, y).predict_proba(x[some]), axis=1)
    assert picks.tolist() == some[np.argsort(probabilities[:, -1] - probabilities[:, -2])[:6]].tolist()
    with pytest.raises(ValueError, match="must not contain labeled"):
        margin.query(x, y, clf=clf, candidates=[LABELED[0], OPEN[0]])


def test_candidates_that_are_samples(data):
    x, y, clf = data
    others = blobs(40, C, seed=4)[0]
    coreset = to_activeml("coreset", random_state=0)
    picks, utilities = coreset.query(x, y, candidates=others, batch_size=3, return_utilities=True)
    nearest = np.linalg.norm(others[:, None] - x[LABELED], axis=2).min(axis=1)
    assert picks[0] == nearest.argmax() and utilities.shape == (3, 40)
    margin = to_activeml("margin", random_state=0)
    picks = margin.query(x, y, clf=clf, candidates=others, batch_size=5)
    probabilities = np.sort(clone(clf).fit(x, y).predict_proba(others), axis=1)
    assert picks.tolist() == np.argsort(probabilities[:, -1] - probabilities[:, -2])[:5].tolist()


def test_utilities_of_scores(data):
    x, y, clf = data
    picks, utilities = to_activeml("entropy").query(x, y, clf=clf, batch_size=4, return_utilities=True)
    probabilities = clone(clf).fit(x, y).predict_proba(x)
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1)
    assert utilities.shape == (4, N)
    for place, row in enumerate(utilities):
        hidden = np.union1d(LABELED, picks[:place])
        assert np.isnan(row[hidden]).all() and np.nanargmax(row) == picks[place]
        np.testing.assert_allclose(np.delete(row, hidden), np.delete(entropy, hidden), atol=1e-5)


def test_utilities_of_batches(data):
    x, y, clf = data
    picks, utilities = to_activeml("badge").query(x, y, clf=clf, batch_size=4, return_utilities=True)
    for place, row in enumerate(utilities):
        assert row[picks[place]] == 1 and np.nansum(row) == 1
        assert np.isnan(row).sum() == len(LABELED) + place


def test_inside_a_wrapper_of_theirs(data):
    x, y, clf = data
    wrapper = SubSamplingWrapper(to_activeml("margin", random_state=0), max_candidates=12, random_state=0)
    picks, utilities = wrapper.query(x, y, clf=clf, batch_size=3, return_utilities=True)
    assert np.isneginf(utilities[0]).sum() == len(OPEN) - 12
    assert np.nanargmax(utilities[0]) == picks[0] and set(picks) <= set(OPEN)


@pytest.mark.parametrize("missing", [-1, None, ""])
def test_names_of_classes(data, missing):
    x, y, _ = data
    names = np.array(["red", "green", "blue"])
    written = np.array([missing if np.isnan(label) else names[int(label)] for label in y], dtype=object)
    if missing == "":
        written = written.astype(str)
    elif missing == -1:
        written = np.array([-1 if np.isnan(label) else int(label) * 10 for label in y])
    classes = [0, 10, 20] if missing == -1 else sorted(names)
    clf = SklearnClassifier(LogisticRegression(), classes=classes, missing_label=missing)
    picks = to_activeml("galaxy", missing_label=missing, random_state=0).query(x, written, clf=clf, batch_size=5)
    order = np.argsort(np.argsort(names)) if missing != -1 else np.arange(3)
    labels = order[blobs(N, C)[1][LABELED]]
    probabilities = clone(clf).fit(x, written).predict_proba(x)
    assert picks.tolist() == select("galaxy", 5, x, probabilities, LABELED, labels, seed_of(0)).tolist()


def test_embeddings_of_the_classifier(data):
    x, y, _ = data

    class Embedding(SklearnClassifier):
        def predict_proba(self, X, embed=False):
            found = super().predict_proba(X)
            return (found, X[:, :1]) if embed else found

    given = Embedding(LogisticRegression(), classes=np.arange(C))
    for flag in ("embed", {"embed": True}):
        coreset = to_activeml("coreset", clf_embedding_flag_name=flag)
        assert coreset.query(x, y, clf=given, batch_size=5).tolist() == (
            to_activeml("coreset").query(x[:, :1], y, batch_size=5).tolist()
        )
        with pytest.raises(InputError, match=r"clf_embedding_flag_name .* give clf"):
            coreset.query(x, y)


def test_samples_of_any_shape(data):
    x, y, _ = data
    assert to_activeml("coreset").query(x.reshape(N, 2, 3), y, batch_size=4).tolist() == (
        to_activeml("coreset").query(x, y, batch_size=4).tolist()
    )


def test_before_there_are_labels(data):
    x, _, clf = data
    y = np.full(N, MISSING_LABEL)
    expected = select("typiclust", 5, x, seed=seed_of(2, N)).tolist()
    assert to_activeml("typiclust", random_state=2).query(x, y, batch_size=5).tolist() == expected
    with pytest.warns(UserWarning, match="There is no labeled data"):  # of theirs: it predicts equal shares
        assert len(to_activeml("margin").query(x, y, clf=clf, batch_size=5)) == 5


def test_other_queries_with_other_random_states(data):
    x, y, _ = data
    picks = {state: tuple(to_activeml("random", random_state=state).query(x, y, batch_size=9)) for state in (0, 1)}
    assert picks[0] != picks[1]
    once = to_activeml("random", random_state=np.random.RandomState(0))
    assert once.query(x, y, batch_size=9).tolist() == once.query(x, y, batch_size=9).tolist()
    fresh = to_activeml("random")
    assert fresh.query(x, y, batch_size=9).tolist() != fresh.query(x, y, batch_size=9).tolist()
    before = y.copy()
    before[OPEN[0]] = 0  # other rounds have other seeds
    assert set(to_activeml("random", random_state=0).query(x, before, batch_size=9)) != set(picks[0])


def test_as_a_scikit_learn_estimator(data):
    x, y, clf = data
    query_strategy = to_activeml("vote", candidates=["margin", "kmeans"], options={"final": "top"}, random_state=3)
    assert query_strategy.get_params()["options"] == {"final": "top"}
    copied = clone(query_strategy)
    assert copied.query(x, y, clf=clf, batch_size=4).tolist() == (
        query_strategy.query(x, y, clf=clf, batch_size=4).tolist()
    )
    assert clone(to_activeml("badge")).set_params(strategy="random").query(x, y).shape == (1,)


class Counts(Strategy):
    """Queries one candidate further on with each query."""

    n_queries = 0

    def query(self, context, batch_size):
        self.n_queries += 1
        return context.candidates.indices[self.n_queries :][:batch_size]

    def state_dict(self):
        return {"n": self.n_queries}

    def load_state_dict(self, state):
        self.n_queries = state.get("n", 0)


def test_memory_lasts_in_an_instance(data, caplog):
    x, y, _ = data
    instance, by_class = to_activeml(Counts()), to_activeml(Counts)
    assert [instance.query(x, y)[0] for _ in range(3)] == OPEN[1:4].tolist()
    assert "remembers things" not in caplog.text
    assert [by_class.query(x, y)[0] for _ in range(2)] == [OPEN[1]] * 2
    assert "forgets them after this query" in caplog.text


def test_a_function_of_the_context(data):
    x, y, clf = data

    def gini(context):
        return 1 - (context.candidates.probabilities() ** 2).sum(dim=1)

    probabilities = clone(clf).fit(x, y).predict_proba(x)
    expected = OPEN[np.argsort((probabilities[OPEN] ** 2).sum(axis=1))[:4]]
    assert to_activeml(gini).query(x, y, clf=clf, batch_size=4).tolist() == expected.tolist()
    with pytest.raises(QueryError, match=r"gini.* needs probabilities"):
        to_activeml(gini).query(x, y)


@pytest.mark.parametrize(("strategy", "options", "message"), [
    ("margn", {}, "unknown strategy 'margn'"),
    (3, {}, "strategy is 3 of type int"),
    ("bald", {}, "requires mc_dropout, which embeddings and probabilities do not give"),
    ("vaal", {}, "requires inputs"),
    ("ceal", {}, "changes how a model is trained"),
    ("vote", {"candidates": ["margin", "bald"]}, "for bald, .* give --candidates margin"),
    ("margin", {"options": {"power": 2}}, "unknown option .*'power'"),
])  # fmt: skip
def test_what_outputs_do_not_suffice_for_is_refused_at_once(strategy, options, message):
    with pytest.raises(InputError, match=message) as caught:
        to_activeml(strategy, **options)
    assert "\n" not in str(caught.value)


def test_a_query_that_lacks_something(data):
    x, y, clf = data
    for name, message in (("margin", "requires probabilities: give clf"), ("badge", "requires gradients.*: give clf")):
        with pytest.raises(InputError, match=message):
            to_activeml(name).query(x, y)
    fitted = clone(clf).fit(x, y)
    with pytest.raises(InputError, match=r"the label 7\.0 is none of the classes of clf, 0, 1, 2"):
        to_activeml("margin").query(x, np.where(np.arange(N) == LABELED[0], 7, y), clf=fitted, fit_clf=False)
    with pytest.warns(UserWarning, match="larger than number of candidates"):
        picks = to_activeml("margin").query(x, y, clf=clf, candidates=OPEN[:3], batch_size=9)
    assert sorted(picks) == OPEN[:3].tolist()


def test_without_scikit_activeml(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "skactiveml" else find(name, *rest)
    )
    with pytest.raises(InputError, match=r"not installed: pip install 'deepal_autoal\[activeml\]'"):
        to_activeml("margin")


def test_there_and_back(data):
    """What is adapted twice chooses as it does by itself."""
    x, y, clf = data
    there = UncertaintySampling(method="entropy", random_state=0).query(x, y, clf=clf, batch_size=6)
    back = to_activeml(from_activeml(UncertaintySampling(method="entropy")), random_state=0)
    assert back.query(x, y, clf=clf, batch_size=6).tolist() == np.asarray(there).tolist()
    probabilities = clone(clf).fit(x, y).predict_proba(x)
    given = (6, x, probabilities, LABELED, y[LABELED])
    assert select(from_activeml(to_activeml("entropy")), *given).tolist() == select("entropy", *given).tolist()
