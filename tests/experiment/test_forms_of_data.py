"""What a form of data must not depend on: cells, other rows, the order of columns, the way numbers are written."""

import types

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from PIL import Image

from deepal_autoal import ActiveLearner, InputError, load_dataset, load_model, run
from deepal_autoal.datasets.user_data.given_data import dataset_of
from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import raw_samples
from deepal_autoal.training.scaling import resolve_scaling
from tests.datasets.test_given_data import Table

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

    def test_the_model_of_a_run_matches_columns_by_name(self, tmp_path):
        settings = {"model": "linear", "recipe": {"epochs": 2, "min_steps": 1}, "rounds": 0, "initial": 8}
        run("random", (FRAME, Y), out=tmp_path / "numbers", progress=False, **settings)
        model = load_model(tmp_path / "numbers")
        assert np.array_equal(model.predict_proba(FRAME[["c", "b", "a"]]), model.predict_proba(X))
        with pytest.raises(InputError, match="the column 'z' is additional"):
            model.predict(FRAME.assign(z=1))
        run("random", (HOLED, Y), out=tmp_path / "holed", progress=False, **settings)
        with pytest.raises(InputError, match="features were made of the column 'c'"):
            load_model(tmp_path / "holed").predict(FRAME)

    def test_the_model_of_a_run_predicts_numbers_and_a_learner_names(self, tmp_path):
        names = np.where(X[:, 2] < 0, "low", "high")
        run("random", (X, names, X, names), model="linear", rounds=0, initial=N, out=tmp_path / "r", progress=False)
        model = load_model(tmp_path / "r")
        numbers = model.predict(X)
        assert numbers.dtype == np.int64 and np.mean(np.array(model.class_names)[numbers] == names) > 0.9
        learner = ActiveLearner((X, names), "random", model="linear")
        learner.tell(np.arange(len(learner.forms.samples)))
        assert np.mean(learner.predict(X) == names) > 0.9

    def test_arrays_take_the_pools_type(self):
        integers = (X * 10).astype(int)
        assert ActiveLearner(integers, "random", 2).forms.samples.dtype == np.float32
        assert dataset_of((integers, Y, X, Y)).x_test.dtype == np.float32
        assert dataset_of((X, Y, X.astype("float32"), Y)).x_test.dtype == np.float64

    @pytest.mark.parametrize("values", [[3, 1, 2, None], [0.5, 2.0, None, 1e20], [True, False, True, None],
                                        pandas.cut([1, 2, 3, 4], 3).tolist(), [2**60, 2**60 + 1, 5, 6]])  # fmt: skip
    def test_columns_of_categories_are_categories_whatever_their_values(self, values):
        pool = pandas.DataFrame({"c": pandas.Categorical(values), "b": 1})
        features = prepared(pool, pool)
        assert features.shape == (4, len(set(values)) + 1)
        assert len(np.unique(features, axis=0)) == len(set(values))

    @pytest.mark.parametrize("values", [["K1A", 1234567, 7654321, 1.5], ["x", 1.0, 2, True], ["x", 1, 2.0, 1e-7]])
    def test_a_categorys_text_does_not_depend_on_other_rows(self, values):
        pool = pandas.DataFrame({"c": values})
        whole = prepared(pool, pool)
        assert whole.tolist() == [prepared(pool, pool.iloc[[row]].infer_objects())[0].tolist() for row in range(4)]
        assert whole.any(axis=1).all()


class TestLabels:
    @pytest.mark.parametrize("of", [np.array, list, pandas.Series, lambda y: pandas.Series(y, dtype="Int64")])
    def test_large_integers_stay_distinct(self, of):
        large = [2**60, 2**60 + 1, 2**53 + 1, 2**53] * 10
        assert dataset_of((X, of(large))).class_names == tuple(map(str, sorted(set(large))))

    @pytest.mark.parametrize(("labels", "message"), [
        (np.ma.masked_array(Y, Y > 0), "y is a masked array with 20 masked values"),
        (np.ma.masked_array(Y.astype(str), Y > 0), "y is a masked array with 20 masked values"),
        (np.full(N, 2**64 - 1, np.uint64), "label 18446744073709551615 is too large for a class number"),
        (np.full(N, 1e30), r"label 1e\+30 is too large"),
        (np.full(N, np.inf), "inf is not a class"),
        (scipy.sparse.csr_matrix(Y[:, None]), "y is a sparse csr_matrix; give a dense array"),
        ([10**400] * N, "label 1000000"), (np.full(N, "2020-01-01", "datetime64[ns]"), "y holds datetime64"),
        (np.full(N, -3), "label -3 in row 0 is negative"),
    ])  # fmt: skip
    def test_what_is_no_class(self, labels, message):
        with pytest.raises(InputError, match=message):
            dataset_of((X, labels))

    @pytest.mark.parametrize(("written", "names"), [
        (["01", "1", "10"], ("01", "1", "10")), (["10", "2", "x"], ("10", "2", "x")),
        (["10", "2", "0"], ("0", "2", "10")), (["1.0", "0.0"], ("0", "1")),
        (["1_0", "10"], ("10", "1_0")), ([str(2**53), str(2**53 + 1)], (str(2**53), str(2**53 + 1))),
        ([str(10**30), str(10**30 + 1)], (str(10**30), str(10**30 + 1))),
    ])  # fmt: skip
    def test_labels_in_files_are_as_they_are_written(self, tmp_path, written, names):
        assert read_table(tmp_path, {"label": [written[row % len(written)] for row in range(N)]}).class_names == names

    def test_a_number_with_an_exponent_is_no_class(self, tmp_path):
        with pytest.raises(InputError, match="label 1e1 is not a class"):
            read_table(tmp_path, {"label": ["1e1", "10"] * (N // 2)})


def read_table(folder, columns):
    pandas.DataFrame({"a": X[:, 0], **columns}).to_csv(folder / "table.csv", index=False)
    return load_dataset(folder / "table.csv")


class Items(torch.utils.data.Dataset):
    def __init__(self, samples, labels=Y, classes=None):
        self.samples, self.labels = samples, labels
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, row):
        return self.samples[row], self.labels[row]


IMAGES = RNG.integers(0, 256, (N, 8, 6, 3), dtype=np.uint8)


class TestItems:
    def test_class_names_are_matched(self):
        train, test = Items(X, Y + 1, ["a", "b", "c"]), Items(X, Y, ["b", "c"])
        data = dataset_of((train, test))
        assert data.class_names == ("a", "b", "c") and np.array_equal(data.y_test, Y + 1)
        for labels, classes, message in (
            (Y, ["b", "x"], "samples of class 'x', which is none of the training part's"),
            (Y + 1, ["b", "c"], "label 2 of the test part is the number of none of its 2 classes"),
        ):
            with pytest.raises(InputError, match=message):
                dataset_of((train, Items(X, labels, classes)))
        assert dataset_of((train, Items(X, Y, ["b", "c", "unused"]))).n_classes == 3

    def test_class_names_of_hugging_face_parts_are_matched(self):
        def part(names, numbers):
            label = types.SimpleNamespace(names=names)
            columns = {"text": [f"word {row}" for row in range(len(numbers))], "label": numbers}
            return Table(columns, {"text": types.SimpleNamespace(), "label": label})

        numbers = [0, 1] * 30
        data = dataset_of({"train": part(["a", "b"], numbers), "test": part(["b", "a"], numbers)})
        assert data.y_train.tolist() == numbers and data.y_test.tolist() == [1, 0] * 30
        with pytest.raises(InputError, match="samples of class 'c', which is none"):
            dataset_of({"train": part(["a", "b"], numbers), "test": part(["c", "a"], numbers)})

    @pytest.mark.parametrize("form", [np.asarray, lambda image: image.transpose(2, 0, 1), lambda image: image / 255])
    def test_arrays_with_channels_first_or_last(self, form):
        assert np.array_equal(dataset_of((Items(list(map(form, IMAGES))),) * 2).x_train, IMAGES)

    @pytest.mark.parametrize("shape", [(3, 8, 3), (8, 6, 5), (4, 4, 1)])
    def test_arrays_whose_channels_are_not_clear(self, shape):
        with pytest.raises(InputError, match="channels may be the first or the last axis"):
            dataset_of(Items(np.zeros((N, *shape), np.uint8)))

    @pytest.mark.parametrize(("mode", "read"), [
        ("P", "RGB"), ("RGBA", "RGB"), ("CMYK", "RGB"), ("HSV", "RGB"), ("LA", "L"), ("1", "L"), ("L", "L"),
    ])  # fmt: skip
    def test_pil_images_are_read_as_files_are(self, mode, read):
        images = [Image.fromarray(image).convert(mode) for image in IMAGES]
        expected = np.array([np.asarray(image.convert(read)).reshape(8, 6, -1) for image in images])
        assert np.array_equal(dataset_of((Items(images),) * 2).x_train, expected)

    def test_pil_images_of_more_bits(self):
        with pytest.raises(InputError, match="mode I;16, which has more than 8 bits"):
            dataset_of(Items([Image.new("I;16", (4, 4))] * N))

    @pytest.mark.parametrize("seed", range(5))
    def test_rare_random_augmentation_is_noticed(self, seed):
        generator = np.random.default_rng(seed)

        class Flipped(Items):
            def __getitem__(self, row):
                image = self.samples[row]
                return torch.tensor(image[:, ::-1].copy() if generator.random() < 0.5 else image).permute(2, 0, 1), 0

        with pytest.raises(InputError, match="leave out random augmentation"):
            dataset_of(Flipped(IMAGES))

    def test_labels_of_several_values(self):
        with pytest.raises(InputError, match=r"item 0: its label has shape \(2,\); give one class a sample"):
            dataset_of(Items(X, torch.eye(2)[Y]))


class TestTables:
    @pytest.mark.parametrize("names", [("id", "split"), ("Id", "Split"), ("ID", "SPLIT")])
    def test_names_and_splits_of_samples(self, tmp_path, names):
        table = FRAME.assign(
            **{names[0]: [f"s{row}" for row in range(N)], names[1]: ["train"] * 30 + ["test"] * 10, "y": Y}
        )
        table.to_csv(tmp_path / "table.csv", index=False)
        for data in (dataset_of(table), load_dataset(tmp_path / "table.csv")):
            assert data.x_train.shape == (30, 3) and data.ids_train[0] == "s0" and data.source["test split"] == "given"
        with pytest.raises(InputError, match="are both 'id'; rename one"):
            dataset_of(table.assign(iD=0))

    @pytest.mark.parametrize("missing", ["NA", "NaN", "?", "", "n/a", " null "])
    def test_a_missing_cell_is_no_category(self, tmp_path, missing):
        data = read_table(tmp_path, {"b": [missing if row == 5 else str(row) for row in range(N)], "label": Y})
        assert data.x_train.shape[1] == 3 and "1 missing ones are" in data.preparation["b"]

    def test_a_text_with_an_underscore_is_no_number(self, tmp_path):
        data = read_table(tmp_path, {"b": ["1_0", "10"] * (N // 2), "label": Y})
        assert data.preparation["b"] == "category; one-hot of 2 values"

    def test_the_column_of_labels(self):
        numbered = pandas.DataFrame(np.c_[X, Y])
        assert dataset_of(numbered, target=3).class_names == ("0", "1")
        with pytest.raises(InputError, match="two columns are called 'y'"):
            dataset_of(pandas.DataFrame(np.c_[X, Y], columns=["a", "b", "y", "y"]), target="y")


@pytest.mark.parametrize(("samples", "message"), [
    (scipy.sparse.coo_array(np.arange(N)), r"X is a sparse array of shape \(40,\)"),
    (scipy.sparse.csr_matrix(np.where(X > 120, np.nan, X)), "X holds NaN, infinite"),
    (pandas.Series(["some words", None] * (N // 2)), r"X holds texts, but .* in row 1"),
    (Table({"text": ["a"] * N}, {"text": None}), "X is a Hugging Face dataset; give its samples alone"),
])  # fmt: skip
def test_samples_that_cannot_be_used(samples, message):
    with pytest.raises(InputError, match=message):
        dataset_of((samples, Y))
    if not isinstance(samples, Table):  # which has labels as well, or is refused for them
        with pytest.raises(InputError, match=message.replace("X ", "pool ")):
            ActiveLearner(samples, "random", 2)


def test_an_array_of_number_objects():
    assert np.array_equal(dataset_of((X.astype(object), Y)).x_train, dataset_of((X, Y)).x_train)
