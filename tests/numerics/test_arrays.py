"""What callers pass as arrays: taken as it is meant, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from deepal_autoal import ActiveLearner, Dataset, InputError, run
from deepal_autoal.numerics.arrays import as_array

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 2
QUICK: dict[str, Any] = {"recipe": {"epochs": 1, "min_steps": 1}, "device": "cpu"}

REFUSED = {
    "scipy matrix": (scipy.sparse.csr_matrix(X), r"sparse csr_matrix; give a dense array: \w+\.toarray\(\)"),
    "scipy array": (scipy.sparse.coo_array(X), r"sparse coo_array; give a dense array"),
    "torch sparse": (torch.tensor(X).to_sparse(), r"tensor that is sparse; give \w+\.to_dense\(\)"),
    "ragged": ([[1.0], [1.0, 2.0]], "is ragged"),
    "bfloat16": (torch.tensor(X).bfloat16(), r"bfloat16.*give \w+\.float\(\)"),
    "gradients": (torch.tensor(X, requires_grad=True), r"carries gradients; give \w+\.detach\(\)"),
    "list of gradients": ([torch.ones(1, requires_grad=True)], "does not convert"),
    "other device": (torch.empty(12, 4, device="meta"), r"tensor on meta; give \w+\.cpu\(\)"),
    "masked": (np.ma.array(X, mask=np.arange(48).reshape(12, 4) == 9), "1 masked values, first in row 2"),
    "objects": (np.array([[None, 1.0]] * 12, dtype=object), "object|integer"),
}


def learner() -> ActiveLearner:
    made = ActiveLearner(X, "margin", 2, **QUICK)
    made.tell(range(4), Y[:4])
    return made


DOORS: dict[str, Callable[[Any], Any]] = {
    "pool": lambda values: ActiveLearner(values, "margin", 2, **QUICK),
    "members": lambda values: ActiveLearner(X, "margin", 2, members=values, **QUICK),
    "tell": lambda values: learner().tell(range(4, 8), values),
    "indices": lambda values: learner().tell(values, Y[:4]),
    "predict": lambda values: learner().predict(values),
    "labels of a dataset": lambda values: Dataset("toy", X, values, X, Y, ("a", "b")),
    "samples of a dataset": lambda values: Dataset("toy", values, Y, X, Y, ("a", "b")),
    "a run's dataset": lambda values: run("random", values),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_is_refused_in_one_line(door: str, kind: str) -> None:
    values, message = REFUSED[kind]
    if not isinstance(values, np.ndarray) and door == "samples of a dataset":
        message = "give a numpy array"
    if door == "a run's dataset":
        message = "data: X has 1 samples" if kind == "ragged" else "the dataset is .*give a registered name or a path"
    if kind.startswith("scipy") and door in ("pool", "predict"):
        pytest.skip("a pool may be sparse: see tests/experiment/test_data_of_any_form.py")
    if kind == "objects" and door == "members":
        message = "distinct pool indices"
    with pytest.raises(InputError, match=message) as caught:
        DOORS[door](values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.matrix(X), np.ma.array(X), torch.tensor(X), X.tolist()])
def test_a_matrix_an_unmasked_array_a_tensor_and_lists_are_taken(values: Any) -> None:
    plain = as_array(values, "x")
    assert type(plain) is np.ndarray
    np.testing.assert_array_equal(plain.astype(np.float32), X)
    if not isinstance(values, list):
        taken = ActiveLearner(values, "margin", 2, **QUICK)
        taken.tell(range(4), Y[:4])
        np.testing.assert_array_equal(taken.predict_proba(values), learner().predict_proba(X))


@pytest.mark.parametrize("values", [np.matrix(X), np.ma.array(X)])
def test_a_dataset_keeps_plain_arrays(values: Any) -> None:
    data = Dataset("toy", values, np.ma.array(Y), X, Y, ("a", "b"))
    assert type(data.x_train) is np.ndarray and type(data.y_train) is np.ndarray
    assert data.fingerprint == Dataset("toy", X, Y, X, Y, ("a", "b")).fingerprint


def test_masked_labels_and_names_are_not_used_unmasked() -> None:
    masked = np.ma.array(Y, mask=Y == 1)
    with pytest.raises(InputError, match="y_test is a masked array with 6 masked values, first in row 1"):
        Dataset("toy", X, Y, X, masked, ("a", "b"))
    ids = np.ma.array([f"{i}" for i in range(12)], mask=Y == 1)
    with pytest.raises(InputError, match="ids_train is a masked array"):
        Dataset("toy", X, Y, X, Y, ("a", "b"), ids_train=ids)
    with pytest.raises(InputError, match="labels is a masked array with 2 masked values"):
        learner().tell(range(4, 8), masked[4:8])
