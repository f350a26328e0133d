from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepal_autoal.datasets.files import array_cache, decoding
from deepal_autoal.datasets.files.array_cache import ArrayBlocks, cache_folder, cached_array
from deepal_autoal.datasets.files.image_files import file_state
from deepal_autoal.datasets.user_data.image_folder import load_image_folder

Write = Callable[..., Path]
VALUES = np.arange(30, dtype=np.uint8).reshape(10, 3)


def blocks_of(values: np.ndarray) -> Callable[[], ArrayBlocks]:
    return lambda: ArrayBlocks(values.shape, values.dtype, (values[i : i + 4] for i in range(0, len(values), 4)))


def never() -> ArrayBlocks:
    raise AssertionError("built again")


def stored(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_the_array_is_mapped_read_only_and_built_once(cache: Path, tmp_path: Path) -> None:
    made = cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    assert isinstance(made, np.memmap) and not made.flags.writeable
    np.testing.assert_array_equal(made, VALUES)
    np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, never), VALUES)
    assert len(stored(cache)) == 1


def test_a_new_key_replaces_the_origins_file_only(cache: Path, tmp_path: Path) -> None:
    cached_array(tmp_path / "other", "key", 10, blocks_of(VALUES))
    cached_array(tmp_path, "old", 10, blocks_of(VALUES))
    cached_array(tmp_path, "new", 10, blocks_of(VALUES + 1))
    assert sorted(name.rpartition("-")[2] for name in stored(cache)) == ["key.npy", "new.npy"]


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_damaged_file_is_rebuilt(cache: Path, tmp_path: Path, damage: bytes) -> None:
    cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    (file,) = cache.glob("*.npy")
    file.write_bytes(damage)
    np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, blocks_of(VALUES)), VALUES)
    file.write_bytes(file.read_bytes()[:-1])
    np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, blocks_of(VALUES)), VALUES)


def test_every_flipped_bit_is_noticed(cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    (file,) = cache.glob("*.npy")
    whole = file.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, blocks_of(VALUES)), VALUES)
        assert file.read_bytes() == whole
    assert "is damaged, or of an earlier version: it is rebuilt" in caplog.text


def test_a_file_without_a_checksum_is_rebuilt(cache: Path, tmp_path: Path) -> None:
    cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    (file,) = cache.glob("*.npy")
    np.save(file, VALUES + 1)
    np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, blocks_of(VALUES)), VALUES)


def test_a_failure_halfway_leaves_no_file(cache: Path, tmp_path: Path) -> None:
    def broken() -> ArrayBlocks:
        def blocks() -> Iterator[np.ndarray]:
            yield VALUES[:4]
            raise KeyboardInterrupt

        return ArrayBlocks(VALUES.shape, VALUES.dtype, blocks())

    with pytest.raises(KeyboardInterrupt):
        cached_array(tmp_path, "key", 10, broken)
    assert stored(cache) == []


def test_leftovers_of_a_killed_process_are_removed(cache: Path, tmp_path: Path) -> None:
    cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    (file,) = cache.glob("*.npy")
    (cache / f".{file.name}.12-ab.deepal-tmp").write_bytes(b"half")
    file.unlink()
    cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    assert stored(cache) == [file.name]


@pytest.mark.parametrize("place", ["reserve", "fsync", "replace"])
def test_without_disk_space_the_array_is_kept_in_memory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if place == "reserve":
        usage = shutil.disk_usage(tmp_path)._replace(free=array_cache.FREE_SPACE_MARGIN + VALUES.nbytes - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    else:
        monkeypatch.setattr(os, place, full)
    with caplog.at_level(logging.WARNING):
        made = cached_array(tmp_path, "key", 10, blocks_of(VALUES))
    np.testing.assert_array_equal(made, VALUES)
    assert not isinstance(made, np.memmap) and not made.flags.writeable
    assert "kept in memory" in caplog.text and "No space left" in caplog.text
    assert stored(cache) == []


def test_an_unusable_cache_folder_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached_array(tmp_path, "key", 10, blocks_of(VALUES)), VALUES)
    assert "kept in memory" in caplog.text


def test_one_of_several_threads_builds_it(tmp_path: Path) -> None:
    calls: list[int] = []
    started = threading.Event()

    def slow() -> ArrayBlocks:
        calls.append(1)
        started.set()
        threading.Event().wait(0.3)
        return blocks_of(VALUES)()

    results: list[np.ndarray] = []

    def work() -> None:
        results.append(cached_array(tmp_path, "key", 10, slow))

    threads = [threading.Thread(target=work) for _ in range(3)]
    threads[0].start()
    assert started.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and len(calls) == 1


def test_the_default_folder_is_the_platforms_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.delenv("DEEPAL_CACHE")
    assert cache_folder() == Path(platformdirs.user_cache_dir("deepal_autoal", appauthor=False))
    monkeypatch.setenv("DEEPAL_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"


def test_images_are_decoded_once(tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    first = load_image_folder(tmp_path)

    def fail(*args: Any) -> np.ndarray:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoding, "_decode", fail)
    second = load_image_folder(tmp_path)
    assert isinstance(second.x_train, np.memmap) and isinstance(second.x_test, np.memmap)
    assert not second.x_train.flags.writeable
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize("change", ["contents", "contents, same size and date", "label", "name", "added", "removed"])
def test_changed_images_are_decoded_again(tmp_path: Path, write_folder: Write, write_image: Write, change: str) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    for file in tmp_path.glob("*/*.png"):  # formats without compression keep their size
        as_bitmap(file)
    first = load_image_folder(tmp_path)
    target = tmp_path / "a" / "0.bmp"
    if change.startswith("contents"):
        status = target.stat()
        write_image(target, seed=9)
        if "same" in change:
            assert target.stat().st_size == status.st_size
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif change == "label":
        target.rename(tmp_path / "b" / "9.bmp")
    elif change == "name":
        target.rename(tmp_path / "a" / "9.bmp")
    elif change == "added":
        write_image(tmp_path / "b" / "9.bmp")
    else:
        target.unlink()
    assert load_image_folder(tmp_path).fingerprint != first.fingerprint


def as_bitmap(file: Path) -> None:
    from PIL import Image

    Image.open(file).save(file.with_suffix(".bmp"))
    file.unlink()


def test_size_and_both_times_are_part_of_a_files_state(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"contents")
    status = os.stat(tmp_path / "file")
    assert file_state(status) == (8, status.st_mtime_ns, status.st_ctime_ns)
