"""Learners whose pool is given with its labels."""

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import TensorDataset

from deepal_autoal import ActiveLearner, InputError

RNG = np.random.default_rng(2)
X = RNG.normal(size=(90, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
NAMES = np.array(["no", "yes"])[Y]
FRAME = pandas.DataFrame(X, columns=list("abcd")).assign(
    found=NAMES, id=range(90), split=["train"] * 60 + ["test"] * 30
)  # fmt: skip


class Pairs(TensorDataset):
    classes = ("10", "20")


def learned(pool, strategy="margin", rounds=3, **changes):
    learner = ActiveLearner(pool, strategy, **{"model": "linear", **changes})
    for _ in range(rounds):
        learner.tell(learner.ask(8))
    return learner


@pytest.mark.parametrize(("pool", "changes", "predicted"), [
    ((X, Y), {}, Y),
    ((X, Y), {"n_classes": 2}, Y),
    ((X, Y.tolist()), {"class_names": ["no", "yes"]}, NAMES),
    ((X, NAMES), {}, NAMES),
    ((X, Y * 3 + 2), {}, (Y * 3 + 2).astype(str)),
    ((pandas.DataFrame(X), pandas.Series(NAMES)), {}, NAMES),
    (FRAME.drop(columns=["split"]), {"target": "found"}, NAMES),
    (TensorDataset(torch.tensor(X), torch.tensor(Y)), {}, Y),
    (Pairs(torch.tensor(X), torch.tensor(Y)), {}, Y * 10 + 10),
    ((X, Y, X[:20], Y[:20]), {}, Y),
])  # fmt: skip
def test_tell_knows_the_labels(pool, changes, predicted):
    learner = learned(pool, **changes)
    assert learner.n_classes == 2 and len(learner.labels) == 24
    assert np.array_equal(learner.labels, Y[learner.labeled_indices])
    samples = FRAME.drop(columns=["split"]) if isinstance(pool, pandas.DataFrame) else X
    found = learner.predict(samples)
    assert (found == np.asarray(predicted).astype(found.dtype)).mean() > 0.9
    assert learner.score(samples, predicted) == (found == np.asarray(predicted).astype(found.dtype)).mean()


def test_it_learns_what_a_learner_that_is_told_learns():
    told = ActiveLearner(X, "margin", class_names=["no", "yes"], model="linear")
    for _ in range(3):
        asked = told.ask(8)
        told.tell(asked, NAMES[asked])
    known = learned((X, NAMES))
    assert np.array_equal(known.labeled_indices, told.labeled_indices)
    assert np.array_equal(known.predict_proba(X), told.predict_proba(X))


def test_the_test_part():
    for learner in (learned((X[:60], Y[:60], X[60:], Y[60:])), learned(FRAME, target="found")):
        assert len(learner.unlabeled_indices) == 36
        assert learner.score() == (learner.predict_proba(X[60:]).argmax(axis=1) == Y[60:]).mean() > 0.8
    with pytest.raises(InputError, match="without a test part"):
        learned((X, Y)).score()
    with pytest.raises(InputError, match="give samples and their labels"):
        learner.score(X)
    with pytest.raises(InputError, match="90 samples, but labels of shape"):
        learned((X, Y)).score(X, Y[:3])


@pytest.mark.parametrize(("pool", "changes"), [
    ((X, Y), {}), ((X, Y * 3 + 2), {}), ((X, NAMES), {}), (FRAME, {"target": "found"}),
    (Pairs(torch.tensor(X), torch.tensor(Y)), {}),
])  # fmt: skip
def test_it_is_loaded_with_the_same_pool(tmp_path, pool, changes):
    learner = learned(pool, rounds=2, **changes)
    learner.save(tmp_path / "saved")
    again = ActiveLearner.load(tmp_path / "saved", pool, **changes)
    for one in (learner, again):
        one.tell(one.ask(5))
    assert np.array_equal(again.labels, learner.labels)
    assert np.array_equal(again.labeled_indices, learner.labeled_indices)


@pytest.mark.parametrize(("pool", "changes", "message"), [
    ((X, Y[:5]), {}, "pool: X has 90 samples, but there are 5 labels"),
    ((X, Y, X[:5], Y[:4]), {}, "pool: X_test has 5 samples, but there are 4 labels"),
    ((X, Y - 1), {}, "pool: y: label -1 in row .* is negative"),
    ((X, Y * 2), {"n_classes": 2}, r"pool: y: label 2 in row .* is none of 0 to 1"),
    ((X, None), {}, "pool: y is None; give the class of each sample"),
    ((X, NAMES), {"class_names": ["no", "maybe"]}, "pool: y: the label 'yes' is the name of no class"),
    ((X, NAMES), {"n_classes": 3}, "2 different names for 3 classes"),
    ((X, Y, X, Y + 1), {}, "pool: y_test: label 2 in row"),
    ((X, X), {}, r"pool: y has shape \(90, 4\)"),
    (FRAME, {"target": "lost"}, "pool has no column 'lost'"),
    (X, {"n_classes": 2, "target": "y"}, "target='y' names a column of a data frame, and pool is ndarray"),
    ((X, Y), {"recipe": 3}, "recipe is int"),
    ((X, Y), {"validation": (X, Y)}, "validation: give pool indices"),
    ((X, Y), {"n_classes": 10**10}, "n_classes is 10000000000; models of so many classes need more than"),
])  # fmt: skip
def test_what_is_refused(pool, changes, message):
    with pytest.raises(InputError, match=message):
        learned(pool, rounds=0, **changes)


def test_without_labels_tell_needs_them():
    learner = ActiveLearner(X, "margin", 2)
    with pytest.raises(InputError, match="give the labels of these samples too"):
        learner.tell([0, 1])
    known = ActiveLearner((X, Y), "margin")
    for rows in ([0, 90], [-1], [0.5]):
        with pytest.raises(InputError, match="give pool indices from 0 to 89"):
            known.tell(rows)
    assert not len(known.labels)


def test_rows_of_a_tuple_and_labels_that_are_none(caplog):
    assert len(ActiveLearner(((1.0, 2.0), (3.0, 4.0)), "random", 2).unlabeled_indices) == 2
    assert len(ActiveLearner((X[0], X[1], X[2], X[3]), "random", 2).unlabeled_indices) == 4
    # The second part of a dataset's items may be something else, which is no fault of a pool.
    other = TensorDataset(torch.tensor(X), torch.tensor(Y + 5))
    with pytest.raises(InputError, match="give the labels"):
        ActiveLearner(other, "random", 2).tell([0])
    assert not caplog.text
    ActiveLearner(FRAME[["a", "b"]].assign(label=Y), "random", 2)
    assert "column 'label' is taken as a feature; if it holds the labels, give target='label'" in caplog.text
