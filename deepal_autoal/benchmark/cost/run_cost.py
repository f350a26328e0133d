"""The cost of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PASSES, FURTHER_TRAININGS = "query: pass over the pool", "query: further trainings"
"""Parts of all queries."""


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    Attributes:
        train: Seconds of training in all rounds.
        evaluate: Seconds of evaluation in all rounds.
        query: Seconds of all queries.
        shared: Seconds of round 0, spent once for all runs of a seed; part of ``train`` and ``evaluate``.
        n_bytes: Peak resident memory of the process, or None if unknown.
        first_query: Seconds of the first query.
        gpu_bytes: Peak of what the process's tensors take on the GPU; None without one, or if unknown.
        query_bytes: Peak memory of a query beyond what was in use before it; on CUDA, the device's.
        query_parts: Seconds of all queries, by part.
    """

    train: float
    evaluate: float
    query: float
    shared: float = 0.0
    n_bytes: int | None = None
    gpu_bytes: int | None = None
    first_query: float = 0.0
    query_bytes: int = 0
    query_parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds of all phases of all rounds."""
        return self.train + self.evaluate + self.query

    @property
    def dominates(self) -> str:
        """The part that takes the most time."""
        parts = {"training": self.train, "evaluation": self.evaluate, **self.query_parts}
        return max(parts, key=lambda part: parts[part])
