"""Estimate the cost of one run, and of a selector's candidates alone, without executing it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from deepal_autoal.benchmark.checks import Setup, admit
from deepal_autoal.benchmark.cost.probe import Probe
from deepal_autoal.benchmark.cost.run_cost import FURTHER_TRAININGS, PASSES, Cost
from deepal_autoal.benchmark.grid import SHARED_SETTINGS
from deepal_autoal.benchmark.notation import Contender
from deepal_autoal.datasets import Dataset, are_image_files, load_dataset
from deepal_autoal.datasets.files.image_size import USUAL_SIDE
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.settings import DEFAULT_STRATEGY, Settings, recipe_changes
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.measuring.resources import Stopwatch
from deepal_autoal.querying.selector import SelectorStrategy, describe_strategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.strategies.candidate_sets import read_names
from deepal_autoal.strategies.factory import create_strategy, recreate_strategy
from deepal_autoal.training.recipe import Recipe

logger = logging.getLogger(__name__)

# Seconds to measure the queries of a strategy, and of each candidate.
_SECONDS = 10.0
# Sides of images that are suggested if they leave at most this share of the pixels.
SIDES = (USUAL_SIDE, 128, 64, 32)
_LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class Row:
    """A strategy, and the cost of its run or why it is unknown.

    Attributes:
        strategy: Its name.
        cost: The cost of the run, or None.
        reason: Why it is unknown, or empty.
        selector: The selector whose candidate it is, or empty.
    """

    strategy: str
    cost: Cost | None = None
    reason: str = ""
    selector: str = ""


@dataclass(frozen=True)
class Smaller:
    """A smaller size of the images, and its shares of the cost at the size that they have.

    Attributes:
        side: The ``image_size``.
        train: Share of the cost of training, by the pixels of all its batches.
        passed: Share of the cost of passes through the model, by an image's pixels.
    """

    side: int
    train: float
    passed: float

    def seconds(self, cost: Cost) -> float:
        """Return about how many seconds a run would take that now has this cost."""
        passes = cost.query_parts.get(PASSES, 0.0)
        trainings = cost.train + cost.query_parts.get(FURTHER_TRAININGS, 0.0)
        return cost.seconds - (1 - self.train) * trainings - (1 - self.passed) * (cost.evaluate + passes)


@dataclass(frozen=True)
class DryRun:
    """Estimates of what runs would cost.

    Attributes:
        data: The dataset.
        setup: Pool, budget, model and device.
        embedding_dim: Dimensions of the embeddings.
        rows: The strategy, and then a selector's candidates, fastest first; those without an estimate last.
        load_seconds: Seconds it took to read the data.
        smaller: What smaller images would take, largest first; none for images that are small, and for other data.
    """

    data: Dataset
    setup: Setup
    embedding_dim: int
    rows: tuple[Row, ...]
    load_seconds: float
    smaller: tuple[Smaller, ...] = ()


@engine_call()
def estimate_run(settings: Mapping[str, Any], dataset: str, progress: Callable[[int, int, str], None]) -> DryRun:
    """Return the cost of a run, estimated from short measurements; nothing is written.

    Args:
        settings: The arguments of `run`, by name.
        dataset: A registered name or a path.
        progress: Called with the number of strategies probed, their total, and the next one's name.

    Raises:
        InputError: If the data or a setting cannot be used.
        PluginError: If the strategy fails.
    """
    if (settings.get("seed") or 0) < 0:
        raise InputError(f"--seed {settings['seed']}: give 0 or more")
    contenders = [_contender(settings)]
    shared = {name: settings.get(name) for name in SHARED_SETTINGS}
    with Stopwatch() as loading:
        data = load_dataset(
            dataset,
            settings.get("data_dir"),
            settings.get("image_size"),
            skip_bad=settings.get("skip_bad"),
            target=settings.get("target"),
            text_model=settings.get("text_model"),
        )
    admission = admit(data.name, dataset, contenders, shared, (), data=data)
    wanted = [pair for label, call in admission.calls.items() for pair in _with_candidates(label, call)]
    progress(0, len(wanted), "training")
    probe = Probe(data, admission.setup, {**shared, "seed": settings.get("seed")}, _SECONDS)
    known, unknown = [], []
    for number, (row, make) in enumerate(wanted):
        progress(number, len(wanted), row.strategy)
        try:
            known.append(Row(row.strategy, probe.of(make), selector=row.selector))
        except Exception as error:  # one candidate's failure does not affect the others
            if not row.selector:
                raise  # as the run itself would
            logger.debug("no estimate of %s", row.strategy, exc_info=True)
            unknown.append(Row(row.strategy, reason=" ".join(str(error).split()), selector=row.selector))
    known.sort(key=lambda row: (bool(row.selector), row.cost.seconds if row.cost else 0.0))
    smaller = _smaller(data, admission.setup, shared) if are_image_files(dataset) else ()
    return DryRun(data, admission.setup, probe.embedding_dim, (*known, *unknown), loading.seconds, smaller)


def _smaller(data: Dataset, setup: Setup, settings: Mapping[str, Any]) -> tuple[Smaller, ...]:
    """Return up to three sizes of at most half the pixels."""
    pixels = math.prod(data.input_shape[1:])
    given = Settings(protocol=settings.get("protocol"), recipe=recipe_changes(settings)).with_protocol().recipe
    counts = [setup.initial + number * setup.batch_size for number in range(setup.n_rounds + 1)]

    def passed_in_training(recipe: Recipe) -> int:
        return sum(recipe.n_epochs(n) * n for n in counts)

    found = []
    for side in SIDES:
        share = side**2 / pixels
        if side <= min(data.input_shape[1:]) and share <= _LARGEST_SHARE:
            recipe = Recipe.for_data((data.input_shape[0], side, side), data.augmentation, **given)
            train = share * passed_in_training(recipe) / passed_in_training(setup.recipe)
            found.append(Smaller(side, train, share))
    return tuple(found[:3])


def _contender(settings: Mapping[str, Any]) -> Contender:
    """Return the strategy to estimate: the named one, or the one that a run without a name takes."""
    name, given = settings.get("strategy") or DEFAULT_STRATEGY, settings.get("candidates")
    candidates = None if given is None else tuple(read_names(given))
    return Contender(name, name, dict(settings.get("options") or {}), candidates=candidates)


def _with_candidates(label: str, call: Mapping[str, Any]) -> Iterator[tuple[Row, Callable[[], Strategy]]]:
    """Yield a strategy and, for a selector, each candidate alone, with functions that create them."""
    make = partial(create_strategy, call["strategy"], call["candidates"], **call["options"])
    yield Row(label), make
    strategy = make()
    if isinstance(strategy, SelectorStrategy):
        for name, candidate in strategy.candidates.items():
            yield Row(name, selector=label), partial(recreate_strategy, describe_strategy(candidate))
