"""A run's resolved configuration, with everything filled in that its settings left open."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from deepal_autoal.datasets.user_data.sentence_models import TF_IDF
from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_files import CONFIG, FORMAT_VERSION, check_format, recorded_scaling
from deepal_autoal.experiment.settings import COUNTED
from deepal_autoal.models import ModelChoice, resolve_model
from deepal_autoal.run_settings import RunSettings, definitions
from deepal_autoal.training.recipe import Recipe

_KINDS: dict[str, type] = {
    "dataset": dict, "pool_size": int, "initial": list, "batch_size": int, "rounds": int, "model": dict,
    "recipe": dict, "strategy": dict, "seed": int, "threads": int, "settings": dict, "single_round": bool,
    "validation_set": list,
}  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """A run's resolved configuration; ``config.json`` is its form on disk.

    Attributes:
        dataset: What `Dataset.describe` says, and any ``changes`` to the pool.
        pool_size: Number of samples in the pool.
        initial: Pool indices of the initial labeled set.
        batch_size: Samples labeled a round.
        rounds: Number of queries.
        single_round: Whether that is one because all labels are asked for at once.
        model: Name, options and sizes of the task model.
        recipe: The training recipe, by field name.
        precision: Of the model's computations.
        scaling: Of the inputs.
        strategy: What `describe_strategy` says.
        seed: Of everything random.
        threads: CPU threads.
        device: Where models are trained.
        gpu: On CUDA, its name and the versions of CUDA and cuDNN.
        versions: Of Python and the packages that results depend on.
        plugins: Distributions that had a part in the run, with their versions.
        command: The command line.
        settings: What the user gave, as `Settings`.
        protocol: Name of the paper's settings, if any.
        n_wrong_labels: With label noise, how many of the pool's labels are wrong.
        scaling_reason: Why this scaling was chosen, where that was not obvious.
        plugin_options: Options of plugins that were given.
        validation_set: Pool indices of the labeled samples that are held out for validation, if any.
        validation_labels: Whether their labels are ``counted`` among the labeled ones, or ``free``.
        format_version: Of the file.
    """

    dataset: Mapping[str, Any]
    pool_size: int
    initial: Sequence[int]
    batch_size: int
    rounds: int
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    precision: str
    scaling: str
    strategy: Mapping[str, Any]
    seed: int
    threads: int
    device: str
    versions: Mapping[str, Any]
    plugins: Any
    command: Sequence[str]
    settings: Mapping[str, Any]
    gpu: Mapping[str, str] | None = None
    protocol: str | None = None
    n_wrong_labels: int | None = None
    scaling_reason: str | None = None
    plugin_options: Mapping[str, Any] = field(default_factory=dict)
    single_round: bool = False
    validation_set: Sequence[int] | None = None
    validation_labels: str | None = None
    format_version: int = FORMAT_VERSION

    @classmethod
    def from_json(cls, content: Any, where: object) -> RunConfig:
        """Return the configuration that a file holds, also one of an earlier version of this package.

        Args:
            content: The contents of ``config.json``.
            where: The file, for messages.

        Raises:
            RunFolderError: If it is in another format, or lacks what every version recorded.
        """
        if not isinstance(content, dict) or "format_version" not in content:
            raise RunFolderError(f"{where} is not in a format that this version can read; choose another --out")
        check_format(content, where)
        wrong = [name for name, kind in _KINDS.items() if not isinstance(content.get(name, kind()), kind)]
        if wrong:
            raise RunFolderError(f"{where} is damaged: {', '.join(wrong)} is of another kind; choose another --out")
        found = completed(content)
        missing = [
            item.name
            for item in fields(cls)
            if item.name not in found and item.default is MISSING and item.default_factory is MISSING
        ]
        if missing:
            raise RunFolderError(f"{where} lacks {', '.join(missing)}; choose another --out")
        known = [*definitions(RunSettings)]
        unknown = [
            *(name for name in found["settings"] if name not in known),
            *(name for name in found["recipe"] if name not in definitions(Recipe)),
        ]
        if unknown:
            raise RunFolderError(
                f"{where} holds settings that this version does not know ({', '.join(map(repr, unknown))}): it was "
                "written by a newer version of deepal_autoal; update deepal_autoal"
            )
        return cls(**{item.name: found[item.name] for item in fields(cls) if item.name in found})

    def to_json(self) -> dict[str, Any]:
        """Return a copy of the contents of ``config.json``."""
        found = {item.name: copy.deepcopy(getattr(self, item.name)) for item in fields(self)}
        head = (
            "format_version",
            "dataset",
            "protocol",
            "pool_size",
            "n_wrong_labels",
            "initial",
            "validation_set",
            "validation_labels",
            "batch_size",
            "rounds",
            "single_round",
        )
        ordered = {name: found[name] for name in (*head, *(name for name in found if name not in head))}
        optional = (
            "gpu", "protocol", "n_wrong_labels", "scaling_reason", "validation_set", "validation_labels"
        )  # fmt: skip
        return {
            name: value
            for name, value in ordered.items()
            if not (name in optional and value is None) and (value or name not in ("plugin_options", "single_round"))
        }

    @property
    def n_counted_for_validation(self) -> int:
        """How many labels the validation set adds to those that are trained on."""
        return len(self.validation_set or ()) if self.validation_labels == COUNTED else 0

    @property
    def text_model(self) -> str:
        """What made vectors of texts, if there are any; before it was a choice, TF-IDF did."""
        return str(self.settings.get("text_model") or TF_IDF)

    @property
    def recipe_defaults(self) -> dict[str, Any]:
        """The training settings that the run took by default: a resumed run keeps them, whatever they are today."""
        return {name: value for name, value in self.recipe.items() if name not in self.settings["recipe"]}


def recorded_value(config: Mapping[str, Any], name: str) -> Any:
    """Return what ``config.json`` holds of a compared setting: an entry of its own, or what the user gave.

    Args:
        config: The contents of ``config.json``.
        name: The setting's `Definition.compared_as`.
    """
    has_entry = name in {item.name for item in fields(RunConfig)}
    return config.get(name) if has_entry else config.get("settings", {}).get(name)


def complete_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded recipe with the settings that are newer than its version, which trained without them."""
    return {**describe_recipe(Recipe()), **recipe}


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the settings that earlier versions of this format left out.

    They trained as a default `Recipe` does, but scaled vectors feature by feature.

    Args:
        config: The contents of ``config.json``.

    Raises:
        RunFolderError: If it lacks what every version recorded.
    """
    try:
        recipe = complete_recipe(config["recipe"])
        if recipe["precision"] == "auto":
            recipe["precision"] = config["precision"]
        model, settings = dict(config["model"]), dict(config["settings"])
        settings["recipe"] = {"precision": recipe["precision"], **settings["recipe"]}
        shape = tuple(config["dataset"]["input_shape"])
        scaling = recorded_scaling(config)
        settings.setdefault("scaling", scaling)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{CONFIG} lacks {error}: the run has another format; choose another --out") from None
    if "options" not in model:
        model["options"] = resolve_model(ModelChoice(model["name"]), shape).describe()["options"]
    return {**config, "recipe": recipe, "model": model, "scaling": scaling, "settings": settings}


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a training recipe as a JSON-able dict."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}
