"""Write a run's records as TensorBoard scalars into ``tensorboard/`` in the run folder."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from deepal_autoal import InputError, hookimpl

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from deepal_autoal import ActiveRun, Registrar

deepal_contract = 1

FOLDER = "tensorboard"

_writers: WeakKeyDictionary[ActiveRun, SummaryWriter] = WeakKeyDictionary()


@hookimpl
def deepal_register_options(registry: Registrar) -> None:
    """Add ``--tensorboard``."""
    registry.add(
        "tensorboard",
        f"{__name__}:switch_on",
        flag=True,
        summary="Write TensorBoard scalars into the run folder; view them with tensorboard --logdir runs.",
    )


def switch_on(given: bool) -> bool:
    """Return whether to write scalars.

    Raises:
        InputError: If TensorBoard is not installed.
    """
    if given and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs the tensorboard package: pip install tensorboard")
    return bool(given)


@hookimpl
def deepal_run_started(run: ActiveRun) -> None:
    """Open the file; for a resumed run, rewrite all earlier records, so none is missing or duplicated."""
    if not run.options["tensorboard"]:
        return
    if run.folder is None:
        raise InputError("--tensorboard writes into the run folder; give the run one (out=...)")
    from torch.utils.tensorboard import SummaryWriter

    for path in (run.folder / FOLDER).glob("events.out.tfevents.*"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"--tensorboard: cannot delete {path}: {error.strerror or error}") from error
    writer = SummaryWriter(str(run.folder / FOLDER))
    _writers[run] = writer
    writer.add_text("config", f"```json\n{json.dumps(run.config, indent=2)}\n```")
    for record in run.records:
        write_record(writer, record)


@hookimpl
def deepal_round_finished(run: ActiveRun, record: Mapping[str, Any]) -> None:
    """Write one round's scalars."""
    if run in _writers:
        write_record(_writers[run], record)


@hookimpl
def deepal_run_finished(run: ActiveRun) -> None:
    """Close the file."""
    if run in _writers:
        _writers.pop(run).close()


def write_record(writer: SummaryWriter, record: Mapping[str, Any]) -> None:
    """Write every number of a round's record; the step is the number of labeled samples."""
    written = {key: value for key, value in record.items() if key not in ("round", "n_labeled", "queried")}
    for tag, value in scalars(written):
        writer.add_scalar(tag, value, record["n_labeled"])
    writer.flush()


def scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested mappings with their paths, such as ``("strategy/weights/entropy", 0.5)``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
