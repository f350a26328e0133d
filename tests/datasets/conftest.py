"""Files in true formats, made by the tests themselves."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
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
    """Return a function that gives a uint8 array's IDX file contents."""

    def contents(array: np.ndarray) -> bytes:
        header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
        return header + array.astype(np.uint8).tobytes()

    return contents


@pytest.fixture
def write_mnist(idx_bytes: Callable[[np.ndarray], bytes]) -> Callable[..., dict[str, np.ndarray]]:
    """Return a function that writes a tiny MNIST into a folder, plain or compressed, and gives its arrays."""

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
