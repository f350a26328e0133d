"""Text that others wrote, made safe to show."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from deepal_autoal.errors import printable_line, without_controls


@pytest.mark.parametrize("text", ["a\x1b[31m", "\x00", "\x9b2J", "\u202eab", "\ud800", "\uffff"])
def test_controls_are_replaced(text: str) -> None:
    shown = printable_line(text)
    assert "\N{REPLACEMENT CHARACTER}" in shown and shown == without_controls(text)
    assert ElementTree.fromstring(f"<a>{shown}</a>").text == shown


def test_one_line_keeps_letters_of_all_scripts_and_turns_breaks_into_spaces() -> None:
    assert printable_line("a\nb\tc\u2028d\xa0e") == "a b c d e"
    persian = "\u0645\u06cc\u200c\u0634\u0648\u062f"  # with a joiner, without which it would read otherwise
    assert printable_line(f"混合 é {persian} 👩\u200d🔬") == f"混合 é {persian} 👩\u200d🔬"
