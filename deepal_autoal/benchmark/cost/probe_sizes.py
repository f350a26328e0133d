"""Choose parts of a pool to measure a query on: ever larger ones, up to all of it, while the time allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from deepal_autoal.benchmark.cost.extrapolation import Growth, Sample, seconds_at

# Growth from one part to the next, tried in this order.
_FACTORS = (64, 16, 4)
# A query that takes less is measured again.
_QUICK = 0.3
_REPEATS = 3
# Candidates of a part per chosen sample, unless the whole pool has fewer.
_PER_CHOSEN = 4


def climb(
    measure: Callable[[int, int], Sample], fewest: int, whole: int, batch_size: int, growth: Growth, seconds: float
) -> list[Sample]:
    """Return measured queries of growing size, smallest first.

    Args:
        measure: Measures a query, given the number of candidates and the batch size.
        fewest: Number of candidates of the first query.
        whole: Number of candidates of the largest query.
        batch_size: The run's batch size, used for parts of the pool that are large enough.
        growth: How the query's time grows by the strategy's card.
        seconds: About how long this may take. A second size is measured even beyond it, unless the first query already
            exceeded it: a single size does not separate constant from growing cost.
    """

    def sized(n: int) -> tuple[int, int]:
        return n, batch_size if n == whole else min(batch_size, max(1, n // _PER_CHOSEN))

    started = time.perf_counter()
    fewest = min(fewest, whole)
    first = measure(*sized(fewest))
    # Measured again, to exclude one-time costs of a process's first query.
    samples = [_repeated(measure, *sized(fewest)) if first.seconds < _QUICK else first]
    while samples[-1].n < whole:
        last, left = samples[-1], seconds - (time.perf_counter() - started)
        sizes = sorted({min(whole, last.n * factor) for factor in _FACTORS} | {whole}, reverse=True)
        affordable = [n for n in sizes if _expected(samples, *sized(n), growth, seconds) <= left]
        if affordable:
            n = affordable[0]
        elif len(samples) == 1 and (last.seconds if last.wait is None else last.wait) < seconds:
            n = sizes[-1]
        else:
            break
        samples.append(_repeated(measure, *sized(n)))
    return samples


def _expected(samples: list[Sample], n: int, batch_size: int, growth: Growth, seconds: float) -> float:
    """Return the seconds that the measurement of a query will take."""
    last = samples[-1]
    if last.wait is None:
        return seconds_at(samples, n, batch_size, growth)
    # It will be ended some time after it first reports progress.
    return last.wait * growth.ratio((last.n, last.batch_size), (n, batch_size)) + seconds / 2


def _repeated(measure: Callable[[int, int], Sample], n: int, batch_size: int) -> Sample:
    """Return a query's sample; for a quick query, the median of several."""
    taken = [measure(n, batch_size)]
    while taken[0].seconds < _QUICK and len(taken) < _REPEATS:
        taken.append(measure(n, batch_size))
    middle = sorted(taken, key=lambda sample: sample.seconds)[len(taken) // 2]
    return replace(middle, n_bytes=max(sample.n_bytes for sample in taken))
