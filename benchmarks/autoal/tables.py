"""Write the tables of the study: AUBC, and paired differences of `autoal` to everything else.

    python benchmarks/autoal/tables.py --runs study/runs.jsonl --groups main --out benchmarks/autoal/results

Contenders of one group can also be in others; --groups leaves out those that were run in part.

Writes to --out: runs.csv (one row per run), weights.csv (weights by round, Fig. 5), differences.csv (all comparisons),
and tables.md. Without --runs, tables are computed from the runs.csv in --out. Several --runs are merged, for example
those of a machine with a GPU.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison import Difference, compare, holm, pool
from plan import GROUPS, ORACLE, OURS, SETTINGS, ours_of
from results import RUNS_CSV, WEIGHTS_CSV, StudyRun, read_lines, read_runs, write_runs, write_weights

DIFFERENCES_CSV, TABLES_MD = "differences.csv", "tables.md"
DIFFERENCE_COLUMNS = (
    "group", "setting", "label", "seeds", "difference", "low", "high", "p", "p_holm", "seeds_above",
)  # fmt: skip
POOLED = "all"
TITLES = {
    "core": "What counts most",
    "main": "Every candidate, the controls and the printed equations",
    "poor": "One good candidate among poor ones",
    "pools": "Candidate pools (Fig. 4)",
    "figure3": "Networks and loss module (Fig. 3)",
    "ablations": "One option at a time",
    "oracle": "The oracle",
}
NOTE = f"""AUBC in percent, mean ± standard deviation over seeds. Differences are `{OURS}` minus the row's, paired by
seed, in points: above 0 `{OURS}` is better. In brackets is the 95% percentile bootstrap interval of the mean over
seeds, which is too narrow with few seeds. p is from a paired t-test, after Holm's correction over the rows of the
table. "x+diverse" is candidate x with `{OURS}`'s final stage. `{ORACLE}` is not a strategy: it looks at the test set to
choose the best candidate's batch of each round.""".replace("\n", " ")
# Contenders whose weights by round are kept; those of every single option would fill megabytes.
WITH_WEIGHTS = (
    OURS, "autoal-poor", "autoal-top", "autoal-3", "autoal-5", "frozen", "random-weights", "printed", "printed+diverse",
    "albl", ORACLE,
)  # fmt: skip

# AUBC by setting, label and seed.
Areas = Mapping[str, Mapping[str, Mapping[int, float]]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="runs.jsonl of one or more studies")
    parser.add_argument("--seeds", type=seed_range, metavar="A-B", help="only these seeds of --runs; default all")
    parser.add_argument("--groups", default=",".join(GROUPS), help="the groups to compare, by default all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    groups = options.groups.split(",")
    for group in groups:
        if group not in GROUPS:
            sys.exit(f"there is no group {group!r}; choose from {', '.join(GROUPS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.runs:
        lines = [row for row in read_lines(options.runs) if options.seeds is None or row["seed"] in options.seeds]
        write_runs(options.out / RUNS_CSV, lines)
        write_weights(options.out / WEIGHTS_CSV, [row for row in lines if row["label"] in WITH_WEIGHTS])
    elif not (options.out / RUNS_CSV).exists():
        sys.exit(f"{options.out} does not contain {RUNS_CSV}: give the study's runs.jsonl with --runs")
    runs = read_runs(options.out / RUNS_CSV)
    rows = differences(areas_of(runs), groups)
    with open(options.out / DIFFERENCES_CSV, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, DIFFERENCE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: format_cell(value) for key, value in row.items()} for row in rows)
    (options.out / TABLES_MD).write_text(render(runs, rows), encoding="utf-8")


def seed_range(text: str) -> range:
    """Return the seeds from A to B, inclusive, of ``A-B``."""
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


def areas_of(runs: Iterable[StudyRun]) -> dict[str, dict[str, dict[int, float]]]:
    areas: dict[str, dict[str, dict[int, float]]] = {}
    for run in runs:
        areas.setdefault(run.setting, {}).setdefault(run.label, {})[run.seed] = run.aubc
    return {setting: areas[setting] for setting in sorted(areas, key=place_of)}


def place_of(setting: str) -> tuple[int, str]:
    """Return a setting's sort key in the tables: in the plan's order, then others."""
    names = list(SETTINGS)
    return (names.index(setting) if setting in names else len(names)), setting


def differences(areas: Areas, groups: Iterable[str] = tuple(GROUPS)) -> list[dict[str, Any]]:
    """Return a row for each comparison, by `DIFFERENCE_COLUMNS`, in points.

    Holm's correction is over the comparisons of one setting in one group. The setting `POOLED` is the mean over
    settings (see `comparison.pool`); its ``seeds_above`` counts settings.
    """
    rows = []
    for group in groups:
        ours = ours_of(group)
        for setting, by_label in areas.items():
            found = {label: compare(by_label.get(ours, {}), by_label.get(label, {})) for label in others(group)}
            adjusted = holm([None if difference is None else difference.p for difference in found.values()])
            rows += [
                row_of(group, setting, label, difference, p)
                for (label, difference), p in zip(found.items(), adjusted, strict=True)
                if difference is not None
            ]
        for label in others(group):
            pairs = [(by_label.get(ours, {}), by_label.get(label, {})) for by_label in areas.values()]
            difference = pool(pairs)
            if difference is not None:
                rows.append(row_of(group, POOLED, label, difference, None))
    return rows


def others(group: str) -> list[str]:
    return list(dict.fromkeys(contender.label for contender in GROUPS[group] if contender.label != ours_of(group)))


def row_of(group: str, setting: str, label: str, difference: Difference, p_holm: float | None) -> dict[str, Any]:
    return {
        "group": group, "setting": setting, "label": label, "seeds": difference.n_seeds,
        "difference": 100 * difference.mean, "low": 100 * difference.low, "high": 100 * difference.high,
        "p": difference.p, "p_holm": p_holm, "seeds_above": difference.n_above,
    }  # fmt: skip


def format_cell(value: Any) -> Any:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else value


def render(runs: Sequence[StudyRun], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return all tables as Markdown."""
    areas = areas_of(runs)
    parts = ["# AutoAL: tables", "Generated by `tables.py`; do not edit.", NOTE]
    for group in GROUPS:
        chosen = [row for row in rows if row["group"] == group]
        if chosen:
            parts += [f"## {TITLES[group]}", overview(group, areas, chosen)]
            for setting in areas:
                own = [row for row in chosen if row["setting"] == setting]
                if own:
                    parts += [f"### {TITLES[group]}: {setting}", by_label(group, setting, areas, runs, own)]
    return "\n\n".join(parts) + "\n"


def overview(group: str, areas: Areas, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return AUBC by label and setting, with the pooled difference; the highest mean first."""
    present = [
        label for label in (ours_of(group), *others(group)) if any(label in by_label for by_label in areas.values())
    ]
    settings = [name for name, by_label in areas.items() if any(label in by_label for label in others(group))]
    means = {
        label: [mean(areas[setting][label].values()) if label in areas[setting] else None for setting in settings]
        for label in present
    }
    pooled = {row["label"]: row for row in rows if row["setting"] == POOLED}
    head = ["strategy", *settings, "difference, mean over settings (95%)", "settings above", "p < 0.05: above, below"]
    lines = [line(head), line(["---"] * len(head))]
    # Labels that some settings lack are last: their means are over different settings.
    order = sorted(present, key=lambda label: (None in means[label], -mean(v for v in means[label] if v is not None)))
    for label in order:
        cells = [name_of(label), *("" if value is None else f"{100 * value:.2f}" for value in means[label])]
        if label in pooled:
            row = pooled[label]
            own = [r for r in rows if r["label"] == label and r["setting"] != POOLED]
            sure = [r for r in own if r["p_holm"] is not None and r["p_holm"] < 0.05]
            above = sum(r["difference"] > 0 for r in sure)
            cells += [interval(row), f"{row['seeds_above']}/{len(own)}", f"{above}, {len(sure) - above}"]
        else:
            cells += ["", "", ""]
        lines.append(line(cells))
    return "\n".join(lines)


def by_label(
    group: str, setting: str, areas: Areas, runs: Sequence[StudyRun], rows: Sequence[Mapping[str, Any]]
) -> str:
    """Return a setting's rows: AUBC, final accuracy, and the paired difference with test; the highest first."""
    finals: dict[str, list[float]] = {}
    for run in runs:
        if run.setting == setting:
            finals.setdefault(run.label, []).append(run.accuracy[-1])
    found = {row["label"]: row for row in rows}
    head = ["strategy", "seeds", "AUBC", "final accuracy", "difference (95%)", "p", "seeds above"]
    lines = [line(head), line(["---"] * len(head))]
    for label in sorted((ours_of(group), *found), key=lambda label: -mean(areas[setting][label].values())):
        area = areas[setting][label].values()
        cells = [name_of(label), str(len(area)), spread(area), spread(finals[label])]
        if label in found:
            row = found[label]
            p = "" if row["p_holm"] is None else "< 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
            cells += [interval(row), p, f"{row['seeds_above']}/{row['seeds']}"]
        else:
            cells += ["", "", ""]
        lines.append(line(cells))
    return "\n".join(lines)


def name_of(label: str) -> str:
    if label.startswith(OURS) and label in map(ours_of, GROUPS):
        return f"**`{label}`**"
    return f"`{label}`, an oracle, not a strategy" if label == ORACLE else f"`{label}`"


def interval(row: Mapping[str, Any]) -> str:
    return f"{row['difference']:+.2f} ({row['low']:+.2f} … {row['high']:+.2f})"


def spread(values: Iterable[float]) -> str:
    found = list(values)
    center = mean(found)
    if len(found) < 2:
        return f"{100 * center:.2f}"
    variance = sum((value - center) ** 2 for value in found) / (len(found) - 1)
    return f"{100 * center:.2f} ± {100 * variance**0.5:.2f}"


def mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
