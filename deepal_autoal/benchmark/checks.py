"""Whether a grid's strategies can run on a dataset, and whether earlier runs there were done with the same settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from deepal_autoal.benchmark.notation import Contender
from deepal_autoal.datasets import Dataset, load_dataset
from deepal_autoal.datasets.user_data.sentence_models import AUTO as TEXT_AUTO
from deepal_autoal.errors import DeepALError, InputError, QueryError, RunFolderError
from deepal_autoal.experiment.auditing import check_audit
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.experiment.records import CONFIG, RunFolder
from deepal_autoal.experiment.resume_checks import check_same_form, check_same_settings
from deepal_autoal.experiment.run_config import RunConfig, describe_recipe
from deepal_autoal.experiment.run_files import read_config as read_run_config
from deepal_autoal.experiment.settings import (
    Settings,
    check_budget,
    check_plain_accuracy,
    check_threads,
    check_validation,
    options_under,
    recipe_changes,
    resolve_plugin_options,
)
from deepal_autoal.models import AUTO, ModelChoice, choose_model, read_model, recorded_model
from deepal_autoal.numerics.devices import device_elsewhere, resolve_device
from deepal_autoal.oracles.creation import create_contender
from deepal_autoal.oracles.third_split import check_third_split, default_pool_size
from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.querying.selector import describe_strategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.run_settings import COMPARED, SHARED, definitions
from deepal_autoal.strategies.candidate_selection import Candidates
from deepal_autoal.strategies.factory import described_options
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.scaling import OF_IMAGES, resolve_scaling
from deepal_autoal.training.solved import SolvedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """Strategies of ``all`` that cannot run on a dataset, for one reason."""

    dataset: str
    strategies: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"left out on {self.dataset}: {', '.join(self.strategies)} ({self.reason})"


@dataclass(frozen=True)
class Setup:
    """What all runs on a dataset have in common.

    Attributes:
        model: The task model.
        scaling: Of the inputs.
        recipe: How it is trained; on CUDA, ``auto`` precision is left to the runs.
        device: Where.
        pool_size: Samples in the pool, labeled ones included.
        initial: Size of the initial labeled set.
        batch_size: Samples labeled a round.
        n_rounds: How many queries a run makes.
        class_counts: Names of the classes, each with its training samples.
        is_solved: Whether the model is solved: it has no epochs and steps unless a strategy changes training.
        embedding_dim: Dimensions of its embeddings, if known.
        n_validation: How many of the pool's samples are held out for validation.
    """

    model: ModelChoice
    scaling: str
    recipe: Recipe
    device: torch.device
    pool_size: int
    initial: int
    batch_size: int
    n_rounds: int
    class_counts: tuple[tuple[str, int], ...]
    is_solved: bool = False
    embedding_dim: int | None = None
    n_validation: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, for another process."""
        recipe = {item.name: getattr(self.recipe, item.name) for item in fields(self.recipe)}
        return {**vars(self), "model": self.model.describe(), "recipe": recipe, "device": str(self.device)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Setup:
        """Return the setup of what `to_json` returned."""
        return cls(**{
            **found, "model": ModelChoice.recorded(found["model"]), "recipe": Recipe(**found["recipe"]),
            "device": torch.device(found["device"]),
            "class_counts": tuple((name, count) for name, count in found["class_counts"]),
        })  # fmt: skip


@dataclass(frozen=True)
class Admission:
    """What can run on a dataset.

    Attributes:
        setup: What its runs have in common.
        calls: What `run` is called with, but for seed and folder, by the strategies' labels.
        changing: Labels of the strategies that change training.
        left_out: What cannot run, of ``all``.
        shorter: Folders of earlier runs that have fewer rounds.
    """

    setup: Setup
    calls: Mapping[str, Mapping[str, Any]]
    changing: frozenset[str]
    left_out: tuple[LeftOut, ...]
    shorter: tuple[Path, ...] = ()


def admit(
    label: str,
    dataset: str,
    contenders: Iterable[Contender],
    settings: Mapping[str, Any],
    earlier: Iterable[Path],
    is_remote: bool = False,
    data: Dataset | None = None,
) -> Admission:
    """Return what can run on a dataset.

    Args:
        label: The dataset's label.
        dataset: Its registered name or path.
        contenders: The strategies.
        settings: What all runs share, by the names of `run`'s arguments.
        earlier: Run folders that lie there already.
        is_remote: Whether runs are executed on other machines: this one need not have their device.
        data: The dataset, where it is loaded already.

    Raises:
        InputError: If the data or a setting cannot be used, a strategy that was named cannot run, or none can.
        RunFolderError: If an earlier run was done with other settings; names the differences.
        PluginError: If the plugin of a strategy that was named is broken.
    """
    configs = {folder: read_config(folder) for folder in earlier}
    threads = settings.get("threads")
    check_threads(threads)
    text_model = settings.get("text_model")
    for config in list(configs.values())[:1]:
        text_model = config.text_model if text_model in (None, TEXT_AUTO) else text_model
    if data is None:
        data = load_dataset(
            dataset,
            settings.get("data_dir"),
            settings.get("image_size"),
            skip_bad=settings.get("skip_bad"),
            target=settings.get("target"),
            text_model=text_model,
        )
    for folder, config in configs.items():
        check_same_form(config.dataset, data, folder)
    given: dict[str, Any] = {name: settings.get(name) for name in SHARED}
    given["recipe"] = recipe_changes(settings)
    for config in list(configs.values())[:1]:  # as a resumed run does
        if given["recipe"].get("precision", "auto") == "auto":
            given["recipe"]["precision"] = config.recipe["precision"]
        if given["scaling"] in (None, "auto") and config.scaling != OF_IMAGES:  # which no one can ask for
            given["scaling"] = config.scaling
        given["recipe"] = {**config.recipe_defaults, **given["recipe"]}
    given["plugin_options"] = resolve_plugin_options(settings.get("plugin_options") or {})
    contenders = [_under_protocol(contender, settings.get("protocol"), configs) for contender in contenders]
    wanted = Settings(**given).with_protocol()
    recipe = Recipe.for_data(data.input_shape, data.augmentation, **wanted.recipe)
    check_plain_accuracy(wanted, recipe)
    check_audit(wanted.audit, wanted.audit_folds)
    scaling = resolve_scaling(wanted.scaling, data.x_train, data.is_embeddings).name
    device = recorded_device = resolve_device("cpu" if is_remote else settings.get("device") or "auto")
    if is_remote:
        recorded_device = device_elsewhere(settings["device"])
    # What can run does not depend on the device. A context of CUDA would keep memory of the GPU.
    is_on_cuda = device.type == "cuda"
    checked_on = torch.device("cpu") if is_on_cuda else device
    changes = wanted.changes.describe(data)
    n_samples = sum(changes["class_counts"])
    n_copies = wanted.duplicates or 1
    if any(map(is_oracle, [*(contender.label for contender in contenders), *map(_label, configs)])):
        if wanted.pool_size is None:
            whole = next((folder for folder, config in configs.items() if config.pool_size == n_samples), None)
            if whole is not None:
                raise RunFolderError(
                    f"{whole} has the whole training split as its pool, which leaves nothing for an oracle to score "
                    "batches on; choose another --out"
                )
            wanted = replace(wanted, pool_size=default_pool_size(n_samples, n_copies))
        assert wanted.pool_size is not None
        check_third_split(n_samples, wanted.pool_size, n_copies)
        settings = {**settings, "pool_size": wanted.pool_size}
    pool_size = len(draw_members(n_samples, 0, wanted.pool_size, n_copies))
    initial, batch_size, n_rounds = check_budget(wanted, pool_size)
    n_validation, validation_labels = check_validation(wanted, pool_size)
    plugin_options = wanted.plugin_options

    model = _common_model(wanted.model or AUTO, data, scaling, contenders, configs)

    def new_learner(strategy: Strategy) -> ActiveLearner:
        # What a model has and what it lacks does not depend on the samples: two are enough.
        return ActiveLearner(
            data.x_train[:2], strategy, data.n_classes, model=model, recipe=recipe,
            device=checked_on, n_rounds=n_rounds, scaling=scaling,
        )  # fmt: skip

    plain = new_learner(Strategy())
    module = plain.new_module()  # a model that cannot take the data says so here
    created, left_out = _create(label, contenders, new_learner, configs)
    if configs:
        shared = {
            "dataset": data.describe() | ({"changes": changes} if wanted.changes else {}),
            "protocol": wanted.protocol,
            "pool_size": pool_size,
            "initial": initial,
            "batch_size": batch_size,
            "rounds": n_rounds,
            "single_round": bool(wanted.single_round),
            "validation_labels": validation_labels,
            "model": plain.model_choice.describe(),
            "recipe": describe_recipe(plain.recipe),
            "scaling": scaling,
            "device": str(recorded_device),
            "threads": threads or torch.get_num_threads(),
            "plugin_options": plugin_options or None,
        }
        others = [key for key in COMPARED if key not in shared and key not in ("strategy", "seed")]
        shared["settings"] = {key: getattr(wanted, key) for key in others}
        for folder, config in configs.items():
            _refuse_other_settings(folder, config, shared, created)
    calls = {
        contender.label: {
            **{name: value for name, value in settings.items() if name not in definitions(Recipe)},
            "recipe": given["recipe"], "scaling": given["scaling"], "dataset": dataset,
            "text_model": data.text_model or None,
            "model": model,
            "strategy": contender.strategy,
            "candidates": _candidates(contender, created[contender.label]),
            "options": dict(contender.options),
        }
        for contender in contenders if contender.label in created
    }  # fmt: skip
    changing = frozenset(label for label, strategy in created.items() if strategy.changes_training)
    class_counts = tuple(zip(data.class_names, changes["class_counts"], strict=True))
    setup = Setup(
        plain.model_choice, scaling, recipe if is_on_cuda else plain.recipe, device, pool_size, initial, batch_size,
        n_rounds, class_counts, isinstance(module, SolvedModel), module.embedding_dim, n_validation,
    )  # fmt: skip
    shorter = tuple(folder for folder, config in configs.items() if config.rounds < n_rounds)
    return Admission(setup, calls, changing, left_out, shorter)


def _under_protocol(contender: Contender, protocol: str | None, configs: Mapping[Path, RunConfig]) -> Contender:
    """Return a strategy with its options under a protocol: those of its earlier runs, whatever the protocol says now.

    What the protocol says now and they did not have is written out with their values: a new seed's run asks it again.
    """
    if protocol is None or not isinstance(contender.strategy, str):
        return contender
    options: Mapping[str, Any] = contender.options
    had: Mapping[str, Any] = {}
    for folder, config in configs.items():
        if _label(folder) == contender.label and config.strategy["name"] == contender.strategy:
            options = Settings(options=options).fill_from(Settings(**config.settings)).options or {}
            had = described_options(config.strategy)
            break
    today = options_under(protocol, contender.strategy, contender.candidates, options)
    return replace(contender, options={name: value if name in options else had.get(name, value)
                                       for name, value in today.items()})  # fmt: skip


def check_extensions(shorter: Mapping[Path, int], requested: Collection[Path]) -> None:
    """Check that earlier runs with fewer rounds are extended all together, and can be.

    Args:
        shorter: How many rounds they shall have, by run folder.
        requested: The run folders of this benchmark.

    Raises:
        RunFolderError: If one is not requested, which would be left behind, or cannot be extended; its strategy's
            folder must be deleted, so that its runs begin again.
    """
    reasons: dict[str, list[Path]] = {}
    for folder, n_rounds in shorter.items():
        with RunFolder(folder, resume=True) as held:
            config = held.read_config()
            if config is None:
                continue
            if folder not in requested:
                raise RunFolderError(
                    f"{folder} was run with rounds {config.rounds}: --rounds {n_rounds} extends all runs on a dataset "
                    "or none, so name all their strategies and seeds, delete the folders of the others, or choose "
                    "another --out"
                )
            reason = held.why_not_extendable(replace(config, rounds=n_rounds), held.read_rounds())
            if reason:
                reasons.setdefault(reason, []).append(folder)
    if reasons:
        found = "; ".join(f"{', '.join(map(str, folders))} ({reason})" for reason, folders in reasons.items())
        parents = dict.fromkeys(str(folder.parent) for folders in reasons.values() for folder in folders)
        raise RunFolderError(
            f"these runs cannot be extended: {found}. Delete {', '.join(parents)} and repeat the command: what was "
            "there is run again from the start, and the other runs are extended; or choose another --out"
        )


def _candidates(contender: Contender, created: Strategy) -> Candidates | Sequence[Any] | None:
    """Return the candidates to run with: what sets stood for, or what was given if that has objects."""
    if _has_objects(contender):
        return contender.candidates
    return getattr(created, "candidate_words", None) or contender.candidates


def _has_objects(contender: Contender) -> bool:
    return not all(isinstance(item, str) for item in contender.candidates or ())


def _common_model(
    written: str,
    data: Dataset,
    scaling: str,
    contenders: Iterable[Contender],
    configs: Mapping[Path, RunConfig],
) -> str:
    """Return the model of all runs as it is written, ``auto`` resolved: as earlier runs did, or else so that every
    strategy that was named can run.
    """
    if read_model(written).name != AUTO:
        return written
    named = [contender for contender in contenders if not contender.is_optional]
    changing = [item.label for item in named if _create_as_before(item, configs).changes_training]
    for folder, config in configs.items():
        model = recorded_model(written, config.model)
        if changing and read_model(model).name != choose_model(data.input_shape, by_gradient=True):
            logger.warning(
                "earlier runs such as %s used model %s for auto, so %s must use it too",
                folder,
                model,
                ", ".join(changing),
            )
        return model
    options = written.strip()[len(AUTO) :]
    return choose_model(data.input_shape, scaling=scaling, by_gradient=bool(changing)) + options


def _create(
    label: str,
    contenders: Iterable[Contender],
    new_learner: Callable[[Strategy], ActiveLearner],
    configs: Mapping[Path, RunConfig],
) -> tuple[dict[str, Strategy], tuple[LeftOut, ...]]:
    """Return the strategies that can run, by label, and those of ``all`` that cannot, by reason."""
    able: dict[str, Strategy] = {}
    reasons: dict[str, list[str]] = {}
    for contender in contenders:
        created = None
        try:
            created = _create_as_before(contender, configs)
            with suppress(QueryError):  # a fault in a plugin's own code is its runs' failure, and stops no others
                created = new_learner(created).strategy
        except DeepALError as error:
            if not contender.is_optional:
                raise
            reasons.setdefault(str(error).removeprefix(f"{created} "), []).append(contender.label)
        else:
            able[contender.label] = created
    left_out = tuple(LeftOut(label, tuple(labels), reason) for reason, labels in reasons.items())
    if not able:
        raise InputError(f"none of the strategies can run: {'; '.join(map(str, left_out))}")
    return able, left_out


def _create_as_before(contender: Contender, configs: Mapping[Path, RunConfig]) -> Strategy:
    """Return the strategy; sets among its candidates stand for what they did in its earlier runs."""
    created = create_contender(contender.strategy, contender.candidates, contender.options)
    words = getattr(created, "candidate_words", {})
    earlier = [
        config.settings.get("candidates") for folder, config in configs.items() if _label(folder) == contender.label
    ]
    for recorded in earlier:
        if words and isinstance(recorded, Mapping) and list(recorded) == list(words) and not _has_objects(contender):
            return create_contender(contender.strategy, recorded, contender.options)
    return created


def _label(folder: Path) -> str:
    """Return the label of the strategy that a run folder belongs to."""
    return folder.parent.name


def read_config(folder: Path) -> RunConfig:
    """Return the configuration of a benchmark's run.

    Raises:
        RunFolderError: If it is in another format.
    """
    return RunConfig.from_json(read_run_config(folder), folder / CONFIG)


def _refuse_other_settings(
    folder: Path, config: RunConfig, shared: Mapping[str, Any], created: Mapping[str, Strategy]
) -> None:
    """Refuse to put runs beside one that was done with other settings, whatever its strategy and seed."""
    found = config.to_json()
    recorded = {**{key: found.get(key) for key in shared}, "initial": len(config.initial)}
    recorded["settings"] = {key: found["settings"].get(key) for key in shared["settings"]}
    # Not its sizes: some strategies change the network.
    recorded["model"] = ModelChoice.recorded(config.model).describe()
    current = dict(shared)
    strategy = created.get(_label(folder))
    if strategy is not None:
        recorded["strategy"], current["strategy"] = config.strategy, describe_strategy(strategy)
    check_same_settings(recorded, current, folder)
