"""`run`: rounds of train, evaluate, query, label, with the dataset's own labels as the person who labels."""

from __future__ import annotations

import inspect
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.datasets import load_dataset
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.files.image_size import (
    USUAL_SIDE,
    image_size_text,
    no_image_files,
    warn_of_no_files_to_skip,
)
from deepal_autoal.datasets.user_data.given_data import dataset_of
from deepal_autoal.datasets.user_data.sentence_models import AUTO as TEXT_AUTO
from deepal_autoal.datasets.user_data.sentence_models import TF_IDF
from deepal_autoal.errors import InputError, UnknownNameError
from deepal_autoal.experiment.auditing import check_audit
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.live_run import LiveRun, Progress, begin_phase
from deepal_autoal.experiment.pool import draw_initial, draw_members, draw_validation
from deepal_autoal.experiment.progress_bar import RunBar, is_watched
from deepal_autoal.experiment.records import RunFolder, RunResult
from deepal_autoal.experiment.resume_checks import (
    check_given_matches,
    check_objects_are_given,
    check_same_form,
    check_same_settings,
    has_chosen,
)
from deepal_autoal.experiment.run_config import RunConfig, describe_recipe
from deepal_autoal.experiment.run_files import CONFIG, read_config, require_run
from deepal_autoal.experiment.saved_learner import load_strategy_state, strategy_state
from deepal_autoal.experiment.settings import (
    Settings,
    check_budget,
    check_plain_accuracy,
    check_threads,
    check_validation,
    recipe_changes,
    resolve_plugin_options,
)
from deepal_autoal.experiment.shared_round_0 import InitialModel
from deepal_autoal.experiment.versions import versions
from deepal_autoal.isolation.blame import blaming
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.measuring.profile import Profile, section
from deepal_autoal.measuring.profile_tables import write_profile
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.models import AUTO, ModelChoice, own_model, recorded_model
from deepal_autoal.models.names import arguments_of
from deepal_autoal.numerics.devices import describe_gpu, resolve_device
from deepal_autoal.oracles.base import Oracle
from deepal_autoal.oracles.creation import create_named
from deepal_autoal.oracles.judge import Judge
from deepal_autoal.oracles.third_split import check_third_split, default_pool_size, draw_third_split
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.run_view import ActiveRun
from deepal_autoal.querying.selector import describe_strategy, providers_of
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.run_settings import RunArguments, RunSettings, definitions, whole_numbers
from deepal_autoal.strategies.candidate_sets import read_names
from deepal_autoal.strategies.factory import create_with_options, read_candidates
from deepal_autoal.strategies.given import StrategyLike, given_items
from deepal_autoal.strategies.written import read_strategy
from deepal_autoal.training.inputs import Inputs
from deepal_autoal.training.recipe import LEAST_SIDE, Recipe
from deepal_autoal.training.samples import CheckedSamples
from deepal_autoal.training.scaling import check_scaling, resolve_scaling
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

# What resnet18 keeps of an image in a training step.
_BYTES_PER_PIXEL = 500


@engine_call()
def run(
    strategy: StrategyLike | None = None,
    dataset: Any = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    initial_model: str | Path | None = None,
    progress: Progress | bool | None = None,
    on_start: Callable[[ActiveRun], None] | None = None,
    on_round: Callable[[ActiveRun, dict[str, Any]], None] | None = None,
    command: Sequence[str] | None = None,
    profile: bool | Profile = False,
    **settings: Unpack[RunArguments],
) -> RunResult:
    """Run one strategy on one dataset, with the dataset's labels as oracle.

    Args:
        strategy: A registered name, a strategy, a subclass of `Strategy`, or a function of the context that returns
            one score per candidate (see `create_strategy`); ``random`` by default.
        dataset: A registered name, a path to own data, or data: ``(X, y)``, ``(X, y, X_test, y_test)``, a data frame
            with ``target``, a torch or Hugging Face dataset, a `Dataset` (see ``docs/python.md``); ``digits`` by
            default.
        out: Run folder to write; without it nothing is written.
        resume: Continue the run in ``out``, or start it where there is none yet, for which a strategy, a dataset or a
            protocol must be given: a mistyped folder is no new run. Settings left open are the recorded ones. More
            ``rounds`` than recorded extend it, also if it is finished, to what it would be had it been started with
            them; ``dataset`` may be a new place of the same data.
        initial_model: A file for round 0's model and its accuracy, which runs of one seed have in common unless the
            strategy changes training: read where it holds them for these very settings, else written. The record
            counts their seconds as if they had been spent again, and repeats them as ``train.shared`` and
            ``evaluate.shared``.
        progress: Whether to show a bar; by default on a terminal and in a notebook. Or a function, called as
            ``progress(phase, done, total)``.
        on_start: Called once the run is set up, with rounds that were done before already in its records.
        on_round: Called after each round with its record.
        command: The command line, for the record.
        profile: Whether to measure where the time goes, from this call on: the result has it as ``profile``, and the
            run folder as ``profile.json`` and ``profile.md``. A `Profile` that began earlier may be given.
        settings: Further settings by name; None, like leaving one out, means its default, or on resume the
            recorded value. `RunSettings` and `Recipe` (settings of training) say what each is; the ones used most:
            ``candidates`` of a selector, ``options`` of the strategy (``"vote.power"`` addresses the candidate
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
    options = settings.get("options")
    if not isinstance(options, Mapping | None):
        raise InputError(f"options is {options!r}; give a mapping, such as {{'power': 5}}")
    candidates = settings.get("candidates")
    if isinstance(strategy, str):
        strategy, candidates, options = read_strategy(strategy, candidates, options or {})
        settings["options"] = options
    if candidates is not None and not isinstance(candidates, str | Mapping):
        candidates = given_items(candidates)  # once: they may come from a generator
    words, made_candidates = read_candidates(candidates)
    made = None
    if strategy is not None and not isinstance(strategy, str):
        made = create_with_options(strategy, candidates, options or {})
    model = settings.get("model")
    own = None if model is None or isinstance(model, str) else own_model(model)
    changes = {"candidates": words, "model": model if own is None else None}
    given = _read_settings(strategy, dataset, {**settings, **changes})
    if not isinstance(dataset, str | Path | None):
        texts_by = given.text_model if given.text_model not in (None, TEXT_AUTO) else _recorded_text_model(out, resume)
        dataset = dataset_of(dataset, given.target, text_model=texts_by)
    if isinstance(dataset, Dataset) and given.image_size is not None:
        raise no_image_files(given.image_size, f"dataset {dataset.name}")
    if isinstance(dataset, Dataset) and given.skip_bad:
        warn_of_no_files_to_skip(f"dataset {dataset.name}")
    if resume and out is not None:
        require_run(user_path(out, "--out"), strategy, dataset, given.protocol)
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
            check_objects_are_given(
                recorded, {"strategy": strategy, "dataset": dataset, "model": model},
                None if made is not None else made_candidates, folder.path,
            )  # fmt: skip
            kept = replace(kept, recipe={**recorded.recipe_defaults, **kept.recipe})
            _check_data_is_there(given, kept, folder.path)
            if given.text_model in (None, TEXT_AUTO):
                given = replace(given, text_model=recorded.text_model)  # chosen once
            given = given.fill_from(kept)
            if isinstance(strategy, type) and not options and given.options:
                made = create_with_options(strategy, candidates, given.options)
            if own is None:
                given = replace(given, model=recorded_model(given.model or AUTO, recorded.model))
        resolved = given.with_protocol(is_new=recorded is None).with_defaults()
        with using_threads(resolved.threads):
            shared = InitialModel(user_path(initial_model, "initial_model")) if initial_model is not None else None
            with section("set-up"):
                created = made
                if created is None:
                    assert resolved.strategy is not None
                    created = create_named(
                        resolved.strategy, resolved.candidates, made_candidates, resolved.options or {}
                    )
                by_name = made is None
                before = strategy_state(created)
                bars: list[RunBar] = []
                report = progress if callable(progress) else _passed_on(bars)
                earlier = None if recorded is None else recorded.dataset
                active = _prepare(resolved, created, by_name, dataset, folder, report, command, shared, own, earlier)
            if measured is not None:
                measured.on(active.learner.device)
                measured.is_resumed = recorded is not None
            if recorded is not None and folder is not None:
                active.config, finished = _continued(folder, recorded, active.config)
                if finished is not None:
                    return finished
            elif folder is not None:
                with section("records"):
                    folder.write_config(active.config)
            view = active.view  # kept: hooks get one object in all rounds
            active.start()
            if on_start is not None:
                with section("display"):
                    on_start(view)
            try:
                if progress is True or (progress is None and is_watched()):
                    title = f"{active.config.strategy['name']} on {active.config.dataset['name']}"
                    bars.append(RunBar(title, active.n_rounds, len(active.records)))
                for record in active.rounds():
                    with section("display"):
                        for bar in bars:
                            bar.round(record)
                        if on_round is not None:
                            on_round(view, record)
                begin_phase("end")
                result = active.finish()
            finally:
                for bar in bars:
                    bar.close()
                if made is not None or made_candidates:  # what it learned here belongs to this run
                    load_strategy_state(created, before)
            if measured is not None:
                measured.stop()
                if folder is not None:
                    write_profile(measured, folder.path)
            return replace(result, profile=measured)


def _recorded_text_model(out: str | Path | None, resume: bool) -> str | None:
    """Return what embedded the texts of the run that is to be continued; None where there is none."""
    if out is None or not resume or not os.path.exists(path := user_path(out, "--out") / CONFIG):
        return None
    return RunConfig.from_json(read_config(path.parent), path).text_model


def _signature() -> inspect.Signature:
    """Return `run`'s signature with every setting by name, for `help` and notebooks."""
    found = inspect.signature(run)
    *own, _ = found.parameters.values()
    names = [*definitions(RunSettings), *definitions(Recipe)]
    by_name = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
               for name in names if name not in ("strategy", "dataset")]  # fmt: skip
    return found.replace(parameters=[*own, *by_name])


run.__signature__ = _signature()  # type: ignore[attr-defined]


def _read_settings(strategy: StrategyLike | None, dataset: Any, settings: Mapping[str, Any]) -> Settings:
    known = definitions(RunSettings)
    for name in settings:
        if name not in known and name not in definitions(Recipe):
            raise UnknownNameError("setting", name, [*known, *definitions(Recipe)])
    given: dict[str, Any] = {name: settings.get(name) for name in known}
    check_scaling(given["scaling"])
    candidates = given["candidates"]
    given = whole_numbers(given) | {
        "strategy": strategy if isinstance(strategy, str) else None,
        "dataset": str(dataset) if isinstance(dataset, str | Path) else None,
        "candidates": candidates if isinstance(candidates, Mapping | None) else read_names(candidates),
        "options": given["options"] or None,
        "image_size": image_size_text(given["image_size"]),
        "data_dir": None if given["data_dir"] is None else str(given["data_dir"]),
        "recipe": recipe_changes(settings),
        "plugin_options": given["plugin_options"] or {},
    }
    return Settings(**given)


def _prepare(
    settings: Settings,
    created: Strategy,
    by_name: bool,
    dataset: str | Path | Dataset | None,
    folder: RunFolder | None,
    progress: Progress,
    command: Sequence[str] | None,
    initial_model: InitialModel | None,
    own: ModelChoice | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> LiveRun:
    assert settings.dataset is not None and settings.seed is not None
    assert settings.model is not None and settings.device is not None
    if settings.seed < 0:
        raise InputError(f"--seed {settings.seed}: give 0 or more")
    device = resolve_device(settings.device)
    data = dataset if dataset is not None and not isinstance(dataset, str | Path) else None
    if data is None:
        with section("data"):
            data = load_dataset(
                settings.dataset,
                settings.data_dir,
                settings.image_size,
                skip_bad=settings.skip_bad,
                target=settings.target,
                text_model=settings.text_model,
            )
    if earlier is not None and folder is not None:
        check_same_form(earlier, data, folder.path)
    if settings.text_model not in (None, TEXT_AUTO, TF_IDF) and not data.text_model:
        logger.warning("--text-model %s has no effect: dataset %s has no texts", settings.text_model, data.name)
    with section("normalization"):
        # Of all rows, so that runs of all seeds and pool sizes decide alike.
        scaling = resolve_scaling(settings.scaling, data.x_train, data.is_embeddings)
    changes = settings.changes
    pool, in_play = changes.apply(data, settings.seed)
    pool_size = settings.pool_size
    n_copies = settings.duplicates or 1
    if isinstance(created, Oracle):
        pool_size = default_pool_size(len(in_play), n_copies) if pool_size is None else pool_size
        check_third_split(len(in_play), pool_size, n_copies)
    members = in_play[draw_members(len(in_play), settings.seed, pool_size, n_copies)]
    initial, batch_size, rounds = check_budget(settings, len(members))
    n_validation, validation_labels = check_validation(settings, len(members))
    validation = members[draw_validation(len(members), settings.seed, n_validation)]
    share, n_folds = check_audit(settings.audit, settings.audit_folds)
    recipe = Recipe.for_data(data.input_shape, data.augmentation, **settings.recipe)
    check_plain_accuracy(settings, recipe)
    _warn_of_large_images(data, recipe)
    # `using_threads` puts back how many there were.
    torch.set_num_threads(settings.threads or usual_threads(data.input_shape))
    samples = CheckedSamples(pool.x_train) if pool.is_read_only else pool.x_train
    learner = ActiveLearner(
        samples, created, pool.n_classes, model=own or settings.model, recipe=recipe, seed=settings.seed, device=device,
        members=members if len(members) < len(pool.x_train) else None, n_rounds=rounds,
        scaling=scaling.name, audit=share, audit_folds=n_folds if share else None,
        validation=(validation, pool.y_train[validation]) if n_validation else None,
    )  # fmt: skip
    created = learner.strategy
    if isinstance(created, Oracle):
        third = draw_third_split(in_play, members, len(data.x_train), settings.seed)
        inputs = Inputs(data.x_train[third], learner.normalization, device)
        path = folder.path if folder is not None else None
        created.bind(Judge(learner.fit_with, pool.y_train, inputs, data.y_train[third], third, path))
    rest = learner.unlabeled_indices
    start = rest[draw_initial(len(rest), settings.seed, initial)]
    _warn_of_missing_classes(pool, start)
    entries = plugin_host()
    plugin_options = resolve_plugin_options(settings.plugin_options)
    providers = [*providers_of(created), *(entries.options.get(name).provider for name in plugin_options)]
    if data is not dataset and settings.dataset in entries.datasets:
        providers.append(entries.datasets.get(settings.dataset).provider)
    providers.append(arguments_of(learner.model_choice)[0].provider)
    module = learner.new_module()
    with blaming(created, "describe_options"):
        described = describe_strategy(created)
    asked = {
        **settings.describe(),
        "threads": torch.get_num_threads(),
        "recipe": {**settings.recipe, "precision": learner.recipe.precision},
        "scaling": scaling.name,
        **({"text_model": data.text_model} if data.text_model else {}),
        "strategy": settings.strategy if by_name else None,
        "candidates": getattr(created, "candidate_words", None) or settings.candidates,
        "dataset": None if data is dataset else settings.dataset,
        "model": None if own else settings.model,
    }
    config = RunConfig(
        dataset=data.describe() | ({"changes": changes.describe(data)} if changes else {}),
        protocol=settings.protocol,
        pool_size=len(members),
        n_wrong_labels=_n_wrong(data, pool, members) if settings.label_noise else None,
        initial=start.tolist(),
        batch_size=batch_size,
        rounds=rounds,
        single_round=bool(settings.single_round),
        validation_set=validation.tolist() if n_validation else None,
        validation_labels=validation_labels,
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
        gpu=describe_gpu(device),
        versions=versions(),
        plugins=entries.distributions(providers),
        plugin_options=plugin_options,
        command=list(sys.argv if command is None else command),
        settings=to_jsonable(asked, strict=False),
    )
    names = data.rows_train if data.ids_train is None else data.ids_train
    return LiveRun(config, learner, pool, folder, progress, initial_model, names)


def _continued(folder: RunFolder, recorded: RunConfig, current: RunConfig) -> tuple[RunConfig, RunResult | None]:
    """Return the settings to continue with, and the result of a run that has nothing left to do.

    They are the recorded ones, except for what may change: where the data lies, and a larger number of rounds, for
    which a complete run becomes incomplete.
    """
    check_same_settings(recorded.to_json(), current.to_json(), folder.path)
    asked = current.settings
    moved = {
        name: asked[name] for name in ("dataset", "data_dir") if asked[name] not in (None, recorded.settings.get(name))
    }
    records, summary = folder.read_finished() if folder.is_finished else (folder.read_rounds(), None)
    is_stopped = summary is not None and summary["status"] != "finished"
    is_extended = current.rounds > recorded.rounds
    if is_stopped and is_extended:  # it is recorded all the same: reports compare runs of equally many rounds
        logger.warning(
            "%s was stopped (%s): more rounds do not continue it", folder.path, (summary or {}).get("stop_reason")
        )
    settings = {**recorded.settings, **moved, **({"rounds": current.rounds} if is_extended else {})}
    config = replace(recorded, rounds=current.rounds, settings=settings)
    if (not records or (is_extended and not is_stopped)) and not has_chosen(folder.path, recorded.to_json()):
        config = replace(config, strategy=current.strategy)  # which may have been repaired
    is_short = summary is not None and summary["status"] == "finished" and records[-1]["round"] < config.rounds
    if is_short or (is_extended and not is_stopped):
        folder.check_extendable(config, records)
    if config != recorded:
        folder.write_config(config)
    if is_short:
        folder.reopen()
    elif summary is not None:
        folder.drop_states(records[-1]["round"])  # a kill may have come before it was done
        status, reason = summary["status"], summary.get("stop_reason")
        return config, RunResult(records, config.to_json(), status, reason, folder.path)
    return config, None


def _check_data_is_there(given: Settings, kept: Settings, folder: Path) -> None:
    """Say what to do where a resumed run's data was moved."""
    path = kept.dataset
    if given.dataset is None and path is not None and os.path.isabs(path) and not os.path.exists(path):
        raise InputError(f"{folder} was run on {path}, which is not there; if it was moved, give --dataset NEWPATH")


def _n_wrong(data: Dataset, pool: Dataset, members: NDArray[np.int64]) -> int:
    """Return how many of the pool's labels are not those of the data."""
    return int((pool.y_train[members] != data.y_train[members % len(data.y_train)]).sum())


def _warn_of_missing_classes(data: Dataset, initial: NDArray[np.int64]) -> None:
    present = set(data.y_train[initial].tolist())
    missing = [name for number, name in enumerate(data.class_names) if number not in present]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        logger.warning("the initial labeled set lacks %d of %d classes: %s", len(missing), data.n_classes, shown)


def _warn_of_large_images(data: Dataset, recipe: Recipe) -> None:
    pixels = math.prod(data.input_shape[1:])
    needed = _BYTES_PER_PIXEL * recipe.train_batch_size * pixels
    if data.is_image and needed > memory_size():
        logger.warning(
            "a training step on %d images of %dx%d pixels may take %.1f GiB, and this machine has %.1f GiB: bring the "
            "images to a smaller size, for example with --image-size %d, or lower --train-batch-size",
            recipe.train_batch_size, data.input_shape[1], data.input_shape[2], needed / 2**30, memory_size() / 2**30,
            USUAL_SIDE,
        )  # fmt: skip


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


def _passed_on(bars: Sequence[RunBar]) -> Progress:
    """Return a function that shows a phase on the bars there are by then."""

    def show(phase: str, done: int, total: int) -> None:
        for bar in bars:
            bar.phase(phase, done, total)

    return show
