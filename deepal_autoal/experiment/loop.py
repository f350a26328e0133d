"""`run`: rounds of train, evaluate, query, label, with the dataset's own labels as the person who labels."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.datasets import load_dataset
from deepal_autoal.errors import InputError, UnknownNameError
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.live_run import LiveRun, Progress, begin_phase
from deepal_autoal.experiment.pool import draw_initial, draw_members
from deepal_autoal.experiment.records import RunFolder, RunResult
from deepal_autoal.experiment.resume_checks import check_given_matches, check_same_settings
from deepal_autoal.experiment.run_config import RunConfig, describe_recipe
from deepal_autoal.experiment.run_files import require_run
from deepal_autoal.experiment.settings import (
    Settings,
    check_budget,
    check_threads,
    recipe_changes,
    resolve_plugin_options,
)
from deepal_autoal.experiment.shared_round_0 import InitialModel
from deepal_autoal.experiment.versions import versions
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.measuring.profile import Profile, section
from deepal_autoal.measuring.profile_tables import write_profile
from deepal_autoal.models import AUTO, recorded_model
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.run_view import ActiveRun
from deepal_autoal.querying.selector import describe_strategy, providers_of
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.run_settings import RunArguments, RunSettings, definitions, whole_numbers
from deepal_autoal.strategies.candidate_sets import read_names
from deepal_autoal.strategies.factory import create_with_options
from deepal_autoal.training.recipe import LEAST_SIDE, Recipe
from deepal_autoal.training.scaling import check_scaling, resolve_scaling
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from deepal_autoal.datasets import Dataset

logger = logging.getLogger(__name__)


def run(
    strategy: str | Strategy | None = None,
    dataset: str | Path | Dataset | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    initial_model: str | Path | None = None,
    progress: Progress | None = None,
    on_start: Callable[[ActiveRun], None] | None = None,
    on_round: Callable[[ActiveRun, dict[str, Any]], None] | None = None,
    command: Sequence[str] | None = None,
    profile: bool | Profile = False,
    **settings: Unpack[RunArguments],
) -> RunResult:
    """Run one strategy on one dataset, with the dataset's labels as oracle.

    Args:
        strategy: A registered name or a strategy; ``random`` by default.
        dataset: A registered name, a path to own data, or a `Dataset`; ``digits`` by default.
        out: Run folder to write; without it nothing is written.
        resume: Continue the run in ``out``, or start it where there is none yet, for which a strategy, a dataset or a
            protocol must be given: a mistyped folder is no new run. Settings left open are the recorded ones.
        initial_model: A file for round 0's model and its accuracy, which runs of one seed have in common unless the
            strategy changes training: read where it holds them for these very settings, else written. The record
            counts their seconds as if they had been spent again, and repeats them as ``train.shared`` and
            ``evaluate.shared``.
        progress: Called as ``progress(phase, done, total)``.
        on_start: Called once the run is set up, with rounds that were done before already in its records.
        on_round: Called after each round with its record.
        command: The command line, for the record.
        profile: Whether to measure where the time goes, from this call on: the result has it as ``profile``, and the
            run folder as ``profile.json`` and ``profile.md``. A `Profile` that began earlier may be given.
        settings: Further settings by name; None, like leaving one out, means its default, or on resume the
            recorded value. `RunSettings` and `Recipe` (settings of training) say what each is; the ones used most:
            ``candidates`` of a selector, ``options`` of the strategy (``"vote.oversample"`` addresses the candidate
            ``vote``), ``model``, ``initial`` (50 by default, less in a small pool), ``batch_size`` (20), ``rounds``
            (10; the model is trained ``rounds`` + 1 times), ``seed``, ``device``, ``epochs``, ``min_steps``.
            ``recipe={"epochs": 5}`` is ``epochs=5``.

    Returns:
        The result; the finished run's own when there is nothing left to do.

    Raises:
        InputError: If a setting or the data cannot be used.
        RunFolderError: If ``out`` cannot be written, or holds another run.
    """
    if resume and out is None:
        raise InputError("--resume needs --out DIR, the folder of the run to continue")
    given = _read_settings(strategy, dataset, settings)
    if resume and out is not None and strategy is None and dataset is None and given.protocol is None:
        require_run(user_path(out, "--out"))
    if not isinstance(profile, bool | Profile):
        raise InputError(f"profile must be True, False or a Profile, not {profile!r}")
    if isinstance(profile, Profile) and profile.is_stopped:
        raise InputError("this profile has ended and holds another run; give profile=True or a new one")
    measured = Profile() if profile is True else profile or None
    with (
        measured.active() if measured is not None else nullcontext(),
        RunFolder(out, resume) if out is not None else nullcontext() as folder,
    ):
        recorded = folder.read_config() if folder is not None else None
        if recorded is not None and folder is not None:
            check_given_matches(recorded, given, folder.path)
            kept = Settings(**recorded.settings)
            for what, old, new in (("strategy", kept.strategy, strategy), ("dataset", kept.dataset, dataset)):
                if old is None and new is None:
                    raise InputError(f"{folder.path} was run with a {what} created in Python; resume it from there")
            kept = replace(kept, recipe={**recorded.recipe_defaults, **kept.recipe})
            given = given.fill_from(kept)
            given = replace(given, model=recorded_model(given.model or AUTO, recorded.model))
        resolved = given.with_protocol().with_defaults()
        with torch.inference_mode(False), using_threads(resolved.threads):
            shared = InitialModel(user_path(initial_model, "initial_model")) if initial_model is not None else None
            with section("set-up"):
                active = _prepare(resolved, strategy, dataset, folder, progress or _no_progress, command, shared)
            if measured is not None:
                measured.on(active.learner.device)
                measured.is_resumed = recorded is not None
            if recorded is not None and folder is not None:
                check_same_settings(recorded.to_json(), active.config.to_json(), folder.path)
                active.config = recorded
                if folder.is_finished:
                    return _finished(folder, recorded)
            elif folder is not None:
                with section("records"):
                    folder.write_config(active.config)
            view = active.view  # kept: hooks get one object in all rounds
            active.start()
            if on_start is not None:
                with section("display"):
                    on_start(view)
            for record in active.rounds():
                if on_round is not None:
                    with section("display"):
                        on_round(view, record)
            begin_phase("end")
            result = active.finish()
            if measured is not None:
                measured.stop()
                if folder is not None:
                    write_profile(measured, folder.path)
            return replace(result, profile=measured)


def _signature() -> inspect.Signature:
    """Return `run`'s signature with every setting by name, for `help` and notebooks."""
    found = inspect.signature(run)
    *own, _ = found.parameters.values()
    names = [*definitions(RunSettings), *definitions(Recipe)]
    by_name = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
               for name in names if name not in ("strategy", "dataset")]  # fmt: skip
    return found.replace(parameters=[*own, *by_name])


run.__signature__ = _signature()  # type: ignore[attr-defined]


def _read_settings(
    strategy: str | Strategy | None, dataset: str | Path | Dataset | None, settings: Mapping[str, Any]
) -> Settings:
    known = definitions(RunSettings)
    for name in settings:
        if name not in known and name not in definitions(Recipe):
            raise UnknownNameError("setting", name, [*known, *definitions(Recipe)])
    given: dict[str, Any] = {name: settings.get(name) for name in known}
    if isinstance(strategy, Strategy) and (given["candidates"] is not None or given["options"]):
        raise InputError("candidates and options go with a strategy's name; the strategy given is created already")
    if not isinstance(given["options"], Mapping | None):
        raise InputError(f"options is {given['options']!r}; give a mapping, such as {{'oversample': 5}}")
    check_scaling(given["scaling"])
    candidates = given["candidates"]
    given = whole_numbers(given) | {
        "strategy": strategy if isinstance(strategy, str) else None,
        "dataset": str(dataset) if isinstance(dataset, str | Path) else None,
        "candidates": candidates if isinstance(candidates, Mapping | None) else read_names(candidates),
        "options": given["options"] or None,
        "data_dir": None if given["data_dir"] is None else str(given["data_dir"]),
        "recipe": recipe_changes(settings),
        "plugin_options": given["plugin_options"] or {},
    }
    return Settings(**given)


def _prepare(
    settings: Settings,
    strategy: str | Strategy | None,
    dataset: str | Path | Dataset | None,
    folder: RunFolder | None,
    progress: Progress,
    command: Sequence[str] | None,
    initial_model: InitialModel | None,
) -> LiveRun:
    assert settings.strategy is not None and settings.dataset is not None and settings.seed is not None
    if settings.seed < 0:
        raise InputError(f"--seed {settings.seed}: give 0 or more")
    created = strategy if isinstance(strategy, Strategy) else None
    if created is None:
        created = create_with_options(settings.strategy, settings.candidates, settings.options or {})
    device = resolve_device(settings.device or "auto")
    data = dataset if dataset is not None and not isinstance(dataset, str | Path) else None
    if data is None:
        with section("data"):
            data = load_dataset(settings.dataset, settings.data_dir)
    with section("normalization"):
        # Of all rows, so that runs of all seeds and pool sizes decide alike.
        scaling = resolve_scaling(settings.scaling, data.x_train, data.is_embeddings)
    changes = settings.changes
    pool, in_play = changes.apply(data, settings.seed)
    members = in_play[draw_members(len(in_play), settings.seed, settings.pool_size)]
    initial, batch_size, rounds = check_budget(settings, len(members))
    recipe = Recipe.for_data(data.input_shape, data.augmentation, **settings.recipe)
    # `using_threads` puts back how many there were.
    torch.set_num_threads(settings.threads or usual_threads(data.input_shape))
    learner = ActiveLearner(
        pool.x_train, created, pool.n_classes, model=settings.model or "auto", recipe=recipe, seed=settings.seed,
        device=device, members=members if len(members) < len(pool.x_train) else None, n_rounds=rounds,
        scaling=scaling.name,
    )  # fmt: skip
    created = learner.strategy
    start = members[draw_initial(len(members), settings.seed, initial)]
    _warn_of_missing_classes(pool, start)
    entries = plugin_host()
    plugin_options = resolve_plugin_options(settings.plugin_options)
    providers = [*providers_of(created), *(entries.options.get(name).provider for name in plugin_options)]
    if data is not dataset and settings.dataset in entries.datasets:
        providers.append(entries.datasets.get(settings.dataset).provider)
    providers.append(entries.models.get(learner.model_name).provider)
    module = learner.new_module()
    with blaming(created, "describe_options"):
        described = describe_strategy(created)
    asked = {
        **settings.describe(),
        "threads": torch.get_num_threads(),
        "recipe": {**settings.recipe, "precision": learner.recipe.precision},
        "scaling": scaling.name,
        "strategy": None if isinstance(strategy, Strategy) else settings.strategy,
        "candidates": getattr(created, "candidate_words", None) or settings.candidates,
        "dataset": None if data is dataset else settings.dataset,
    }
    config = RunConfig(
        dataset=data.describe() | ({"changes": changes.describe(data)} if changes else {}),
        protocol=settings.protocol,
        pool_size=len(members),
        n_wrong_labels=_n_wrong(data, pool, members) if settings.label_noise else None,
        initial=start.tolist(),
        batch_size=batch_size,
        rounds=rounds,
        model={
            **learner.model_choice.describe(),
            "embedding_dim": module.embedding_dim,
            "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
        },
        recipe=describe_recipe(learner.recipe),
        precision=learner.recipe.precision,
        scaling=scaling.name,
        scaling_reason=scaling.reason or None,
        strategy=described,
        seed=settings.seed,
        threads=torch.get_num_threads(),
        device=str(device),
        versions=versions(),
        plugins=entries.distributions(providers),
        plugin_options=plugin_options,
        command=list(sys.argv if command is None else command),
        settings=to_jsonable(asked, strict=False),
    )
    return LiveRun(config, learner, pool, folder, progress, initial_model)


def _finished(folder: RunFolder, config: RunConfig) -> RunResult:
    summary = folder.read_summary()
    folder.drop_states()  # a kill may have come before it was done
    return RunResult(folder.read_rounds(), config.to_json(), summary["status"], summary.get("stop_reason"), folder.path)


def _n_wrong(data: Dataset, pool: Dataset, members: NDArray[np.int64]) -> int:
    """Return how many of the pool's labels are not those of the data."""
    return int((pool.y_train[members] != data.y_train[members % len(data.y_train)]).sum())


def _warn_of_missing_classes(data: Dataset, initial: NDArray[np.int64]) -> None:
    present = set(data.y_train[initial].tolist())
    missing = [name for number, name in enumerate(data.class_names) if number not in present]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        logger.warning("the initial labeled set lacks %d of %d classes: %s", len(missing), data.n_classes, shown)


def usual_threads(input_shape: tuple[int, ...]) -> int:
    """Return the number of CPU threads where none is given: torch's, or one for tiny images.

    With images of 8×8, threads wait for each other longer than they compute: two take twice the time of one.
    """
    is_tiny = len(input_shape) == 3 and max(input_shape[1:]) < LEAST_SIDE
    return 1 if is_tiny else torch.get_num_threads()


@contextmanager
def using_threads(number: int | None) -> Iterator[None]:
    """Use this many CPU threads inside the block."""
    check_threads(number)
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _no_progress(phase: str, done: int, total: int) -> None:
    """Show nothing."""
