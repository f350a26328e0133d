"""Measures every strategy: its rule in our and in other implementations in turn, and a whole query."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import plain
import plain_batches
import sklearn.cluster  # noqa: F401  # before the clock starts
from cases import ACTIVEML, GROW_WITH_BATCH, MATRIX, OURS, PLAIN, QUERY, Case, Row
from isolation import Measurement, measure, use_one_thread
from problem import OPTIONS, RULE_OPTIONS, Problem
from quality import QUALITIES

from deepal_autoal import Query, create_strategy, plugin_host
from deepal_autoal.plugins.cost_formulas import symbols_of

# Available only if scikit-activeml is installed.
if importlib.util.find_spec("skactiveml") is not None:
    import activeml
else:
    activeml = None

PART = "rules"
# By strategy and way.
PLAIN_RULES = {**plain.RULES, **{name: {PLAIN: rule} for name, rule in plain_batches.RULES.items()}}
# Cases of the promised figures: all requested repeats are measured, however long they take.
GOALS = {
    ("badge", 5_000, 10): (OURS, ACTIVEML),
    ("coreset", 5_000, 10): (OURS, ACTIVEML),
    ("kmeans", 20_000, 10): (OURS, PLAIN),
}
WARM_N, WARM_BATCH = 300, 5
_MB = 1e6


@dataclass(frozen=True)
class Plan:
    """What to measure and how far to go.

    Attributes:
        strategies, sizes, batch_sizes, classes: Their product is the set of cases.
        ways: The implementations to measure.
        dims, labeled: D and L.
        repeats: Repeats of each way; fewer once it has taken `patience` seconds in a case, except for promised figures.
        limit: Seconds after which a measurement is stopped.
        patience: See `repeats`.
        memory: Bytes that a process may take above the inputs.
        threads: Threads of all implementations.
        cpu_time: Whether seconds are those of the processor, not of the clock on the wall.
    """

    strategies: Sequence[str]
    sizes: Sequence[int]
    batch_sizes: Sequence[int]
    classes: Sequence[int]
    ways: Sequence[str]
    dims: int
    labeled: int
    repeats: int
    limit: float
    patience: float
    memory: int
    threads: int
    cpu_time: bool = False

    def ways_of(self, case: Case) -> list[str]:
        """Return the ways to measure in a case."""
        ways = ways_of(case.strategy, self.ways)
        symbols = symbols_of(plugin_host().strategies.get(case.strategy).details.get("time") or "b*C")
        if case.classes > min(self.classes) and not symbols & {"C", "ask"}:
            return []  # the result would be the same
        if case.batch_size < max(self.batch_sizes) and QUERY in ways:
            ways.remove(QUERY)  # the overhead beyond the rule is the same
        return ways

    def cases(self) -> Iterator[tuple[tuple[int, int], list[Case]]]:
        """Yield N and C of each pool with its cases, small pools first."""
        for n_classes in sorted(self.classes):
            for n in sorted(self.sizes):
                yield (
                    (n, n_classes),
                    [
                        Case(PART, strategy, n, b, n_classes)
                        for strategy in self.strategies
                        for b in sorted(self.batch_sizes)
                        if b <= n
                    ],
                )


def ways_of(strategy: str, asked: Sequence[str]) -> list[str]:
    """Return the requested ways that are available for a strategy."""
    known = [OURS, *PLAIN_RULES.get(strategy, {})]
    if activeml is not None and strategy in activeml.RULES:
        known.append(ACTIVEML)
    # Other strategies work by networks or other strategies: only their whole query is measured.
    if strategy not in PLAIN_RULES:
        known = []
    return [way for way in (*known, QUERY) if way in asked]


def run(plan: Plan, done: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each case that is not done yet."""
    use_one_thread()
    rows = list(done)
    warm = Problem(WARM_N, 2, 8, 20)
    for strategy in plan.strategies:
        if strategy in PLAIN_RULES:
            warm.prepare(create_strategy(strategy).requires)
    finished = {(row.case, row.way) for row in done}
    for (n, n_classes), cases in plan.cases():
        todo = [
            (case, ways)
            for case in cases
            for ways in [plan.ways_of(case)]
            if any((case, way) not in finished for way in ways)
        ]
        if not todo:
            continue
        say(f"N={n:,} C={n_classes}: preparing")
        problem = Problem(n, n_classes, plan.dims, plan.labeled)
        for case, ways in todo:
            if ways != [QUERY]:
                problem.prepare(create_strategy(case.strategy).requires)
            found = measure_case(case, ways, plan, problem, warm, rows)
            rows += found
            yield found


def measure_case(
    case: Case, ways: Sequence[str], plan: Plan, problem: Problem, warm: Problem, earlier: Sequence[Row]
) -> list[Row]:
    """Measure all ways of a case in turn."""
    reasons = {way: reason for way in ways for reason in [reason_against(case, way, plan, earlier)] if reason}
    results: dict[str, list[Measurement]] = {way: [] for way in ways if way not in reasons}
    goals = GOALS.get((case.strategy, case.n, case.classes), ())
    for repeat in range(plan.repeats):
        for way, found in results.items():
            if found and found[-1].status != "done":
                continue
            spent = sum(one.seconds or 0.0 for one in found)
            if spent > plan.patience and way not in goals:
                continue
            prepare = partial(work, case, way, problem, warm, repeat)
            found.append(measure(prepare, plan.limit, plan.memory, plan.threads, plan.cpu_time))
    qualities = judge(case, results, problem, plan)
    rows = []
    for way in ways:
        if way in reasons:
            status, note = reasons[way]
            rows.append(row_of(case, way, status, note=note))
            say(f"{case} {way}: {note}")
            continue
        row = described(case, way, results, plan)
        if way in qualities:
            row = replace(row, **qualities[way])
        rows.append(row)
        say(f"{case} {way}: {row.seconds} s, {row.peak_mb} MB" if row.status == "done" else f"{case} {way}: {row.note}")
    return rows


def work(case: Case, way: str, problem: Problem, warm: Problem, repeat: int) -> Callable[[], Any]:
    """Warm up, prepare, and return the function to measure, which returns row numbers of candidates."""
    name, b = case.strategy, case.batch_size
    rng = np.random.default_rng([repeat, case.n])
    if way == QUERY:
        warm.learner("margin").query(WARM_BATCH)
        learner = problem.learner(name)
        return lambda: learner.query(b).indices
    if way == OURS:
        options = RULE_OPTIONS.get(name, {})
        create_strategy(name, **options).query(warm.context.for_candidate("warm"), WARM_BATCH)
        strategy, context = create_strategy(name, **options), problem.context.for_candidate(f"repeat {repeat}")
        return lambda: _rows_in(strategy.query(context, b))
    rule = activeml.RULES[name] if way == ACTIVEML else PLAIN_RULES[name][way]
    rule(warm.outputs, WARM_BATCH, rng)
    return lambda: rule(problem.outputs, b, rng)


def _rows_in(answer: Any) -> Any:
    """Return the row numbers of a strategy's answer, which may include a report."""
    return answer.indices if isinstance(answer, Query) else answer


def reason_against(case: Case, way: str, plan: Plan, earlier: Sequence[Row]) -> tuple[str, str] | None:
    """Return the status and the note if a way is not tried in a case, otherwise None."""
    sizes = (case.n, case.batch_size, case.classes, plan.dims)
    needed = 0
    if way == ACTIVEML:
        needed = activeml.n_bytes(case.strategy, *sizes)
    elif way in (PLAIN, MATRIX):
        needed = max(plain.n_bytes(case.strategy, way, *sizes), plain_batches.n_bytes(case.strategy, *sizes))
    if needed > plan.memory:
        return "memory", f"needs about {needed / 1e9:.0f} GB"
    for row in reversed(earlier):
        if row.way != way or row.case == case or not row.case.is_within(case):
            continue
        if row.status in ("stopped", "expected"):
            return "expected", f"more than {plan.limit:.0f} s expected: see {sizes_of(row.case)}"
        if row.status == "done" and way != OURS:
            growth = case.n / row.n
            if row.strategy in GROW_WITH_BATCH:
                growth *= case.batch_size / row.batch_size
            seconds = float(row.seconds) * growth
            if float(row.seconds) > 1.0 and seconds > plan.limit:
                return "expected", f"about {seconds:.0f} s expected: see {sizes_of(row.case)}"
    return None


def judge(
    case: Case, results: Mapping[str, Sequence[Measurement]], problem: Problem, plan: Plan
) -> dict[str, dict[str, float | str]]:
    """Return the quality of each way's first batch in units of ours, and the share of picks in common with ours."""
    batches = {way: np.asarray(found[0].value) for way, found in results.items() if found and found[0].status == "done"}
    if OURS not in batches:
        return {}
    ours = batches.pop(OURS)
    batches.pop(QUERY, None)

    def compare() -> dict[str, dict[str, float | str]]:
        own = problem.outputs.rows_of(ours)
        found: dict[str, dict[str, float | str]] = {way: {} for way in batches}
        if case.strategy in QUALITIES:
            rate = QUALITIES[case.strategy][1]
            reference = rate(problem.outputs, own)
            found = {
                way: {"quality": round(rate(problem.outputs, rows) / reference, 4)} for way, rows in batches.items()
            }
        for way, rows in batches.items():
            found[way]["common"] = round(len(np.intersect1d(rows, own)) / len(own), 4)
        return found

    judged = measure(lambda: compare, 10 * plan.limit, plan.memory, plan.threads)
    if judged.status != "done":
        say(f"{case}: quality not measured ({judged.status}) {judged.message}")
    return judged.value or {}


def described(case: Case, way: str, results: Mapping[str, Sequence[Measurement]], plan: Plan) -> Row:
    """Return a way's row without the quality."""
    found = results[way]
    times = [one.seconds for one in found if one.seconds is not None]
    if found[-1].status != "done":
        status = found[-1].status
        notes = {"stopped": f"> {plan.limit:.0f} s", "memory": f"needs more than {plan.memory / 1e9:.0f} GB"}
        if status == "failed":
            say(found[-1].message)
        return row_of(case, way, status, note=notes.get(status, found[-1].message.strip().rpartition("\n")[2]))
    chosen = (OPTIONS if way == QUERY else RULE_OPTIONS).get(case.strategy, {})
    options = "".join(f" -o {key}={value}" for key, value in chosen.items())
    if plan.cpu_time:
        options += f" (CPU seconds, {plan.threads} thread{'s' if plan.threads > 1 else ''})"
    row = row_of(
        case, way, "done",
        seconds=rounded(median(times)), low=rounded(min(times)), high=rounded(max(times)), repeats=len(times),
        peak_mb=round(max(one.peak_bytes or 0 for one in found) / _MB, 1), note=options.strip(),
    )  # fmt: skip
    ours = [one.seconds for one in results.get(OURS, ()) if one.seconds is not None]
    if way in (OURS, QUERY) or not ours:
        return row
    ratios = [theirs / own for theirs, own in zip(times, ours, strict=False)]
    return replace(row, ratio=rounded(median(ratios)), ratio_low=rounded(min(ratios)), ratio_high=rounded(max(ratios)))


def row_of(case: Case, way: str, status: str, **values: Any) -> Row:
    return Row(case.part, case.strategy, case.n, case.batch_size, case.classes, way, status, **values)


def rounded(value: float) -> float:
    """Return the value rounded to three significant digits."""
    return float(f"{value:.3g}")


def sizes_of(case: Case) -> str:
    return f"N={case.n:,} b={case.batch_size:,} C={case.classes}"


def all_strategies() -> list[str]:
    return [entry.name for entry in plugin_host().strategies.entries()]


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
