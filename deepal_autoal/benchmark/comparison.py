"""Measures over the seeds of a benchmark. Strategies are compared on the seeds that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepal_autoal.randomness import numpy_stream

TIE_MARGIN = 0.005
CONFIDENCE = 0.95
N_RESAMPLES = 9999

# Differences of decimal fractions: 0.905 - 0.9 is above 0.005 in floating point, and still a tie.
_ROUNDING = 1e-9

BySeed = Mapping[int, float]


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, from a fixed stream.

    The percentile interval, which is defined for any values, also two seeds or equal ones. Of few values it is too
    narrow; of a single one it is that value, which says nothing about the spread.
    """
    if len(values) < 2:
        return float(values[0]), float(values[0])
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.asarray(values, dtype=float),), np.mean, n_resamples=N_RESAMPLES, confidence_level=CONFIDENCE,
        method="percentile", random_state=numpy_stream("benchmark", "bootstrap"),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


def wins_ties_losses(areas: Mapping[str, BySeed]) -> dict[str, tuple[int, int, int]]:
    """Return how often each strategy's AUBC is above, about equal to and below another's.

    Every other strategy on every seed that both have counts once. A difference of at most 0.005, half a percentage
    point, is a tie: the margin of the DeepAL+ survey (Zhan et al. 2022).

    Args:
        areas: AUBC by strategy and seed, in [0, 1].
    """
    counts = {}
    for name, own in areas.items():
        differences = [
            own[seed] - other[seed] for rival, other in areas.items() if rival != name for seed in own if seed in other
        ]
        wins = sum(difference > TIE_MARGIN + _ROUNDING for difference in differences)
        losses = sum(difference < -TIE_MARGIN - _ROUNDING for difference in differences)
        counts[name] = (wins, len(differences) - wins - losses, losses)
    return counts


def relative_times(seconds: Mapping[str, BySeed], reference: str) -> dict[str, float | None]:
    """Return the seconds of each strategy's runs in units of the reference's on the same seeds.

    None where the reference, or a seed in common with it, is missing.
    """
    base = seconds.get(reference, {})
    relative: dict[str, float | None] = {}
    for name, own in seconds.items():
        common = [seed for seed in own if seed in base]
        relative[name] = sum(own[seed] for seed in common) / sum(base[seed] for seed in common) if common else None
    return relative
