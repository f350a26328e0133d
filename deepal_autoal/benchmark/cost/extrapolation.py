"""Extrapolate from queries on parts of a pool to one on all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepal_autoal.plugins.cost_formulas import SYMBOLS, evaluate_cost


@dataclass(frozen=True)
class Sample:
    """One measured query.

    Attributes:
        n: The number of candidates.
        batch_size: The number of samples chosen.
        seconds: Its seconds without trainings of further models; extrapolated if it was ended early.
        training: Seconds of the further models' trainings, extrapolated to their whole length.
        n_bytes: Its peak memory on its device beyond what was in use before; 0 if it cannot be measured.
        process_bytes: Likewise, of the process's resident memory.
        before: The device's memory that was in use before.
        wait: Seconds until it first reported progress, if it was ended early; otherwise None.
    """

    n: int
    batch_size: int
    seconds: float
    training: float = 0.0
    n_bytes: int = 0
    process_bytes: int = 0
    before: int = 0
    wait: float | None = None


class Growth:
    """The growth of a query's time or memory with candidates and batch size, by a strategy's card.

    Args:
        formula: The card's formula, such as ``"N*(C + D)"``.
        sizes: Known values of the other symbols.
        candidates: The growth of a selector's candidates, whose sum is ``ask``.
    """

    def __init__(self, formula: str, sizes: Mapping[str, int], candidates: Sequence[Growth] = ()) -> None:
        self._formula = formula
        self._candidates = candidates
        self._sizes = {**dict.fromkeys(SYMBOLS, 10), **sizes}

    @property
    def uses_pixels(self) -> bool:
        """Whether the cost grows with the numbers in an input, beyond the model's own passes."""
        own = "P" in re.findall(r"[A-Za-z]+", self._formula)
        return own or any(candidate.uses_pixels for candidate in self._candidates)

    def ratio(self, before: tuple[int, int], after: tuple[int, int]) -> float:
        """Return the ratio of a query's cost at (candidates, batch size) `after` to that at `before`."""
        return self._at(*after) / self._at(*before)

    def _at(self, n: int, batch_size: int) -> int:
        # A pass over the pool grows with the candidates; trainings are counted separately.
        ask = sum(candidate._at(n, batch_size) for candidate in self._candidates) or n
        own = {"N": n, "b": batch_size, "ask": ask, "sweep": 1000 * n, "fit": 1}
        return evaluate_cost(self._formula, {**self._sizes, **own})


def seconds_at(samples: Sequence[Sample], n: int, batch_size: int, growth: Growth) -> float:
    """Return the seconds of a query of another size, without trainings.

    Two samples of one batch size define a line, so a constant part of the cost is not scaled. A single sample is
    scaled by the card, as is the batch size.
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
        # Noise can make an extrapolation to smaller sizes negative.
        value = max(0.0, last + slope * (n - last_n))
    else:
        value = last * growth.ratio((last_n, last_batch), (n, last_batch))
    return value * growth.ratio((n, last_batch), (n, batch_size))
