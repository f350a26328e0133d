"""What a run costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Attributes:
        train: Seconds of training in all rounds.
        evaluate: Seconds of evaluation in all rounds.
        query: Seconds of all queries.
        shared: Seconds of round 0 that runs of one seed spend once; part of ``train`` and ``evaluate``.
        n_bytes: Peak resident memory of the process, or None where it is not known.
        first_query: Seconds of the first query.
        query_bytes: Peak memory of a query above what was in use before it; on CUDA, the device's.
        query_parts: Seconds of all queries, by what is done in them.
    """

    train: float
    evaluate: float
    query: float
    shared: float = 0.0
    n_bytes: int | None = None
    first_query: float = 0.0
    query_bytes: int = 0
    query_parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """All phases of all rounds."""
        return self.train + self.evaluate + self.query

    @property
    def dominates(self) -> str:
        """What takes most of the time."""
        parts = {"training": self.train, "evaluation": self.evaluate, **self.query_parts}
        return max(parts, key=lambda part: parts[part])
