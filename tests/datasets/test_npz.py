from __future__ import annotations

import io
import logging
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepal_autoal import run
from deepal_autoal.datasets.files import array_cache, npz_members
from deepal_autoal.datasets.splits import held_out_split
from deepal_autoal.datasets.user_data import npz
from deepal_autoal.datasets.user_data.npz import load_npz
from deepal_autoal.errors import InputError
from deepal_autoal.numerics import row_blocks
from deepal_autoal.numerics.row_blocks import BlockSize
from deepal_autoal.training import scaling

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3
IMAGES = RNG.integers(0, 256, (20, 6, 7), dtype=np.uint8)
SPLIT: dict[str, Any] = {"x": X, "y": Y, "x_test": X[:5] + 1, "y_test": Y[:5]}


def save(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_npz(path)
    assert "own" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_stored_arrays_are_mapped(tmp_path: Path, dtype: str, order: Any) -> None:
    x = np.asarray(X, dtype, order=order)
    data = load_npz(save(tmp_path, x=x, y=Y, x_test=x[:5], y_test=Y[:5]))
    assert data.name == "own" and data.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.x_train, x)
    np.testing.assert_array_equal(data.x_test, x[:5])
    if np.dtype(dtype).isnative:
        assert isinstance(data.x_train, np.memmap) and not data.x_train.flags.writeable
        assert Path(data.x_train.filename) == tmp_path / "own.npz"


@pytest.mark.parametrize("member", ["x", "y", "x_test"])
def test_a_flipped_bit_of_a_mapped_array_is_noticed(tmp_path: Path, member: str) -> None:
    path = save(tmp_path, **SPLIT)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo(f"{member}.npy").header_offset
    content[offset + 200] ^= 4
    path.write_bytes(content)
    refused(path, f"Bad CRC-32 for file '{member}.npy'")


@pytest.mark.parametrize("split", [SPLIT, {"x": X, "y": Y}])
@pytest.mark.parametrize("kind", [np.array("embeddings"), np.array([b"embeddings"])])
def test_a_file_can_declare_embeddings(
    tmp_path: Path, split: dict[str, Any], kind: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_npz(save(tmp_path, **split, kind=kind)).is_embeddings and not caplog.records
    assert not load_npz(save(tmp_path, **split)).is_embeddings


@pytest.mark.parametrize("kind", [np.array("pixels"), np.array(["embeddings"] * 2), np.array(1), np.array([b"\xff"])])
def test_another_kind_is_ignored(tmp_path: Path, kind: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    assert not load_npz(save(tmp_path, **SPLIT, kind=kind)).is_embeddings
    assert "array kind is not used; only 'embeddings' is known" in caplog.text


def test_images_are_not_embeddings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not load_npz(save(tmp_path, x=IMAGES, y=Y, kind=np.array("embeddings"))).is_embeddings
    assert "array kind is not used" in caplog.text


def test_compressed_arrays_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "own.npz", **SPLIT)
    data = load_npz(tmp_path / "own.npz")
    np.testing.assert_array_equal(data.x_train, X)
    assert data.fingerprint == load_npz(save(tmp_path, **SPLIT)).fingerprint


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., None], np.stack([IMAGES] * 5, axis=-1)])
def test_images_are_loaded(tmp_path: Path, images: np.ndarray) -> None:
    data = load_npz(save(tmp_path, x=images, y=Y, x_test=images[:4], y_test=Y[:4]))
    assert data.input_shape == (images.shape[3] if images.ndim == 4 else 1, 6, 7)
    np.testing.assert_array_equal(data.x_train.reshape(images.shape), images)
    assert data.augmentation == ("crop",) and isinstance(data.x_train, np.memmap)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_without_a_test_split_a_fifth_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool, in_memory: int
) -> None:
    monkeypatch.setattr(npz, "IN_MEMORY_BYTES", in_memory)
    monkeypatch.setattr("deepal_autoal.numerics.row_blocks.READING", BlockSize(3 * X[0].nbytes))
    (np.savez_compressed if compressed else np.savez)(tmp_path / "own.npz", x=X, y=Y)
    train, test = held_out_split(20)
    for _ in range(2):
        data = load_npz(tmp_path / "own.npz")
        np.testing.assert_array_equal(data.x_train, X[train])
        np.testing.assert_array_equal(data.y_train, Y[train])
        np.testing.assert_array_equal(data.x_test, X[test])
        np.testing.assert_array_equal(data.y_test, Y[test])
        assert isinstance(data.x_train, np.memmap) == isinstance(data.x_test, np.memmap)
        assert isinstance(data.x_train, np.memmap) == (not compressed and in_memory == 0)


def test_a_split_copy_is_rebuilt_when_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "IN_MEMORY_BYTES", 0)
    load_npz(save(tmp_path, x=X, y=Y))
    np.testing.assert_array_equal(load_npz(save(tmp_path, x=X + 1, y=Y)).x_train, X[held_out_split(20)[0]] + 1)


def test_the_held_out_rows_do_not_depend_on_labels(tmp_path: Path) -> None:
    first = load_npz(save(tmp_path, x=X, y=Y))
    np.testing.assert_array_equal(load_npz(save(tmp_path, x=X, y=Y[::-1])).x_test, first.x_test)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (Y.astype(np.uint8), ("0", "1", "2")),
        (Y.astype(">i4") * 5, ("0", "5", "10")),
        (Y > 0, ("0", "1")),
        (np.array(["10", "9", "8"])[Y], ("8", "9", "10")),
        (np.array(["a", "Z", "é"])[Y], ("Z", "a", "é")),
        (np.array([b"b", b"a", b"c"])[Y], ("a", "b", "c")),
    ],
)
def test_labels_are_encoded(tmp_path: Path, labels: np.ndarray, names: tuple[str, ...]) -> None:
    data = load_npz(save(tmp_path, x=X, y=labels, x_test=X[:3], y_test=labels[:3]))
    assert data.class_names == names
    written = [label.decode() if isinstance(label, bytes) else str(int(label) if label.dtype == bool else label)
               for label in labels]  # fmt: skip
    assert [names[label] for label in data.y_train] == written


def changed(row: int, value: float, dtype: str = "float32") -> np.ndarray:
    x = X.astype(dtype)
    x[row, 2] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": changed(13, np.nan), "y": Y}, "own.npz: x holds NaN.* row 13"),
        ({"x": changed(held_out_split(20)[1][1], np.inf), "y": Y}, f"x holds .* row {held_out_split(20)[1][1]}"),
        ({"x": changed(4, 1e300, "float64"), "y": Y}, "x holds .* row 4"),
        ({**SPLIT, "x_test": changed(3, np.inf)[:5]}, "x_test holds .* row 3"),
        ({"x": X}, "no array y"),
        ({"y": Y}, "no array x"),
        ({"train_images": IMAGES, "train_labels": Y}, "holds train_images, train_labels; save the arrays as x and y"),
        ({"x": X, "y": Y, "x_test": X}, "only one of x_test and y_test"),
        ({"x": X, "y": Y, "y_test": Y}, "only one of x_test and y_test"),
        ({"x": X, "y": Y[:-1]}, "x has 20 samples but y 19 labels"),
        ({**SPLIT, "y_test": Y[:4]}, "x_test has 5 samples but y_test 4 labels"),
        ({**SPLIT, "x_test": X[:5, :3]}, "use one dtype and sample shape"),
        ({**SPLIT, "x_test": X[:5].astype(float)}, "use one dtype and sample shape"),
        ({**SPLIT, "y_test": np.array(list("aabbb"))}, "save both as integers or as strings"),
        ({**SPLIT, "y_test": Y[:5] + 1}, r"without training samples \(3\)"),
        ({"x": X[0], "y": Y}, "x is float32 .4,.; save images"),
        ({"x": X.astype(int), "y": Y}, "must be float: x.astype"),
        ({"x": X.astype(np.uint8), "y": Y}, "must be float: x.astype"),
        ({"x": X.astype(complex), "y": Y}, "must be float"),
        ({"x": IMAGES / 255, "y": Y}, "images must be uint8"),
        ({"x": RNG.integers(0, 256, (20, 3, 6, 7), dtype=np.uint8), "y": Y}, r"x.transpose\(0, 2, 3, 1\)"),
        ({"x": X, "y": Y / 2}, "y is float64"),
        ({"x": X, "y": Y[:, None]}, "y is int64 .20, 1."),
        ({"x": X, "y": Y - 1}, "label -1 in row 0 is negative"),
        ({"x": X, "y": np.where(Y == 1, "", "a")}, "sample 2 is empty"),
        ({"x": X, "y": np.array(["0", "0.5", "1"])[Y]}, "0.5 is not a class"),
        ({"x": X, "y": np.zeros(20, int)}, r"only one class \(0\)"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty"),
        ({"x": X[:1], "y": Y[:1]}, "too few samples"),
        ({"x": X, "y": np.array([{}] * 20, dtype=object)}, "y holds Python objects"),
        ({"x": np.array([[None]] * 20, dtype=object), "y": Y}, "x holds Python objects"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    refused(save(tmp_path, **arrays), message)


def test_other_arrays_cause_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_npz(save(tmp_path, x=X, y=Y, X_test=X))
    assert "X_test" in caplog.text


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, **SPLIT)
    contents = path.read_bytes()
    for damaged in (b"", b"junk" * 100, contents[:-30], contents[: len(contents) // 2], contents[200:]):
        path.write_bytes(damaged)
        refused(path, "cannot be read as .npz")
    np.save(tmp_path / "own.npy", X)
    refused((tmp_path / "own.npy").rename(path), "cannot be read as .npz")


def test_compressed_members_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **SPLIT)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("x.npy").header_offset
    contents = bytearray(path.read_bytes())
    contents[start + 250] ^= 0xFF
    path.write_bytes(contents)
    refused(path, "cannot be read as .npz|does not hold")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_promises_too_much_is_refused(tmp_path: Path, compression: int) -> None:
    np.save(tmp_path / "x.npy", X)
    false_header = (tmp_path / "x.npy").read_bytes().replace(b"(20, 4)", b"(99, 4)")
    np.save(tmp_path / "y.npy", Y)
    with zipfile.ZipFile(tmp_path / "own.npz", "w", compression) as archive:
        archive.writestr("x.npy", false_header)
        archive.write(tmp_path / "y.npy", "y.npy")
    refused(tmp_path / "own.npz", r"x does not hold the \(99, 4\) values")


def test_the_file_is_not_modified(tmp_path: Path) -> None:
    path = save(tmp_path, x=X, y=Y)
    before = path.read_bytes(), path.stat().st_mtime_ns
    data = load_npz(path)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(load_npz(save(tmp_path, **SPLIT)).x_train)[0] = 0
    assert data.x_train.flags.writeable  # a copy in memory
    path = save(tmp_path, x=X, y=Y)
    assert path.read_bytes() == before[0]


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "NA", "N/A", "<NA>", "null", "unlabelled", " ", " nan "])
def test_missing_labels_among_texts_are_refused(tmp_path: Path, word: str) -> None:
    refused(save(tmp_path, x=X, y=np.where(np.arange(20) == 3, word, "cat")), "sample 4 is (empty|.*missing)")


def test_none_in_lower_case_is_a_class(tmp_path: Path) -> None:
    assert load_npz(save(tmp_path, x=X, y=np.where(Y == 0, "none", "cat"))).class_names == ("cat", "none")


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", ["y", "y_test"])
def test_a_single_label_is_refused(tmp_path: Path, name: str, split: bool) -> None:
    if not split and name == "y_test":
        pytest.skip("there is no y_test without x_test")
    arrays = {**(SPLIT if split else {"x": X, "y": Y}), name: np.array(3)}
    refused(save(tmp_path, **arrays), f"{name} is a single value; save one label per sample")


def write_members(path: Path, arrays: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(name, buffer.getvalue())
    return path


def test_members_without_suffix_are_read(tmp_path: Path) -> None:
    path = write_members(tmp_path / "own.npz", {"x": X, "y.npy": Y})
    data = load_npz(path)
    assert data.fingerprint == load_npz(save(tmp_path, x=X, y=Y)).fingerprint


def test_an_array_that_is_held_twice_is_refused(tmp_path: Path) -> None:
    refused(write_members(tmp_path / "own.npz", {"x": X, "x.npy": X + 1, "y": Y}), "holds the array x twice")


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x", b"1,2\n3,4\n")
        archive.writestr("y.npy", b"")
    refused(tmp_path / "own.npz", "cannot be read as .npz")


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_members, "_SMALL_BYTES", 1 << 16)
    monkeypatch.setattr(npz_members, "_read_member", None)
    zeros = np.zeros((1000, 1000), np.float32)
    path = write_members(tmp_path / "own.npz", {"x.npy": zeros, "y.npy": Y}, zipfile.ZIP_DEFLATED)
    refused(path, r"x would grow from [\d,]+ to 4,000,128 bytes .* save it uncompressed")
    monkeypatch.setattr(npz_members, "_SMALL_BYTES", 1 << 30)
    monkeypatch.setattr(npz_members, "memory_size", lambda: 1e6)
    refused(path, "needs 4,000,[0-9]+ bytes of memory when decompressed, more than this machine has")


def test_compressible_data_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_members, "_SMALL_BYTES", 1 << 10)
    wide = np.repeat(X, 20, axis=1)
    path = write_members(tmp_path / "own.npz", {"x.npy": wide, "y.npy": Y}, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(load_npz(path).x_train, wide[held_out_split(20)[0]])


@pytest.mark.parametrize(
    "header", [b"(" * 9000, b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"-" * 5000, b"{'a': \x00", b"'''"]
)
def test_headers_without_meaning_are_refused(tmp_path: Path, header: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(tmp_path / "own.npz", "own.npz")


@pytest.mark.parametrize("byte_order", "<>")
def test_texts_that_are_no_characters_are_refused(tmp_path: Path, byte_order: str) -> None:
    labels = np.array(["cat", "dog"] * 10, f"{byte_order}U3")
    assert load_npz(save(tmp_path, x=X, y=labels)).class_names == ("cat", "dog")
    labels.view(f"{byte_order}u4")[4] = 0x110000
    refused(save(tmp_path, x=X, y=labels), "a text holds numbers that are no characters")


class _StartedError(Exception):
    """Ends a run before its first training."""


def test_a_large_array_is_read_few_times_at_the_start_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes over the file only build the split; passes over that verify it, check and hash it, and scale it."""
    passes: Counter[str] = Counter()

    def counted(module: Any, name: str, count: Callable[..., bool] = lambda *_: True) -> None:
        function = getattr(module, name)

        def wrapper(*arguments: Any) -> Any:
            passes[name] += count(*arguments)
            return function(*arguments)

        monkeypatch.setattr(module, name, wrapper)

    def start(view: Any) -> None:
        raise _StartedError

    monkeypatch.setattr(npz, "IN_MEMORY_BYTES", 0)
    counted(npz, "verify_member", lambda archive, info: info.filename == "x.npy")
    counted(array_cache, "_is_whole")
    # Every pass over rows is sliced into blocks: here of one row, while one of labels has several.
    counted(row_blocks, "row_slices", lambda n_rows, size: n_rows >= 400 and size == 1)
    monkeypatch.setattr(row_blocks, "READING", BlockSize(100))
    monkeypatch.setattr(scaling, "MOMENTS", BlockSize(100))
    x = RNG.normal(size=(500, 40)).astype(np.float32)
    path = save(tmp_path, x=x, y=np.arange(500) % 3)

    def start_run() -> dict[str, int]:
        passes.clear()
        with pytest.raises(_StartedError):
            run("random", path, model="linear", scaling="global", rounds=1, device="cpu", on_start=start)
        return +passes

    assert start_run() == {"verify_member": 1, "row_slices": 3}
    assert start_run() == {"_is_whole": 1, "row_slices": 2}


def test_a_flipped_bit_is_noticed_before_the_split_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "IN_MEMORY_BYTES", 0)
    path = save(tmp_path, x=X, y=Y)
    sound = path.read_bytes()
    content = bytearray(sound)
    content[200] ^= 4
    path.write_bytes(content)
    refused(path, r"cannot be read as .npz \(Bad CRC-32 for file 'x.npy'\)")
    path.write_bytes(sound)
    np.testing.assert_array_equal(load_npz(path).x_train, X[held_out_split(20)[0]])
