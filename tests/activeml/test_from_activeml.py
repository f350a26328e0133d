"""`from_activeml`: the same picks as scikit-activeml's strategies give in a loop of their own, and what is refused."""

import copy
import importlib.util
import json
import logging

import numpy as np
import pytest
import torch

pytest.importorskip("skactiveml")

from skactiveml import pool
from skactiveml.base import SkactivemlClassifier
from skactiveml.classifier import MixtureModelClassifier, ParzenWindowClassifier, SklearnClassifier
from skactiveml.pool.multiannotator import SingleAnnotatorWrapper
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression

from deepal_autoal import (
    ActiveLearner,
    InputError,
    QueryError,
    RunFolderError,
    SelectorStrategy,
    Strategy,
    create_strategy,
    from_activeml,
    plugin_host,
    register_strategy,
    run,
    select,
)
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.testing import conformance_test
from tests.conftest import blobs

N = 120
LABELED = np.sort(np.random.default_rng(3).permutation(N)[:18])
LOGISTIC = SklearnClassifier(LogisticRegression())


class Look(Strategy):
    """Keeps the context."""

    requires = frozenset({"probabilities", "embeddings"})

    def query(self, context, batch_size):
        self.context = context
        return context.candidates.indices[:batch_size]


class Trained(SkactivemlClassifier):
    """The trained model as anyone would write it: it computes what it is asked for."""

    def __init__(self, model, classes):
        super().__init__(classes=classes)
        self.model, self.classes_ = model, classes

    def fit(self, X, y):
        raise AssertionError("it is trained already")

    def predict_proba(self, X, embeddings=False):
        given = torch.as_tensor(X, dtype=torch.float32)
        found = self.model.logits_from_embeddings(given).double().softmax(dim=1).numpy()
        return (found, X) if embeddings else found

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


class Passes(Trained):
    """Several models, of which the probabilities of all candidates are known."""

    def __init__(self, members, classes):
        super().__init__(None, classes)
        self.estimators_ = [Fixed(member, classes) for member in members]


class Fixed(Trained):
    def predict_proba(self, X):
        assert len(X) == len(self.model)
        return self.model.double().numpy()


def ask(strategy, n_classes=3, batch_size=9, model="linear"):
    """Return what a learner with 18 labels asks for."""
    x, y = blobs(N, n_classes)
    learner = ActiveLearner(x, strategy, n_classes, model=model, recipe={"epochs": 2}, device="cpu", seed=5)
    learner.tell(LABELED, y[LABELED])
    return learner.ask(batch_size)


class TheirLoop:
    """What a loop written with scikit-activeml has in the same round."""

    def __init__(self, n_classes=3):
        look = Look()
        ask(look, n_classes)
        self.context = context = look.context
        self.classes = np.arange(n_classes)
        self.x = np.empty((N, context.candidates.embeddings().shape[1]), dtype=np.float32)
        self.y = np.full(N, MISSING_LABEL)
        for view in (context.candidates, context.labeled):
            self.x[view.indices] = view.embeddings().numpy()
        self.y[LABELED] = blobs(N, n_classes)[1][LABELED]
        self.clf = Trained(context.model, self.classes)
        self.seed = context.stream_seed("scikit-activeml") % 2**31

    def query(self, strategy, **arguments):
        return np.asarray(strategy.query(X=self.x, y=self.y, batch_size=9, **arguments)).tolist()


def classified(strategy):
    return lambda loop: loop.query(strategy, clf=loop.clf, fit_clf=False)


# What is deterministic, whatever the random state.
DETERMINISTIC = {
    **{
        method: (pool.UncertaintySampling(method=method), {}, classified(pool.UncertaintySampling(method=method)))
        for method in ("least_confident", "margin_sampling", "entropy")
    },
    "coreset": (pool.CoreSet(), {}, lambda loop: loop.query(pool.CoreSet())),
    "maxherding": (pool.MaxHerding(), {}, lambda loop: loop.query(pool.MaxHerding())),
    "greedy-x": (pool.GreedySamplingX(), {}, lambda loop: loop.query(pool.GreedySamplingX())),
    "contrastive": (pool.ContrastiveAL(), {}, classified(pool.ContrastiveAL())),
    "mcpal": (
        pool.ProbabilisticAL(), {"clf": ParzenWindowClassifier()},
        lambda loop: loop.query(pool.ProbabilisticAL(), clf=ParzenWindowClassifier(classes=loop.classes)),
    ),
    "mcpal-metric": (pool.ProbabilisticAL(metric="rbf"), {}, classified(pool.ProbabilisticAL(metric="rbf"))),
    "discriminative": (
        pool.DiscriminativeAL(), {"discriminator": ParzenWindowClassifier()},
        lambda loop: loop.query(pool.DiscriminativeAL(), discriminator=ParzenWindowClassifier()),
    ),
    "discriminative-greedy": (
        pool.DiscriminativeAL(greedy_selection=True), {"discriminator": LOGISTIC},
        lambda loop: loop.query(pool.DiscriminativeAL(greedy_selection=True), discriminator=LOGISTIC),
    ),
    "quire": (pool.Quire(classes=[0, 1, 2]), {}, lambda loop: loop.query(pool.Quire(classes=[0, 1, 2]))),
    "ensemble": (
        pool.QueryByCommittee(), {"n_members": 3},
        lambda loop: loop.query(
            pool.QueryByCommittee(), fit_ensemble=False,
            ensemble=Passes(loop.context.candidates.ensemble_probabilities(3), loop.classes),
        ),
    ),
    "own ensemble": (
        pool.QueryByCommittee(), {"ensemble": [ParzenWindowClassifier(), LOGISTIC]},
        lambda loop: loop.query(
            pool.QueryByCommittee(), ensemble=[
                ParzenWindowClassifier(classes=loop.classes), copy.deepcopy(LOGISTIC).set_params(classes=loop.classes)
            ],
        ),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def loop():
    return TheirLoop()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_same_picks_as_in_their_own_loop(loop, name):
    strategy, given, direct = DETERMINISTIC[name]
    assert ask(from_activeml(strategy, **given)).tolist() == direct(loop)


@pytest.mark.parametrize(("strategy", "arguments"), [
    (pool.RandomSampling, {}),
    (pool.TypiClust, {}),
    (pool.ProbCover, {}),
    (pool.Badge, {"clf": None}),
    (pool.Falcun, {"clf": None}),
    (pool.DropQuery, {"clf": None}),  # asks for the classes of changed samples
    (lambda **state: pool.CostEmbeddingAL(classes=[0, 1, 2], **state), {}),
    (lambda **state: pool.SubSamplingWrapper(pool.Badge(**state), max_candidates=20, **state), {"clf": None}),
    (lambda **state: pool.SubSamplingWrapper(pool.CoreSet(**state), exclude_non_subsample=True, **state), {}),
])  # fmt: skip
def test_the_same_picks_with_the_same_random_state(loop, strategy, arguments):
    if "clf" in arguments:
        arguments = {"clf": loop.clf, "fit_clf": False}
    before = np.random.get_state()
    np.random.seed(loop.seed)  # of clusterings without a random state
    expected = loop.query(strategy(random_state=loop.seed), **arguments)
    np.random.set_state(before)
    assert ask(from_activeml(strategy())).tolist() == expected
    # Its own is replaced, as a run has one seed.
    assert ask(from_activeml(strategy(random_state=1))).tolist() == expected


@pytest.mark.parametrize("strategy", [pool.GreedyBALD, pool.BatchBALD, pool.QueryByCommittee])
def test_a_committee_of_passes(loop, strategy):
    passes = Passes(loop.context.candidates.shared_mc_probabilities(8), loop.classes)
    expected = loop.query(strategy(random_state=loop.seed), ensemble=passes, fit_ensemble=False)
    adapter = from_activeml(strategy(), committee="mc_dropout", n_members=8)
    assert adapter.requires == {"mc_dropout"}
    assert ask(adapter).tolist() == expected


@pytest.mark.parametrize("method", ["vote_entropy", "variation_ratios"])
def test_votes_of_a_committee(loop, method):
    """Votes are few numbers, so the choice among equal ones is the engine's."""
    members = loop.context.candidates.ensemble_probabilities(5)
    votes = members.argmax(dim=2).numpy()
    shares = np.stack([(votes == number).mean(axis=0) for number in range(3)])
    entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-12)), axis=0)
    expected = 1 - shares.max(axis=0) if method == "variation_ratios" else entropy
    adapter = from_activeml(pool.QueryByCommittee(method=method))
    np.testing.assert_allclose(adapter.score(loop.context), expected, atol=1e-9)


def test_two_classes_for_epistemic_uncertainty():
    loop = TheirLoop(n_classes=2)
    clf = ParzenWindowClassifier(classes=[0, 1])
    expected = loop.query(pool.EpistemicUncertaintySampling(), clf=clf)
    adapter = from_activeml(pool.EpistemicUncertaintySampling(), clf=ParzenWindowClassifier())
    assert ask(adapter, n_classes=2).tolist() == expected


@pytest.mark.parametrize(("strategy", "given"), [
    (pool.Clue(), {}),
    (pool.FourDs(), {"clf": MixtureModelClassifier()}),
    (pool.UncertaintySampling(method="expected_average_precision"), {}),
    (pool.MonteCarloEER(), {"clf": ParzenWindowClassifier()}),
    (pool.ValueOfInformationEER(), {"clf": ParzenWindowClassifier()}),
    (pool.Badge(clf_embedding_flag_name="embeddings"), {"features": "inputs"}),
    (pool.ContrastiveAL(clf_embedding_flag_name={"embeddings": True}), {"features": "inputs"}),
])  # fmt: skip
def test_others_choose_reproducibly_and_change_nothing(caplog, strategy, given):
    before = strategy.get_params()
    with caplog.at_level(logging.WARNING):
        first, second = (ask(from_activeml(strategy, **given), batch_size=4).tolist() for _ in range(2))
    assert first == second and len(set(first) - set(LABELED)) == 4
    assert not caplog.text  # nothing of the process was changed
    assert str(strategy.get_params()) == str(before)


def test_embeddings_apart_from_inputs(loop):
    """For these strategies the classifier's embeddings take the place of X: here, those of the task model."""
    inputs = from_activeml(pool.ContrastiveAL(clf_embedding_flag_name="embeddings"), features="inputs")
    assert inputs.requires == {"inputs", "embeddings", "probabilities"}
    x, y = blobs(N)
    picks = {}
    for name, strategy in (("apart", inputs), ("x", from_activeml(pool.ContrastiveAL()))):
        learner = ActiveLearner(x, strategy, 3, model="mlp", recipe={"epochs": 2}, device="cpu", seed=5)
        learner.tell(LABELED, y[LABELED])
        picks[name] = learner.ask(9).tolist()
    assert picks["apart"] == picks["x"]


def test_inputs_as_features():
    x, _ = blobs(N)
    flat = from_activeml(pool.CoreSet(), features="inputs")
    assert flat.requires == {"inputs"}
    y = np.full(N, MISSING_LABEL)
    y[LABELED] = 0
    scaled = (x - x.mean()) / x.std()  # of one kind: distances keep their order
    images = np.clip(np.round(scaled * 40 + 128), 0, 255).astype(np.uint8).reshape(N, 2, 3)
    learner = ActiveLearner(images, flat, 3, model="linear", device="cpu", seed=5)
    learner.tell(LABELED, blobs(N)[1][LABELED])
    expected = pool.CoreSet().query(X=images.reshape(N, -1).astype(float), y=y, batch_size=9)
    assert learner.ask(9).tolist() == np.asarray(expected).tolist()
    with pytest.raises(QueryError, match=r"DropQuery.*changes samples.*features='embeddings'"):
        ask(from_activeml(pool.DropQuery(), features="inputs"))


@pytest.mark.parametrize("strategy", [
    pool.UncertaintySampling(), pool.QueryByCommittee(), pool.GreedyBALD(), pool.ContrastiveAL(),
    pool.CostEmbeddingAL(classes=[0, 1, 2]), pool.ProbabilisticAL(metric="rbf"), pool.Quire(classes=[0, 1, 2]),
    pool.DiscriminativeAL(greedy_selection=True),
])  # fmt: skip
def test_ranks_are_their_utilities(loop, strategy):
    """Of these strategies, all choices of a batch are by the same utilities, which selectors may rank by."""
    given = {"discriminator": ParzenWindowClassifier()} if isinstance(strategy, pool.DiscriminativeAL) else {}
    adapter = from_activeml(strategy, **given)
    seen = {}
    query = type(strategy).query

    def watched(self, *arguments, **named):
        found = query(self, *arguments, **named | {"batch_size": 9, "return_utilities": True})
        seen["picks"], seen["utilities"] = found
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(adapter.their_query._strategy), "query", watched)
        scores = adapter.score(loop.context).numpy()
    candidates = loop.context.candidates.indices
    np.testing.assert_array_equal(scores, seen["utilities"][0][candidates])
    for place, row in enumerate(seen["utilities"]):
        left = ~np.isin(candidates, seen["picks"][:place])
        np.testing.assert_array_equal(row[candidates][left], scores[left])


class Asks(SelectorStrategy):
    def query(self, context, batch_size):
        self.answers = {name: self.consult_candidate(name, context, batch_size) for name in self.candidates}
        return next(iter(self.answers.values())).indices


def test_a_selector_gets_scores_where_there_are_some():
    theirs = {"scored": from_activeml(pool.UncertaintySampling()), "batch": from_activeml(pool.Badge())}
    selector = Asks(theirs)
    picks = ask(selector)
    scores = selector.answers["scored"].scores
    assert len(scores) == N - len(LABELED) and selector.answers["batch"].scores is None
    assert scores.max() > scores.min() and picks.tolist() == ask(create_strategy("leastconf")).tolist()


@pytest.fixture
def names():
    before = set(plugin_host().strategies.names())
    yield
    host = plugin_host().strategies
    host.remove([host.get(name) for name in set(host.names()) - before])


@pytest.mark.parametrize("selector", ["vote", "autoal"])
def test_registered_as_candidates(names, blob_data, quick, selector):
    register_strategy("their-badge", from_activeml(pool.Badge()))
    register_strategy("their-margin", from_activeml(pool.UncertaintySampling(method="margin_sampling")))
    candidates = ["their-badge", "their-margin", "kmeans"]
    result = run(selector, blob_data, candidates=candidates, **quick)
    assert set(result.rounds[0]["strategy"]["weights"]) == set(candidates)
    margin = pool.UncertaintySampling(method="margin_sampling")
    by_object = [
        from_activeml(pool.Badge(), name="their-badge"), from_activeml(margin, name="their-margin"), "kmeans"
    ]  # fmt: skip
    again = run(selector, blob_data, candidates=by_object, **quick)
    assert [record["queried"] for record in again.rounds] == [record["queried"] for record in result.rounds]


def test_on_the_command_line(deepal, tmp_path, blob_file):
    (tmp_path / "theirs.py").write_text(
        "from skactiveml.pool import UncertaintySampling\n"
        "from deepal_autoal import from_activeml\n"
        "margin = from_activeml(UncertaintySampling(method='margin_sampling'))\n"
    )
    queried = {}
    for name in ("theirs.py:margin", "margin"):
        given = ("--strategy", name, "--model", "linear", "--rounds", 2, "--batch-size", 5, "--initial", 12)
        status, _, errors = deepal("run", "--dataset", blob_file, *given, "--out", tmp_path / name[:6], "--quiet")
        assert status == 0, errors
        queried[name] = (tmp_path / name[:6] / "queried.csv").read_text()
    assert queried["theirs.py:margin"] == queried["margin"]


def test_in_a_benchmark_also_of_several_processes(tmp_path, blob_file, quick, caplog):
    given = {key: value for key, value in quick.items() if key != "seed"} | {"rounds": 1}
    strategies = {
        "theirs": from_activeml(pool.UncertaintySampling(method="margin_sampling")),
        "badge-of-theirs": from_activeml(pool.Badge()),
        "margin": "margin",
    }
    study = run_benchmark(strategies, [blob_file], seeds=2, out=tmp_path / "study", jobs=2, **given)
    assert not study.failures and "in this process" not in caplog.text
    queried = {
        label: [json.loads(line)["queried"] for line in
                (tmp_path / "study" / "blobs" / label / "seed-1" / "rounds.jsonl").read_text().splitlines()]
        for label in strategies
    }  # fmt: skip
    assert queried["theirs"] == queried["margin"] != queried["badge-of-theirs"]


def test_a_run_is_continued_with_the_same_strategy_only(tmp_path, blob_data, quick):
    def interrupt(run, record):
        raise KeyboardInterrupt

    def new(method="entropy"):
        return from_activeml(pool.UncertaintySampling(method=method))

    with pytest.raises(KeyboardInterrupt):
        run(new(), blob_data, out=tmp_path / "run", on_round=interrupt, **quick)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["strategy"]
    assert recorded["name"] == "UncertaintySampling (scikit-activeml)" and recorded["code"]
    with pytest.raises(RunFolderError, match="code was"):
        run(new("least_confident"), blob_data, out=tmp_path / "run", resume=True)
    resumed = run(new(), blob_data, out=tmp_path / "run", resume=True)
    whole = run(new(), blob_data, **quick)
    assert [record["queried"] for record in resumed.rounds] == [record["queried"] for record in whole.rounds]


def test_nothing_is_remembered_from_round_to_round(blob_data, quick):
    """ProbCover keeps the distances of its first X, and X are other embeddings in each round."""
    adapter = from_activeml(pool.ProbCover())
    run(adapter, blob_data, **quick)
    assert not hasattr(adapter.their_query._strategy, "delta_max_") and adapter.state_dict() == {}


def test_from_outputs_alone():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet((1, 1, 1), 40)
    entropy = from_activeml(pool.UncertaintySampling(method="entropy"))
    # Neither features nor labels are needed.
    expected = select("entropy", 6, None, probabilities, range(5), device="cpu")
    assert select(entropy, 6, None, probabilities, range(5), device="cpu").tolist() == expected.tolist()
    with pytest.raises(InputError, match="requires embeddings: give --embeddings"):
        select(from_activeml(pool.CoreSet()), 6, None, probabilities)
    with pytest.raises(QueryError, match="needs passes through the model"):
        select(from_activeml(pool.DropQuery()), 6, rng.normal(size=(40, 3)), probabilities)
    with pytest.raises(QueryError, match="the labels are needed"):
        select(from_activeml(pool.CoreSet()), 6, rng.normal(size=(40, 3)), None, range(5))


def test_equal_samples_with_different_probabilities():
    """They are told apart by their order, where that is the candidates', and else refused."""
    rng = np.random.default_rng(0)
    rows, probabilities = np.repeat(rng.normal(size=(20, 3)), 2, axis=0), rng.dirichlet((1, 1, 1), 40)
    chosen = select(from_activeml(pool.Badge()), 5, rows, probabilities, device="cpu")
    clf = Trained(None, np.arange(3))
    clf.predict_proba = lambda X: probabilities
    residual = probabilities - np.eye(3)[probabilities.argmax(axis=1)]
    first = (residual**2).sum(axis=1) * (rows**2).sum(axis=1)
    assert chosen[0] == first.argmax()
    wrapper = pool.SubSamplingWrapper(pool.Badge(), max_candidates=30)
    with pytest.raises(QueryError, match=r"samples \d+ and \d+ of X have the same features and different prob"):
        select(from_activeml(wrapper), 5, rows, probabilities)
    same = np.repeat(probabilities[::2], 2, axis=0)
    assert len(select(from_activeml(wrapper), 5, rows, same, device="cpu")) == 5


REFUSED = {
    "class": (lambda: from_activeml(pool.Badge), r"Badge is a class: give an instance, Badge\(\.\.\.\)"),
    "ours": (lambda: from_activeml("badge"), "str is no SingleAnnotatorPoolQueryStrategy"),
    "several annotators": (
        lambda: from_activeml(SingleAnnotatorWrapper(pool.Badge())), "SingleAnnotatorWrapper is no SingleAnnotatorPool",
    ),
    "regression": (lambda: from_activeml(pool.GreedySamplingTarget()), "GreedySamplingTarget .* is for regression"),
    "no discriminator": (
        lambda: from_activeml(pool.DiscriminativeAL()),
        r"the query of DiscriminativeAL needs discriminator: give it as from_activeml\(\.\.\., discriminator=\.\.\.\)",
    ),
    "no classifier of theirs": (
        lambda: from_activeml(pool.DiscriminativeAL(), discriminator=LogisticRegression()),
        r"discriminator is LogisticRegression: .* SklearnClassifier\(LogisticRegression\(\)\)",
    ),
    "classifier": (
        lambda: from_activeml(pool.EpistemicUncertaintySampling()),
        r"EpistemicUncertaintySampling .* cannot be the task model: .* such as clf=ParzenWindowClassifier\(\)",
    ),
    "counts": (lambda: from_activeml(pool.ProbabilisticAL()), r"clf=ParzenWindowClassifier\(\)"),
    "mixture": (lambda: from_activeml(pool.FourDs()), r"clf=MixtureModelClassifier\(\)"),
    "retrained": (lambda: from_activeml(pool.MonteCarloEER()), r"clf=ParzenWindowClassifier\(\)"),
    "unknown argument": (
        lambda: from_activeml(pool.Badge(), discriminator=LOGISTIC), "unknown argument of Badge.query 'discriminator'",
    ),
    "name": (lambda: from_activeml(pool.Badge(), name=""), "name is '': give a text"),
    "features": (lambda: from_activeml(pool.Badge(), features="logits"), "give 'embeddings' or 'inputs'"),
    "committee": (lambda: from_activeml(pool.Badge(), committee="votes"), "give 'ensemble' or 'mc_dropout'"),
    "members": (lambda: from_activeml(pool.QueryByCommittee(), n_members=1), "n_members is 1: give at least 2"),
    "parallel": (
        lambda: from_activeml(pool.ParallelUtilityEstimationWrapper(pool.Badge())), "chooses single samples",
    ),
    "embedding": (
        lambda: from_activeml(pool.SubSamplingWrapper(pool.Badge(), embed_samples_func=abs)), "X are embeddings",
    ),
    "method": (
        lambda: from_activeml(pool.QueryByCommittee(sample_predictions_method_name="sample_proba")), "leave it out",
    ),
    "nothing wrapped": (lambda: from_activeml(pool.SubSamplingWrapper()), "NoneType is no SingleAnnotatorPool"),
    "wrapped": (
        lambda: from_activeml(pool.SubSamplingWrapper(pool.FourDs())), r"FourDs .* clf=MixtureModelClassifier\(\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(case):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(("strategy", "given", "message"), [
    (pool.EpistemicUncertaintySampling(), {"clf": LOGISTIC}, "is for two classes, and there are 3"),
    (pool.CostEmbeddingAL(classes=[0, 1]), {}, "CostEmbeddingAL is given 2 classes, and there are 3"),
])  # fmt: skip
def test_another_number_of_classes_is_refused_before_training(tmp_path, blob_data, quick, strategy, given, message):
    adapter = from_activeml(strategy, **given)
    for chosen, candidates in ((adapter, None), ("vote", [adapter, "margin"])):
        with pytest.raises(InputError, match=message):
            run(chosen, blob_data, candidates=candidates, out=tmp_path / "run", **quick)
    assert not (tmp_path / "run" / "rounds.jsonl").exists()
    with pytest.raises(InputError, match=message):
        select(adapter, 3, np.eye(9), np.full((9, 3), 1 / 3))


def test_what_their_query_raises_is_named(blob_data, quick):
    with pytest.raises(QueryError, match=r"'UncertaintySampling \(scikit-activeml\)' failed in query: ValueError: The"):
        run(from_activeml(pool.UncertaintySampling(method="gini")), blob_data, **quick)


def test_the_classifier_is_not_trained_in_a_query(blob_data, quick):
    class Refits(pool.UncertaintySampling):
        """Not one of scikit-activeml's, so nothing is known of it."""

        def query(self, X, y, clf, candidates=None, batch_size=1, return_utilities=False):
            clf.fit(X, y)

    with pytest.raises(QueryError, match=r"it trains its classifier during the query: give one .* as `clf=`"):
        run(from_activeml(Refits()), blob_data, **quick)


def test_a_strategy_of_ones_own(loop):
    class LeastSure(pool.CoreSet):
        """The classifier's least sure samples, by an order of its own."""

        def query(self, X, y, clf, candidates=None, batch_size=1, return_utilities=False):
            order = np.random.default_rng(1).permutation(candidates)
            sure = clf.predict_proba(X[order]).max(axis=1)
            return order[np.argsort(sure)[:batch_size]]

    assert ask(from_activeml(LeastSure())).tolist() == ask(create_strategy("leastconf")).tolist()


def test_without_scikit_activeml(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "skactiveml" else find(name, *rest)
    )
    with pytest.raises(InputError, match=r"not installed: pip install 'deepal_autoal\[activeml\]'"):
        from_activeml(pool.Badge())


@pytest.mark.gpu
def test_on_a_gpu():
    x, y = blobs(N)
    for strategy in (pool.Badge(), pool.UncertaintySampling(), pool.DropQuery()):
        learner = ActiveLearner(x, from_activeml(strategy), 3, model="linear", device="cuda", seed=5)
        learner.tell(LABELED, y[LABELED])
        assert len(set(learner.ask(9))) == 9


def badge():
    return from_activeml(pool.Badge())


def entropy():
    return from_activeml(pool.UncertaintySampling(method="entropy"))


def contrastive():
    return from_activeml(pool.ContrastiveAL())


def coreset():
    return from_activeml(pool.CoreSet())


test_conformance_of_badge = pytest.mark.slow(conformance_test(badge))
test_conformance_of_entropy = pytest.mark.slow(conformance_test(entropy))
test_conformance_of_contrastive = pytest.mark.slow(conformance_test(contrastive))
test_conformance_of_coreset = pytest.mark.slow(conformance_test(coreset))
