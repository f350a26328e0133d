"""Run folders: one run's settings, rounds, summary and model, written so that a crash loses one round at most."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch

from deepal_autoal.devices import resolve_device
from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import TEMPORARY_SUFFIX, read_json, read_tensors, write_bytes, write_json, write_tensors
from deepal_autoal.run_files import CONFIG as CONFIG
from deepal_autoal.run_files import ROUNDS as ROUNDS
from deepal_autoal.run_files import SUMMARY as SUMMARY
from deepal_autoal.run_files import area_under_budget_curve as area_under_budget_curve
from deepal_autoal.run_files import read_rounds as read_rounds
from deepal_autoal.run_files import recorded_scaling
from deepal_autoal.run_files import total_seconds as total_seconds

if TYPE_CHECKING:
    from deepal_autoal.learner import ActiveLearner
    from deepal_autoal.predictor import Predictor
    from deepal_autoal.profile import Profile
    from deepal_autoal.strategy import Strategy

FORMAT_VERSION = 1
LOCK, MODEL = ".lock", "model.pt"


class RunFolder:
    """One run's files. Use it as a context manager: it holds the folder's lock.

    Args:
        path: The folder; made if it is missing.
        resume: Whether a run that lies there may be continued.

    Raises:
        RunFolderError: If the folder cannot be written, another process uses it, or it holds a run, or anything
            else, that this run would overwrite.
    """

    def __init__(self, path: str | Path, resume: bool = False) -> None:
        self.path = Path(path)
        self._lines: list[str] = []
        try:
            self._is_new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.path / LOCK)
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunFolderError(
                f"{self.path} is in use by another process; wait for it or choose another --out"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise RunFolderError(f"cannot write to {self.path}: {getattr(error, 'strerror', None) or error}") from error
        try:
            self._check(resume)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; a new folder in which nothing was written goes with it."""
        if self._is_new and [path.name for path in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink(missing_ok=True)
            self.path.rmdir()
        self._lock.release()

    @property
    def is_finished(self) -> bool:
        """Whether the run is complete."""
        return (self.path / SUMMARY).exists()

    def read_config(self) -> dict[str, Any] | None:
        """Return the settings of the run that lies here, or None."""
        if not (self.path / CONFIG).exists():
            return None
        config = read_json(self.path / CONFIG)
        if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION or "settings" not in config:
            raise RunFolderError(f"{self.path / CONFIG} is not of a format that this version can read")
        return completed(config)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the settings."""
        write_json(self.path / CONFIG, config)

    def read_rounds(self) -> list[dict[str, Any]]:
        """Return the finished rounds' records."""
        return read_rounds(self.path)

    def write_round(self, records: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        """Make the last record, and the state to continue from, permanent together; ``records`` holds all rounds.

        The state goes first, under the round's own name: a crash in between leaves the old pair valid.
        """
        number = records[-1]["round"]
        write_tensors(self._state(number), state)
        # Written records stay as they are: only new ones are spelled out.
        self._lines += [json.dumps(record, allow_nan=False) for record in records[len(self._lines) :]]
        write_bytes(self.path / ROUNDS, ("\n".join(self._lines) + "\n").encode())
        for path in self.path.glob("state-*.pt"):
            if path != self._state(number):
                path.unlink(missing_ok=True)

    def read_state(self, number: int) -> dict[str, Any]:
        """Return the state after a round."""
        return read_tensors(self._state(number))

    def write_model(self, learner: ActiveLearner) -> None:
        """Write the task model's weights, with the inputs' normalisation, as one flat dict of tensors."""
        weights = dict(learner.fit().module.state_dict())
        weights["normalization.mean"] = torch.as_tensor(learner.normalization.mean)
        weights["normalization.std"] = torch.as_tensor(learner.normalization.std)
        weights["normalization.unit_rows"] = torch.tensor(learner.normalization.unit_rows)
        write_tensors(self.path / MODEL, weights)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run as complete, and drop what only `read_state` needs."""
        write_json(self.path / SUMMARY, summary)
        self.drop_states()

    def read_summary(self) -> dict[str, Any]:
        """Return a complete run's summary."""
        summary = read_json(self.path / SUMMARY)
        if not isinstance(summary, dict) or "status" not in summary:
            raise RunFolderError(f"{self.path / SUMMARY} is damaged")
        return summary

    def drop_states(self) -> None:
        """Remove what only an unfinished run needs."""
        for path in self.path.glob("state-*.pt"):
            path.unlink(missing_ok=True)

    def _state(self, number: int) -> Path:
        return self.path / f"state-{number:05d}.pt"

    def _check(self, resume: bool) -> None:
        for path in self.path.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)
        content = {path.name for path in self.path.iterdir()} - {LOCK}
        if CONFIG in content:
            if not resume:
                raise RunFolderError(f"{self.path} holds a run; continue it with --resume or choose another --out")
        elif content:
            raise RunFolderError(f"{self.path} is not empty and holds no run; choose another --out")


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        rounds: One record a round, as in ``rounds.jsonl``.
        config: The resolved settings, as in ``config.json``.
        status: ``"finished"``, or ``"stopped"`` when a plugin stopped it early.
        stop_reason: The plugin's reason.
        folder: The run folder, or None.
        profile: Where the time went, if that was to be measured; in the folder as ``profile.json`` and ``profile.md``.
    """

    rounds: list[dict[str, Any]] = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    status: str = "finished"
    stop_reason: str | None = None
    folder: Path | None = None
    profile: Profile | None = field(default=None, repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last round, in [0, 1]."""
        return float(self.rounds[-1]["accuracy"])

    @property
    def aubc(self) -> float:
        """Area under the budget curve, in [0, 1] (see `area_under_budget_curve`)."""
        return area_under_budget_curve(
            [record["n_labeled"] for record in self.rounds], [record["accuracy"] for record in self.rounds]
        )

    def summary(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        phases = sorted({phase for record in self.rounds for phase in record["seconds"]})
        seconds = {phase: sum(record["seconds"].get(phase, 0.0) for record in self.rounds) for phase in phases}
        summary = {
            "aubc": self.aubc,
            "final_accuracy": self.accuracy,
            "n_rounds": self.rounds[-1]["round"],
            "n_labeled": self.rounds[-1]["n_labeled"],
            "seconds": {**seconds, "total": total_seconds(self.rounds)},
            "status": self.status,
        }
        return summary if self.stop_reason is None else {**summary, "stop_reason": self.stop_reason}


def load_model(folder: str | Path, device: str = "auto", strategy: Strategy | None = None) -> Predictor:
    """Rebuild the final task model of a run folder.

    Args:
        folder: The run folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        strategy: Only where the run's strategy changed training and was made in Python.

    Returns:
        A `Predictor`: ``predict(samples)`` and ``predict_proba(samples)`` on raw samples, ``module`` for torch.

    Raises:
        RunFolderError: If the folder holds no finished run.
    """
    from deepal_autoal.factory import recreate_strategy
    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.inputs import Normalization
    from deepal_autoal.models import ModelChoice, build_model
    from deepal_autoal.models.pretrained import replaced_weights
    from deepal_autoal.predictor import Predictor
    from deepal_autoal.recipe import Recipe
    from deepal_autoal.training import Trainer, load_weights, rebuilding_trainer

    path = Path(folder)
    for name in (CONFIG, MODEL):
        if not (path / name).exists():
            raise RunFolderError(f"{path} holds no finished run: {name} is missing")
    config, weights = read_json(path / CONFIG), read_tensors(path / MODEL)
    mean, std = weights.pop("normalization.mean"), weights.pop("normalization.std")
    unit_rows = weights.pop("normalization.unit_rows", None)  # earlier versions had no such scaling
    normalization = Normalization(mean, std, unit_rows is not None and bool(unit_rows))
    shape, n_classes = tuple(config["dataset"]["input_shape"]), config["dataset"]["n_classes"]
    target = resolve_device(device)
    recipe = Recipe(**{**config["recipe"], "augmentation": tuple(config["recipe"]["augmentation"])})
    choice = ModelChoice.recorded(config["model"])
    trainer = Trainer(lambda: build_model(choice, shape, n_classes), recipe, target)
    if config["strategy"]["changes_training"]:
        if strategy is None and config["settings"]["strategy"] is None:
            raise RunFolderError(f"{path} was run with a strategy made in Python that changes training; pass strategy=")
        made = recreate_strategy(config["strategy"]) if strategy is None else strategy
        trainer = rebuilding_trainer(made.wrap_trainer(trainer), trainer)
    with replaced_weights():
        module = load_weights(trainer.new_objective().model, weights)
    # As the run's test accuracy was measured, where that is possible.
    precision = config["precision"] if torch.device(config["device"]).type == target.type else "float32"
    model = FittedModel(module, device=target, recipe=recipe, seed=config["seed"], precision=precision)
    return Predictor(model, normalization, shape, tuple(config["dataset"]["class_names"]))


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return a record with what earlier versions of this format left out: they did as a plain `Recipe` does.

    But vectors were scaled feature by feature.

    Args:
        config: As read from ``config.json``.

    Raises:
        RunFolderError: If it lacks what every version recorded.
    """
    from deepal_autoal.models import ModelChoice, resolve_model
    from deepal_autoal.recipe import Recipe

    try:
        recipe = {**describe_recipe(Recipe()), **config["recipe"]}
        if recipe["precision"] == "auto":
            recipe["precision"] = config["precision"]
        model, settings = dict(config["model"]), dict(config["settings"])
        settings["recipe"] = {"precision": recipe["precision"], **settings["recipe"]}
        shape = tuple(config["dataset"]["input_shape"])
        scaling = recorded_scaling(config)
        settings.setdefault("scaling", scaling)
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{CONFIG} lacks {error}: the run was recorded otherwise; choose another --out") from None
    if "options" not in model:
        model["options"] = resolve_model(ModelChoice(model["name"]), shape).describe()["options"]
    return {**config, "recipe": recipe, "model": model, "scaling": scaling, "settings": settings}


def recorded_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training settings of a recorded run that nobody asked for: the defaults as they were then.

    A run that is continued keeps them, whatever the defaults are by now.

    Args:
        config: As `completed` returns it.
    """
    return {name: value for name, value in config["recipe"].items() if name not in config["settings"]["recipe"]}


def describe_recipe(recipe: Any) -> dict[str, Any]:
    """Return a training recipe as a JSON-able dict."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}
