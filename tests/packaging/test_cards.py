"""The docs' table of strategies matches the cards, and the cards match the classes."""

import importlib.util
from pathlib import Path

import pytest

from deepal_autoal import create_strategy, hookimpl, plugin_host
from deepal_autoal.errors import InputError, PluginError
from deepal_autoal.plugins.cost_formulas import check_cost, evaluate_cost, format_cost

PAGE = Path(__file__).resolve().parents[2] / "docs" / "strategies.md"
BUILTIN = [entry for entry in plugin_host().strategies.entries() if entry.provider.builtin]
FAMILIES = {"uncertainty", "diversity", "hybrid", "learned", "ensemble", "selector", "control"}


def test_page_shows_the_cards():
    spec = importlib.util.spec_from_file_location("cards", PAGE.with_name("cards.py"))
    cards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cards)
    assert cards.page(PAGE.read_text()) == PAGE.read_text(), "run `python docs/cards.py`"
    assert all(f"| `{entry.name}` |" in PAGE.read_text() for entry in BUILTIN)


@pytest.mark.parametrize("entry", BUILTIN, ids=lambda entry: entry.name)
def test_card_is_complete_and_matches_the_class(entry):
    card, strategy = entry.details, create_strategy(entry.name)
    assert card["family"] in FAMILIES and entry.summary and entry.reference
    assert card["use"].endswith(".")
    assert check_cost(card["time"]) and check_cost(card["memory"])
    assert card["requires"] == strategy.requires
    assert card["changes_training"] == strategy.changes_training
    # By convention the entry point has the strategy's name, so a failed import can be explained.
    assert any(record.name == entry.name for record in plugin_host().records)


def test_cost_formulas():
    assert evaluate_cost("b*N*(C + D)", {"b": 2, "N": 10, "C": 3, "D": 4}) == 140
    assert format_cost("L*D*D + C*D*D*D + N*(C + D)") == "L·D² + C·D³ + N·(C + D)"
    for formula in ("N**2", "X", "__import__('os')", "N+", "-N", "0*N", "1.5*N", "N if b else C", 3):
        with pytest.raises(InputError, match="cost"):
            check_cost(formula)


def test_invalid_formula_is_refused_at_registration():
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("costly", "module:Costly", memory="N squared")

    with pytest.raises(PluginError, match=r"costly.*memory"):
        plugin_host().register(Plugin(), "costly-plugin")
    assert "costly" not in plugin_host().strategies
