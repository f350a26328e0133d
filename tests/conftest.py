"""Small data and quick settings shared by the tests."""

import importlib
import logging
import os
import sys
import textwrap
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is loaded

import numpy as np
import pytest
import torch

from deepal_autoal import plugin_host
from deepal_autoal.cli.logging_setup import LOGGERS
from deepal_autoal.cli.main import main
from deepal_autoal.datasets.base import Dataset
from tests.pretended_cuda import pretended_cuda
from tests.text_models import PACKAGES, FakePackage

torch.set_num_threads(1)  # the tests' tensors are small


def blobs(n, n_classes=3, n_features=6, seed=0):
    """Return n points of Gaussian blobs with their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centers = np.random.default_rng(99).normal(size=(n_classes, n_features)) * 2
    return (centers[labels] + rng.normal(size=(n, n_features))).astype(np.float32), labels.astype(np.int64)


@pytest.fixture(autouse=True)
def device_of_gpu_tests(request):
    """For tests marked ``gpu``, pretend that there is a CUDA device where there is none."""
    if request.node.get_closest_marker("gpu") is None or torch.cuda.is_available():
        yield
    else:
        with pretended_cuda():
            yield


@pytest.fixture
def blob_data():
    """A dataset of 120 pool samples and 60 test samples, 6 features, 3 classes."""
    x, y = blobs(120)
    x_test, y_test = blobs(60, seed=1)
    return Dataset("blobs", x, y, x_test, y_test, ("a", "b", "c"))


@pytest.fixture
def blob_file(tmp_path, blob_data):
    """The `blob_data` dataset as an .npz file."""
    path = tmp_path / "blobs.npz"
    data = blob_data
    np.savez(path, x=data.x_train, y=data.y_train, x_test=data.x_test, y_test=data.y_test)
    return path


@pytest.fixture
def image_data():
    """Forty 8x8 gray images of two classes: bright left half, bright right half."""
    rng = np.random.default_rng(5)
    x = rng.integers(0, 100, size=(60, 8, 8, 1), dtype=np.uint8)
    y = np.arange(60) % 2
    x[y == 0, :, :4] += 120
    x[y == 1, :, 4:] += 120
    return Dataset("halves", x[:40], y[:40], x[40:], y[40:], ("left", "right"))


QUICK = {"epochs": 3, "recipe": {"min_steps": 5}, "model": "linear", "initial": 12, "batch_size": 6, "rounds": 3,
         "threads": 1}  # fmt: skip


@pytest.fixture
def quick():
    """Settings of a short run."""
    return dict(QUICK)


@pytest.fixture
def registered():
    """Return a function that registers a plugin until the test ends."""
    plugins = []

    def register(plugin, name):
        plugin_host().register(plugin, name)
        plugins.append(plugin)

    yield register
    for plugin in plugins:
        plugin_host().unregister(plugin)


@pytest.fixture
def distribution(tmp_path_factory, monkeypatch):
    """Return a function that fabricates an installed distribution with entry points and modules.

    Its attribute ``path`` is their folder, which is on this process's import path.
    """
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(str(folder))
    created = []

    def make(name, version="1.0", entry_points=None, **modules):
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key} = {value}" for key, value in (entry_points or {}).items()]
        (info / "entry_points.txt").write_text("[deepal]\n" + "\n".join(lines) + "\n")
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(source))
            created.append(module)
        importlib.invalidate_caches()

    make.path = folder
    yield make
    for module in created:
        sys.modules.pop(module, None)


@pytest.fixture
def deepal(capsys, monkeypatch, tmp_path):
    """Return a function that runs the command line in its own folder and returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    before = {name: (logging.getLogger(name).propagate, logging.getLogger(name).level) for name in LOGGERS}

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return stopped.value.code, output.out, output.err

    yield call
    for name, (propagate, level) in before.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], propagate
        logger.setLevel(level)


@pytest.fixture(scope="session")
def mypy_cache():
    """A folder for mypy's cache that is kept: without one, mypy takes a quarter of a minute."""
    return Path(__file__).resolve().parents[1] / ".mypy_cache" / "tests"


@pytest.fixture
def no_sentence_transformers(monkeypatch):
    """As if it were not installed."""
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def sentence_transformers(tmp_path_factory, monkeypatch):
    """A stand-in for sentence-transformers, of which no model is on this machine yet."""
    package = FakePackage(tmp_path_factory.mktemp("packages"), monkeypatch)
    yield package
    package.remove()
