"""Makes strategies out of names, candidates and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepal_autoal.errors import InputError
from deepal_autoal.options import resolve_options
from deepal_autoal.plugins import plugin_host
from deepal_autoal.process import restored
from deepal_autoal.registry import check_requires
from deepal_autoal.strategy import SelectorStrategy, Strategy, blaming, describe_strategy


def create_strategy(name: str, candidates: Sequence[str] | None = None, **options: Any) -> Strategy:
    """Create a registered strategy.

    Args:
        name: A registered name; ``deepal strategies`` lists them.
        candidates: Names of the candidates, for selectors only; each selector has defaults.
        options: Constructor options; ``**{"vote.oversample": 5}`` addresses the candidate ``vote``. Text is
            converted to the annotated type.

    Raises:
        UnknownNameError: If a strategy, a candidate or an option does not exist.
        InputError: If an option's value is unusable, candidates are given to a strategy that takes none, or a
            candidate cannot be one: twice the same, the selector itself, or one that changes training.
        PluginError: If the plugin that provides the strategy is broken.
    """
    return _create(name, candidates, options, within=())


def recreate_strategy(described: Mapping[str, Any]) -> Strategy:
    """Create the strategy that `describe_strategy` described.

    Raises:
        UnknownNameError: If it, or a candidate, is not registered here.
    """
    options = dict(described["options"])
    candidates = described.get("candidates")
    for candidate in candidates or ():
        options.update({f"{candidate['name']}.{key}": value for key, value in candidate["options"].items()})
    names = None if candidates is None else [candidate["name"] for candidate in candidates]
    return create_strategy(described["name"], names, **options)


def _create(
    name: str, candidates: Sequence[str] | None, options: Mapping[str, Any], within: tuple[str, ...]
) -> Strategy:
    entry = plugin_host().strategies.get(name)
    if name in within:
        raise InputError(f"strategy {name!r} would be its own candidate: {' > '.join((*within, name))}")
    cls = entry.load()
    own = {key: value for key, value in options.items() if "." not in key}
    addressed = [key for key in options if "." in key]
    arguments = resolve_options(name, cls, own)
    if issubclass(cls, SelectorStrategy):
        names = _candidate_names(name, cls, candidates)
        for key in addressed:
            if key.partition(".")[0] not in names:
                raise InputError(
                    f"option {key}: {key.partition('.')[0]!r} is not among the candidates {', '.join(names)}"
                )
        made = {}
        for candidate in names:
            theirs = {key.partition(".")[2]: options[key] for key in addressed if key.startswith(f"{candidate}.")}
            made[candidate] = _create(candidate, None, theirs, (*within, name))
            if made[candidate].changes_training:
                by_options = "changes_training" in vars(type(made[candidate]))
                raise InputError(
                    f"{candidate!r} changes how the task model is trained and cannot be a candidate of {name!r}; "
                    + (f"see its options: `deepal strategies {candidate}`" if by_options else "leave it out")
                )
        strategy: Strategy = entry.call(candidates=made, **arguments)
    else:
        if candidates is not None:
            raise InputError(f"strategy {name!r} takes no candidates; only selectors such as autoal and vote do")
        if addressed:
            raise InputError(f"option {addressed[0]}: strategy {name!r} has no candidates")
        strategy = entry.call(**arguments)
    with restored([]), blaming(f"strategy {name!r} of {entry.provider}", "its making", own_errors=True):
        strategy.name = name
        strategy.options = arguments
        strategy.provider = entry.provider
        check_requires(name, strategy.requires)
        describe_strategy(strategy)
    return strategy


def _candidate_names(name: str, cls: type[SelectorStrategy], candidates: Sequence[str] | None) -> list[str]:
    if isinstance(candidates, str):
        candidates = candidates.split(",")
    names = [str(candidate).strip() for candidate in (cls.default_candidates if candidates is None else candidates)]
    if any(not isinstance(candidate, str) for candidate in candidates or ()):
        raise InputError(f"the candidates of strategy {name!r} are given by their registered names")
    if not all(names) or not names:
        raise InputError(f"strategy {name!r} needs candidates, such as --candidates entropy,margin,kmeans")
    repeated = sorted({candidate for candidate in names if names.count(candidate) > 1})
    if repeated:
        raise InputError(f"candidate {repeated[0]!r} is named twice")
    return names
