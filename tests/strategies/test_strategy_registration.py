"""What the registration promises is what the classes are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepal_autoal.registry import Provider, Registrar, Registry
from deepal_autoal.strategy import SelectorStrategy, Strategy
from deepal_strategies.registration import deepal_register_strategies


def entries():
    registry = Registry("strategy")
    registrar = Registrar(registry, Provider("deepal_autoal", "0"))
    deepal_register_strategies(registrar)
    assert not registrar.problems
    return {entry.name: entry for entry in registry.entries()}


def test_names():
    assert set(entries()) == {"random", "entropy", "margin", "leastconf", "kmeans", "vote", "autoal"}


@pytest.mark.parametrize("name", sorted(entries()))
def test_entry_matches_its_class(name):
    entry = entries()[name]
    cls = entry.load()
    assert issubclass(cls, Strategy)
    if issubclass(cls, SelectorStrategy):
        strategy = cls({candidate: entries()[candidate].load()() for candidate in cls.default_candidates})
    else:
        strategy = cls()
    assert entry.details["requires"] == strategy.requires
    assert entry.details["family"] in {
        "uncertainty",
        "diversity",
        "hybrid",
        "learned",
        "ensemble",
        "selector",
        "control",
    }
    assert entry.summary and entry.reference and cls.__doc__


def test_registration_imports_nothing_heavy():
    code = (
        "import sys, deepal_strategies.registration; "
        "sys.exit(bool({'torch', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
