"""Files in the real formats, created by the tests themselves."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets.files import download


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DEEPAL_CACHE", str(folder))
    return folder


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Return a function that writes a noise image, by default 6x5 (width x height) RGB, and its folders."""

    def write(path: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB", seed: int = 0, **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, *path.name.encode()])
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        image.convert(mode).save(path, **options)
        return path

    return write


@pytest.fixture
def write_folder(write_image: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a folder of class folders with PNG images."""

    def write(folder: Path, classes: dict[str, int], mode: str = "RGB") -> Path:
        for label, count in classes.items():
            for number in range(count):
                write_image(folder / label / f"{number}.png", mode=mode, seed=len(label))
        return folder

    return write


@pytest.fixture
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """Return a function that returns a uint8 array's IDX file contents."""

    def contents(array: np.ndarray) -> bytes:
        header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        return header + array.astype(np.uint8).tobytes()

    return contents


@pytest.fixture
def write_mnist(idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[..., dict[str, np.ndarray]]:
    """Return a function that writes a tiny MNIST into a folder, plain or compressed, and returns its arrays."""

    def write(folder: Path, compressed: bool, n_train: int = 30, n_test: int = 10) -> dict[str, np.ndarray]:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        arrays = {}
        for part, n in (("train", n_train), ("t10k", n_test)):
            arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
            arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
        for name, array in arrays.items():
            if compressed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            else:
                (folder / name).write_bytes(idx_bytes(array))
        return arrays

    return write


class Network:
    """The responses of known URLs; all others are unreachable.

    Attributes:
        asked: The requested URLs, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    def open(self, request: Any, timeout: float) -> Any:
        assert 0 < timeout <= 60
        # Zenodo rejects urllib's default user agent.
        assert "urllib" not in request.get_header("User-agent")
        self.asked.append(request.full_url)
        if request.full_url not in self.files:
            raise OSError("network is unreachable")
        answer = _Answer(self.files[request.full_url])
        answer.headers = {"Content-Length": str(len(answer.getvalue()))}
        return answer


class _Answer(io.BytesIO):
    headers: dict[str, str]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network in which no URL is reachable until a test adds files."""
    fake = Network()
    monkeypatch.setattr(download.urllib.request, "urlopen", fake.open)
    return fake


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes all text as Python 2 wrote its strings, without an encoding."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_string(self, text: str | bytes) -> None:
        raw = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(text)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


@pytest.fixture
def python2_pickle() -> Callable[[object], bytes]:
    """Return a function that pickles as CIFAR's files were: with Python 2 and the numpy of its time."""

    def pickled(content: object) -> bytes:
        buffer = io.BytesIO()
        _Python2Pickler(buffer, protocol=2).dump(content)
        return buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")

    return pickled


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and modification times of all files in a folder and below."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, tuple[bytes, int]]]:
    """Return `contents`."""
    return contents
