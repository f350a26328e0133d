"""Names of one kind (strategies, datasets, models), who provides them, and how they are loaded."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepal_autoal.cost import check_cost
from deepal_autoal.errors import (
    DeepALError,
    InputError,
    PluginCodeError,
    PluginError,
    UnknownNameError,
    is_users_own,
    message_of,
    spell,
)
from deepal_autoal.process import ALL_BUT_TORCH_GENERATORS, restored, tell

BUILTIN_DISTRIBUTION = "deepal_autoal"
IN_PROCESS_DISTRIBUTION = "this process"
REQUIREMENTS = frozenset({"inputs", "probabilities", "embeddings", "mc_dropout", "ensemble", "gradients"})

LISTED = ("strategy", "dataset", "model")

# What the engine's own commands take, also as Python names; no plugin's option can be called so.
OWN_OPTIONS = frozenset(
    [
        "address", "augmentation", "averaging", "backend", "batch-size", "candidates", "command", "compile", "config",
        "cpus-per-run", "data-dir", "dataset", "datasets", "device", "dry-run", "duplicates", "epochs", "format",
        "gpus-per-run", "help", "imbalance", "initial", "jobs", "json", "label-noise", "learning-rate", "min-steps",
        "model", "models", "name", "on-round", "on-start", "optimizer", "option", "options", "out", "plugin-options",
        "pool-size", "precision", "profile", "progress", "protocol", "protocols", "quiet", "recipe", "resume", "rounds",
        "scaling", "schedule", "seed", "seeds", "stop-at-full-accuracy", "strategies", "strategy", "threads",
        "train-batch-size", "verbose", "version", "warm-start", "weight-decay",
    ]
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DETAILS = {
    "strategy": {"family", "requires", "changes_training", "time", "memory"},
    "dataset": set(),
    "model": {"inputs", "family"},
    "option": {"metavar", "flag"},
}
_SWITCHES = {"model": "family", "option": "flag"}


@dataclass(frozen=True)
class Provider:
    """The distribution that an entry comes from."""

    distribution: str
    version: str

    @property
    def builtin(self) -> bool:
        """Whether this is our own distribution, whose names nobody can take."""
        return normalize(self.distribution) == normalize(BUILTIN_DISTRIBUTION)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


def stands_for_a_set(word: str) -> bool:
    """Return whether a word among names of strategies stands for several: ``all``, or ``all-`` and what they share.

    No strategy can be called so.
    """
    return re.fullmatch(r"all(-.*)?", word, re.IGNORECASE) is not None


def normalize(distribution: str) -> str:
    """Return a distribution's name in the packaging specification's normal form."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        kind: ``"strategy"``, ``"dataset"``, ``"model"`` or ``"option"``.
        target: The object itself, or ``"module:attribute"``, imported when it is first needed.
        details: Further metadata of the kind (see `Registrar.add`).
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
        """Whether it stands for many, as ``NAME/ARCHITECTURE``: its target is called with the architecture's name."""
        return self.kind == "model" and self.details.get("family") is True

    def load(self) -> Any:
        """Return the target, importing it where it is given by name.

        Raises:
            PluginError: If the import fails; the cause is chained.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            # What an import prints must not end up in the JSON of a listing.
            with self._guarded("its import"), contextlib.redirect_stdout(sys.stderr):
                target = getattr(importlib.import_module(module), attribute)
                check_target(self.kind, self.name, target, self.is_family)
        except PluginError as error:
            raise PluginError(f"{error} (of {self.provider})") from None
        except BaseException as error:
            if is_users_own(error):
                raise
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.provider} cannot be imported from {self.target!r}: {spell(error)}"
            ) from error
        return target

    def call(self, *arguments: Any, **named: Any) -> Any:
        """Load the target and call it.

        Raises:
            PluginCodeError: If it raises anything but a `DeepALError`; names the provider, with the cause chained.
        """
        target = self.load()
        try:
            with self._guarded("its making"):
                return target(*arguments, **named)
        except DeepALError as error:
            if self.provider.builtin:
                raise
            kind = InputError if isinstance(error, InputError) else PluginError
            raise kind(f"{self.kind} {self.name!r} of {self.provider}: {message_of(error)}") from None
        except BaseException as error:
            if is_users_own(error):
                raise
            raise PluginCodeError(f"{self.kind} {self.name!r} of {self.provider} failed: {spell(error)}") from error

    @contextlib.contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Put back what the target's code changes in the process, with a warning."""
        different: list[str] = []
        with restored(different, ALL_BUT_TORCH_GENERATORS):
            yield
        tell(f"{self.kind} {self.name!r} of {self.provider}", doing, different)

    def describe(self) -> dict[str, Any]:
        """Return the entry as a JSON-able dict, as the listings print it."""
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
        kind: What an entry is, in the singular; used in messages.
        explain: Called with a name that is not registered; returns the error to raise instead of
            `UnknownNameError` when a plugin that should have provided the name failed, a hint to add, or None.
        reserved: Names that nobody can take.
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
        """Return the entry of a name; of ``NAME/ARCHITECTURE`` that of the family.

        Raises:
            PluginError: If two distributions claim the name, or the plugin that bears it failed to load.
            UnknownNameError: If nothing registered the name; the nearest names are offered.
        """
        if name in self._entries:
            return self._entries[name]
        if name in self._refused:
            owners = " and ".join(str(provider) for provider in self._refused[name])
            raise PluginError(f"{self.kind} {name!r} is provided by {owners}; both are refused. Uninstall one of them.")
        head, slash, _ = name.partition("/")
        if slash and self.kind == "model":
            entry = self.get(head)  # a typo in the family's name is told as such
            if entry.is_family:
                return entry
            raise InputError(f"model {name!r}: {head!r} is a model, no family of models; write {head}")
        explained = self._explain(name)
        if isinstance(explained, PluginError):
            raise explained
        where = f"`deepal {_plural(self.kind)}` lists all." if self.kind in LISTED else ""
        raise UnknownNameError(self.kind, name, self.names(), " ".join(filter(None, (where, explained))))

    def load(self, name: str) -> Any:
        """Return the loaded target of a name (see `get` and `Entry.load`)."""
        return self.get(name).load()

    def insert(self, entry: Entry) -> str | None:
        """Add an entry, and return why it was refused, or None.

        A built-in keeps its name; of two third parties with one name neither gets it.
        """
        name, provider = entry.name, entry.provider
        if name in self._reserved:
            return f"{self.kind} {name!r} is the name of one of the engine's own; choose another name"
        if self.kind == "strategy" and stands_for_a_set(name):
            return f"strategy {name!r}: all, and what starts with all-, stands for sets; choose another name"
        if name in self._refused:
            self._refused[name].append(provider)
        elif name in self._entries:
            owner = self._entries[name].provider
            if provider.distribution == IN_PROCESS_DISTRIBUTION:
                return f"{self.kind} {name!r} is provided by {owner} already"
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
        """Return the names that several third parties claim, with who does."""
        return {name: list(providers) for name, providers in self._refused.items()}

    def remove(self, entries: Iterable[Entry]) -> None:
        """Take entries out again, as when their plugin fails half-way through its registration."""
        for entry in entries:
            if self._entries.get(entry.name) is entry:
                del self._entries[entry.name]


class Registrar:
    """What a plugin's registration hook receives as ``registry``: a registry, in the plugin's own name."""

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
            target: The class or function itself, or ``"module:attribute"``, which is imported on first use so
                that listings stay fast.
            summary: One line; by default the first line of the target's docstring.
            reference: Where the method, data or model was published.
            details: Of a strategy, its card: ``family`` (of the built-ins ``uncertainty``, ``diversity``, ``hybrid``,
                ``learned``, ``ensemble``, ``selector`` or ``control``), ``requires`` and
                ``changes_training`` (both of which a class given itself already tells), and the ``time`` and
                ``memory`` of a query beyond the shared outputs' pass, as formulas such as ``"N*(C + D)"`` (see
                `cost`). Of a model, ``inputs``: ``"images"``, ``"vectors"`` or ``"any"``, and ``family=True`` if it
                stands for many, each asked for as ``name/architecture``; the function then gets the architecture's
                name as a third argument. Of an option, ``metavar``, what stands for its value in the help, or
                ``flag=True`` if it takes none.

        Raises:
            PluginError: If the name, the target or a detail is not of this form.
        """
        kind = self._registry.kind
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(f"{name!r} is no {kind} name: use letters, digits, - and _, starting with a letter")
        for detail in details:
            if detail not in _DETAILS[kind]:
                raise PluginError(str(UnknownNameError(f"detail of {kind} {name!r}:", detail, _DETAILS[kind])))
        if isinstance(target, str):
            if not all(part.isidentifier() for part in target.replace(":", ".", 1).split(".")) or ":" not in target:
                raise PluginError(f"{kind} {name!r}: the target {target!r} is not of the form 'module:attribute'")
        elif not callable(target):
            raise PluginError(f"{kind} {name!r}: the target must be callable or 'module:attribute', not {target!r}")
        if kind == "option" and (name != name.lower() or "_" in name):
            raise PluginError(
                f"option {name!r}: write it as on the command line, in small letters with - between words"
            )
        if kind == "model":
            details = {"inputs": "", "family": False, **details}
        switch = _SWITCHES.get(kind, "")
        if not isinstance(details.get(switch, False), bool):
            raise PluginError(f"{kind} {name!r}: {switch} must be True or False")
        if not isinstance(target, str):
            check_target(kind, name, target, details.get("family") is True)
        if kind == "strategy":
            details = _card(name, target, details)
        if not summary and not isinstance(target, str):
            summary = (getattr(target, "__doc__", None) or "").strip().partition("\n")[0]
        texts = {"summary": summary, "reference": reference}
        texts |= {key: value for key, value in details.items() if key not in ("requires", "changes_training", switch)}
        for key, text in texts.items():
            if not isinstance(text, str) or not text.isprintable():
                raise PluginError(f"{kind} {name!r}: {key} must be one line of text, not {text!r}")
        self._staged.append(Entry(kind, name, target, self._provider, summary, reference, dict(details)))


def commit(registrar: Registrar) -> None:
    """Insert what a plugin added, once it has registered all without a failure."""
    for entry in registrar._staged:
        problem = registrar._registry.insert(entry)
        if problem is None:
            registrar.added.append(entry)
        else:
            registrar.problems.append(problem)
    registrar._staged.clear()


def _card(name: str, target: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy's details, checked and in order, with what was left out filled in."""
    requires = given.get("requires", getattr(target, "requires", frozenset()))
    # A class of its own wrap_trainer changes training; the base class's lies beside us.
    overridden = getattr(getattr(target, "wrap_trainer", None), "__module__", "").partition(".")[0]
    card = {
        "family": given.get("family", ""),
        "requires": check_requires(name, requires if not isinstance(requires, property) else ()),
        "changes_training": given.get("changes_training", overridden not in ("", BUILTIN_DISTRIBUTION)),
        "time": given.get("time", ""),
        "memory": given.get("memory", ""),
    }
    if not isinstance(card["changes_training"], bool):
        raise PluginError(f"strategy {name!r}: changes_training must be True or False")
    for key in ("time", "memory"):
        try:
            if card[key]:
                check_cost(card[key])
        except InputError as error:
            raise PluginError(f"strategy {name!r}: {key}: {error}") from None
    return card


# What the engine calls a strategy's methods with, self included.
_METHODS = {
    "query": ("context", "batch_size"),
    "score": ("context",),
    "choice_probabilities": ("context", "batch_size"),
    "describe_options": (),
    "wrap_trainer": ("trainer",),
    "state_dict": (),
    "load_state_dict": ("state",),
}
_CALLS = {"dataset": ("data_dir",), "model": ("input_shape", "n_classes"), "option": ("text",)}


def call_arguments(kind: str, is_family: bool = False) -> tuple[str, ...]:
    """Return what the engine calls a dataset, a model or an option with."""
    return (*_CALLS[kind], "architecture") if is_family else _CALLS[kind]


def check_target(kind: str, name: str, target: Any, is_family: bool = False) -> None:
    """Check that the engine can call what was registered.

    Args:
        kind: What is registered, such as ``"model"``.
        name: Under which name.
        target: The class or function.
        is_family: Whether it is called with an architecture's name as well.

    Raises:
        PluginError: If it is of another kind, lacks a method, or takes other arguments than those it is called with.
    """
    if kind != "strategy":
        _check_signature(f"{kind} {name!r}: it", target, call_arguments(kind, is_family))
        return
    from deepal_autoal.strategy import ScoringStrategy, SelectorStrategy, Strategy

    if not (inspect.isclass(target) and issubclass(target, Strategy)):
        raise PluginError(f"strategy {name!r}: the target must be a subclass of Strategy, not {target!r}")
    if target.query is Strategy.query:
        raise PluginError(f"strategy {name!r}: {target.__name__} implements no query(self, context, batch_size)")
    if target.query is ScoringStrategy.query and getattr(target, "score", None) is ScoringStrategy.score:
        raise PluginError(f"strategy {name!r}: {target.__name__} implements no score(self, context)")
    if issubclass(target, SelectorStrategy) and "candidates" not in inspect.signature(target).parameters:
        raise PluginError(f"strategy {name!r}: the constructor of a selector takes candidates, {target.__name__}'s not")
    names = getattr(target, "default_candidates", ())
    if not isinstance(names, tuple | list) or not all(isinstance(item, str) for item in names):
        raise PluginError(f"strategy {name!r}: default_candidates must be a tuple of names, not {names!r}")
    for method, arguments in _METHODS.items():
        if hasattr(target, method):
            _check_signature(
                f"strategy {name!r}: {target.__name__}.{method}", getattr(target, method), ("self", *arguments)
            )


def _check_signature(what: str, function: Any, arguments: tuple[str, ...]) -> None:
    if not callable(function):
        raise PluginError(f"{what} must be a method, not {function!r}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise PluginError(f"{what}{signature} cannot be called; it is called with ({', '.join(arguments)})") from None


def check_requires(name: str, requires: Iterable[str]) -> frozenset[str]:
    """Return a strategy's requirements as a frozenset.

    Raises:
        PluginError: If one of them is not in `REQUIREMENTS`.
    """
    if isinstance(requires, str):
        raise PluginError(f"strategy {name!r}: requires must be a set of names, not the string {requires!r}")
    needed = frozenset(requires)
    if not needed <= REQUIREMENTS:
        raise PluginError(
            f"strategy {name!r} requires {', '.join(sorted(map(str, needed - REQUIREMENTS)))}; "
            f"known requirements: {', '.join(sorted(REQUIREMENTS))}"
        )
    return needed


def _plural(kind: str) -> str:
    return kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
