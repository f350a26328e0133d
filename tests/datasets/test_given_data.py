"""Data given as Python objects: every form, what is made of it, and what is refused."""

import types

import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from deepal_autoal import ActiveLearner, InputError, load_dataset
from deepal_autoal.datasets.splits import held_out_split
from deepal_autoal.datasets.user_data.given_data import dataset_of
from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import raw_samples

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
Y = np.array(["cat", "dog", "emu"])[np.arange(N) % 3]
NUMBERS = np.arange(N) % 3
TRAIN, TEST = held_out_split(N)


def frame(**changes):
    words = ["red", "green", "blue"]
    columns = {
        "size": [None if i % 10 == 3 else float(i % 17) for i in range(N)],
        "count": list(range(N)),
        "color": [None if i % 20 == 5 else words[i % 3] for i in range(N)],
        "is_old": [i % 2 == 0 for i in range(N)],
        "notes": [f"seen {words[i % 3]} number {i} in room {i % 7}" for i in range(N)],
        "kind": Y,
    }
    return pandas.DataFrame(columns | changes)


@pytest.mark.parametrize("given", [
    (X, Y), [X, list(Y)], (X.tolist(), pandas.Series(Y)), (torch.tensor(X), pandas.Categorical(Y)),
    (pandas.DataFrame(X), Y.astype(object)), (X, Y[:, None]),
])  # fmt: skip
def test_samples_and_labels(given):
    data = dataset_of(given)
    assert data.class_names == ("cat", "dog", "emu")
    assert np.array_equal(data.x_train, X[TRAIN]) and np.array_equal(data.x_test, X[TEST])
    assert data.y_train.tolist() == NUMBERS[TRAIN].tolist() and data.rows_train.tolist() == TRAIN.tolist()
    assert "held out" in data.source["test split"]
    assert ("preparation" in data.describe()) == isinstance(given[0], pandas.DataFrame)


def test_a_test_part_is_kept():
    data = dataset_of((X, NUMBERS * 10, X[:7], NUMBERS[:7] * 10))
    assert data.class_names == ("0", "10", "20") and np.array_equal(data.x_test, X[:7])
    assert data.y_test.tolist() == NUMBERS[:7].tolist() and data.source["test split"] == "given"
    whole = dataset_of((np.arange(2 * N).reshape(N, 2), Y))
    assert whole.x_train.dtype == np.float32 and whole.describe()["preparation"] == {"array": "int64 as float32"}


def test_a_frame_is_prepared_on_the_pool_as_scikit_learn_does():
    data = dataset_of(frame(), "kind")
    table = frame()
    numbers = SimpleImputer(strategy="median", add_indicator=True).fit(table[["size"]].iloc[TRAIN])
    colors = table["color"].astype(object).where(table["color"].notna(), "").to_numpy().reshape(-1, 1)
    expected = np.hstack([
        numbers.transform(table[["size"]]), table[["count"]].to_numpy(),
        OneHotEncoder(sparse_output=False).fit(colors[TRAIN]).transform(colors),
        np.array([[not old, old] for old in table["is_old"]]),
    ]).astype(np.float32)  # fmt: skip
    width = expected.shape[1]
    assert np.array_equal(data.x_train[:, :width], expected[TRAIN])
    assert np.array_equal(data.x_test[:, :width], expected[TEST])
    assert data.x_train.shape[1] > width and not data.is_embeddings
    recorded = data.describe()["preparation"]
    assert recorded["fitted on"] == "the pool, without labels"
    assert recorded["count"] == "number" and "median" in recorded["size"]
    assert "one-hot of 4 values, of which one is missing" in recorded["color"]
    assert "TF-IDF" in recorded["notes"] and list(recorded) == ["fitted on", *list(table)[:-1]]


def test_the_labels_have_no_part_in_it():
    shuffled = frame(kind=RNG.permutation(Y))
    assert np.array_equal(dataset_of(frame(), "kind").x_train, dataset_of(shuffled, "kind").x_train)


def test_the_target_is_found_or_asked_for():
    for name in ("label", "Label", "TARGET", "y"):
        assert dataset_of(frame().rename(columns={"kind": name})).n_classes == 3
    with pytest.raises(InputError, match="which column holds the labels"):
        dataset_of(frame().rename(columns={"kind": "Y"}))
    with pytest.raises(InputError, match=r"which column holds the labels: target='...' .* columns are size, count"):
        dataset_of(frame())
    with pytest.raises(InputError, match="no column 'kin'"):
        dataset_of(frame(), "kin")
    with pytest.raises(InputError, match="names a column of a data frame, and this is tuple"):
        dataset_of((X, Y), "kind")


def test_what_the_pool_lacks_is_no_category_of_its_own():
    data = Preparation(raw_samples(pandas.DataFrame({"c": ["a", "b", "a"]}), "pool"), "pool")
    assert data.transform(raw_samples(pandas.DataFrame({"c": ["b", "z"]}), "new")).tolist() == [[0, 1], [0, 0]]
    with pytest.raises(InputError, match="column 'c' is missing"):
        data.transform(raw_samples(pandas.DataFrame({"d": ["b"]}), "new"))
    with pytest.raises(InputError, match="the pool is a table, but these samples are an array"):
        data.transform(raw_samples(X, "new"))
    many = pandas.DataFrame({"c": [f"v{i}" for i in range(150)]})
    assert Preparation(raw_samples(many, "pool"), "pool").description["c"].endswith("150 values, the rarest 51 as one")


def test_sparse_matrices_and_texts():
    matrix = scipy.sparse.random(N, 9, 0.3, format="coo", random_state=0)
    data = dataset_of((matrix, Y))
    assert np.array_equal(data.x_train, matrix.toarray()[TRAIN].astype(np.float32))
    wide = dataset_of((scipy.sparse.random(N, 5000, 0.01, random_state=0).tocsr(), Y))
    assert wide.x_train.shape[1] < N and "truncated SVD" in wide.preparation["matrix"]
    texts = [f"the {name} says hello {i}" for i, name in enumerate(Y)]
    for given in (texts, np.array(texts), pandas.Series(texts)):
        data = dataset_of((given, Y))
        assert data.is_embeddings and "TF-IDF" in data.preparation["text"]
        assert np.array_equal(data.x_train, dataset_of((texts, Y)).x_train)


class Pictures(torch.utils.data.Dataset):
    classes = ("cat", "dog", "emu")

    def __init__(self, form, labels=NUMBERS):
        self.form, self.labels = form, labels
        self.images = np.random.default_rng(3).integers(0, 256, (N, 6, 5, 3), dtype=np.uint8)

    def __len__(self):
        return N

    def __getitem__(self, row):
        return self.form(self.images[row]), self.labels[row]


@pytest.mark.parametrize("form", [
    Image.fromarray, lambda image: torch.tensor(image).permute(2, 0, 1),
    lambda image: torch.tensor(image).permute(2, 0, 1).float() / 255,
])  # fmt: skip
def test_torch_datasets(form):
    dataset = Pictures(form)
    data = dataset_of(dataset)
    assert np.array_equal(data.x_train, dataset.images[TRAIN]) and data.class_names == Pictures.classes
    both = dataset_of((dataset, Pictures(form)))
    assert len(both.x_train) == len(both.x_test) == N
    vectors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(NUMBERS))
    assert np.allclose(dataset_of(vectors).x_train, X[TRAIN])


@pytest.mark.parametrize(("dataset", "message"), [
    (Pictures(lambda image: torch.tensor(image).permute(2, 0, 1) / 255 - 0.5), "leave Normalize and augmentation out"),
    (Pictures(lambda image: Image.fromarray(np.random.default_rng().permuted(image))), "leave out random augmentation"),
    (Pictures(lambda image: torch.zeros(2, 3, 4, 5)), r"float32 \(2, 3, 4, 5\); give an image"),
    (Pictures(lambda image: 1 / 0), "item 0 cannot be read: ZeroDivisionError"),
    (torch.utils.data.TensorDataset(torch.tensor(X)), "have no labels"),
])  # fmt: skip
def test_torch_datasets_that_cannot_be_used(dataset, message):
    with pytest.raises(InputError, match=message):
        dataset_of(dataset)


class Table:
    """The interface of ``datasets.Dataset`` that is used, as its documentation gives it."""

    def __init__(self, columns, features):
        self.columns, self.features, self.column_names = columns, features, list(columns)

    def __len__(self):
        return N

    def with_format(self, kind):
        assert kind is None
        return self

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {name: self.columns[name][key] for name in self.columns}


ClassLabel = types.SimpleNamespace(names=["emu", "dog", "cat"])
VALUE = types.SimpleNamespace()


class TestHuggingFace:
    def test_texts_with_class_names(self):
        texts = [f"the {name} says hello {i}" for i, name in enumerate(Y)]
        table = Table({"sentence": texts, "species": NUMBERS.tolist()}, {"sentence": VALUE, "species": ClassLabel})
        data = dataset_of(table)
        assert data.class_names == ("emu", "dog", "cat") and data.y_train.tolist() == NUMBERS[TRAIN].tolist()
        both = dataset_of({"train": table, "validation": table})
        assert len(both.x_test) == N and both.source["test split"] == "given"

    def test_a_second_column_of_classes_is_announced(self, caplog):
        table = Table({"a": list(range(N)), "kind": NUMBERS.tolist(), "y": NUMBERS.tolist()},
                      {"a": VALUE, "kind": ClassLabel, "y": ClassLabel})  # fmt: skip
        dataset_of(table, "y")
        assert "column 'kind' holds classes, too, and is taken as a feature" in caplog.text
        assert "column 'a'" not in caplog.text

    def test_images_and_columns(self):
        pictures = Pictures(Image.fromarray)
        images = [Image.fromarray(image) for image in pictures.images]
        feature = type("Image", (), {})()
        data = dataset_of(Table({"image": images, "id": list(range(N)), "y": Y.tolist()},
                                {"image": feature, "id": VALUE, "y": VALUE}))  # fmt: skip
        assert np.array_equal(data.x_train, pictures.images[TRAIN])
        columns = Table({"a": X[:, 0].tolist(), "c": Y.tolist(), "z": Y.tolist()}, dict.fromkeys("acz", VALUE))
        assert dataset_of(columns, "z").x_train.shape[1] == 4
        with pytest.raises(InputError, match="which column holds the labels"):
            dataset_of(columns)
        with pytest.raises(InputError, match="has the splits a, but no train"):
            dataset_of({"a": columns})

    def test_arrays_have_the_type_of_their_feature(self):
        datasets = pytest.importorskip("datasets")
        images = np.random.default_rng(0).integers(0, 256, (N, 4, 5), dtype=np.uint8)
        features = datasets.Features({"image": datasets.Array2D((4, 5), "uint8"), "label": datasets.Value("string")})
        table = datasets.Dataset.from_dict({"image": list(images), "label": Y.tolist()}, features=features)
        assert np.array_equal(dataset_of(table).x_train, dataset_of((images, Y)).x_train)

    def test_arrays_of_unlike_shapes_or_none(self):
        class Array2D:  # with a dynamic first dimension
            dtype = "uint8"

        rows = [np.ones((4, 5))] * N
        given = Table({"a": rows, "label": Y.tolist()}, {"a": Array2D(), "label": None})
        assert dataset_of(given, "label").input_shape == (1, 4, 5)
        for other, message in (
            (np.ones((3, 5)), r"column 'a' has shape \(3, 5\) in row 2 and \(4, 5\) in row 0; bring all to one shape"),
            (None, "column 'a' has no array in row 2; leave out such samples"),
        ):
            table = Table({"a": [*rows[:2], other, *rows[3:]], "label": Y.tolist()}, {"a": Array2D(), "label": None})
            with pytest.raises(InputError, match=message):
                dataset_of(table, "label")

    def test_the_package_itself(self):
        pyarrow = pytest.importorskip("pyarrow")
        datasets = pytest.importorskip("datasets")
        texts = [f"a {name} {i}" for i, name in enumerate(Y)]
        table = datasets.Dataset(pyarrow.table({"text": texts, "label": Y.tolist()}), fingerprint="0")
        assert np.array_equal(dataset_of(table).x_train, dataset_of((texts, Y)).x_train)


def test_items_of_other_forms_are_named():
    class Items(torch.utils.data.Dataset):
        def __init__(self, items):
            self.items = items

        def __len__(self):
            return len(self.items)

        def __getitem__(self, row):
            return self.items[row]

    with pytest.raises(InputError, match=r"item 0 is a dict; give items \(sample, label\)"):
        dataset_of(Items([{"x": X[0], "y": 1}] * N))
    pictures = [(Image.new("L", (4 + row % 2, 4)), row % 3) for row in range(N)]
    with pytest.raises(InputError, match=r"item 1 is uint8 \(4, 5, 1\), .* of Hugging Face, by map\(lambda item: "):
        dataset_of(Items(pictures))


@pytest.mark.parametrize(("given", "message"), [
    (3, r"the dataset is int; give a registered name or a path; \(X, y\)"),
    ((X, Y, X), r"is a tuple of 3; give .* a pandas or polars frame with target='column'"),
    ((X, 3), "is a tuple of 2"),
    ((X, Y[:5]), "X has 60 samples, but there are 5 labels"),
    ((X, X[:, 0]), "is not a class: these are numbers with fractions"),
    ((X, np.where(NUMBERS == 0, np.nan, 1.0)), "the label in row 0 is missing"),
    ((X, [None, *Y[1:]]), "the label of sample 1 is empty"),
    ((X, X), r"y has shape \(60, 4\); give one class a sample"),
    ((X, Y, X, NUMBERS), "y holds names, but y_test does not"),
    ((X, Y, X[:, :2], Y), "use one dtype and sample shape"),
    ((np.where(X > 2, np.nan, X), Y), "holds NaN"),
    (frame(when=pandas.date_range("2020", periods=N)).rename(columns={"kind": "y"}), "'when' holds dates or times"),
    (frame(extra=[[1]] * N).rename(columns={"kind": "y"}), "'extra' holds lists; give embeddings alone"),
])  # fmt: skip
def test_what_is_refused_and_what_the_message_shows(given, message):
    with pytest.raises(InputError, match=message):
        dataset_of(given)


@pytest.mark.parametrize(("text", "message"), [
    ("a;label\n1,5;x\n2,5;y\n", "column 'a' holds numbers with decimal commas"),
    ("a,label\n1e99,x\n2,y\n3,x\n", "column 'a' holds infinite or beyond-float32 values"),
    ("a,label\n1,\n2,y\n", "the label of sample 1 is empty"),
    ("a,label\n1,0.5\n2,1\n", "0.5 is not a class"),
    ("a,split,label\n1,train,x\n2,val,y\n", "'split' must say train or test"),
    ("id,a,label\n1,2,x\n1,3,y\n", "'id' names two samples alike"),
    ("a,label,target\n1,x,y\n2,y,x\n", "say which column holds the labels"),
    ("label\nx\ny\n", "no column holds features beside the labels"),
])  # fmt: skip
def test_tables_in_files_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "table.csv")


def test_a_lazy_frame_of_polars_is_to_be_collected():
    polars = pytest.importorskip("polars")
    lazy = polars.LazyFrame({"a": X[:, 0], "y": Y.tolist()})
    for use in (dataset_of, lambda pool: ActiveLearner(pool, "margin", n_classes=2)):
        with pytest.raises(InputError, match=r"is a LazyFrame of polars; give its \.collect\(\)"):
            use(lazy)
    assert dataset_of(lazy.collect()).x_train.shape == (48, 1)


def test_polars():
    polars = pytest.importorskip("polars")
    table = frame().drop(columns=["kind"])
    columns = {name: [None if value != value else value for value in table[name].to_list()] for name in table}
    given = polars.DataFrame({**columns, "kind": Y.tolist()})
    assert np.array_equal(dataset_of(given, "kind").x_train, dataset_of(frame(), "kind").x_train)
