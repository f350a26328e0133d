"""Models as people have them: torch modules, factories and scikit-learn classifiers, in Python and by file."""

import json

import numpy as np
import pandas
import pytest
import torch
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from deepal_autoal import ActiveLearner, InputError, QueryError, RunFolderError, load_model, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.models import build_model, own_model


class Net(nn.Module):
    """A plain network for vectors."""

    def __init__(self, n_features: int = 6, n_classes: int = 3, width: int = 8, p: float = 0.25):
        super().__init__()
        self.hidden = nn.Linear(n_features, width)
        self.dropout = nn.Dropout(p)
        self.out = nn.Linear(width, n_classes)

    def forward(self, x):
        return self.out(self.dropout(torch.relu(self.hidden(x))))


def by_shape(input_shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), 5), nn.ReLU(), nn.Linear(5, n_classes))


def convolutions(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )


@pytest.fixture
def small(quick):
    return {key: value for key, value in quick.items() if key != "model"} | {"rounds": 1}


def test_a_network_stays_as_it_is_and_its_embedding_is_found():
    torch.manual_seed(0)
    net = Net()
    model = build_model(own_model(net), (6,), 3).eval()
    x = torch.randn(5, 6)
    assert torch.equal(model(x), net.eval()(x))
    assert torch.equal(model.features(x), torch.relu(net.hidden(x)))
    assert (model.embedding_dim, model.dropout.p) == (8, 0.25)
    assert build_model(own_model(by_shape), (6,), 3).dropout.p == 0.0
    again = [build_model(own_model(net), (6,), 3).head.weight for _ in range(2)]
    assert torch.equal(*again) and again[0] is not net.out.weight


def test_a_linear_layer_alone_is_a_network(blob_data, small):
    width = blob_data.x_train.shape[1]
    alone, wrapped = (
        run("margin", blob_data, model=factory, **small)
        for factory in (lambda: nn.Linear(width, 3), lambda: nn.Sequential(nn.Linear(width, 3)))
    )
    assert alone.accuracy == wrapped.accuracy > 0.5


def test_a_named_embedding_of_a_sequence():
    net = by_shape((6,), 3)
    net.embedding_layer = "1"
    model = build_model(own_model(net), (6,), 3).eval()
    x = torch.randn(5, 6)
    assert torch.equal(model.features(x), net[:2](x)) and torch.equal(model(x), net(x))
    net.embedding_layer = "3"
    with pytest.raises(InputError, match=r"embedding_layer is '3'; it must name a part .* not the last \(0, 1, 2\)"):
        build_model(own_model(net), (6,), 3)


@pytest.mark.parametrize("model", [Net, by_shape, Net(), lambda: Net(width=4), LogisticRegression(C=2), GaussianNB,
                                   make_pipeline(StandardScaler(), DecisionTreeClassifier())])  # fmt: skip
def test_runs_are_recorded_resumed_and_reproduced(model, blob_data, small, tmp_path):
    first = run("margin", blob_data, model=model, out=tmp_path / "run", **small)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["model"]["given"] and recorded["model"]["code"] and recorded["settings"]["model"] is None
    resumed = run("margin", blob_data, model=model, out=tmp_path / "run", resume=True, rounds=2)
    whole = run("margin", blob_data, model=model, **small | {"rounds": 2})
    assert [item["queried"] for item in resumed.rounds] == [item["queried"] for item in whole.rounds]
    assert [item["accuracy"] for item in resumed.rounds] == [item["accuracy"] for item in whole.rounds]
    assert first.rounds[0]["accuracy"] == whole.rounds[0]["accuracy"]
    predictor = load_model(tmp_path / "run", model=model)
    assert np.mean(predictor.predict(blob_data.x_test) == blob_data.y_test) == resumed.accuracy
    with pytest.raises(RunFolderError, match="pass model="):
        load_model(tmp_path / "run")
    for other in (LogisticRegression(C=100), Net(width=9)):
        with pytest.raises(InputError, match="is of another model than the given"):
            load_model(tmp_path / "run", model=other)
    with pytest.raises(InputError, match=r"with a model created in Python, .* run\(model=\.\.\., out"):
        run("margin", blob_data, out=tmp_path / "run", resume=True, rounds=3)
    other = LogisticRegression(C=3)
    with pytest.raises(RunFolderError, match=r"model\.code was"):
        run("margin", blob_data, model=other, out=tmp_path / "run", resume=True, rounds=3)


def test_a_classifier_is_what_scikit_learn_fits(blob_data):
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model=LogisticRegression(C=2), scaling="none")
    rows = np.array([0, 1, 3, 4, 6, 7])  # classes 0 and 1
    learner.tell(rows, blob_data.y_train[rows])
    expected = LogisticRegression(C=2).fit(blob_data.x_train[rows], blob_data.y_train[rows])
    found = learner.predict_proba(blob_data.x_test)
    assert np.allclose(found[:, :2], expected.predict_proba(blob_data.x_test), atol=1e-6) and (found[:, 2] < 1e-9).all()
    assert len(set(learner.ask(5).tolist())) == 5


def test_weights_are_those_of_their_classes(blob_data):
    weights = {0: 1.0, 1: 5.0, 2: 50.0}
    x, rows = blob_data.x_train, np.flatnonzero(blob_data.y_train != 1)[:20]
    labels = blob_data.y_train[rows]
    for model in (LogisticRegression(class_weight=weights), make_pipeline(LogisticRegression(class_weight=weights))):
        learner = ActiveLearner(x, "margin", 3, model=model, scaling="none")
        learner.tell(rows, labels)
        expected = LogisticRegression(class_weight={0: 1.0, 2: 50.0}).fit(x[rows], labels).predict_proba(x)
        assert np.allclose(learner.predict_proba(x)[:, [0, 2]], expected, atol=1e-6)
    learner = ActiveLearner(x, "margin", 3, model=LogisticRegression(class_weight={0: 1.0, "2": 3.0}))
    learner.tell(rows, labels)
    with pytest.raises(Exception, match="class_weight"):
        learner.fit()


def test_a_single_class_and_saving(blob_data, tmp_path):
    learner = ActiveLearner(blob_data.x_train, "entropy", 3, model=GaussianNB())
    learner.tell([1, 4], [1, 1])
    assert set(learner.predict(blob_data.x_test)) == {1} and len(learner.ask(3)) == 3
    learner.tell([0, 2], [0, 2])
    asked = learner.ask(3)
    learner.save(tmp_path / "learner.pt")
    restored = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, model=GaussianNB())
    assert np.array_equal(restored.predict_proba(blob_data.x_test), learner.predict_proba(blob_data.x_test))
    assert restored.ask(3).tolist() == asked.tolist()
    for model, message in (
        (None, "pass model="),
        (GaussianNB(var_smoothing=0.1), "of another model"),
        (Net, "another"),
    ):
        with pytest.raises(InputError, match=message):
            ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, model=model)


@pytest.mark.parametrize(("strategy", "model", "message"), [
    ("bald", LogisticRegression(), "requires mc_dropout, but the model 'LogisticRegression' has no dropout"),
    ("bald", by_shape, "requires mc_dropout, but the model 'by_shape' has no dropout"),
    ("alfamix", GaussianNB(), "requires differentiable, but the model 'GaussianNB' has no gradients"),
])  # fmt: skip
def test_what_a_model_lacks_is_said_before_training(strategy, model, message, blob_data, small):
    with pytest.raises(InputError, match=message):
        run(strategy, blob_data, model=model, on_round=lambda *given: pytest.fail("trained"), **small)


def test_strategies_on_own_models(blob_data, image_data, small):
    for strategy, model in (("badge", Net), ("coreset", LogisticRegression()), ("ensvarr", LogisticRegression()),
                            ("bald", Net), ("waal", Net)):  # fmt: skip
        assert len(run(strategy, blob_data, model=model, **small).rounds) == 2
    assert run("margin", image_data, model=convolutions, **small).config["model"]["embedding_dim"] == 4


class Other(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.softmax = nn.Softmax(dim=1)
        self.what = what

    def forward(self, x):
        return {"softmax": self.softmax, "double": lambda y: y * 2, "dict": lambda y: {"logits": y}}[self.what](
            self.layer(x)
        )


@pytest.mark.parametrize(("model", "message"), [
    (3, r"model is 3 of type int; give a name such as 'cnn', where one is defined, as 'file.py:Net'"),
    (LinearSVC(), "LinearSVC has no predict_proba"), (RidgeClassifier, "RidgeClassifier has no predict_proba"),
    (Net(n_features=5), r"cannot take inputs \(n, 6\)"), (Net(n_classes=4), r"returns shape \(1, 4\) for one input"),
    (Other("softmax"), "ends in Softmax: leave it out"), (Other("double"), "does not end in an nn.Linear"),
    (Other("dict"), "returns dict for one input"), (lambda a, b, c: Net(), "takes a, b, c: let it take input_shape"),
    (lambda hidden, depth: Net(), "takes hidden, depth: let it"),
    (lambda n_classes, n_features: Net(), "takes n_features: let it"),
    (lambda: 3, "returned int; return a torch.nn.Module"),
])  # fmt: skip
def test_what_cannot_be_a_model(model, message, blob_data, small):
    with pytest.raises(InputError, match=message):
        run("margin", blob_data, model=model, **small)


FILE = """
from torch import nn

def net(input_shape, n_classes, width: int = 8):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, n_classes))
"""
RUN = ["--epochs", 2, "--initial", 12, "--batch-size", 6, "--rounds", 1, "--threads", 1, "--quiet"]


def test_on_the_command_line(deepal, blob_file, blob_data, tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(FILE)
    status, _, err = deepal("run", "--dataset", blob_file, "--model", "nets.py:net[width=5]", "--out", "run", *RUN)
    assert status == 0, err
    found = json.loads((tmp_path / "run" / "config.json").read_text())["model"]
    assert (found["name"], found["options"], found["embedding_dim"]) == (f"{tmp_path}/nets.py:net", {"width": 5}, 5)
    status, _, err = deepal("benchmark", "--strategies", "margin", "--datasets", blob_file, "--seeds", 1, "--models",
                            "nets.py:net,sklearn.naive_bayes:GaussianNB", "--out", "study", *RUN)  # fmt: skip
    assert status == 0, err
    assert {path.name for path in (tmp_path / "study").iterdir() if path.is_dir() and path.name[0] != "."} == {
        "blobs-net", "blobs-GaussianNB"}  # fmt: skip
    monkeypatch.chdir("/")
    assert deepal("run", "--resume", "--out", tmp_path / "run", "--rounds", 2, "--quiet")[0] == 0
    assert load_model(tmp_path / "run").predict(blob_data.x_test).shape == (60,)
    status, _, err = deepal("run", "--dataset", blob_file, "--model", f"{tmp_path}/nets.py:nett", *RUN)
    assert status == 2 and "has no nett; it defines net" in err


def test_a_benchmark_takes_them_by_where_they_are_defined(blob_file, tmp_path, small):
    with pytest.raises(InputError, match="model is a LogisticRegression: a benchmark takes names, and models by where"):
        run_benchmark("margin", [blob_file], 1, tmp_path / "study", model=LogisticRegression())
    with pytest.raises(InputError, match="model is Net, an object: a benchmark takes names"):
        run_benchmark("margin", [blob_file], 1, tmp_path / "study", model=Net)


def test_a_net_of_skorch(blob_data, small):
    skorch = pytest.importorskip("skorch")
    net = skorch.NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, train_split=None,
                                     predict_nonlinearity="auto")  # fmt: skip
    one, other = (run("margin", blob_data, model=net, **small) for _ in range(2))
    assert [item["queried"] for item in one.rounds] == [item["queried"] for item in other.rounds]


class Wide(nn.Module):
    """A network for three classes that a net of skorch wraps."""

    def __init__(self, shape=(6,)):
        super().__init__()
        self.parts = nn.Sequential(nn.Unflatten(1, shape), nn.Flatten(), nn.Linear(int(np.prod(shape)), 3))

    def forward(self, x):
        return self.parts(x)


class Loss(nn.CrossEntropyLoss):
    """Keeps the weights that were used last."""

    def __init__(self, weight=None):
        super().__init__(weight)

    def forward(self, logits, labels):
        Loss.weights = self.weight
        return super().forward(logits, labels)


def net_of_skorch(**changes):
    skorch = pytest.importorskip("skorch")
    settings = {"criterion": nn.CrossEntropyLoss, "max_epochs": 20, "lr": 0.1, "verbose": 0, "train_split": None}
    return skorch.NeuralNetClassifier(Wide, **settings | changes)


def test_a_net_of_skorch_leaves_the_global_generators_alone(blob_data, small, caplog):
    run("margin", blob_data, model=net_of_skorch(), **small)
    assert not caplog.records


@pytest.mark.parametrize("criterion", [
    lambda weight: {"criterion": Loss, "criterion__weight": weight}, lambda weight: {"criterion": Loss(weight)},
])  # fmt: skip
def test_a_net_of_skorch_has_outputs_for_classes_without_labels(blob_data, criterion):
    weight = torch.tensor([1.0, 100.0, 5.0])
    net = net_of_skorch(**criterion(weight))
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model=net)
    rows = np.flatnonzero(blob_data.y_train != 1)[:20]
    learner.tell(rows, blob_data.y_train[rows])
    found = learner.predict_proba(blob_data.x_test)
    assert (found[:, 1] < 1e-9).all() and np.allclose(found.sum(axis=1), 1, atol=1e-5)
    known = blob_data.y_test != 1
    assert (found.argmax(axis=1) == blob_data.y_test)[known].mean() > 0.9
    assert Loss.weights.tolist() == [1.0, 5.0, 100.0]  # of classes 0, 2 and 1
    assert getattr(net.criterion, "weight", weight).tolist() == [1.0, 100.0, 5.0]


@pytest.mark.parametrize(("changes", "kind", "message"), [
    ({"train_split": "default"}, InputError, "each class; with few labels, hold out none of them: train_split=None"),
    ({"predict_nonlinearity": None}, QueryError, "not probabilities .* criterion=nn.CrossEntropyLoss"),
    ({"module__shape": (7,)}, QueryError, "failed in training: RuntimeError"),
])  # fmt: skip
def test_what_a_net_of_skorch_needs(blob_data, small, changes, kind, message):
    net = net_of_skorch(**changes)
    if changes.get("train_split"):
        net.set_params(train_split=type(net)(Wide).train_split)
    with pytest.raises(kind, match=message):
        run("margin", blob_data, model=net, **small | {"initial": 6})


def test_a_net_of_skorch_gets_images_flattened():
    images = np.random.default_rng(0).integers(0, 255, (30, 4, 5), dtype=np.uint8)
    labels = np.arange(30) % 3
    settings = {"initial": 9, "batch_size": 3, "rounds": 1}
    run("margin", (images, labels), model=net_of_skorch(module__shape=(1, 4, 5)), **settings)
    with pytest.raises(InputError, match=r"flattened, \(n, 20\): let it begin with nn.Unflatten\(1, \(1, 4, 5\)\)"):
        run("margin", (images, labels), model=net_of_skorch(), **settings)


@pytest.mark.parametrize("columns", [["age"], "age", slice("age", None), make_column_selector()])
def test_pipelines_that_choose_columns_of_a_frame_are_refused_before_training(columns):
    frame = pandas.DataFrame({"age": np.arange(30.0), "city": ["a", "b", "c"] * 10, "label": [0, 1] * 15})
    model = make_pipeline(ColumnTransformer([("a", StandardScaler(), columns)]), LogisticRegression())
    with pytest.raises(InputError, match=r"chooses columns by name, .* \(columns.fit_transform\(X\), y\)"):
        run("margin", frame, model=model, initial=5, batch_size=2, rounds=1)


@pytest.mark.parametrize("columns", [[0], slice(1), lambda x: [0]])
def test_pipelines_may_choose_columns_by_number(blob_data, small, columns):
    model = make_pipeline(ColumnTransformer([("a", StandardScaler(), columns)]), LogisticRegression())
    assert len(run("margin", blob_data, model=model, **small).rounds) == small["rounds"] + 1
