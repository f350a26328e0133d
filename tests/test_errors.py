"""Text that others wrote, made safe to show."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from deepal_autoal.errors import UnknownNameError, printable_line, without_controls


@pytest.mark.parametrize("text", ["a\x1b[31m", "\x00", "\x9b2J", "\u202eab", "\ud800", "\uffff"])
def test_controls_are_replaced(text: str) -> None:
    shown = printable_line(text)
    assert "\N{REPLACEMENT CHARACTER}" in shown and shown == without_controls(text)
    assert ElementTree.fromstring(f"<a>{shown}</a>").text == shown


def test_one_line_keeps_letters_of_all_scripts_and_turns_breaks_into_spaces() -> None:
    assert printable_line("a\nb\tc\u2028d\xa0e") == "a b c d e"
    persian = "\u0645\u06cc\u200c\u0634\u0648\u062f"  # with a joiner, without which it would read otherwise
    assert printable_line(f"混合 é {persian} 👩\u200d🔬") == f"混合 é {persian} 👩\u200d🔬"


def test_thousands_of_known_names_are_not_all_listed() -> None:
    names = [f"image-{number:05}.png" for number in range(20_000)]
    message = str(UnknownNameError("id", "nope", names))
    assert message == ("unknown id 'nope'. Known: image-00000.png, image-00001.png, image-00002.png and 19,997 others.")
    assert str(UnknownNameError("id", "nope", names[:11], most_listed=10)).endswith("image-00002.png and 8 others.")
    assert str(UnknownNameError("id", "nope", names[:10], most_listed=10)).endswith("image-00009.png.")
    assert "'image-00002.png' and 147 others" not in str(UnknownNameError("id", "nope", names[:150]))
    assert "image-00002.png and 147 others." in str(UnknownNameError("id", "nope", names[:150]))


def test_only_names_that_are_about_as_close_as_the_closest_are_suggested() -> None:
    names = ["entropy", "kmeans", "margin", "margin-dropout", "maxherding"]
    assert str(UnknownNameError("strategy", "margn", names)) == "unknown strategy 'margn'. Did you mean 'margin'?"


def test_names_that_differ_only_in_case_or_zeros_come_before_all_others_whatever_their_number() -> None:
    names = [f"Image-{number:05}.png" for number in range(20_000)]
    for known in (names, names[:500]):
        message = str(UnknownNameError("id", "image-0100.png", known))
        assert message == "unknown id 'image-0100.png'. Did you mean 'Image-00100.png'?"
    # Among very many names, only those that begin alike are compared.
    assert "Did you mean 'leaf-7.png'?" in str(UnknownNameError("id", "leaf7.png", [*names, "leaf-7.png"]))


def test_without_known_names_none_is_suggested() -> None:
    assert str(UnknownNameError("dataset", "digits", [])) == "unknown dataset 'digits'. None is registered."
