"""The runs of a benchmark: planned, and checked as far as that goes, before the first model is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepal_autoal.benchmark.backends.objects import of_this_process
from deepal_autoal.benchmark.checks import LeftOut, Setup, admit, check_extensions, read_config
from deepal_autoal.benchmark.notation import Contender, read_oracles, read_seeds, read_strategies, read_tasks
from deepal_autoal.datasets.files.image_size import image_size_text
from deepal_autoal.errors import InputError, PluginError, RunFolderError, UnknownNameError
from deepal_autoal.experiment.records import CONFIG, SUMMARY
from deepal_autoal.experiment.results import run_folders
from deepal_autoal.experiment.run_files import read_summary
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.models import read_model
from deepal_autoal.oracles.creation import takes_candidates
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.run_settings import SHARED, definitions, split_names, whole_numbers
from deepal_autoal.strategies.candidate_sets import check_names
from deepal_autoal.strategies.factory import read_candidates
from deepal_autoal.strategies.given import StrategyLike, given_items
from deepal_autoal.training.recipe import Recipe

# What all runs of a grid share, by the names of `run`'s arguments.
SHARED_SETTINGS = (*SHARED, *definitions(Recipe))


@dataclass(frozen=True, eq=False)
class GridRun:
    """One run of a benchmark.

    Attributes:
        dataset: The label of the dataset, with model and protocol where they vary.
        strategy: The strategy's label.
        seed: The seed.
        folder: Its run folder.
        setup: What it has in common with the other runs on the dataset.
        settings: What `run` is called with.
        changes_training: Whether the strategy changes training.
    """

    dataset: str
    strategy: str
    seed: int
    folder: Path
    setup: Setup
    settings: Mapping[str, Any]
    changes_training: bool

    @property
    def n_rounds(self) -> int:
        """How many queries it makes."""
        return self.setup.n_rounds

    @property
    def is_of_python(self) -> bool:
        """Whether the strategy or a candidate is an object, or was registered by one in this process only."""
        return bool(of_this_process(self.settings))

    @property
    def is_finished(self) -> bool:
        """Whether the run is complete; one that was asked for fewer rounds is not."""
        if not (self.folder / SUMMARY).exists():
            return False
        summary = read_summary(self.folder)
        if summary.get("status") == "finished":
            return bool(summary.get("n_rounds", self.n_rounds) >= self.n_rounds)
        return read_config(self.folder).rounds >= self.n_rounds

    def __str__(self) -> str:
        return f"{self.strategy} on {self.dataset}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """A benchmark's runs, and what was left out of ``all``.

    Attributes:
        out: The benchmark's folder.
        runs: In the order in which they are done: seed by seed, so that whatever is finished can be compared.
        left_out: Strategies that cannot run, with the reason.
    """

    out: Path
    runs: tuple[GridRun, ...]
    left_out: tuple[LeftOut, ...]


@engine_call()
def plan_grid(
    strategies: StrategyLike | Sequence[StrategyLike] | Mapping[str, StrategyLike],
    datasets: str | Path | Sequence[str | Path] | None,
    seeds: int | str | Sequence[int],
    out: Path,
    candidates: Iterable[Any] | None,
    settings: Mapping[str, Any],
    *,
    models: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] | None = None,
    oracle: str | Sequence[str] | None = None,
    default_threads: int | None = None,
    is_remote: bool = False,
) -> Grid:
    """Return the runs of a grid, after checking names, options, budgets, needs, and the contents of ``out``.

    Args:
        strategies, datasets, seeds, out, candidates, models, protocols, oracle: As in `run_benchmark`.
        settings: What all runs share, by the names of `run`'s arguments.
        default_threads: CPU threads of a run if neither the settings nor earlier runs say; None for torch's number.
        is_remote: Whether runs are executed on other machines: this one need not have their device.

    Raises:
        DeepALError: If anything is wrong that can be known without training; see `run_benchmark`.
    """
    for name in settings:
        if name not in SHARED_SETTINGS:
            raise UnknownNameError("setting of a benchmark", name, SHARED_SETTINGS)
    if not isinstance(settings.get("model"), str | None):
        given = settings["model"]
        what = f"{given.__name__}, an object" if hasattr(given, "__name__") else f"a {type(given).__name__}"
        raise InputError(
            f"model is {what}: a benchmark takes names, and models by where they are defined, such as 'file.py:Net' or "
            "'module:Net'"
        )
    # Worker processes and records want plain data.
    settings = whole_numbers({name: str(value) if isinstance(value, Path) else to_jsonable(value, strict=False)
                              for name, value in settings.items()})  # fmt: skip
    settings["image_size"] = image_size_text(settings.get("image_size"))
    contenders = give_candidates([*read_strategies(strategies), *read_oracles(oracle)], candidates)
    for one, several in (("model", models), ("protocol", protocols)):
        if several and settings.get(one) is not None:
            raise InputError(f"--{one} and --{one}s: give one of them; --{one}s compares several")
    if settings.get("model") is not None:
        read_model(settings["model"])
    numbers = read_seeds(seeds)
    tasks = read_tasks(datasets, models, protocols)
    if (out / CONFIG).exists():
        raise RunFolderError(f"{out} holds a run; choose another --out for a benchmark")
    threads = _threads(settings.get("threads"), out, default_threads)
    shared = {**settings, "threads": threads}
    admissions = {}
    # Paths come first, so that a mistyped one is reported before anything is downloaded.
    for label in sorted(tasks, key=lambda label: tasks[label].dataset in plugin_host().datasets):
        task = tasks[label]
        varied = {
            name: value for name, value in (("model", task.model), ("protocol", task.protocol)) if value is not None
        }
        try:
            admissions[label] = admit(label, task.dataset, contenders, {**shared, **varied}, run_folders(out, label),
                                      is_remote)  # fmt: skip
        except InputError as error:
            if len(tasks) == 1:
                raise
            raise InputError(f"on {label}: {error}") from error
    runs = [
        GridRun(label, strategy, seed, out / label / strategy / f"seed-{seed}", admission.setup,
                {**copy.deepcopy(call), "seed": seed}, strategy in admission.changing)
        for seed in numbers
        for label, admission in ((label, admissions[label]) for label in tasks)
        for strategy, call in admission.calls.items()
    ]  # fmt: skip
    check_extensions(
        {folder: admission.setup.n_rounds for admission in admissions.values() for folder in admission.shorter},
        {run.folder for run in runs},
    )
    return Grid(out, tuple(runs), tuple(line for label in tasks for line in admissions[label].left_out))


def _threads(given: int | None, out: Path, default: int | None) -> int:
    """Return the CPU threads of every run of a study, on which its results depend."""
    if given is not None:
        return given
    for folder in run_folders(out):
        return read_config(folder).threads
    if default is not None:
        return default
    import torch

    return torch.get_num_threads()


def give_candidates(contenders: Sequence[Contender], candidates: Iterable[Any] | None) -> list[Contender]:
    """Return the contenders, the selectors among them with their candidates: their own, or those given for all."""
    for contender in contenders:
        if contender.candidates is not None and not _is_selector(contender):
            raise InputError(
                f"--strategies {contender.label}: strategy {contender.strategy!r} takes no candidates; only selectors "
                "such as vote do"
            )
    if candidates is None:
        return list(contenders)
    words = tuple(split_names(candidates) if isinstance(candidates, str) else given_items(candidates))
    read_candidates(words)
    check_names([word for word in words if isinstance(word, str)])
    given = [
        replace(contender, candidates=words) if contender.candidates is None and _is_selector(contender) else contender
        for contender in contenders
    ]
    if all(contender.candidates is None for contender in given):
        raise InputError("--candidates: none of the strategies takes candidates; only selectors such as vote do")
    return given


def _is_selector(contender: Contender) -> bool:
    if not isinstance(contender.strategy, str):  # a strategy has its candidates, and a class may be given some
        return isinstance(contender.strategy, type) and issubclass(contender.strategy, SelectorStrategy)
    if is_oracle(contender.strategy):
        return takes_candidates(contender.strategy)
    try:
        cls = plugin_host().strategies.load(contender.strategy)
    except PluginError:
        if contender.is_optional:
            return False  # it will be left out, with the reason
        raise
    return isinstance(cls, type) and issubclass(cls, SelectorStrategy)
