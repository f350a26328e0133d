"""The candidates of a selector, given as names of strategies or of sets such as ``all-cheap``."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.references import name_in
from deepal_autoal.plugins.registry import is_candidate_set
from deepal_autoal.strategies.candidate_sets import read_names, set_members

# Names of strategies and sets, or, from a run's record, each of these with the strategies that it stood for.
Candidates: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CandidateSelection:
    """Which strategies a selector asks, and which of them it can do without.

    Attributes:
        by_word: What was given, each name or set with the names that it stands for, in order.
        is_recorded: Whether the names come from a run's record, so that all of them are needed.
    """

    by_word: Mapping[str, Sequence[str]]
    is_recorded: bool = False

    @classmethod
    def parse(cls, given: str | Candidates, selector: str) -> CandidateSelection:
        """Return the selection that was given as ``"a,all-cheap"``, as a sequence, or as `describe` recorded it.

        Args:
            given: Names and sets.
            selector: The selector's name; sets never include it.

        Raises:
            InputError: If no name is given, one is given twice, or there is no such set.
        """
        if isinstance(given, Mapping):
            if any(isinstance(names, str) or not isinstance(names, Sequence) for names in given.values()):
                raise InputError("give candidates as a list, such as ['entropy', 'margin']")
            return cls(given, is_recorded=True)
        words = read_names(given)
        if not all(words) or not words:
            raise InputError(f"strategy {selector!r} needs candidates, such as --candidates entropy,margin,kmeans")
        repeated = sorted({word for word in words if words.count(word) > 1})
        if repeated:
            raise InputError(f"candidate {repeated[0]!r} is named twice")
        selection = cls(
            {
                word: [name for name in set_members(word) if name != selector] if is_candidate_set(word) else [word]
                for word in words
            }
        )
        if selection.has_sets:
            _warn_of_unloaded_plugins(words)
        return selection

    @property
    def names(self) -> list[str]:
        """The names of the candidates, each once, in order."""
        return list(dict.fromkeys(name for names in self.by_word.values() for name in names))

    @property
    def optional(self) -> set[str]:
        """Names that only come from a set: left out with a warning where others are errors."""
        return set() if self.is_recorded else set(self.names) - set(map(name_in, self.by_word))

    @property
    def has_sets(self) -> bool:
        """Whether a set was given, so that the names may depend on what is installed."""
        return any(map(is_candidate_set, self.by_word))

    def only(self, names: Collection[str]) -> CandidateSelection:
        """Return the selection without all other names."""
        kept = {word: [name for name in own if name in names] for word, own in self.by_word.items()}
        return replace(self, by_word=kept)

    def describe(self) -> dict[str, list[str]]:
        """Return the selection for a run's record; empty without sets, where the strategy's description has all."""
        return {word: list(names) for word, names in self.by_word.items()} if self.has_sets else {}


def _warn_of_unloaded_plugins(words: Sequence[str]) -> None:
    """Warn that sets lack the strategies of plugins that failed to load."""
    not_loaded = {str(record.provider) for record in plugin_host().records if record.state in ("failed", "refused")}
    if not_loaded:
        logger.warning(
            "candidates %s: without plugins of %s, which are not loaded: see `deepal plugins`",
            ",".join(words), ", ".join(sorted(not_loaded)),
        )  # fmt: skip
