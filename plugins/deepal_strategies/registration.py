"""Registers the built-in strategies without importing any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal import hookimpl
from deepal_strategies.cards import controls, diversity, hybrid, learned, selectors, uncertainty

if TYPE_CHECKING:
    from deepal_autoal import Registrar


@hookimpl
def deepal_register_strategies(registry: Registrar) -> None:
    """Add the built-in strategies, with what benchmarks/ measured (measured.json, by benchmarks/measured.py)."""
    found = json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8"))

    def add(name: str, target: str, **card: Any) -> None:
        points = found["points"].get(name, {})
        measured = [{**found["studies"][study], "points": value} for study, value in points.items()]
        registry.add(name, target, measured=measured, **card)

    for family in (controls, uncertainty, diversity, hybrid, learned, selectors):
        family.add_all(add)
