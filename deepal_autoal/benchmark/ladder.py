"""On how large parts of a pool to measure a query: ever larger ones, up to all of it, while the time allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from deepal_autoal.benchmark.growth import Growth, Sample, seconds_at

# From one part to the next, at most and at least.
_FACTORS = (64, 16, 4)
# What takes less is measured again.
_QUICK = 0.3
_REPEATS = 3
# A part has so many candidates for one that is chosen, unless the whole pool has fewer.
_PER_CHOSEN = 4


def climb(
    measure: Callable[[int, int], Sample], fewest: int, whole: int, batch_size: int, growth: Growth, seconds: float
) -> list[Sample]:
    """Return queries of growing size, smallest first.

    Args:
        measure: Measures a query of so many candidates and such a batch.
        fewest: Candidates of the first query.
        whole: Candidates of the largest.
        batch_size: The run's batch, which parts of the pool get once they are large enough.
        growth: What is known of the query's time.
        seconds: About how long this may take. One further query is made in any case: a single size does not tell what
            it costs whatever its size.
    """

    def sized(n: int) -> tuple[int, int]:
        return n, batch_size if n == whole else min(batch_size, max(1, n // _PER_CHOSEN))

    started = time.perf_counter()
    fewest = min(fewest, whole)
    first = measure(*sized(fewest))
    # With it goes what only a process's first query takes.
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
    """Return how long the measurement of a query will take."""
    last = samples[-1]
    if last.wait is None:
        return seconds_at(samples, n, batch_size, growth)
    # It will be ended, some time after it first tells its progress.
    return last.wait * growth.ratio((last.n, last.batch_size), (n, batch_size)) + seconds / 2


def _repeated(measure: Callable[[int, int], Sample], n: int, batch_size: int) -> Sample:
    """Return a query's sample; the median of some if it is quick."""
    taken = [measure(n, batch_size)]
    while taken[0].seconds < _QUICK and len(taken) < _REPEATS:
        taken.append(measure(n, batch_size))
    middle = sorted(taken, key=lambda sample: sample.seconds)[len(taken) // 2]
    return replace(middle, n_bytes=max(sample.n_bytes for sample in taken))
