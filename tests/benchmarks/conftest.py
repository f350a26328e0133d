"""Puts the scripts of benchmarks/autoal on the path, as they import each other by name."""

import importlib
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS / "autoal"))


@pytest.fixture(autouse=True)
def log_level():
    """Restore the log level, which studies set for their process."""
    logger = logging.getLogger("deepal_autoal")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session")
def models_study():
    """The modules of benchmarks/models by name."""
    return _modules("models")


@pytest.fixture(scope="session")
def selectors_study():
    """The modules of benchmarks/selectors by name."""
    return _modules("selectors")


@pytest.fixture(scope="session")
def audit_study():
    """The modules of benchmarks/audit by name."""
    return _modules("audit")


@pytest.fixture(scope="session")
def labeling_study():
    """The modules of benchmarks/labeling by name."""
    return _modules("labeling")


def _modules(study):
    """Import the modules of a study; some have the same names as those of benchmarks/autoal."""
    folder = BENCHMARKS / study
    names = [path.stem for path in folder.glob("*.py")]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(before)


@pytest.fixture
def study_line():
    """Return a function that creates a line of runs.jsonl."""

    def make(setting, label, seed, aubc, **more):
        return {
            "setting": setting, "label": label, "seed": seed, "key": "k", "aubc": aubc,
            "accuracy": [aubc - 0.1, aubc + 0.1], "n_labeled": [30, 60],
            "seconds": {"train": 1.0, "evaluate": 0.1, "query": 2.0}, "wall_s": 4.0, **more,
        }  # fmt: skip

    return make


@pytest.fixture
def patterned_images():
    """Forty 12x12 gray images of two kinds of stripes with noise, and their kinds."""
    rng = np.random.default_rng(3)
    kinds = np.arange(40) % 2
    images = rng.integers(0, 90, size=(40, 12, 12, 1), dtype=np.uint8)
    images[kinds == 0, ::2] += 150
    images[kinds == 1, :, ::2] += 150
    return images, kinds
