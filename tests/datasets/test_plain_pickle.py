from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepal_autoal.datasets.files.plain_pickle import read_plain_pickle
from deepal_autoal.errors import InputError

PATH = Path("folder", "data_batch_1")
CONTENT = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [3, 1, 2], "filenames": ["a.png", "b.png"]}


def read(raw: bytes) -> dict[str, Any]:
    return read_plain_pickle(PATH, io.BytesIO(raw))


def refused(raw: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(raw)
    assert str(caught.value).startswith(str(PATH)) and "\n" not in str(caught.value)


def test_files_from_python_2_are_read(python2_pickle: Callable[[object], bytes]) -> None:
    raw = python2_pickle(CONTENT)
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in raw and b"cnumpy\ndtype\n" in raw
    theirs = pickle.loads(raw, encoding="bytes")  # the writer above is correct: Python itself reads it
    np.testing.assert_array_equal(theirs[b"data"], CONTENT["data"])
    found = read(raw)
    np.testing.assert_array_equal(found["data"], CONTENT["data"])
    assert (
        found["data"].dtype == np.uint8 and found["labels"] == [3, 1, 2] and found["filenames"] == [b"a.png", b"b.png"]
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_from_python_3_are_read(protocol: int) -> None:
    found = read(pickle.dumps({b"data": CONTENT["data"], "labels": [1]}, protocol))
    np.testing.assert_array_equal(found["data"], CONTENT["data"])
    assert found["labels"] == [1]


@pytest.mark.parametrize("dtype", ["uint8", "<i4", ">i8", "<f4", ">u2"])
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers_are_read(dtype: str, protocol: int, order: Any) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    found = read(pickle.dumps({"x": array}, protocol))["x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


class Evil:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_that_a_file_names_is_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    for evil in (Evil(os.mkdir, str(mark)), Evil(eval, f"open({str(mark)!r}, 'w')")):
        raw = pickle.dumps({"data": evil}, protocol)
        refused(raw, "mkdir|eval")
        assert not mark.exists()
        pickle.loads(raw)  # the standard unpickler runs it
        assert mark.exists()
        mark.rmdir() if mark.is_dir() else mark.unlink()


@pytest.mark.parametrize(
    "name",
    ["posix\nsystem", "builtins\ngetattr", "__builtin__\neval", "numpy\nload", "numpy.core.multiarray\nscalar",
     "numpy\nndarray.tofile", "deepal_autoal.datasets.files.plain_pickle\npickle"],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    refused(b"c" + name.encode() + b"\n.", "asks for '" + name.replace("\n", r"\."))


def test_a_name_cannot_break_the_line() -> None:
    refused(b"\x80\x04\x8c\x04a\nb\x1b\x8c\x01c\x93.", r"asks for 'a\\nb\\x1b\.c'")


@pytest.mark.parametrize("dtype", ["O", "S3", "U2", "M8[s]", "i4,i4", "?"])
@pytest.mark.parametrize("protocol", [2, 5])
def test_other_arrays_are_refused(dtype: str, protocol: int) -> None:
    refused(
        pickle.dumps({"x": np.zeros(2, dtype)}, protocol), "something other than numbers|cannot be read as a pickle"
    )


def test_an_array_that_declares_its_bytes_as_objects_is_refused() -> None:
    # A numpy.dtype whose flags turn its bytes into addresses, which numpy's own reconstruction would follow.
    dtype = b"cnumpy\ndtype\n(U\x02O8I00\nI01\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I1\nt" + dtype
    refused(b"\x80\x02}U\x01x" + array + b"I00\nU\x08AAAAAAAAtbs.", "something other than numbers")


@pytest.mark.parametrize("value", [b"", b"\x80", b"not a pickle", b"\x80\x02]q\x00.", b"\x80\x02}", b"\x80\x02N."])
def test_other_files_are_refused(value: bytes) -> None:
    refused(value, "cannot be read as a pickle")


def test_every_truncation_is_refused(python2_pickle: Callable[[object], bytes]) -> None:
    raw = python2_pickle(CONTENT)
    for length in range(len(raw)):
        refused(raw[:length], "cannot be read as a pickle")


def test_damage_anywhere_is_refused_or_harmless(python2_pickle: Callable[[object], bytes]) -> None:
    raw = python2_pickle(CONTENT)
    rng = np.random.default_rng(0)
    for position in range(len(raw)):
        damaged = bytearray(raw)
        damaged[position] = rng.integers(256)
        try:
            assert isinstance(read(bytes(damaged)), dict)
        except InputError as error:
            assert "\n" not in str(error)
