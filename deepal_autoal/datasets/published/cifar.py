"""CIFAR-10 and CIFAR-100, read from torchvision's folder or from the archive."""

# torchvision's class reads only the official files (by their digests), and only after extracting the archive.

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.download import obtain
from deepal_autoal.datasets.files.plain_pickle import read_plain_pickle
from deepal_autoal.errors import InputError

_SIDE = 32
_CHANNELS = 3
_CHUNK_BYTES = 1 << 20


def load_cifar10(data_dir: Path) -> Dataset:
    """Return 50,000 training and 10,000 test images of 10 classes, uint8 (N, 32, 32, 3) (see `load_cifar`)."""
    from torchvision.datasets import CIFAR10

    return load_cifar("cifar10", CIFAR10, data_dir)


def load_cifar100(data_dir: Path) -> Dataset:
    """Return 50,000 training and 10,000 test images of 100 classes, uint8 (N, 32, 32, 3) (see `load_cifar`)."""
    from torchvision.datasets import CIFAR100

    return load_cifar("cifar100", CIFAR100, data_dir)


def load_cifar(name: str, described: Any, data_dir: Path) -> Dataset:
    """Load the files in ``data_dir``, extracted or in the archive, which is downloaded if neither is there.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.

    Args:
        described: torchvision's class, which has the files' names, URL and digest.

    Raises:
        InputError: If the files are missing and cannot be downloaded, or are damaged; one line names the file.
    """
    train = [file for file, _ in described.train_list]
    test = [file for file, _ in described.test_list]
    meta = described.meta["filename"]
    names = [*train, *test, meta]
    folder, archive = data_dir / described.base_folder, data_dir / described.filename
    extracted = all((folder / file).is_file() for file in names)
    if not extracted and not archive.is_file():
        absent = [file for file in names if not (folder / file).is_file()]
        obtain(name, [described.url], archive, described.tgz_md5, f" (or {', '.join(absent)} into {folder.name})")
    batches: dict[str, tuple[np.ndarray, list[int]]] = {}
    paths: dict[str, Path] = {}
    class_names: tuple[str, ...] = ()
    for file_name, path, file in _extracted(folder, names) if extracted else _packed(archive, folder.name, names):
        content = read_plain_pickle(path, file)
        paths[file_name] = path
        if file_name == meta:
            class_names = _class_names(path, content.get(described.meta["key"]))
        else:
            batches[file_name] = _batch(path, content)
    for file_name, (_, labels) in batches.items():
        if max(labels) >= len(class_names):
            raise InputError(
                f"{paths[file_name]} holds label {max(labels)}, but {paths[meta].name} names {len(class_names)} "
                "classes; delete both and download them again"
            )
    x_train, y_train = _joined([batches.pop(file) for file in train])
    x_test, y_test = _joined([batches.pop(file) for file in test])
    source = {"kind": "CIFAR pickles", "path": str(folder if extracted else archive), "test split": "given"}
    return Dataset(name, x_train, y_train, x_test, y_test, class_names, ("crop", "flip"), source)


def _extracted(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Path, IO[bytes]]]:
    """Yield (name, path, open file) of every file."""
    for name in names:
        path = folder / name
        try:
            with open(path, "rb") as file:
                yield name, path, file
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); make it readable or replace it") from error


def _packed(archive: Path, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Path, IO[bytes]]]:
    """Yield (name, path in the archive, open file) of every file in archive order: all of it is read, once."""
    absent = set(names)
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    parent, _, name = member.name.removeprefix("./").rpartition("/")
                    if parent == folder and name in absent and member.isfile():
                        absent.remove(name)
                        file = members.extractfile(member)
                        assert file is not None  # true for every regular file
                        yield name, archive / member.name, io.BufferedReader(_Pieces(file))
            while stream.read(_CHUNK_BYTES):  # up to the checksum at its end
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{archive} cannot be read ({error}); delete it and download it again") from error
    if absent:
        raise InputError(f"{archive} holds no {folder}/{min(absent)}; delete it and download it again")


class _Pieces(io.RawIOBase):
    """A file read piece by piece: tarfile keeps two copies of whatever is read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(min(_CHUNK_BYTES, len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


def _batch(path: Path, content: dict[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Return a file's images, uint8 (N, 32, 32, 3), and labels."""
    data, labels = content.get("data"), content.get("labels", content.get("fine_labels"))
    width = _CHANNELS * _SIDE * _SIDE
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == width):
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise InputError(f"{path} holds {found}, not images uint8 (N, {width}); delete it and download it again")
    if not (isinstance(labels, list) and all(type(label) is int and label >= 0 for label in labels)):
        raise InputError(f"{path} holds no list of class numbers; delete it and download it again")
    if len(labels) != len(data) or not labels:
        raise InputError(f"{path} holds {len(data)} images but {len(labels)} labels; delete it and download it again")
    return np.ascontiguousarray(data.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)), labels


def _class_names(path: Path, found: Any) -> tuple[str, ...]:
    if not (isinstance(found, list) and found and all(isinstance(name, bytes | str) for name in found)):
        raise InputError(f"{path} holds no list of class names; delete it and download it again")
    return tuple(name.decode("latin1") if isinstance(name, bytes) else name for name in found)


def _joined(batches: Sequence[tuple[np.ndarray, list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    images = batches[0][0] if len(batches) == 1 else np.concatenate([images for images, _ in batches])
    return images, np.array([label for _, labels in batches for label in labels], np.int64)
