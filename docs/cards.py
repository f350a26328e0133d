"""Writes the table of built-in strategies in strategies.md from their cards: ``python docs/cards.py``."""

from pathlib import Path

from deepal_autoal import plugin_host
from deepal_autoal.plugins.cost_formulas import SYMBOLS, format_cost

PAGE = Path(__file__).with_name("strategies.md")
BEGIN, END = "<!-- cards: written by docs/cards.py -->\n", "<!-- end of cards -->\n"
ORDER = ("control", "uncertainty", "ensemble", "diversity", "hybrid", "learned", "selector")


def table() -> str:
    """Return the table of all built-in strategies, by family, with the key to its formulas."""
    entries = [entry for entry in plugin_host().strategies.entries() if entry.provider.builtin]
    lines = ["| name | family | queries | needs | time | memory | reference |", "|---|---|---|---|---|---|---|"]
    for entry in sorted(entries, key=lambda entry: (ORDER.index(entry.details["family"]), entry.name)):
        card = entry.details
        needs = ", ".join(sorted(card["requires"])) + (" (changes training)" if card["changes_training"] else "")
        cells = (f"`{entry.name}`", card["family"], entry.summary, needs, format_cost(card["time"]),
                 format_cost(card["memory"]), entry.reference)  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    key = "; ".join(f"{symbol} {meaning}" for symbol, meaning in SYMBOLS.items())
    return "\n".join([*lines, "", f"Time and memory of a query, beyond the pass that all share: {key}.", ""])


def page(text: str) -> str:
    """Return the page with its table renewed."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
