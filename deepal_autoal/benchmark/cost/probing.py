"""Probes of runs, one after the other: in this process, or in another one, which leaves this one without CUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from deepal_autoal.benchmark.backends.job import Job, Message, forward_log
from deepal_autoal.benchmark.backends.processes import Processes
from deepal_autoal.benchmark.checks import Setup
from deepal_autoal.benchmark.cost.probe import Probe
from deepal_autoal.benchmark.cost.run_cost import Cost
from deepal_autoal.datasets import load_dataset
from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.numerics.devices import has_failed
from deepal_autoal.oracles.creation import create_contender

if TYPE_CHECKING:
    from deepal_autoal.benchmark.grid import GridRun

CostOf: TypeAlias = Callable[["GridRun"], Cost]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeJob(Job):
    """A run whose cost is wanted, as plain data.

    Attributes:
        dataset: The label of its dataset.
        setup: A `Setup`, by `Setup.to_json`.
        seconds: As in `Probe`.
    """

    dataset: str = ""
    setup: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 1.0


class Probes:
    """Probes in this process. It keeps one dataset in memory."""

    def __init__(self) -> None:
        self._dataset = ""
        self._probe: Probe | None = None
        self._broken: dict[str, str] = {}

    def cost(self, dataset: str, setup: Setup, settings: Mapping[str, Any], seconds: float) -> Cost:
        """Return the cost of a run, by its dataset's label, and as in `Probe`.

        Raises:
            Exception: What the strategy or the training raises.
        """
        if dataset in self._broken:
            raise InputError(self._broken[dataset])
        if self._probe is None or self._dataset != dataset:
            self._probe, self._dataset = None, dataset
            try:
                data = load_dataset(
                    settings["dataset"], settings.get("data_dir"), settings.get("image_size"),
                    skip_bad=settings.get("skip_bad"), target=settings.get("target"),
                    text_model=settings.get("text_model"),
                )  # fmt: skip
                self._probe = Probe(data, setup, settings, seconds)
            except Exception as error:
                self._broken[dataset] = str(error)
                raise
        made = partial(create_contender, settings["strategy"], settings["candidates"], settings["options"])
        return self._probe.of(made)

    def execute(self, job: ProbeJob, report: Callable[[Message], None]) -> None:
        """Report, as `Job.execute` does, ``{"kind": "end", "failure": ..., "cost": {...}}``, the cost if there is one.

        Args:
            job: What to probe.
            report: Called with the message.
        """
        end: Message = {"kind": "end", "failure": None}
        try:
            with engine_call():
                cost = self.cost(job.dataset, Setup.from_json(job.setup), job.settings, job.seconds)
            end["cost"] = vars(cost)
        except Exception as error:
            logger.debug("no probe of %s", job.title, exc_info=True)
            end["failure"] = " ".join(str(error).split())
        if has_failed():
            end["is_unusable"] = True
        report(end)


@contextmanager
def probes(seconds: float, run: GridRun, is_elsewhere: bool) -> Iterator[CostOf]:
    """Return a function of runs that returns their cost, or raises what kept it from measuring it.

    Args:
        seconds: As in `Probe`.
        run: One of the runs.
        is_elsewhere: Whether to measure in another process, which ends with the block.
    """
    if not is_elsewhere:
        here = Probes()
        yield lambda run: here.cost(run.dataset, run.setup, run.settings, seconds)
        return
    processes = Processes(1, run.settings["threads"], module="deepal_autoal.benchmark.cost.probe_worker")

    def cost_of(run: GridRun) -> Cost:
        level = logging.getLogger("deepal_autoal").getEffectiveLevel()
        job = ProbeJob(
            str(run), str(run.folder), run.settings, log_level=level, dataset=run.dataset, setup=run.setup.to_json(),
            seconds=seconds,
        )  # fmt: skip
        end: Message = {}

        def on_message(_: Job, message: Mapping[str, Any]) -> None:
            if message["kind"] == "log":
                forward_log(message)
            elif message["kind"] == "end":
                end.update(message)

        processes.start(job)
        while not end:
            processes.wait(on_message)
        if end["failure"] is not None:
            raise DeepALError(end["failure"])
        return Cost(**end["cost"])

    try:
        yield cost_of
    finally:
        processes.close()
