"""What a form of data must not depend on: cells, other rows, the order of columns, the way numbers are written."""

import numpy as np
import pandas
import pytest

from deepal_autoal import ActiveLearner, InputError
from deepal_autoal.datasets.user_data.given_data import dataset_of
from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import raw_samples
from deepal_autoal.training.scaling import resolve_scaling

N = 40
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, 3)) * [1, 5, 100] + [0, 50, 0]
Y = np.arange(N) % 2
FRAME = pandas.DataFrame(X, columns=["a", "b", "c"])
HOLED = FRAME.mask(X > 120)


def prepared(pool, new):
    return Preparation(raw_samples(pool, "pool"), "pool").transform(raw_samples(new, "new"))


class TestColumns:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
    def test_a_frame_of_numbers_is_as_the_plain_array(self, dtype):
        frame, array = dataset_of((FRAME.astype(dtype), Y)), dataset_of((X.astype(dtype), Y))
        assert frame.x_train.dtype == array.x_train.dtype and np.array_equal(frame.x_train, array.x_train)
        assert np.array_equal(frame.x_test, array.x_test)
        scalings = [resolve_scaling("auto", data.x_train, data.is_embeddings) for data in (frame, array)]
        assert scalings[0] == scalings[1]

    def test_columns_are_matched_by_name(self):
        data = dataset_of((FRAME, Y, FRAME[["c", "a", "b"]], Y))
        assert np.array_equal(data.x_test, X)
        for new, message in (
            (FRAME.rename(columns={"a": "z"}), "the column 'a' is missing and the column 'z' is additional"),
            (FRAME.assign(y=1, z=2), "the columns 'y', 'z' are additional"),
            (X[:, :2], "have 2 columns, the pool has 3"),
        ):
            with pytest.raises(InputError, match=message):
                prepared(FRAME, new)
        assert np.array_equal(prepared(FRAME, X), X) and np.array_equal(prepared(X, FRAME), X)

    def test_missing_values_on_one_side_only(self):
        assert HOLED.isna().any().tolist() == [False, False, True]
        whole = prepared(HOLED, FRAME)
        assert np.array_equal(whole[:, :3], X) and not whole[:, 3].any()
        filled = prepared(FRAME, HOLED)
        assert np.array_equal(filled, FRAME.mask(X > 120, FRAME.median(), axis=1).to_numpy())

    def test_a_learner_predicts_other_rows_of_its_frame(self):
        learner = ActiveLearner(HOLED, "random", 2, model="linear", recipe={"epochs": 2, "min_steps": 1})
        learner.tell(np.arange(20), Y[:20])
        assert learner.predict(FRAME[["b", "c", "a"]]).tolist() == learner.predict(FRAME).tolist()

    def test_arrays_take_the_pools_type(self):
        integers = (X * 10).astype(int)
        assert ActiveLearner(integers, "random", 2).forms.samples.dtype == np.float32
        assert dataset_of((integers, Y, X, Y)).x_test.dtype == np.float32
        assert dataset_of((X, Y, X.astype("float32"), Y)).x_test.dtype == np.float64
