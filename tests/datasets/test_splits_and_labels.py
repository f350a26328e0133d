from __future__ import annotations

import numpy as np
import pytest

from deepal_autoal.datasets.splits import held_out_split
from deepal_autoal.datasets.user_data.labels import check_written_labels, class_order, encode_integers, encode_names
from deepal_autoal.errors import InputError


@pytest.mark.parametrize(("n", "n_test"), [(2, 1), (4, 1), (10, 2), (1797, 359)])
def test_a_fifth_is_held_out(n: int, n_test: int) -> None:
    train, test = held_out_split(n)
    assert len(test) == n_test
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


def test_the_held_out_rows_never_change() -> None:
    # Runs of different versions are compared on them: a changed stream would make old records incomparable.
    np.random.seed(5)
    first = held_out_split(20)[1]
    np.random.seed(6)
    np.testing.assert_array_equal(held_out_split(20)[1], first)
    np.testing.assert_array_equal(first, PINNED)


PINNED = [1, 3, 11, 15]


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(InputError, match=r"too few samples .*\(1\)"):
        held_out_split(1)


def test_class_order() -> None:
    assert class_order(["10", "2", "1", "2"]) == ("1", "2", "10")
    assert class_order(["10", "2", "b"]) == ("10", "2", "b")
    assert class_order(["9" * 5000, "8"])[0] == "8"


def test_names_are_encoded_by_the_training_classes() -> None:
    train, test, names = encode_names(["10", "9", "10"], ["9"], "data")
    assert names == ("9", "10") and train.tolist() == [1, 0, 1] and test.tolist() == [0]
    assert train.dtype == test.dtype == np.int64
    with pytest.raises(InputError, match=r"data: .*without training samples .*11"):
        encode_names(["10", "9"], ["11"], "data")


def test_integers_are_encoded_with_gaps_closed() -> None:
    train, test, names = encode_integers(np.array([7, 3, 7], np.uint8), np.array([3], np.int64), "data")
    assert names == ("3", "7") and train.tolist() == [1, 0, 1] and test.tolist() == [0]
    with pytest.raises(InputError, match=r"without training samples .*5"):
        encode_integers(np.array([1, 2]), np.array([5]), "data")
    with pytest.raises(InputError, match="label -1 in row 1"):
        encode_integers(np.array([1, -1, 2]), np.array([1]), "data")


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["a", ""], "sample 2 is empty"), (["1", "-1"], "-1 is negative"), (["1", "2.5"], "2.5 is not a class"),
     (["0.1", "0.2"], "is not a class"), (["0.1", "nan"], "sample 2 is 'nan', .* missing"),
     (["cat", "dog", " NA"], "sample 3 is ' NA', .* missing"), (["a", "  "], "sample 2 is empty")],
)  # fmt: skip
def test_text_labels_that_are_not_classes_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_written_labels(labels, "data")


def test_names_with_dots_are_classes() -> None:
    check_written_labels(["v1.0", "2.0"], "data")
    check_written_labels(["cat", "none"], "data")
    check_written_labels(["01", "1"], "data")
