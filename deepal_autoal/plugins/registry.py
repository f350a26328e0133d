"""Names of one kind (strategies, datasets, models, backends, options), their providers, and how they are loaded."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepal_autoal.errors import (
    DeepALError,
    InputError,
    PluginCodeError,
    PluginError,
    UnknownNameError,
    error_message,
    format_error,
    is_interrupt,
)
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.isolation.process_state import ALL_BUT_TORCH_GENERATORS, restored, warn_restored
from deepal_autoal.plugins.contract import check_target, strategy_card
from deepal_autoal.plugins.references import is_reference, load_reference, name_in
from deepal_autoal.run_settings import RunSettings, definitions
from deepal_autoal.training.recipe import Recipe

IN_PROCESS_DISTRIBUTION = "this process"
IN_PROCESS = Provider(IN_PROCESS_DISTRIBUTION, "")

LISTED = ("strategy", "dataset", "model")
_DEFINED_ANYWHERE = ("strategy", "model")

# What the engine's own commands take; no plugin's option can have such a name.
OWN_OPTIONS = frozenset(
    [
        *(name.replace("_", "-") for cls in (RunSettings, Recipe) for name in definitions(cls)),
        "address", "backend", "command", "config", "cpus-per-run", "datasets", "dry-run", "format", "gpus-per-run",
        "help", "jobs", "json", "models", "name", "on-round", "on-start", "option", "oracle", "out", "profile",
        "progress", "protocols", "quiet", "resume", "seeds", "strategies", "verbose", "version",
    ]
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DETAILS = {
    "strategy": {"family", "requires", "changes_training", "time", "memory", "use", "measured"},
    "dataset": set(),
    "model": {"inputs", "family"},
    "backend": set(),
    "option": {"metavar", "flag"},
}
_NOT_TEXTS = frozenset({"requires", "changes_training", "measured"})
_SWITCHES = {"model": "family", "option": "flag"}


def is_candidate_set(word: str) -> bool:
    """Return whether an item in a list of strategies names a set: ``all``, or ``all-`` and what its members share.

    No strategy can have such a name.
    """
    return re.fullmatch(r"all(-.*)?", word, re.IGNORECASE) is not None


# Of the names and labels of oracles, in runs, tables and figures. No strategy can have such a name.
ORACLE_PREFIX = "oracle-"


def is_oracle(label: str) -> bool:
    """Return whether a name or label is that of an oracle, which sees hidden labels and is no strategy."""
    return label.casefold().startswith(ORACLE_PREFIX)


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        kind: ``"strategy"``, ``"dataset"``, ``"model"``, ``"backend"`` or ``"option"``.
        target: The object itself, or ``"module:attribute"``, imported when first needed.
        details: Further metadata, depending on the kind (see `Registrar.add`).
    """

    kind: str
    name: str
    target: Any
    provider: Provider
    summary: str = ""
    reference: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_family(self) -> bool:
        """Whether it provides many models, ``NAME/ARCHITECTURE``: the target is called with the architecture's name."""
        return self.kind == "model" and self.details.get("family") is True

    def load(self) -> Any:
        """Return the target; import it if it is given by name.

        Raises:
            PluginError: If the import fails; the cause is chained.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            # Output of an import must not end up in the JSON of a listing.
            with self._guarded("its import"), contextlib.redirect_stdout(sys.stderr):
                target = getattr(importlib.import_module(module), attribute)
                check_target(self.kind, self.name, target, self.is_family)
        except PluginError as error:
            raise PluginError(f"{error} (of {self.provider})") from None
        except BaseException as error:
            if is_interrupt(error):
                raise
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.provider} cannot be imported from {self.target!r}: "
                f"{format_error(error)}"
            ) from error
        return target

    def call(self, *arguments: Any, **named: Any) -> Any:
        """Load the target and call it.

        Raises:
            PluginCodeError: If it raises anything but a `DeepALError`; the message names the provider, and the cause
                is chained.
        """
        target = self.load()
        try:
            with self._guarded("its creation"):
                return target(*arguments, **named)
        except DeepALError as error:
            if self.provider.builtin:
                raise
            kind = InputError if isinstance(error, InputError) else PluginError
            raise kind(f"{self.kind} {self.name!r} of {self.provider}: {error_message(error)}") from None
        except BaseException as error:
            if is_interrupt(error):
                raise
            raise PluginCodeError(
                f"{self.kind} {self.name!r} of {self.provider} failed: {format_error(error)}"
            ) from error

    @contextlib.contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Restore what the target's code changes in the process, with a warning."""
        different: list[str] = []
        with restored(different, ALL_BUT_TORCH_GENERATORS):
            yield
        warn_restored(f"{self.kind} {self.name!r} of {self.provider}", doing, different)

    def describe(self) -> dict[str, Any]:
        """Return the entry as a JSON-able dict, as listings print it."""
        described: dict[str, Any] = {"name": self.name, "summary": self.summary}
        for key, value in self.details.items():
            described[key] = sorted(value) if isinstance(value, frozenset) else value
        described["reference"] = self.reference
        described["distribution"] = self.provider.distribution
        described["version"] = self.provider.version
        return described


class Registry:
    """All entries of one kind by name.

    Args:
        kind: The kind of entry, in the singular; used in messages.
        explain: Called with a name that is not registered; returns the error to raise instead of
            `UnknownNameError` if a plugin that should have provided the name failed, a hint to add, or None.
        reserved: Names that no plugin can take.
    """

    def __init__(
        self,
        kind: str,
        explain: Callable[[str], PluginError | str | None] = lambda name: None,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self.kind = kind
        self._explain = explain
        self._reserved = reserved
        self._entries: dict[str, Entry] = {}
        self._refused: dict[str, list[Provider]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self._entries)

    def entries(self) -> list[Entry]:
        """Return the entries, sorted by name."""
        return [self._entries[name] for name in self.names()]

    def get(self, name: str) -> Entry:
        """Return the entry of a name; for ``NAME/ARCHITECTURE``, the family's entry.

        Strategies and models may also be named by where they are defined, as ``file.py:Name`` or ``module:Name``; the
        entry then holds whatever object that is.

        Raises:
            InputError: If there is nothing where a strategy or model is said to be defined.
            PluginError: If two distributions claim the name, or the plugin of that name failed to load.
            UnknownNameError: If the name is not registered; the nearest names are suggested.
        """
        if name in self._entries:
            return self._entries[name]
        if self.kind in _DEFINED_ANYWHERE and is_reference(name):
            return Entry(self.kind, name_in(name), load_reference(name, self.kind), IN_PROCESS)
        if name in self._refused:
            owners = " and ".join(str(provider) for provider in self._refused[name])
            raise PluginError(f"{self.kind} {name!r} is provided by {owners}; both are refused. Uninstall one of them.")
        head, slash, _ = name.partition("/")
        if slash and self.kind == "model":
            entry = self.get(head)  # a typo in the family's name is reported as such
            if entry.is_family:
                return entry
            raise InputError(f"model {name!r}: {head!r} is a model, not a family of models; write {head}")
        explained = self._explain(name)
        if isinstance(explained, PluginError):
            raise explained
        where = f"`deepal {_plural(self.kind)}` lists all." if self.kind in LISTED else ""
        raise UnknownNameError(self.kind, name, self.names(), " ".join(filter(None, (where, explained))))

    def load(self, name: str) -> Any:
        """Return the loaded target of a name (see `get` and `Entry.load`)."""
        return self.get(name).load()

    def insert(self, entry: Entry) -> str | None:
        """Add an entry; return why it was refused, or None.

        A built-in keeps its name; if two third-party plugins claim the same name, neither gets it.
        """
        name, provider = entry.name, entry.provider
        if name in self._reserved:
            return f"{self.kind} {name!r} is one of the engine's own; choose another name"
        if self.kind == "strategy" and is_candidate_set(name):
            return f"strategy {name!r}: all and names starting with all- are reserved for sets; choose another name"
        if self.kind == "strategy" and is_oracle(name):
            return (
                f"strategy {name!r}: names starting with {ORACLE_PREFIX} are reserved for oracles; choose another name"
            )
        if name in self._refused:
            self._refused[name].append(provider)
        elif name in self._entries:
            owner = self._entries[name].provider
            if provider.distribution == IN_PROCESS_DISTRIBUTION:
                return f"{self.kind} {name!r} is already provided by {owner}"
            if owner == provider:
                return f"{self.kind} {name!r} is registered twice by {provider}"
            if owner.builtin:
                return f"{self.kind} {name!r} is the name of a built-in; choose another name"
            self._refused[name] = [self._entries.pop(name).provider, provider]
        else:
            self._entries[name] = entry
            return None
        others = ", ".join(str(other) for other in self._refused[name] if other != provider)
        return f"{self.kind} {name!r} is also provided by {others}; both are refused"

    def refused(self) -> dict[str, list[Provider]]:
        """Return the names that several third-party distributions claim, with these distributions."""
        return {name: list(providers) for name, providers in self._refused.items()}

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove entries, for example when their plugin fails halfway through registration."""
        for entry in entries:
            if self._entries.get(entry.name) is entry:
                del self._entries[entry.name]


class Registrar:
    """What a plugin's registration hook receives as ``registry``: adds names on behalf of that plugin."""

    def __init__(self, registry: Registry, provider: Provider) -> None:
        self._registry = registry
        self._provider = provider
        self._staged: list[Entry] = []
        self.added: list[Entry] = []
        self.problems: list[str] = []

    def add(
        self, name: str, target: Callable[..., object] | str, *, summary: str = "", reference: str = "", **details: Any
    ) -> None:
        """Register a name.

        Args:
            name: Letters, digits, ``-`` and ``_``, starting with a letter.
            target: The class or function itself, or ``"module:attribute"``, which is imported on first use to keep
                listings fast.
            summary: One line; by default the first line of the target's docstring.
            reference: Where the method, data or model was published.
            details: For a strategy, its card: ``family`` (built-ins use ``uncertainty``, ``diversity``, ``hybrid``,
                ``learned``, ``ensemble``, ``selector`` and ``control``), ``requires`` and ``changes_training``
                (both by default taken from the class, if it is given itself), and the ``time`` and ``memory`` of a
                query beyond the shared pass for outputs, as formulas such as ``"N*(C + D)"`` (see `cost_formulas`),
                ``use``, one line on when to use it, and ``measured``, a list of what studies found (see
                `check_measured`).
                For a model, ``inputs``: ``"images"``, ``"vectors"`` or ``"any"``, and ``family=True`` if it provides
                many models, each selected as ``name/architecture``; the function then gets the architecture's name
                as a third argument. For an option, ``metavar``, the placeholder for its value in the help, or
                ``flag=True`` if it takes none.

        Raises:
            PluginError: If the name, the target or a detail does not have this form.
        """
        kind = self._registry.kind
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(
                f"{name!r} is not a valid {kind} name: use letters, digits, - and _, starting with a letter"
            )
        for detail in details:
            if detail not in _DETAILS[kind]:
                raise PluginError(str(UnknownNameError(f"detail of {kind} {name!r}:", detail, _DETAILS[kind])))
        if isinstance(target, str):
            if not all(part.isidentifier() for part in target.replace(":", ".", 1).split(".")) or ":" not in target:
                raise PluginError(f"{kind} {name!r}: the target {target!r} is not of the form 'module:attribute'")
        elif not callable(target):
            raise PluginError(f"{kind} {name!r}: the target must be callable or 'module:attribute', not {target!r}")
        if kind == "option" and (name != name.lower() or "_" in name):
            raise PluginError(f"option {name!r}: write it as on the command line, in lower case with - between words")
        if kind == "model":
            details = {"inputs": "", "family": False, **details}
        switch = _SWITCHES.get(kind, "")
        if not isinstance(details.get(switch, False), bool):
            raise PluginError(f"{kind} {name!r}: {switch} must be True or False")
        if not isinstance(target, str):
            check_target(kind, name, target, details.get("family") is True)
        if kind == "strategy":
            details = strategy_card(name, target, details)
        if not summary and not isinstance(target, str):
            summary = (getattr(target, "__doc__", None) or "").strip().partition("\n")[0]
        texts = {"summary": summary, "reference": reference}
        texts |= {key: value for key, value in details.items() if key not in _NOT_TEXTS | {switch}}
        for key, text in texts.items():
            if not isinstance(text, str) or not text.isprintable():
                raise PluginError(f"{kind} {name!r}: {key} must be one line of text, not {text!r}")
        self._staged.append(Entry(kind, name, target, self._provider, summary, reference, dict(details)))


def commit(registrar: Registrar) -> None:
    """Insert what a plugin added, once all its registrations have succeeded."""
    for entry in registrar._staged:
        problem = registrar._registry.insert(entry)
        if problem is None:
            registrar.added.append(entry)
        else:
            registrar.problems.append(problem)
    registrar._staged.clear()


def _plural(kind: str) -> str:
    return kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
