"""`embed`: what it writes, that this is a dataset, and that rows and names match the source."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepal_autoal import hookimpl, load_dataset, run
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.embedding import embed, load_patches
from deepal_autoal.training.task_model import TaskModel


@pytest.fixture
def folder(tmp_path):
    """Twenty distinct 12x12 color images in class folders."""
    rng = np.random.default_rng(0)
    for number in range(20):
        path = tmp_path / "images" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


class Means(nn.Module):
    """The mean of each channel, times a constant."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(float(factor)))

    def forward(self, inputs):
        return inputs.mean(dim=(2, 3)) * self.factor


@pytest.fixture
def means(registered):
    """Return a function that registers a model called means."""

    def register(factor=1.0):
        class Plugin:
            @hookimpl
            def deepal_register_models(self, registry):
                registry.add(
                    "means", lambda input_shape, n_classes: TaskModel(Means(factor), input_shape[0], n_classes),
                    summary="of a test", inputs="images",
                )  # fmt: skip

        registered(Plugin(), "means")

    return register


def test_rows_names_and_values_match_the_source(folder, tmp_path, means, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    means()
    source = load_dataset(folder)
    reported = []
    written = embed(source, "means", tmp_path / "pool.npz", dtype="float32", progress=lambda *n: reported.append(n))
    assert (written.n_train, written.n_test, written.embedding_dim) == (16, 4, 3) and reported[-1] == (20, 20)
    data = load_dataset(tmp_path / "pool.npz")
    assert data.class_names == ("cat", "dog") and not data.is_image and data.x_train.dtype == np.float32
    assert data.y_train.tolist() == source.y_train.tolist() and data.y_test.tolist() == source.y_test.tolist()
    assert data.ids_train.tolist() == source.ids_train.tolist() and set(data.ids_test) == set(source.ids_test)
    assert all((folder / name).is_file() for name in [*data.ids_train, *data.ids_test])
    # Normalized with the training split's statistics.
    pixels = source.x_train / 255.0
    expected = (pixels - pixels.mean(axis=(0, 1, 2))) / pixels.std(axis=(0, 1, 2))
    np.testing.assert_allclose(data.x_train, expected.mean(axis=(1, 2)), atol=1e-5)
    with np.load(tmp_path / "pool.npz", allow_pickle=False) as file:
        assert sorted(file) == ["class_names", "ids", "ids_test", "kind", "x", "x_test", "y", "y_test"]


def test_embeddings_file_is_a_dataset(blob_data, tmp_path, quick):
    """The linear model's embeddings are its standardized inputs: a run on them picks the same rows."""
    embed(blob_data, "linear", tmp_path / "blobs.npz", dtype="float32")
    data = load_dataset(tmp_path / "blobs.npz")
    assert data.ids_train[7] == "train/7" and data.ids_test[0] == "test/0"
    before, after = (run("margin", source, **quick) for source in (blob_data, tmp_path / "blobs.npz"))
    assert [r["queried"] for r in before.rounds] == [r["queried"] for r in after.rounds]


def test_model_of_a_run(image_data, tmp_path, quick, deepal):
    run("random", image_data, out=tmp_path / "run", **{**quick, "model": "cnn"})
    np.savez(tmp_path / "images.npz", x=image_data.x_train, y=image_data.y_train, x_test=image_data.x_test,
             y_test=image_data.y_test)  # fmt: skip
    status, out, err = deepal("embed", "--dataset", tmp_path / "images.npz", "--model", tmp_path / "run", "--out",
                              tmp_path / "e.npz", "--dtype", "float32", "--threads", "1")  # fmt: skip
    assert status == 0, err
    assert "40 training and 20 test embeddings of 128 numbers" in out and "random weights" not in err
    from deepal_autoal import load_model

    predictor = load_model(tmp_path / "run")
    with torch.no_grad():
        logits = predictor.module.head(torch.from_numpy(np.load(tmp_path / "e.npz")["x"]))
    torch.testing.assert_close(logits, predictor.logits(image_data.x_train))


def test_random_weights_are_reported_and_reproducible(image_data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        first = embed(image_data, "cnn", tmp_path / "a.npz").path
        assert "random weights" in caplog.text
    again, other = (embed(image_data, "cnn", tmp_path / f"{seed}.npz", seed=seed).path for seed in (0, 1))
    x = np.load(first)["x"]
    assert x.dtype == np.float16 and x.shape == (40, 128)
    assert (x == np.load(again)["x"]).all() and (x != np.load(other)["x"]).any()


@pytest.mark.parametrize(("size", "sides"), [(20, (20, 20)), ("20x30", (20, 30)), ((4, 24), (4, 24))])
def test_images_are_brought_to_the_image_size(tmp_path, means, size, sides):
    given = set()

    class Watching(Means):
        def forward(self, inputs):
            given.add(tuple(inputs.shape[2:]))
            return super().forward(inputs)

    means()
    import deepal_autoal.experiment.embedding as module

    build = module.build_model

    def watched(name, shape, n_classes):
        model = build(name, shape, n_classes)
        model.backbone = Watching(1.0)
        return model

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 10, 15, 3), dtype=np.uint8)
    data = Dataset("oblong", x, np.arange(6) % 2, x[:2], np.arange(2), ("a", "b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_model", watched)
        embed(data, "means", tmp_path / "a.npz", image_size=size)
    assert given == {sides}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "int8"}, "--dtype int8"),
        ({"image_size": 0}, "--image-size 0"),
        ({"out": "pool.csv"}, "ends in .npz"),
        ({"model": "cnnn"}, "cnn"),
        ({"model": "patchs"}, "Did you mean 'patches'"),
        ({"model": "means"}, "exceed float16"),
    ],
)
def test_errors_are_clear_and_leave_no_file(image_data, tmp_path, means, arguments, message):
    means(factor=1e6)
    given = {"model": "cnn", "out": "pool.npz", **arguments}
    with pytest.raises(InputError, match=message):
        embed(image_data, given.pop("model"), tmp_path / given.pop("out"), **given)
    assert list(tmp_path.iterdir()) == []


def test_nonfinite_embeddings_are_reported(image_data, tmp_path, means):
    means(factor=float("nan"))
    with pytest.raises(InputError, match="not finite"):
        embed(image_data, "means", tmp_path / "a.npz", dtype="float32")


def test_vectors_and_other_shapes_are_refused(blob_data, image_data, tmp_path, quick):
    with pytest.raises(InputError, match="--image-size 32: dataset blobs holds vectors"):
        embed(blob_data, "linear", tmp_path / "a.npz", image_size=32)
    run("random", image_data, out=tmp_path / "run", **quick)
    with pytest.raises(InputError, match=r"takes samples of shape \(1, 8, 8\)"):
        embed(blob_data, tmp_path / "run", tmp_path / "a.npz")


def test_invalid_command_lines(deepal, tmp_path, blob_file):
    status, _, err = deepal("embed", "--dataset", blob_file, "--model", "linear")
    assert status == 2 and "--out" in err
    status, _, err = deepal("embed", "--dataset", "digitz", "--model", "cnn", "--out", tmp_path / "x.npz")
    assert status == 2 and "digits" in err
    locked = tmp_path / "file"
    locked.write_text("no folder")
    status, _, err = deepal("embed", "--dataset", blob_file, "--model", "linear", "--out", locked / "x.npz")
    assert status == 2 and "cannot be written" in err and err.count("\n") == 1
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["blobs.npz", "file"]'


def test_classes_keep_their_numbers(image_data, tmp_path):
    data = Dataset("named", image_data.x_train, image_data.y_train, image_data.x_test, image_data.y_test,
                   ("zebra", "ant", "bee"))  # fmt: skip
    embed(data, "linear", tmp_path / "a.npz")
    written = load_dataset(tmp_path / "a.npz")
    assert written.class_names == ("zebra", "ant", "bee") and written.y_train.tolist() == data.y_train.tolist()


def test_registered_name_takes_precedence_over_folder(image_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linear").mkdir()
    assert embed(image_data, "linear", "a.npz").embedding_dim == 64


def test_only_embeddings_are_replaced(deepal, blob_file, tmp_path):
    embedded, mine = tmp_path / "embedded.npz", tmp_path / "mine.npz"
    arguments = ("embed", "--model", "linear", "--quiet", "--dataset")
    before = blob_file.read_bytes()
    status, _, err = deepal(*arguments, blob_file, "--out", blob_file)
    assert status == 2 and f"Error: --out {blob_file} is the input itself" in err and blob_file.read_bytes() == before
    np.savez(mine, x=np.eye(2))
    status, _, err = deepal(*arguments, blob_file, "--out", mine)
    assert status == 2 and f"Error: --out {mine} exists and was not written by this command" in err
    assert (np.load(mine)["x"] == np.eye(2)).all()
    assert [deepal(*arguments, blob_file, "--out", embedded)[0] for _ in range(2)] == [0, 0]
    # Embeddings of embeddings: ours, but also the input, under another name.
    (tmp_path / "link.npz").symlink_to(embedded)
    status, _, err = deepal(*arguments, embedded, "--out", tmp_path / "link.npz")
    assert status == 2 and "is the input itself" in err


@pytest.fixture
def few_patches(monkeypatch):
    import deepal_autoal.models.patches as module

    monkeypatch.setattr(module, "N_PATCHES", 600)
    monkeypatch.setattr(module, "N_CENTERS", 6)


def noisy(n, height=10, width=15, seed=0):
    """Color images as a dataset; every other one is dark on its left."""
    x = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    x[::2, :, : width // 2] //= 4
    return Dataset("noisy", x, np.arange(n) % 2, x[:4] // 2, np.arange(4) % 2, ("a", "b"))


def test_patches_are_learned_from_training_images_alone(tmp_path, few_patches, caplog):
    data = noisy(24)
    steps = []
    written = embed(data, "patches", tmp_path / "a.npz", dtype="float32", progress=lambda *n: steps.append(n))
    assert written.model == "patches" and written.embedding_dim == 23
    assert steps[0] == (1, 39) and (39, 39) in steps and steps[-1] == (28, 28)
    other = Dataset("other", data.x_train, data.y_train[::-1], data.x_test[::-1] // 3, data.y_test, ("a", "b"))
    embed(other, "patches", tmp_path / "b.npz", dtype="float32")
    a, b = (dict(np.load(tmp_path / f"{name}.npz")) for name in "ab")
    assert (a["x"] == b["x"]).all() and (a["x_test"] != b["x_test"]).any()
    assert all((a[name] == b[name]).all() for name in a if name.startswith("patches_"))
    embed(data, "patches", tmp_path / "b.npz", dtype="float32", seed=1)  # our own file: it may be replaced
    assert (np.load(tmp_path / "b.npz")["patches_centers"] != a["patches_centers"]).any()
    with caplog.at_level(logging.WARNING):
        loaded = load_dataset(tmp_path / "a.npz")
    assert loaded.is_embeddings and (loaded.x_train == a["x"]).all() and not caplog.records


def test_further_images_are_embedded_by_a_files_patches(tmp_path, few_patches):
    data, new = noisy(24), noisy(9, seed=1)
    embed(data, "patches", tmp_path / "a.npz", dtype="float32")
    file = np.load(tmp_path / "a.npz")
    np.testing.assert_allclose(load_patches(tmp_path / "a.npz").transform(data.x_train), file["x"], atol=1e-5)
    embed(new, tmp_path / "a.npz", tmp_path / "new.npz", dtype="float32")
    again = np.load(tmp_path / "new.npz")
    np.testing.assert_allclose(load_patches(tmp_path / "a.npz").transform(new.x_train), again["x"], atol=1e-5)
    assert all((file[name] == again[name]).all() for name in file if name.startswith("patches_"))
    with pytest.raises(
        InputError, match=r"3 channels and 10x15 pixels, but .* 3 channels and 12x12 .* --image-size 10x15"
    ):
        embed(noisy(8, 12, 12), tmp_path / "a.npz", tmp_path / "b.npz")
    assert embed(noisy(8, 20, 30), tmp_path / "a.npz", tmp_path / "b.npz", image_size="10x15").n_train == 8
    with pytest.raises(InputError, match="is the input itself"):
        embed(new, tmp_path / "a.npz", tmp_path / "a.npz")


def test_patches_of_images_that_are_brought_to_a_size(tmp_path, few_patches):
    embed(noisy(24), "patches", tmp_path / "a.npz", image_size=8)
    assert load_patches(tmp_path / "a.npz").input_shape == (3, 8, 8)


@pytest.mark.parametrize("damage", ["missing", "text", "other", "shape", "pickle"])
def test_files_without_patches_are_refused(tmp_path, few_patches, damage):
    path = tmp_path / "a.npz"
    if damage == "text":
        path.write_text("text")
    elif damage != "missing":
        embed(noisy(24), "patches", path)
        arrays = dict(np.load(path))
        if damage == "other":
            del arrays["patches_mean"]
        else:
            arrays["patches_mean"] = arrays["patches_mean"][1:] if damage == "shape" else np.array([None])
        np.savez(path, **arrays)
    with pytest.raises(InputError, match="holds no dictionary of patches"):
        embed(noisy(8), path, tmp_path / "b.npz")
    assert not (tmp_path / "b.npz").exists()


def test_vectors_have_no_patches(tmp_path, blob_data):
    for model in ("patches", "auto"):
        with pytest.raises(InputError, match="vectors, not images"):
            embed(blob_data, model, tmp_path / "a.npz")


def test_default_embedding_needs_no_labels_and_no_model(deepal, folder, tmp_path, few_patches, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    status, out, err = deepal("embed", "--dataset", folder, "--out", tmp_path / "a.npz", "--threads", 1)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("Model: patches, learned from these images without labels; for photos, ")
    assert "--image-size 224" in lines[0] and lines[1] == "16 training and 4 test embeddings of 15 numbers"
    status, out, err = deepal(
        "embed", "--dataset", folder, "--model", tmp_path / "a.npz", "--out", tmp_path / "b.npz", "--quiet"
    )
    assert status == 0 and out == f"{tmp_path / 'b.npz'}\n", err
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    np.testing.assert_allclose(a["x"], b["x"], atol=2e-3)  # float16
