"""Formats numbers and lists of names for the page, tables and figures: one format for each kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
# The most names in a sentence; the tables list the rest.
MOST_NAMES = 6


def percent(value: float | None, digits: int = 2) -> str:
    """Return a share in [0, 1] in percent, without the percent sign: ``93.12``."""
    return NOTHING if value is None else signed_zero(f"{100 * value:.{digits}f}")


def points(value: float | None, digits: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign: ``+1.20``."""
    return NOTHING if value is None else signed_zero(f"{100 * value:+.{digits}f}")


def spread(mean: float | None, std: float | None) -> str:
    """Return mean and standard deviation in percent: ``93.12 ± 0.40``."""
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def interval(low: float | None, high: float | None, n: int) -> str:
    """Return an interval of shares in percent; a dash for a single value."""
    return NOTHING if n < 2 or low is None or high is None else f"{percent(low)} to {percent(high)}"


def difference(mean: float | None, low: float | None, high: float | None, n: int) -> str:
    """Return a difference in points with its interval: ``+1.20 [+0.30, +2.00]``."""
    if mean is None:
        return NOTHING
    return points(mean) if n < 2 else f"{points(mean)} [{points(low)}, {points(high)}]"


def p_value(p: float | None) -> str:
    """Return a p-value to three decimals."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def ratio(value: float | None) -> str:
    """Return a multiple with about three figures: ``0.98``, ``12.3``, ``170``."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def seconds(value: float | None) -> str:
    """Return seconds with about three figures."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value < 0.9995 else ratio(value)


def count(value: float | None) -> str:
    """Return a count, rounded."""
    return NOTHING if value is None else f"{value:.0f}"


def counts(values: Sequence[int] | None) -> str:
    """Return wins, ties and losses: ``12 / 3 / 5``."""
    return NOTHING if values is None else " / ".join(map(str, values))


def listed(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Return names joined for a sentence: ``a, b and c``; those beyond the most are counted: ``a, b and 3 more``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def joined(parts: Sequence[str], most: int = 4) -> str:
    """Return parts of a sentence that hold commas: ``a, 1; b, 2``; those beyond the most are counted."""
    return "; ".join([*parts[:most], *([f"and {len(parts) - most} more"] if len(parts) > most else [])])


def number_of(n: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: ``1 seed``, ``5 seeds``."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def format_seeds(runs: Mapping[str, Collection[int]]) -> str:
    """Return the number of seeds by strategy, a range if strategies differ: ``5 seeds``, ``3 to 5 seeds``."""
    found = sorted({len(seeds) for seeds in runs.values()})
    return number_of(found[0], "seed") if len(found) == 1 else f"{found[0]} to {found[-1]} seeds"


def signed_zero(text: str) -> str:
    """Return a number's text with a true minus sign, or without a sign if it is rounded to zero."""
    if not text.strip("+-0."):
        return text.lstrip("+-")
    return text.replace("-", MINUS)
