"""Odd and damaged data of users: `load_dataset` returns the right dataset or raises one error of one line.

Bounded and seeded (see `tests.fuzzing`). What is loaded is compared with what numpy, Pillow and csv read.
"""

import csv
import io
import json
import os
import random
import shutil
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from deepal_autoal import load_dataset
from deepal_autoal.datasets.files.tables import delimiter_of
from deepal_autoal.datasets.splits import held_out_split
from deepal_autoal.errors import DeepALError
from tests.fuzzing import case_numbers, needs_alarm, no_hang, seconds_to_try

SECONDS = seconds_to_try(9) / 3

TEXTS = (
    "a", "b", "cat", "dog", "0", "1", "2", "10", "", " ", "nan", "None", "NA", "none", "-1", "1.5", "é",
    "\N{GRINNING FACE}", "\udcff", "\x1b[31m", "a\nb", "a\rb", "a\u2028b", "a\0b", "x" * 300, "a,b", 'a"b', "=1+1",
    "\u202eabc", "unlabeled", "train", "..", "a/b", "\ufeffa",
)  # fmt: skip
NAMES = (
    "a", "b", "cat", "dog", "0", "7", "10", "é", "e\u0301", "\N{GRINNING FACE}", "\udcff", "\x1b[31m", "a\nb", "a\rb",
    "a\u2028b", "x" * 200, "a,b", 'a"b', "=1+1", "\u202eabc", " a", "a ", "-a", "~", "#a", "%s", "{0}", "$HOME", "a\\b",
    "train", "test", "unlabeled", "unknown", "nan", ".hidden", "CAT", "__MACOSX", "val",
)  # fmt: skip


@pytest.fixture
def load(tmp_path, monkeypatch, capfd):
    """Return a function that loads data and returns the dataset, or None after one clear error."""
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))

    refusals = []

    def call(case, path, **settings):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        capfd.readouterr()
        data = None
        with warnings.catch_warnings(record=True) as caught, no_hang(case):
            warnings.simplefilter("always")
            try:
                data = load_dataset(path, **settings)
                described = data.describe()
            except DeepALError as error:
                message = str(error)
                assert message.strip() and len(message.splitlines()) == 1, f"case {case}: not one line: {message!r}"
                assert len(message) < 3000, f"case {case}: long: {message!r}"
                data = None
                refusals.append(message)
            except Exception as error:
                raise AssertionError(f"case {case}: a traceback instead of a line: {error!r}") from error
        assert not caught, f"case {case}: {caught[0]}"
        printed = capfd.readouterr()
        assert not printed.out and not printed.err, f"case {case}: {printed}"
        if data is not None:
            json.dumps(described, allow_nan=False)
            check_dataset(data, case)
        return data

    call.refusals = refusals
    return call


def check_dataset(data, case):
    """Check what holds for every dataset."""
    assert len(set(data.class_names)) == data.n_classes >= 2, f"case {case}"
    for x, y, ids in ((data.x_train, data.y_train, data.ids_train), (data.x_test, data.y_test, data.ids_test)):
        assert len(x) == len(y) > 0 and y.min() >= 0 and y.max() < data.n_classes, f"case {case}"
        assert x.ndim == 4 or np.isfinite(x.astype(np.float32)).all(), f"case {case}"
        assert ids is None or len(set(ids.tolist())) == len(x), f"case {case}"


def flip(content, rng):
    """Return bytes with a few changed."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 4, 20))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damaged(content, rng):
    """Return bytes damaged in one of many ways."""
    kind = rng.randrange(8)
    if kind < 4:
        return flip(content, rng)
    if kind == 4:
        return content[: rng.randrange(len(content) + 1)]
    if kind == 5:
        return content + rng.choice((b"\0", b"\n", b"x" * 99, content))
    if kind == 6:
        return rng.choice(
            (b"", b"\n", b"\0" * 99, b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"text", b"GIF89a", b"II*\0")
        )
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.randrange(50) :]


# .npz files


def sound_arrays(rng):
    """Return arrays of a small sound .npz."""
    numbers = np.random.default_rng(rng.randrange(10**6))
    n, n_test = rng.randrange(4, 20), rng.choice((0, 0, 3))
    shape = rng.choice(((4,), (1,), (5, 6), (5, 6, 3), (4, 4, 1)))

    def inputs(count):
        if len(shape) == 1:
            return numbers.normal(size=(count, *shape)).astype(rng.choice(("float16", "float32", "float64", ">f4")))
        return numbers.integers(0, 256, (count, *shape), dtype=np.uint8)

    kind = rng.choice(("int64", "uint8", "int32", ">i2", "bool", "U", "S"))

    def labels(count):
        numbered = np.arange(count) % 2
        return np.array(["cat", "dog"], kind)[numbered] if kind in "US" else numbered.astype(kind)

    state = rng.getstate()
    arrays = {"x": inputs(n), "y": labels(n)}
    if n_test:
        rng.setstate(state)  # the same dtype
        arrays |= {"x_test": inputs(n_test), "y_test": labels(n_test)}
    if kind not in "US" and kind != "bool" and rng.random() < 0.2:
        arrays["class_names"] = np.array(["no", "yes"])
    if rng.random() < 0.2:
        arrays["ids"] = np.array([f"sample {number}" for number in range(n)])
        if n_test:
            arrays["ids_test"] = np.array([f"test {number}" for number in range(n_test)])
    if len(shape) == 1 and rng.random() < 0.1:
        arrays["kind"] = np.array("embeddings")
    return arrays


def odd_array(array, rng):
    """Return an array of another dtype, shape or content."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            odd = rng.choice(
                (
                    lambda: array.astype(
                        rng.choice(
                            (
                                "f2",
                                "f4",
                                ">f8",
                                "g",
                                "i1",
                                "u8",
                                "i8",
                                "?",
                                "c8",
                                "U3",
                                "S2",
                                "M8[s]",
                                "m8[s]",
                                "O",
                                "V8",
                                "i4,f4",
                                "u1",
                            )
                        )
                    ),
                    lambda: array[:0],
                    lambda: array[:1],
                    lambda: array[0],
                    lambda: array[..., np.newaxis],
                    lambda: array[np.newaxis],
                    lambda: array.reshape(-1),
                    lambda: array.T,
                    lambda: np.asfortranarray(array),
                    lambda: np.moveaxis(array, -1, 1) if array.ndim > 2 else array[::-1],
                    lambda: np.repeat(array, 2, axis=0),
                    lambda: np.zeros((len(array), 0), array.dtype),
                    lambda: np.array(rng.choice(TEXTS)),
                    lambda: np.array([rng.choice(TEXTS) for _ in array]),
                    lambda: np.array([rng.choice(TEXTS[:8]) for _ in array]),
                    lambda: np.array([rng.choice(TEXTS).encode("utf-8", "surrogateescape") for _ in array]),
                    lambda: np.array([rng.choice((0, 1, None, "x", 1.5)) for _ in array], object),
                    lambda: with_value(array, rng),
                    lambda: with_value(array, rng),
                )
            )()
            return np.asarray(odd)
        except (TypeError, ValueError, OverflowError, IndexError):
            return array


def with_value(array, rng):
    changed = array.copy()
    value = rng.choice((np.nan, np.inf, -1, 2**63 - 1, 1e300, -(2**40), 255, 65504, 1e-320))
    changed.reshape(-1)[rng.randrange(max(1, changed.size))] = value
    return changed


HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 4), }",
    "{'descr': '<f4', 'fortran_order': 3, 'shape': (2, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), 'more': 1}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }",
    "{'descr': '<q9', 'fortran_order': False, 'shape': (2, 4), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }",
    "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 300 + ")" * 300 + "}",
    "[" * 20000,
    "",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (L4, 4L), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (5,), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (5, 99999999999999999999), }",
)


def npy_bytes(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def write_npz(path, arrays, rng):
    """Write arrays as an archive, perhaps with odd members, and perhaps damaged."""
    compression = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    members = [(f"{name}{'' if rng.random() < 0.05 else '.npy'}", npy_bytes(array)) for name, array in arrays.items()]
    if rng.random() < 0.25:
        place = rng.randrange(len(members))
        name, content = members[place]
        kind = rng.randrange(8)
        if kind == 0:
            header = rng.choice(HEADERS).encode()
            version = rng.choice((1, 1, 2, 3, 9))
            size = struct.pack("<H" if version == 1 else "<I", len(header))
            members[place] = name, b"\x93NUMPY" + bytes((version, 0)) + size + header + content[128:]
        elif kind == 1:
            members[place] = (
                rng.choice((f"sub/{name}", f"../{name}", name.upper(), f"{name}.npy", "x.npy/", " ", "é")),
                content,
            )
        elif kind == 2:
            members.append((rng.choice((name, "x", "extra.npy", "read me.txt", "folder/")), rng.choice((content, b""))))
        elif kind == 3:
            del members[place]
        else:
            members[place] = name, damaged(content, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zipfile, on members of one name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
    if rng.random() < 0.35:
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif rng.random() < 0.03:
        path.write_bytes(rng.choice((npy_bytes(arrays["x"]), zlib.compress(b"x"), b"x,y\n1,2\n")))


def check_npz(data, path, case):
    """Compare a dataset with what numpy reads."""
    with np.load(path) as file:
        read = {name: file[name] for name in ("x", "y", "x_test", "y_test", "class_names", "ids") if name in file}
    n = len(read["x"])
    rows_train, rows_test = held_out_split(n) if "x_test" not in read else (np.arange(n), None)
    for split, rows in (("train", rows_train), ("test", rows_test)):
        x, y = (read["x"], read["y"]) if rows is not None else (read["x_test"], read["y_test"])
        if rows is not None:
            x, y = x[rows], y[rows]
        loaded = getattr(data, f"x_{split}")
        np.testing.assert_array_equal(loaded, x.reshape(loaded.shape), err_msg=f"case {case}")
        assert loaded.shape[: x.ndim] == x.shape, f"case {case}"
        names = [data.class_names[number] for number in getattr(data, f"y_{split}")]
        if "class_names" in read:
            expected = [text_of(read["class_names"][number]) for number in y]
        else:
            expected = [text_of(label if label.dtype.kind != "b" else label.astype(int)) for label in y]
        assert names == expected, f"case {case}"
    if "ids" in read:
        assert data.ids_train.tolist() == [text_of(name) for name in read["ids"][rows_train]], f"case {case}"


def text_of(value):
    return value.decode() if isinstance(value, bytes) else str(value)


@needs_alarm
def test_npz_files(load, tmp_path):
    n_loaded, n_cases = 0, 0
    for case in case_numbers(SECONDS):
        rng = random.Random(f"npz {case}")
        folder = tmp_path / "data"
        folder.mkdir()
        name = "own" if rng.random() < 0.8 else rng.choice(NAMES)
        path = folder / f"{name}{rng.choice(('.npz', '.npz', '.NPZ'))}"
        arrays = sound_arrays(rng)
        is_sound = True
        if rng.random() < 0.5:
            is_sound = False
            for _ in range(rng.choice((1, 1, 2))):
                changed = rng.choice(sorted(arrays))
                arrays[changed] = odd_array(arrays[changed], rng)
        state = rng.getstate()
        if is_sound and rng.random() < 0.2:
            np.savez(path.with_suffix(".npz"), **arrays)
            path = path.with_suffix(".npz")
        else:
            rng.setstate(state)
            is_sound = False
            write_npz(path, arrays, rng)
        data = load(case, path)
        assert data is not None or not is_sound, f"case {case}: {load.refusals[-1]}"
        if data is not None:
            check_npz(data, path, case)
        n_loaded, n_cases = n_loaded + (data is not None), n_cases + 1
        del data
        shutil.rmtree(folder)
    assert n_cases < 100 or n_cases / 10 < n_loaded < n_cases  # it tests something


# folders of images

FORMATS = (".png",) * 6 + (".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".webp", ".ppm", ".PNG")
MODES = ("L",) * 4 + ("RGB",) * 4 + ("P", "RGBA", "LA", "1", "I;16", "I", "F", "CMYK", "PA")


def image_bytes(rng, mode, suffix, size=(6, 5)):
    """Return a noise image in a file format; of a mode that the format cannot hold, RGB."""
    pixels = np.random.default_rng(rng.randrange(10**6)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    settings = {}
    if rng.random() < 0.1:
        settings["exif"] = rng.choice(
            (b"", b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0", b"Exif\0\0xx")
        )
    if rng.random() < 0.05:
        settings |= {"save_all": True, "append_images": [image.rotate(90)]}
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".ppm": "PPM"}.get(suffix.lower(), suffix[1:].upper())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if mode in ("I;16", "I", "F"):
                image = Image.fromarray(pixels[..., 0].astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode]))
            else:
                image = image.convert("LA" if mode == "LA" else mode)
            image.save(buffer, kind, **settings)
        except Exception:  # a format without this mode or setting
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def make(path, rng, mode, suffix=".png", **settings):
    """Write an image, and return whether the name exists and is one that this system allows."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(rng, mode, suffix, **settings))
    except (OSError, ValueError):
        return False
    return True


def spoil(folder, rng):
    """Damage a folder in one of many ways."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    if not files:
        return
    path = rng.choice(files)
    kind = rng.randrange(14)
    if kind < 4:
        path.write_bytes(damaged(path.read_bytes(), rng))
    elif kind == 4:
        (folder / rng.choice(("empty", "b ", "zz"))).mkdir(exist_ok=True)
    elif kind == 5:
        stray = rng.choice([folder, *folders]) / rng.choice(
            ("notes.txt", "x.bin", "y", "Thumbs.db", ".hidden", "z.png", "w.psd")
        )
        if not stray.exists():
            stray.write_bytes(b"text")
    elif kind == 6:
        path.unlink()
        path.mkdir()
    elif kind == 7:
        path.unlink()
        os.mkfifo(path)
    elif kind == 8:
        link = rng.choice([folder, *folders]) / rng.choice(("link", "link.png"))
        if not os.path.lexists(link):
            link.symlink_to(
                rng.choice((path, path.parent, folder, link, folder / "nowhere", folder.parent / "outside"))
            )
    elif kind == 9:
        path.unlink()
    elif kind == 10:
        shutil.rmtree(path.parent)
    elif kind == 11:
        make(path.parent / "other.png", rng, "RGB", size=rng.choice(((5, 6), (1, 1), (40, 3))))
    elif kind == 12:
        make(path.parent / f"{rng.choice(NAMES)}.png", rng, "L")
    else:
        make(folder / rng.choice(NAMES) / "0.png", rng, "L")


def check_images(data, folder, case, label_of, size=None):
    """Compare a dataset with what Pillow reads."""
    for split in ("train", "test"):
        for pixels, number, name in zip(
            getattr(data, f"x_{split}"), getattr(data, f"y_{split}"), getattr(data, f"ids_{split}"), strict=True
        ):
            assert data.class_names[number] == label_of(str(name)), f"case {case}: {name!r}"
            assert size is None or pixels.shape[:2] == size, f"case {case}: {name!r}"
            with warnings.catch_warnings(), Image.open(folder / str(name)) as image:
                warnings.simplefilter("ignore")
                image.load()  # a damaged file raises
                try:
                    upright = ImageOps.exif_transpose(image)
                except Exception:  # damaged metadata beside sound pixels
                    upright = image
                if image.mode in ("L", "RGB") and size is None:
                    expected = np.asarray(upright).reshape(image.height, image.width, -1)
                    assert (pixels == expected).all(), f"case {case}: {name!r}"


def is_split(folder):
    """Return whether a folder that could be loaded holds splits, rather than a class ``train``."""
    names = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return "train" in names and names <= {"train", "test", "val", "__MACOSX"}


@needs_alarm
def test_image_folders(load, tmp_path):
    n_loaded, n_cases = 0, 0
    for case in case_numbers(SECONDS):
        rng = random.Random(f"folder {case}")
        place = tmp_path / "data"
        (place / "outside").mkdir(parents=True)
        make(place / "outside" / "o.png", rng, "L")
        folder = place / ("images" if rng.random() < 0.8 else rng.choice(NAMES))
        splits = rng.choice(((".",), (".",), ("train",), ("train", "test"), ("train", "val")))
        classes = (
            rng.sample(("a", "b", "c", "dog"), 2) if rng.random() < 0.6 else rng.sample(NAMES, rng.choice((1, 2, 3)))
        )
        mode, suffix = rng.choice(MODES), rng.choice(FORMATS)
        mixed = rng.random() < 0.2
        for split in splits:
            for label in classes:
                for number in range(rng.choice((2, 3))):
                    if mixed:
                        mode, suffix = rng.choice(MODES), rng.choice(FORMATS)
                    make(folder / split / label / f"{number}{suffix}", rng, mode, suffix)
        is_sound = len(classes) > 1 and set(classes) <= {"a", "b", "c", "dog"} and "val" not in splits
        is_sound &= mode in ("L", "RGB", "1", "P", "RGBA") and not mixed
        for _ in range(rng.choice((0, 1, 1, 2))):
            is_sound = False
            spoil(folder, rng)
        size = rng.choice((None, None, None, (4, 4), (9, 7)))
        skip_bad = rng.random() < 0.3
        data = load(case, folder, image_size=size, skip_bad=skip_bad)
        assert data is not None or not is_sound, f"case {case}: {load.refusals[-1]}"
        if data is not None:
            depth = int(is_split(folder))
            check_images(data, folder, case, lambda name, depth=depth: name.split("/")[depth], size)
            assert skip_bad or not data.skipped, f"case {case}"
        n_loaded, n_cases = n_loaded + (data is not None), n_cases + 1
        del data
        shutil.rmtree(place)
    assert n_cases < 100 or n_cases / 10 < n_loaded < n_cases


# manifests

ODD_PATHS = (
    "", " ", ".", "..", "/", "/etc/passwd", "../outside.png", "./a0.png", "sub/../a0.png", "sub//b.png", "sub\\b.png",
    "a0.png/", "~", "~/a0.png", "a\0.png", "a\n.png", "x" * 300, "x/" * 3000, "nowhere.png", "sub", "link.png",
    "loop.png", "out.png", "fifo.png", "linked/o.png", "\udcff.png", "é.png", "-.png", "=1+1", "%s", "a0.PNG",
    "http://x/y.png", "file:a0.png",
)  # fmt: skip
SPLITS = ("train", "test", "train", "Train", "val", "", " train ", "0")


@needs_alarm
def test_manifests(load, tmp_path):
    n_loaded, n_cases = 0, 0
    for case in case_numbers(SECONDS):
        rng = random.Random(f"manifest {case}")
        place = tmp_path / "data"
        folder = place / "table"
        (folder / "sub").mkdir(parents=True)
        (place / "outside").mkdir()
        make(place / "outside.png", rng, "L")
        make(place / "outside" / "o.png", rng, "L")
        known = ["a0.png", "a1.png", "a2.png", "b0.png", "sub/b.png", "with space.png", "é.png", "a,b.png", 'q"q.png']
        for name in known:
            make(folder / name, rng, "L")
        for name, target in (
            ("link.png", "a0.png"),
            ("loop.png", "loop.png"),
            ("out.png", "../outside.png"),
            ("linked", "../outside"),
        ):
            (folder / name).symlink_to(target)
        os.mkfifo(folder / "fifo.png")
        rows = [[path, "ab"[number % 2]] for number, path in enumerate(known)]
        header = ["path", "label"]
        is_sound = True
        if rng.random() < 0.4:
            header.append("split")
            for number, row in enumerate(rows):
                row.append("test" if number > 5 else "train")
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            is_sound = False
            row, kind = rng.choice([row for row in rows if len(row) > 1]), rng.randrange(9)
            if kind < 3:
                row[0] = rng.choice(ODD_PATHS)
            elif kind == 3:
                row[1] = rng.choice(TEXTS)
            elif kind == 4:
                row[-1] = rng.choice(SPLITS)
            elif kind == 5:
                row.append(rng.choice(TEXTS))
            elif kind == 6:
                row.pop()
            elif kind == 7:
                header[rng.randrange(len(header))] = rng.choice(
                    ("Path", " LABEL ", "split", "path", "label", "file", "", "x\ny", "x" * 200_000)
                )
            else:
                rows[rng.randrange(len(rows))] = rng.choice(([], [""], [" ", " "], list(rows[0]), ["x" * 200_000, "a"]))
        if rng.random() < 0.1:
            is_sound = False
            header, rows = rng.choice((([], rows), (header, []), (header, rows[:1]), (header[::-1], rows), ([], [])))
        text = io.StringIO()
        delimiter = rng.choice((",",) * 9 + (";", "\t"))
        writer = csv.writer(
            text,
            delimiter=delimiter,
            quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)),
            lineterminator=rng.choice(("\n", "\r\n", "\r")),
        )
        writer.writerows([header, *rows])
        encoding = rng.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-32-le"))
        content = text.getvalue().encode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")
        is_sound &= encoding in ("utf-8", "utf-8-sig")
        if rng.random() < 0.25:
            is_sound = False
            content = damaged(content, rng)
        manifest = folder / f"{'m' if rng.random() < 0.9 else rng.choice(NAMES)}{rng.choice(('.csv', '.csv', '.CSV'))}"
        manifest.write_bytes(content)
        size = rng.choice((None, None, None, (4, 4)))
        skip_bad = rng.random() < 0.3
        data = load(case, manifest, image_size=size, skip_bad=skip_bad)
        assert data is not None or not is_sound, f"case {case}: {load.refusals[-1]}"
        if data is not None:
            lines = io.StringIO(content.decode("utf-8-sig"), newline="")
            delimiter = delimiter_of(lines.readline())
            lines.seek(0)
            read = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
            columns = [cell.lower() for cell in read[0]]
            label_of = {row[columns.index("path")]: row[columns.index("label")] for row in read[1:] if any(row)}
            check_images(data, folder, case, label_of.__getitem__, size)
            assert {*data.ids_train, *data.ids_test, *data.skipped} == set(label_of), f"case {case}"
            assert skip_bad or not data.skipped, f"case {case}"
        n_loaded, n_cases = n_loaded + (data is not None), n_cases + 1
        del data
        shutil.rmtree(place)
    assert n_cases < 100 or n_cases / 10 < n_loaded < n_cases
