"""What can be labeled, and every kind of data that cannot."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets.files.tables import table_of
from deepal_autoal.errors import InputError
from deepal_autoal.labeling.data import ARRAY, FILES, TEXTS, read_source
from deepal_autoal.labeling.learning import cover
from deepal_autoal.labeling.pool import Samples, image_sizes, text_vectors, usual_size
from deepal_autoal.labeling.project import Project
from tests.conftest import blobs
from tests.labeling.conftest import QUICK, ids_of


def picture(path, size=(12, 9), value=80, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def photos(tmp_path):
    """Nested images of three sizes: two classes, two kinds of folders without labels, and two at the top."""
    folder = tmp_path / "photos"
    for number, name in enumerate(["cat/a.png", "cat/deep/b.png", "dog/a.png", "unlabelled/x.png", "Unlabeled 2/y.png",
                                   "top.png", "other.jpg"]):  # fmt: skip
        picture(folder / name, (10 + number, 12), 30 * number, "L" if number else "RGB")
    (folder / "notes.txt").write_text("side files are no samples")
    return folder


def test_folder(photos):
    source = read_source(photos)
    assert source.form == FILES
    assert dict(zip(source.ids, source.labels, strict=True)) == {
        "cat/a.png": "cat", "cat/deep/b.png": "cat", "dog/a.png": "dog", "unlabelled/x.png": None,
        "Unlabeled 2/y.png": None, "top.png": None, "other.jpg": None,
    }  # fmt: skip
    assert read_source(photos, ("cat", "mouse")).labels.count(None) == 5
    assert sorted(image_sizes(photos, source.ids)) == [(width, 12) for width in range(10, 17)]


def test_usual_size():
    assert usual_size([(10, 12), (16, 12), (300, 200)], None) == "12x12"
    assert usual_size([(300, 200), (200, 300)], None) == "32x32"
    assert usual_size([(300, 200), (200, 300)], "patches") == "64x64"
    assert usual_size([(300, 200)], "any") == "224x224"
    assert usual_size([(32, 8)] * 2, None) is None is usual_size([(64, 40)], "patches")


def test_csv_of_paths(photos):
    path = photos / "list.csv"
    path.write_text("\ufeffPATH;Label;note\ntop.png;cat;x\n\ncat/a.png;;y\n")
    source = read_source(path)
    assert (source.form, source.ids, source.labels) == (FILES, ["top.png", "cat/a.png"], ["cat", None])


def test_texts(tmp_path):
    (tmp_path / "t.csv").write_text('text,label,id\n"two, words",a,n1\nmore,,n2\n', encoding="utf-16")
    source = read_source(tmp_path / "t.csv")
    assert (source.form, source.texts, source.labels, source.ids) == (
        TEXTS,
        ["two, words", "more"],
        ["a", None],
        ["n1", "n2"],
    )
    (tmp_path / "t.txt").write_text("one\n\n two \n")
    source = read_source(tmp_path / "t.txt")
    assert (source.texts, source.labels, source.ids) == (["one", " two "], [None, None], None)


def test_arrays(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "n.npz", x=x, ids=np.array(["p", "q", "r", "s"]), y=np.array(["u", "", "v", ""]))
    source = read_source(tmp_path / "n.npz")
    assert (source.form, source.ids, source.labels) == (ARRAY, ["p", "q", "r", "s"], ["u", None, "v", None])
    np.savez(tmp_path / "n.npz", x=x, y=np.array([1, -1, 0, -1]), class_names=np.array(["u", "v"]))
    assert read_source(tmp_path / "n.npz").labels == ["v", None, "u", None]
    np.savez(tmp_path / "n.npz", x=x, y=np.array([7, -1, 3, -1]))
    assert read_source(tmp_path / "n.npz").labels == ["7", None, "3", None]
    (tmp_path / "f.csv").write_text("id,one,two,label\na,1,2.5,\nb,3,-1e3,yes\n")
    source = read_source(tmp_path / "f.csv")
    assert (source.ids, source.labels, source.array.tolist()) == (["a", "b"], [None, "yes"], [[1, 2.5], [3, -1000]])
    np.save(tmp_path / "i.npy", np.zeros((3, 8, 8), np.uint8))
    assert read_source(tmp_path / "i.npy").array.shape == (3, 8, 8, 1)


def test_parquet_columns(tmp_path):
    """What pandas returns for a Parquet file: ids beside missing labels, and a column of lists."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": [3, 4], "label": ["a", None], "Embedding": [np.ones(2), np.zeros(2)]})
    table = table_of(Path("x.parquet"), frame)
    assert table.texts("id") == ["3", "4"] and table.texts("label") == ["a", ""]
    assert table.numbers(("id", "label")).tolist() == [[1, 1], [0, 0]]


def written(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BAD_TABLES = {
    "no header": ("1,2\n3,4\n", "name the columns"),
    "empty": ("", "name the columns"),
    "only a header": ("path,label\n", "no samples"),
    "twice a column": ("path,path\na.png,b.png\n", "each once"),
    "both": ("path,text\na.png,b\n", "both a column path and a column text"),
    "no numbers": ("name,one\na,1\n", "'name' holds 'a', which is no number"),
    "row numbers of pandas": (",one,two\n0,1,2\n1,3,4\n", "a column has no name"),
    "only labels": ("id,label\na,1\n", "no column holds samples"),
    "ragged": ("text,label\na,b,c\n", "line 2: 3 fields"),
    "quote": ('text,label\n"a,b\n', "line 2"),
    "empty text": ("text\n \nx,\n", "line 3"),
    "missing label": ("text,label\na,NaN\n", "stands for a missing one"),
    "skip": ("text,label\na,skip\nb,\n", "cannot be a class"),
    "twice an id": ("id,text\n1,a\n1,b\n", "occurs twice"),
    "no id": ("id,text\n,a\n", "is empty"),
    "absent file": ("path\nnone.png\n", "cannot be read"),
    "outside": ("path\n../x.png\n", "leads out"),
    "absolute": ("path\n/x.png\n", "relative"),
    "not UTF-8": (b"text\n\xff\xfa\n", "not UTF-8"),
    "null": ("text\na\0b\n", "null characters"),
    "infinite": ("one,two\n1,2\n3,inf\n", "row 1"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(tmp_path, name):
    content, expected = BAD_TABLES[name]
    with pytest.raises(InputError, match=expected):
        read_source(written(tmp_path / "t.csv", content))


def test_bad_arrays(tmp_path):
    def refused(name, expected, **arrays):
        path = tmp_path / name
        if arrays:
            np.savez(path, **arrays)
        with pytest.raises(InputError, match=expected):
            read_source(path)

    x = np.zeros((3, 2), np.float32)
    refused("a.npz", "no array x", z=x)
    refused("b.npz", "y has shape", x=x, y=np.zeros(2, int))
    refused("c.npz", "ids has shape", x=x, ids=np.array(["a"]))
    refused("d.npz", "y holds -2", x=x, y=np.array([-2, 0, 1]))
    refused("e.npz", "outside -1..0", x=x, y=np.array([0, 0, 1]), class_names=np.array(["a"]))
    refused("f.npz", "y is float64", x=x, y=np.array([0.0, 1.0, np.nan]))
    refused("g.npz", "row 1", x=np.array([[1.0], [np.nan]]))
    refused("h.npz", "Python objects|Object arrays", x=np.array([None, 1], dtype=object))
    refused("i.npz", "occurs twice", x=x, ids=np.array(["a", "b", "a"]))
    written(tmp_path / "j.npz", "PK no")
    refused("j.npz", "cannot be read as .npz")
    written(tmp_path / "k.npy", b"\x93NUMPY\x01\x00damaged")
    refused("k.npy", "cannot be read as .npy")
    refused("l.npy", "no file or folder")
    written(tmp_path / "m.doc", "x")
    refused("m.doc", "not data for labeling")
    written(tmp_path / "n.txt", "\n \n")
    refused("n.txt", "no samples")
    written(tmp_path / "o.parquet", "no")
    refused("o.parquet", "Parquet")
    (tmp_path / "empty").mkdir()
    refused("empty", "no samples")


def test_names_that_cannot_be_written(tmp_path):
    for number, name in enumerate((b"line\nbreak.png", b"caf\xe9.png", b" space.png")):
        folder = tmp_path / str(number)
        picture(folder / os.fsdecode(name))
        with pytest.raises(InputError, match=r"rename|spaces around"):
            read_source(folder)


def test_bad_images(photos, caplog):
    written(photos / "cat" / "broken.png", "no image")
    written(photos / "dog" / "film.mp4", "no image")
    with pytest.raises(InputError, match=r"2 of 9 files .* --skip-bad"):
        read_source(photos)
    source = read_source(photos, skip_bad=True)
    assert len(source) == 7 and set(source.left_out) == {"cat/broken.png", "dog/film.mp4"}


REFUSED = {
    "--data": (["--data", "none"], "no file or folder none"),
    "--classes": (["--data", "vectors.npy", "--classes", "a,a"], "different names"),
    "one class": (["--data", "vectors.npy", "--classes", "a"], "two or more"),
    "class skip": (["--data", "vectors.npy", "--classes", "a,Skip"], "cannot be a class"),
    "--strategy": (["--data", "vectors.npy", "--strategy", "margni"], "margin"),
    "--candidates": (["--data", "vectors.npy", "--candidates", "margin"], "name it with --strategy"),
    "-o": (["--data", "vectors.npy", "--strategy", "margin", "-o", "nothing=1"], "nothing"),
    "--model": (["--data", "vectors.npy", "--model", "liner"], "linear"),
    "for images": (["--data", "vectors.npy", "--model", "cnn"], "cnn"),
    "--batch-size": (["--data", "vectors.npy", "--batch-size", "0"], "at least one"),
    "--audit": (["--data", "vectors.npy", "--audit", "1.5"], "from 0 to 1"),
    "--seed": (["--data", "vectors.npy", "--seed", "-1"], "--seed"),
    "--image-size": (["--data", "vectors.npy", "--image-size", "32"], "leave it out"),
    "wrong size": (["--data", "photos", "--image-size", "big"], "--image-size"),
    "--device": (["--data", "vectors.npy", "--device", "gpu9"], "gpu9"),
    "all labeled": (["--data", "done.csv"], "nothing to label"),
    "other class": (["--data", "some.csv", "--classes", "a,b"], "'c' is not one of the classes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_starts_leave_nothing(deepal, vectors, photos, name):
    arguments, expected = REFUSED[name]
    Path("done.csv").write_text("text,label\na,x\nb,y\n")
    Path("some.csv").write_text("text,label\na,c\nb,\n")
    status, _, err = deepal("label", "init", "p", *arguments)
    assert status == 2 and expected in err and err.startswith("Error: ") and err.count("\n") == 1, err
    assert not Path("p").exists()


def test_places_that_are_no_new_project(deepal, vectors, photos, project):
    status, _, err = deepal("label", "init", photos / "p", "--data", photos)
    assert status == 2 and "inside the data" in err and not (photos / "p").exists()
    status, _, err = deepal("label", "init", "vectors.npy", "--data", vectors)
    assert status == 2 and "not a folder" in err
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("mine")
    status, _, err = deepal("label", "init", "taken", "--data", vectors)
    assert status == 2 and "holds other files" in err
    status, _, err = deepal("label", "init", "p", "--data", vectors)
    assert status == 2 and "already" in err and "deepal label next p" in err
    for command in (["next", "none"], ["status", "taken"], ["submit", "none", "x.csv"], ["review", "none"]):
        status, _, err = deepal("label", *command)
        assert status == 2 and "is not a labeling project" in err
    status, _, err = deepal("label", "nxt", "p")
    assert status == 2 and "next" in err


def test_images_to_the_first_batch(deepal, photos):
    status, out, err = deepal("label", "init", "p", "--data", photos, "--strategy", "margin", "--batch-size", "3")
    assert status == 0, err
    assert "7 image files, brought to 12x12 pixels" in out and "cat 2, dog 1" in out
    status, out, err = deepal("label", "next", "p")
    assert status == 0, err
    names = ids_of(out.strip())
    assert len(names) == 3 and not {"cat/a.png", "cat/deep/b.png", "dog/a.png"} & set(names)
    page = Path("p/batches/1.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "Classes so far: cat, dog." in page


def test_texts_to_the_second_batch(deepal):
    words = {"sport": "goal match team ball player", "food": "bread soup cheese dinner cook"}
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(text.split(), 4)) for _ in range(15) for text in words.values()]
    Path("t.txt").write_text("\n".join(lines) + "\n")
    status, _, err = deepal("label", "init", "p", "--data", "t.txt", *QUICK)
    assert status == 0, err
    _, out, _ = deepal("label", "next", "p")
    names = ids_of(out.strip())
    assert lines[int(names[0])] in Path("p/batches/1.html").read_text()
    Path("a.csv").write_text("id,label\n" + "".join(f"{name},{list(words)[int(name) % 2]}\n" for name in names))
    assert deepal("label", "submit", "p", "a.csv")[0] == 0
    status, _, err = deepal("label", "export", "p", "--out", "all.npz", "--predictions")
    assert status == 0, err
    with np.load("all.npz") as arrays:
        assert len(arrays["x"]) == 30 and set(arrays["source"]) == {"person", "model"}
        right = [arrays["class_names"][y] == list(words)[row % 2] for row, y in enumerate(arrays["y"])]
        assert np.mean(right) > 0.9


def test_texts_by_sentence_transformers(tmp_path, sentence_transformers, caplog):
    vectors = text_vectors(tmp_path, ["a", "b c"], "some-model", 0)
    assert vectors.shape == (2, 12) and vectors.dtype == np.float32
    assert "some-model is not on this machine, and is downloaded now" in caplog.text
    sentence_transformers.go_offline()
    with pytest.raises(
        InputError, match=r"--embed other: text model other cannot be loaded \(.*; or leave --embed out"
    ):
        text_vectors(tmp_path, ["a", "b"], "other", 0)


def test_texts_without_sentence_transformers(tmp_path, no_sentence_transformers):
    with pytest.raises(InputError, match=r"pip install 'deepal_autoal\[text\]'"):
        text_vectors(tmp_path, ["a", "b"], "some-model", 0)
    with pytest.raises(InputError, match="no words"):
        text_vectors(tmp_path, ["?", "!"], None, 0)


def test_embeddings_are_kept(deepal, photos, monkeypatch):
    """The model's embeddings are computed once for each source of images, and again when damaged."""
    from deepal_autoal.labeling import pool

    calls = []

    def embed(samples, model, device):
        calls.append(samples.shape)
        assert model == "resnet18" and samples.shape[3] == 3
        return samples.reshape(len(samples), -1)[:, :4].astype(np.float32) + np.arange(len(samples))[:, None]

    monkeypatch.setattr(pool, "embed_samples", embed)
    status, _, err = deepal("label", "init", "p", "--data", photos, "--embed", "resnet18", "--image-size", "16", *QUICK)
    assert status == 0, err
    assert deepal("label", "next", "p", "-n", "2")[0] == 0 and calls == [(7, 16, 16, 3)]
    picture(photos / "new.png")
    assert deepal("label", "add", "p", photos)[0] == 0
    assert pool.samples_of(Project(Path("p"))).array.shape == (8, 4) and calls[1:] == [(1, 16, 16, 3)]
    Path("p/embeddings/2.npz").write_bytes(b"damaged")
    assert pool.samples_of(Project(Path("p"))).array.shape == (8, 4) and calls[2:] == [(1, 16, 16, 3)]


@pytest.fixture
def textures(tmp_path, monkeypatch):
    """A folder of 20 images of noise, and few centers to learn from them; no weights are on this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("deepal_autoal.models.patches.N_CENTERS", 8)
    monkeypatch.setattr("deepal_autoal.models.patches.N_PATCHES", 500)
    rng = np.random.default_rng(0)
    (tmp_path / "textures").mkdir()
    for number in range(20):
        Image.fromarray(noise(rng, number % 2)).save(tmp_path / "textures" / f"{number:02}.png")
    return tmp_path / "textures"


def noise(rng, smooth):
    image = rng.integers(0, 256, (12, 12), dtype=np.uint8)
    return image // 2 + np.roll(image, 1, axis=1) // 2 if smooth else image


def test_patches_are_the_default_for_images(deepal, textures):
    status, out, err = deepal("label", "init", "p", "--data", textures, "--strategy", "margin", "--batch-size", "4")
    assert status == 0, err
    assert "Embedding: patches, learned from these images without labels" in out and "--embed 'torchvision/" in out
    settings = Project(Path("p")).settings
    assert (settings.embed, settings.image_size) == ("patches", None) and settings.model != "cnn"
    with np.load("p/embeddings/1.npz") as file:
        first = file["x"]
    assert first.ndim == 2 and len(first) == 20
    assert deepal("label", "next", "p")[0] == 0


def test_images_that_teach_nothing(deepal, tmp_path):
    """Without contrast there are no patches to learn; who asked for them is told so."""
    for name in "abc":
        picture(tmp_path / "flat" / f"{name}.png")
    status, _, err = deepal("label", "init", "p", "--data", "flat", "--strategy", "margin", "--embed", "patches")
    assert status == 2 and "look alike" in err and not Path("p").exists()
    status, out, err = deepal("label", "init", "p", "--data", "flat", "--strategy", "margin")
    assert status == 0 and "Embedding: none, the pixels themselves, as patches of all images look alike" in out, err
    assert Project(Path("p")).settings.embed is None and not Path("p/embeddings/patches.npz").exists()


def test_new_images_are_embedded_by_the_same_dictionary(deepal, textures):
    deepal("label", "init", "p", "--data", textures, "--strategy", "margin")
    dictionary = Path("p/embeddings/patches.npz")
    before = dictionary.read_bytes()
    twin = textures / "twin.png"
    twin.write_bytes((textures / "03.png").read_bytes())
    assert deepal("label", "add", "p", textures)[0] == 0
    from deepal_autoal.labeling.pool import samples_of

    array = samples_of(Project(Path("p"))).array
    np.testing.assert_allclose(array[20], array[3], atol=1e-5)
    assert dictionary.read_bytes() == before
    for name in ("patches.npz", "2.npz"):
        (dictionary.parent / name).write_bytes(b"damaged")
    assert "it is learned from the images again" in deepal("label", "next", "p")[2]
    np.testing.assert_allclose(samples_of(Project(Path("p"))).array, array, atol=1e-5)


@pytest.mark.parametrize("options", [["--embed", "none"], ["--model", "cnn"]])
def test_models_that_learn_from_pixels(deepal, textures, options):
    status, out, err = deepal("label", "init", "p", "--data", textures, "--strategy", "margin", *options)
    assert status == 0, err
    settings = Project(Path("p")).settings
    assert "Embedding" not in out and (settings.embed, settings.model) == (None, "cnn")
    assert not Path("p/embeddings/1.npz").exists()


def test_image_arrays_are_embedded_too(deepal, textures):
    np.save("i.npy", np.stack([np.asarray(Image.open(path)) for path in sorted(textures.iterdir())]))
    status, out, err = deepal("label", "init", "p", "--data", "i.npy", "--strategy", "margin", "--embed", "auto",
                              "--model", "linear")  # fmt: skip
    assert status == 0 and "Embedding: patches" in out, err
    assert Project(Path("p")).settings.model == "linear" and Path("p/embeddings/1.npz").exists()


def test_coarse_pixels_are_means():
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 9, 2), dtype=np.uint8)
    vectors = Samples(images, "auto").vectors.reshape(3, 8, 8, 2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[1, 2, 0], images[1, 4:6, 0].mean(axis=0) / 255, rtol=1e-5)
    np.testing.assert_allclose(vectors[1, 7, 7], images[1, 14:, 7:].mean(axis=(0, 1)) / 255, rtol=1e-5)


def test_cover_spreads_and_minds_what_is_labeled(monkeypatch):
    x, y = blobs(60)
    rows = cover(x, range(60), [], 3, 0, "cpu")
    assert sorted(y[rows]) == [0, 1, 2] and rows == cover(x, range(60), [], 3, 0, "cpu")
    labeled = [int(row) for row in np.flatnonzero(y < 2)[:8]]
    rest = [row for row in range(60) if row not in labeled]
    assert y[cover(x, rest, labeled, 1, 0, "cpu")].tolist() == [2]
    from deepal_autoal.labeling import learning

    monkeypatch.setattr(learning, "MOST_COVERED", 10)
    assert len(set(cover(x, range(60), [], 20, 0, "cpu"))) == 20


def test_names_of_folders_are_said_to_be_taken_for_classes(deepal, tmp_path):
    for name in ("d/holiday/1.png", "d/home/2.png", "d/3.png", "e/3.png", "e/unlabeled/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    status, out, err = deepal("label", "init", "p", "--data", "d", *QUICK)
    assert status == 0 and "Labels that are there already: holiday 1, home 1" in out
    assert "these are names of folders. If they are no classes, remove p, and start it again with --classes" in err
    for project, more in (("q", ["--data", "d", "--classes", "holiday,cat"]), ("r", ["--data", "e"])):
        status, _, err = deepal("label", "init", project, *more, *QUICK)
        assert status == 0 and "names of folders" not in err
