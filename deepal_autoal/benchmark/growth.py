"""From queries on parts of a pool to one on all of it: what was measured, and how it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepal_autoal.cost import SYMBOLS, evaluate_cost


@dataclass(frozen=True)
class Sample:
    """One measured query.

    Attributes:
        n: How many candidates it had.
        batch_size: How many it chose.
        seconds: What it took, trainings of further models left out; if it was ended, what it would have taken.
        training: Seconds of the further models' trainings, as long as a run's are.
        n_bytes: Its peak memory above what was in use before; 0 where it cannot be measured.
        wait: Seconds until it first told its progress, if it was ended; else None.
    """

    n: int
    batch_size: int
    seconds: float
    training: float = 0.0
    n_bytes: int = 0
    wait: float | None = None


class Growth:
    """How a query's time or memory grows with candidates and batch, by a strategy's card.

    Args:
        formula: The card's, such as ``"N*(C + D)"``.
        sizes: The other symbols' values, where they are known.
        candidates: Of a selector: what ``ask`` stands for.
    """

    def __init__(self, formula: str, sizes: Mapping[str, int], candidates: Sequence[Growth] = ()) -> None:
        self._formula = formula
        self._candidates = candidates
        self._sizes = {**dict.fromkeys(SYMBOLS, 10), **sizes}

    def ratio(self, before: tuple[int, int], after: tuple[int, int]) -> float:
        """Return by how much more a query takes, from (candidates, batch size) to another pair."""
        return self._at(*after) / self._at(*before)

    def _at(self, n: int, batch_size: int) -> int:
        # A pass of the pool grows with the candidates; trainings are counted apart.
        ask = sum(candidate._at(n, batch_size) for candidate in self._candidates) or n
        own = {"N": n, "b": batch_size, "ask": ask, "sweep": 1000 * n, "fit": 1}
        return evaluate_cost(self._formula, {**self._sizes, **own})


def seconds_at(samples: Sequence[Sample], n: int, batch_size: int, growth: Growth) -> float:
    """Return what a query of another size takes, trainings left out.

    Through two samples of one batch size there is a line: what a query costs whatever its size is not scaled. A single
    sample is scaled by the card, as is the batch size.
    """
    return _at([(sample.n, sample.batch_size, sample.seconds) for sample in samples], n, batch_size, growth)


def bytes_at(samples: Sequence[Sample], n: int, batch_size: int, growth: Growth) -> int:
    """Return the peak memory of a query of another size, likewise."""
    return round(_at([(sample.n, sample.batch_size, sample.n_bytes) for sample in samples], n, batch_size, growth))


def _at(points: Sequence[tuple[int, int, float]], n: int, batch_size: int, growth: Growth) -> float:
    last_n, last_batch, last = points[-1]
    others = [point for point in points if point[1] == last_batch and point[0] < last_n]
    if others:
        slope = max(0.0, (last - others[-1][2]) / (last_n - others[-1][0]))
        # Memory and noise can make it negative on the way down, never a query.
        value = max(0.0, last + slope * (n - last_n))
    else:
        value = last * growth.ratio((last_n, last_batch), (n, last_batch))
    return value * growth.ratio((n, last_batch), (n, batch_size))
