"""Parse names with options, ``name[key=value,...]``. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from deepal_autoal.errors import InputError

_BRACKETS = {"[": "]", "(": ")", "{": "}"}


@dataclass(frozen=True)
class Notation:
    """Reads a setting's value; errors name the setting and say how to write it.

    Attributes:
        setting: For example ``--model``.
        form: For example ``write it as NAME or NAME[KEY=VALUE,...]``.
    """

    setting: str
    form: str

    def read(self, item: str) -> tuple[str, dict[str, str]]:
        """Return the text before the brackets and the options inside them, as text.

        Raises:
            InputError: If the brackets or their contents are malformed, or an option is given twice.
        """
        head, bracket, rest = item.strip().partition("[")
        if bracket and not rest.endswith("]"):
            raise self.error(item, self.form)
        options: dict[str, str] = {}
        for part in self.split(rest[:-1]) if bracket else ():
            key, sign, value = (text.strip() for text in part.partition("="))
            if not sign or not key:
                raise self.error(item, f"{part!r} is not KEY=VALUE; put a value with commas in brackets")
            if key in options:
                raise self.error(item, f"the option {key!r} is given twice")
            options[key] = value
        return head.strip(), options

    def split(self, text: str) -> list[str]:
        """Return the parts between commas, ignoring commas inside brackets; empty parts are dropped.

        Raises:
            InputError: If a bracket is unmatched.
        """
        parts, open_brackets = [""], ""
        for character in text:
            if character in _BRACKETS:
                open_brackets += _BRACKETS[character]
            elif character in _BRACKETS.values():
                if not open_brackets.endswith(character):
                    raise self.error(text, f"{character!r} closes nothing; {self.form}")
                open_brackets = open_brackets[:-1]
            if character == "," and not open_brackets:
                parts.append("")
            else:
                parts[-1] += character
        if open_brackets:
            raise self.error(text, f"{open_brackets[-1]!r} is missing; {self.form}")
        return [part.strip() for part in parts if part.strip()]

    def error(self, written: str, problem: str) -> InputError:
        """Return the error to raise for the text that was given."""
        return InputError(f"{self.setting} {written}: {problem}")
