"""Runs and learners on data frames, texts, sparse matrices and tables in files."""

import json

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch

from deepal_autoal import ActiveLearner, InputError, RunFolderError, run
from deepal_autoal.benchmark import run_benchmark
from tests.datasets.test_given_data import N, X, Y, frame

RECIPE = {"epochs": 2, "min_steps": 1}


@pytest.fixture
def small(quick):
    return quick | {"rounds": 1, "initial": 8, "batch_size": 4}


def test_a_run_on_a_frame_is_recorded_and_resumed(small, tmp_path):
    result = run("margin", frame(), target="kind", out=tmp_path, **small)
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["dataset"]["class_names"] == ["cat", "dog", "emu"]
    assert "median" in recorded["dataset"]["preparation"]["size"] and recorded["settings"]["target"] == "kind"
    again = run("margin", frame(), target="kind", out=tmp_path, resume=True, rounds=2)
    assert again.rounds[0] == result.rounds[0] and len(again.rounds) == 3


@pytest.mark.parametrize("dataset", [
    (X, Y), (X.astype(np.float32), Y, X, Y), (scipy.sparse.csr_matrix(X), Y),
    ([f"the {name} says hello {number % 4}" for number, name in enumerate(Y)], Y),
])  # fmt: skip
def test_runs_on_pairs(small, dataset):
    if len(dataset) == 4:
        dataset = (*dataset[:2], dataset[2].astype(np.float32), dataset[3])
    assert len(run("margin", dataset, **small).rounds) == 2


def test_anything_else_shows_the_forms(small):
    with pytest.raises(InputError, match=r"the dataset is object; give a registered name or a path; \(X, y\) or"):
        run("margin", object(), **small)


RUN = ["--model", "linear", "--epochs", 2, "--initial", 8, "--batch-size", 4, "--rounds", 1, "--threads", 1, "--quiet"]


def test_tables_in_files(deepal, tmp_path):
    table = frame()
    table.insert(0, "id", [f"s{i}" for i in range(N)])
    table.to_csv("animals.csv", index=False)
    status, _, err = deepal("run", "--dataset", "animals.csv", "--target", "kind", "--out", "run", *RUN)
    assert status == 0, err
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert list(recorded["dataset"]["preparation"]) == ["fitted on", "size", "count", "color", "is_old", "notes"]
    assert recorded["dataset"]["source"]["labels"] == "kind"
    assert (tmp_path / "run" / "queried.csv").read_text().splitlines()[1].split(",")[2].startswith("s")
    assert deepal("run", "--resume", "--out", "run", "--rounds", 2, "--quiet")[0] == 0
    status, _, err = deepal("benchmark", "--strategies", "margin", "--datasets", "animals.csv", "--target", "kind",
                            "--seeds", 1, "--out", "study", *RUN)  # fmt: skip
    assert status == 0, err
    assert deepal("run", "--dataset", "animals.csv", *RUN)[0] == 2
    status, _, err = deepal("run", "--dataset", "digits", "--target", "kind", *RUN)
    assert status == 2 and "digits is no table of features" in err


def test_a_split_column_and_the_names_of_image_files(deepal, tmp_path):
    pandas.DataFrame(X, columns=list("abcd")).assign(label=Y, split=["train"] * 50 + ["test"] * 10).to_csv("x.csv")
    status, _, err = deepal("run", "--dataset", "x.csv", *RUN)
    assert status == 2 and "a column has no name" in err
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "x.csv").write_text("id" + text)
    assert deepal("run", "--dataset", "x.csv", "--out", "run", *RUN)[0] == 0
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]
    assert (recorded["n_train"], recorded["n_test"], recorded["source"]["test split"]) == (50, 10, "given")
    (tmp_path / "y.csv").write_text("file,label\na.png,cat\nb.png,dog\n")
    status, _, err = deepal("run", "--dataset", "y.csv", *RUN)
    assert status == 2 and "path,label" in err


def test_parquet(deepal, tmp_path):
    pytest.importorskip("pyarrow")
    frame().to_parquet("animals.parquet")
    status, _, err = deepal("run", "--dataset", "animals.parquet", "--target", "kind", "--out", "run", *RUN)
    assert status == 0, err
    frame().to_csv("animals.csv", index=False)
    assert deepal("run", "--dataset", "animals.csv", "--target", "kind", "--out", "other", *RUN)[0] == 0
    one, other = (json.loads((tmp_path / name / "config.json").read_text())["dataset"] for name in ("run", "other"))
    assert one["fingerprint"] == other["fingerprint"]


@pytest.mark.parametrize("names", [[1, 2, 3], ["1", "2", "3"], np.array([1, 2, 3])])
def test_whole_numbers_as_names_are_not_positions(names, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 2)) + 5 * np.arange(30)[:, None] % 15
    learner = ActiveLearner(x, "margin", class_names=names, model="linear", validation=([27, 28, 29], [3, 1, 2]))
    learner.tell([0, 1, 2], np.array([1, 2, 3]))
    learner.tell([3, 4, 5], torch.tensor([1, 2, 3]))
    learner.tell([6, 7, 8], ["1", "2", "3"])
    assert learner.labels.tolist() == [0, 1, 2] * 3 and set(learner.predict(x)) == {"1", "2", "3"}
    for label in (0, 4, 1.0, True):
        with pytest.raises(InputError, match=f"the label {label} is the name of no class; the names are 1, 2, 3"):
            learner.tell([9], [label])
    learner.save(tmp_path / "learner.pt")
    restored = ActiveLearner.load(tmp_path / "learner.pt", x)
    for one in (learner, restored):
        assert one.labels.tolist() == [0, 1, 2] * 3 and one._validation.labels.tolist() == [2, 0, 1]
    positions = ActiveLearner(x, "margin", class_names=["1", "b", "3"], model="linear")
    positions.tell([0, 1], [0, 2])
    assert positions.labels.tolist() == [0, 2]


def test_a_learner_on_a_frame_with_class_names(tmp_path):
    pool = frame().drop(columns=["kind"])
    learner = ActiveLearner(pool, "margin", class_names=["cat", "dog", "emu"], model="linear", recipe=RECIPE)
    first = learner.ask(6)
    learner.tell(first, Y[first])
    predicted = learner.predict(pool.iloc[:5])
    assert predicted.tolist() == learner.predict(pool)[:5].tolist() and set(predicted) <= set(Y)
    assert "median" in learner.forms.preparation["size"]
    learner.save(tmp_path / "learner.pt")
    restored = ActiveLearner.load(tmp_path / "learner.pt", pool)
    assert restored.predict(pool.iloc[:5]).tolist() == predicted.tolist()
    assert restored.ask(3).tolist() == learner.ask(3).tolist()
    with pytest.raises(InputError, match="the label 'fox' is the name of no class; the names are cat, dog, emu"):
        learner.tell(learner.ask(1), ["fox"])
    with pytest.raises(InputError, match="the column 'size' is missing"):
        learner.predict(pool.drop(columns=["size"]))


def test_a_learner_on_texts_and_a_sparse_matrix():
    texts = [f"the {name} says hello {number % 4}" for number, name in enumerate(Y)]
    for pool in (texts, scipy.sparse.csr_matrix(X)):
        learner = ActiveLearner(pool, "margin", 3, model="linear", recipe=RECIPE)
        learner.tell([0, 1, 2, 3, 4, 5], [0, 1, 2, 0, 1, 2])
        assert learner.predict(pool[:4]).shape == (4,) and learner.ask(2).shape == (2,)
    with pytest.raises(InputError, match="give n_classes"):
        ActiveLearner(texts, "margin")


def test_a_benchmark_keeps_what_is_given_as_an_object(small, tmp_path):
    data = {"pairs": (X, Y), "animals": frame(), "texts": ([f"{name} {number}" for number, name in enumerate(Y)], Y)}
    settings = {"seeds": 1, "out": tmp_path, "target": "kind"} | {key: small[key] for key in small if key != "seed"}
    assert not run_benchmark("margin", data, **settings).failures
    recorded = json.loads((tmp_path / "animals" / "margin" / "seed-0" / "config.json").read_text())["dataset"]
    alone = run("margin", frame(), target="kind", **small)
    assert recorded["preparation"] == alone.config["dataset"]["preparation"]
    assert recorded["fingerprint"] == alone.config["dataset"]["fingerprint"]
    assert run_benchmark("margin", data, **settings).tables.summary()  # continued
    with pytest.raises(RunFolderError, match=r"pairs.npz holds other data"):
        run_benchmark("margin", {"pairs": (X + 1, Y)}, **settings)
    for given in ((X, Y), frame(), [frame()]):
        with pytest.raises(InputError, match="need labels: write"):
            run_benchmark("margin", given, **settings)
