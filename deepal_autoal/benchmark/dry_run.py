"""What one run would cost, strategy by strategy, before any is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from deepal_autoal.benchmark.admission import Setup, admit
from deepal_autoal.benchmark.grid import SHARED_SETTINGS, give_candidates
from deepal_autoal.benchmark.notation import Contender, read_strategies
from deepal_autoal.benchmark.probe import Probe
from deepal_autoal.benchmark.run_cost import Cost
from deepal_autoal.candidates import ALL
from deepal_autoal.datasets import Dataset, load_dataset
from deepal_autoal.errors import InputError
from deepal_autoal.factory import create_strategy, recreate_strategy
from deepal_autoal.measure import Stopwatch
from deepal_autoal.strategy import SelectorStrategy, Strategy, describe_strategy

logger = logging.getLogger(__name__)

# Seconds to measure queries in: of one strategy with its candidates, and of each where all are probed.
_ALONE, _EACH = 10.0, 3.0


@dataclass(frozen=True)
class Row:
    """A strategy, and what its run costs or why that is not known.

    Attributes:
        strategy: Its name.
        cost: What the run costs, or None.
        reason: Why that is not known, or nothing.
        selector: Whose candidate it is, or nothing.
    """

    strategy: str
    cost: Cost | None = None
    reason: str = ""
    selector: str = ""


@dataclass(frozen=True)
class DryRun:
    """What runs would cost.

    Attributes:
        data: The dataset.
        setup: Pool, budget, model and device.
        embedding_dim: Dimensions of the embeddings.
        rows: The strategies, quickest first; a selector's candidates after it; those without an estimate last.
        load_seconds: What it took to read the data.
    """

    data: Dataset
    setup: Setup
    embedding_dim: int
    rows: tuple[Row, ...]
    load_seconds: float


def estimate_run(settings: Mapping[str, Any], dataset: str, progress: Callable[[int, int, str], None]) -> DryRun:
    """Return what a run would cost, from short measurements; nothing is written.

    Args:
        settings: As `run` takes them, by name; without a strategy, every installed one that can run is probed.
        dataset: A registered name or a path.
        progress: Called with the strategies that were probed, how many there are, and the next one's name.

    Raises:
        InputError: If the data or a setting cannot be used.
        PluginError: If the strategy that was named fails.
    """
    if (settings.get("seed") or 0) < 0:
        raise InputError(f"--seed {settings['seed']}: give 0 or more")
    contenders = _contenders(settings)
    shared = {name: settings.get(name) for name in SHARED_SETTINGS}
    with Stopwatch() as loading:
        data = load_dataset(dataset, settings.get("data_dir"))
    admission = admit(data.name, dataset, contenders, shared, (), data=data)
    rows = [Row(name, reason=out.reason) for out in admission.left_out for name in out.strategies]
    wanted = [
        pair
        for label, call in admission.calls.items()
        for pair in _with_candidates(label, call, settings.get("strategy") is not None)
    ]
    progress(0, len(wanted), "training")
    seconds = _EACH if settings.get("strategy") is None else _ALONE
    probe = Probe(data, admission.setup, {**shared, "seed": settings.get("seed")}, seconds)
    known = []
    for number, (row, make) in enumerate(wanted):
        progress(number, len(wanted), row.strategy)
        try:
            known.append(Row(row.strategy, probe.of(make), selector=row.selector))
        except Exception as error:  # one strategy's fault leaves the others' estimates
            if settings.get("strategy") is not None and not row.selector:
                raise  # as the run itself would
            logger.debug("no estimate of %s", row.strategy, exc_info=True)
            rows.append(Row(row.strategy, reason=" ".join(str(error).split()), selector=row.selector))
    known.sort(key=lambda row: (bool(row.selector), row.cost.seconds if row.cost else 0.0))
    return DryRun(data, admission.setup, probe.embedding_dim, (*known, *rows), loading.seconds)


def _contenders(settings: Mapping[str, Any]) -> list[Contender]:
    """Return the strategies to estimate: the one that was named, or all."""
    name, candidates = settings.get("strategy"), settings.get("candidates")
    options = dict(settings.get("options") or {})
    if name is not None:
        return [Contender(name, name, options, candidates=None if candidates is None else tuple(candidates))]
    if options:
        raise InputError(f"-o {next(iter(options))}: options belong to a strategy; give --strategy NAME too")
    return give_candidates(read_strategies(ALL), candidates)


def _with_candidates(
    label: str, call: Mapping[str, Any], is_named: bool
) -> Iterator[tuple[Row, Callable[[], Strategy]]]:
    """Yield a strategy and, of a selector that was named, each of its candidates alone, with what makes them."""
    make = partial(create_strategy, call["strategy"], call["candidates"], **call["options"])
    yield Row(label), make
    made = make() if is_named else None
    if isinstance(made, SelectorStrategy):
        for name, candidate in made.candidates.items():
            yield Row(name, selector=label), partial(recreate_strategy, describe_strategy(candidate))
