"""What became of one entry point: its state, and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from deepal_autoal.errors import format_error
from deepal_autoal.isolation.blame import BUILTIN_DISTRIBUTION, Provider

# Seconds: slower loading is reported, since every command waits for it.
SLOW_LOADING = 1.0


@dataclass
class PluginRecord:
    """The result of loading one entry point.

    Attributes:
        name: The entry point's name; by convention the strategy's.
        value: The object that the entry point refers to.
        provider: Its distribution.
        state: ``"loaded"``, ``"failed"``, ``"refused"`` (its name is taken) or ``"disabled"`` (by the environment).
        problems: One line each; empty if there are none.
        provides: Registered names, written as ``"strategy entropy"``; if several entry points of a distribution name
            the same module, the first of them has all.
        seconds: How long loading took.
        error: The exception, if it failed.
    """

    name: str
    value: str
    provider: Provider
    state: str = "loaded"
    problems: list[str] = field(default_factory=list)
    provides: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: BaseException | None = None

    @property
    def is_slow(self) -> bool:
        """Whether this is a third-party plugin that took long to load."""
        return self.seconds > SLOW_LOADING and not self.provider.builtin

    @property
    def key(self) -> str:
        """The name under which pluggy holds the plugin."""
        return f"{self.provider}:{self.name}"

    def fail(self, error: BaseException) -> None:
        """Note that loading failed, and why."""
        self.state = "failed"
        self.error = error
        text = format_error(error)
        if isinstance(error, ImportError) and str(error.name or "").partition(".")[0] == BUILTIN_DISTRIBUTION:
            own_version = importlib.metadata.version(BUILTIN_DISTRIBUTION)
            text += f" (is the plugin written for another version of {BUILTIN_DISTRIBUTION} than {own_version}?)"
        self.problems.append(text)

    def describe(self) -> dict[str, Any]:
        """Return the record as a JSON-able dict."""
        return {
            "name": self.name,
            "value": self.value,
            "state": self.state,
            "seconds": self.seconds,
            "provides": list(self.provides),
            "problems": list(self.problems),
        }
