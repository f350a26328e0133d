"""Writes the results as Markdown: the promised figures, all cases, dropout passes, and a million candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dropout
import large_pool
import rules
from cases import ACTIVEML, MATRIX, OURS, PLAIN, QUERY, Row
from quality import QUALITIES

_REFERENCES = (PLAIN, MATRIX, ACTIVEML)


def write_tables(rows: Sequence[Row], command: str, limit: float) -> str:
    """Return all tables."""
    parts = [
        "# Speed of queries",
        f"Written by `{command}`. Seconds are medians. In brackets is the range of the ratios over repeats; a ratio "
        "without brackets is from a single repeat. Memory, in MB (10^6 bytes), is the peak above what the process held "
        f"before the work, including its inputs. \"> {limit:.0f}\" was stopped; cases in parentheses were not tried, "
        "judging by a smaller case. Ratios above 1: ours is faster.",
        "## The promised figures", *promised(rows),
    ]  # fmt: skip
    of_part = {part: [row for row in rows if row.part == part] for part in (rules.PART, dropout.PART, large_pool.PART)}
    names = list(dict.fromkeys(row.strategy for row in of_part[rules.PART] if row.way == OURS))
    if names:
        parts += ["## The rule alone, outputs given", *(part for name in names for part in rule_table(rows, name))]
    if any(row.way == QUERY for row in of_part[rules.PART]):
        parts += ["## `ActiveLearner.query`: the pass over the pool, and everything else the strategy does",
                  query_table([row for row in of_part[rules.PART] if row.way == QUERY])]  # fmt: skip
    if of_part[dropout.PART]:
        parts += ["## Dropout passes", dropout_table(of_part[dropout.PART])]
    if of_part[large_pool.PART]:
        parts += ["## Whole runs on a large pool", large_table(of_part[large_pool.PART])]
    return "\n\n".join(parts) + "\n"


def promised(rows: Iterable[Row]) -> list[str]:
    """Return the table of goals and measured values."""
    found = {(row.part, row.strategy, row.n, row.batch_size, row.classes, row.way): row for row in rows}
    lines = []

    def compare(strategy: str, n: int, b: int, way: str, goal: float) -> None:
        row = found.get((rules.PART, strategy, n, b, 10, way))
        if row is not None:
            met = "" if row.ratio == "" else mark(float(row.ratio) >= goal)
            measured = ratio(row) or row.note
            lines.append((f"`{strategy}` N={n:,} b={b:,} C=10 against {way}", f"≥ {goal:g} x", measured, met))

    for b in (100, 1000):
        compare("badge", 5000, b, ACTIVEML, 200)
    for b in (100, 1000):
        own = found.get((rules.PART, "badge", 5000, b, 10, OURS))
        if own is not None and own.peak_mb != "":
            times = float(own.peak_mb) * 1e6 / (4 * 5000 * (10 + 512))
            lines.append((f"`badge` N=5,000 b={b:,} C=10: peak over the factors' bytes", "≤ 2 x", f"{times:.2f} x",
                          mark(times <= 2)))  # fmt: skip
    compare("coreset", 5000, 1000, ACTIVEML, 15)
    compare("kmeans", 20_000, 1000, PLAIN, 5)
    for strategy, n, b, way, tolerance in (
        ("badge", 5000, 100, ACTIVEML, 0.02), ("badge", 5000, 1000, ACTIVEML, 0.02),
        ("coreset", 5000, 1000, ACTIVEML, 0.01), ("kmeans", 20_000, 1000, PLAIN, 0.02),
    ):  # fmt: skip
        row = found.get((rules.PART, strategy, n, b, 10, way))
        if row is not None and row.quality != "":
            own = 1 / float(row.quality)
            lines.append((f"`{strategy}` N={n:,} b={b:,} C=10: {QUALITIES[strategy][0]} over that of {way}",
                          f"≤ {1 + tolerance:.2f}", f"{own:.3f}", mark(own <= 1 + tolerance)))  # fmt: skip
    for strategy in ("entropy", "margin", "leastconf"):
        for b in (100, 1000):
            compare(strategy, 50_000, b, PLAIN, 1)
    for row in rows:
        if row.part == dropout.PART and row.way == dropout.TEN:
            lines.append((f"ten dropout passes of `{row.strategy}`, N={row.n:,}, against one", "≤ 1.15 x", ratio(row),
                          mark(float(row.ratio) <= 1.15)))  # fmt: skip
    return [table(("figure", "goal", "measured", "met"), lines)] if lines else ["None of these cases was run."]


def rule_table(rows: Iterable[Row], strategy: str) -> list[str]:
    """Return the heading and the table of one rule."""
    own = [row for row in rows if row.part == rules.PART and row.strategy == strategy and row.way != QUERY]
    ways = [way for way in (OURS, *_REFERENCES) if any(row.way == way for row in own)]
    cases = list(dict.fromkeys(row.case for row in own))
    by_key = {(row.case, row.way): row for row in own}
    others = ways[1:]
    quality = QUALITIES[strategy][0] if strategy in QUALITIES else ""
    head = ["N", "b", "C", *(f"{way} s" for way in ways), *(f"{way} / ours" for way in others)]
    head += [f"{way} MB" for way in ways] + [f"{quality}, {way} / ours" for way in others if quality]
    head += [f"picks in common with {way}" for way in others]
    lines = []
    for case in cases:
        got = [by_key.get((case, way)) for way in ways]
        cells = [f"{case.n:,}", f"{case.batch_size:,}", str(case.classes), *(seconds(row) for row in got)]
        cells += [ratio(row) for row in got[1:]] + [memory(row) for row in got]
        if quality:
            cells += ["" if row is None or row.quality == "" else f"{row.quality:.3f}" for row in got[1:]]
        cells += ["" if row is None or row.common == "" else f"{100 * float(row.common):.0f}%" for row in got[1:]]
        lines.append(cells)
    how = next((row.note for row in own if row.way == OURS and row.status == "done"), "")
    return [f"### `{strategy}` {how}".rstrip(), table(head, lines)]


def query_table(rows: Sequence[Row]) -> str:
    """Return seconds and MB of whole queries, one row per strategy, batch size and number of classes."""
    sizes = sorted({row.n for row in rows})
    head = ["strategy", "b", "C", *(cell for n in sizes for cell in (f"s, N={n:,}", f"MB, N={n:,}"))]
    keys = list(dict.fromkeys((row.strategy, row.batch_size, row.classes) for row in rows))
    by_key = {(row.strategy, row.batch_size, row.classes, row.n): row for row in rows}
    lines = []
    for strategy, b, classes in keys:
        got = [by_key.get((strategy, b, classes, n)) for n in sizes]
        options = next((f" {row.note}" for row in got if row and row.status == "done" and row.note), "")
        cells = [cell for row in got for cell in (seconds(row), memory(row))]
        lines.append([f"`{strategy}{options}`", f"{b:,}", str(classes), *cells])
    return table(head, lines)


def dropout_table(rows: Sequence[Row]) -> str:
    """Return seconds of passes over images, including the sweep of the pool."""
    lines = [
        [f"`{row.strategy}`, {row.note}", f"{row.n:,}", ("" if row.way == dropout.FULL else "the sweep and ") + row.way,
         f"{row.seconds:g}", ratio(row)]
        for row in rows
    ]  # fmt: skip
    return table(("model", "images", "", "s", "times one pass"), lines)


def large_table(rows: Sequence[Row]) -> str:
    """Return seconds and peaks of whole runs."""
    lines = []
    for case in dict.fromkeys(row.case for row in rows):
        own = {row.way: row for row in rows if row.case == case}
        cells = [
            seconds(own.get(way)) for way in (large_pool.LOAD, large_pool.TRAIN, large_pool.QUERY, large_pool.WALL)
        ]
        peaks = [memory(own.get(way)) for way in (large_pool.WALL, large_pool.QUERY)]
        lines.append([f"`{case.strategy}`", f"{case.n:,}", f"{case.batch_size:,}", *cells, *peaks])
    head = ("strategy", "N", "b", "load s", "train s", "query s", "wall s", "MB of the process", "MB of the query")
    return table(head, lines)


def seconds(row: Row | None) -> str:
    if row is None:
        return ""
    if row.status == "done":
        return f"{float(row.seconds):.3g}"
    return row.note.partition(" s")[0] if row.status == "stopped" else f"({row.note.partition(':')[0]})"


def memory(row: Row | None) -> str:
    return "" if row is None or row.peak_mb == "" else f"{float(row.peak_mb):,.0f}"


def ratio(row: Row | None) -> str:
    if row is None or row.ratio == "":
        return ""
    spread = f" ({row.ratio_low:.3g} … {row.ratio_high:.3g})" if int(row.repeats) > 1 else ""
    return f"{row.ratio:.3g}{spread}"


def mark(is_met: bool) -> str:
    return "yes" if is_met else "no"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(
        [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(cells)} |" for cells in lines)]
    )
