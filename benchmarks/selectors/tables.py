"""Write the study's results: one row per run, and tables of the differences that answer its questions.

    python benchmarks/selectors/tables.py --study study

Writes results/runs.csv and results/tables.md beside this file. Settings that the study's folder does not have keep
their rows. Without --study, the tables are made from runs.csv.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from plan import CONTROL, FIXED, POOLS, SELECTORS, SETTINGS, STAGES

from deepal_autoal.experiment.results import read_results
from deepal_autoal.statistics import Difference, compare, holm

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("setting", "label", "seed", "aubc", "final_accuracy", "train_s", "query_s")
ORACLE = "oracle-boss"
# AUBC in [0, 1] by setting, label and seed.
Areas = dict[str, dict[str, dict[int, float]]]
NOTE = """AUBC differences in points, paired by seed, with the 95% percentile bootstrap interval of the mean over seeds;
**bold**: significant by the paired t-test after Holm's correction over the table.""".replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, help="folder of study.py; default: only the tables, from runs.csv")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "runs.csv"
    if options.study is not None:
        write_runs(path, options.study)
    areas, seconds = read_runs(path)
    parts = [f"# Selectors\n\n{NOTE}\n", levels(areas)]
    parts += [
        selectors_table(areas, pool) for pool in POOLS if any(f"vote-{pool}" in found for found in areas.values())
    ]
    parts += [fixed_table(areas), regrets(areas), costs(areas, seconds)]
    (options.out / "tables.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def write_runs(path: Path, study: Path) -> None:
    """Write one row per finished run; settings that the study does not have keep the rows that they had."""
    kept: dict[str, list[list[str]]] = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                kept.setdefault(row[0], []).append(row)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for setting in SETTINGS:
            table = study / setting / "results.csv"
            if not table.exists():
                writer.writerows(kept.get(setting, []))
                continue
            for run in read_results(table).runs:
                seconds = [f"{run.phase_seconds(phase) or 0.0:.2f}" for phase in ("train", "query")]
                scores = [f"{run.aubc:.6f}", f"{run.final_accuracy:.6f}"]
                writer.writerow([setting, run.strategy, run.seed, *scores, *seconds])


def read_runs(path: Path) -> tuple[Areas, dict[str, dict[str, list[float]]]]:
    """Return AUBC by setting, label and seed; and seconds of queries by setting and label."""
    areas: Areas = {}
    seconds: dict[str, dict[str, list[float]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            areas.setdefault(row["setting"], {}).setdefault(row["label"], {})[int(row["seed"])] = float(row["aubc"])
            seconds.setdefault(row["setting"], {}).setdefault(row["label"], []).append(float(row["query_s"]))
    return areas, seconds


def levels(areas: Areas) -> str:
    """Return the mean AUBC of every contender, in percent."""
    settings = [name for name in SETTINGS if name in areas]
    labels = list(dict.fromkeys(label for name in settings for label in areas[name]))
    lines = ["## AUBC\n", _row(["", *settings]), _row(["---"] * (1 + len(settings)))]
    for label in labels:
        cells = [
            f"{100 * np.mean(list(areas[name][label].values())):.1f}" if label in areas[name] else ""
            for name in settings
        ]
        lines.append(_row([f"`{label}`", *cells]))
    seeds = {name: max(len(found) for found in areas[name].values()) for name in settings}
    return "\n".join([*lines, "", f"Seeds: {', '.join(f'{name} {n}' for name, n in seeds.items())}.\n"])


def selectors_table(areas: Areas, pool: str) -> str:
    """Return a pool's selectors against the best of their candidates, the vote, and a random candidate."""
    settings = [name for name in SETTINGS if f"vote-{pool}" in areas.get(name, {})]
    best = {name: best_single(areas[name], POOLS[pool]) for name in settings}
    named = ", ".join(f"{name} `{found}`" for name, found in best.items())
    parts = [f"## Candidates: {pool} ({', '.join(POOLS[pool])})\n"]
    ours = [f"{selector}-{pool}" for selector in SELECTORS] + [f"vote-{pool}-{ending}" for ending in STAGES]
    text = f"Minus the best single candidate of the setting, chosen in hindsight ({named})"
    parts.append(_differences(areas, settings, ours, best, text))
    for control in (f"vote-{pool}", f"vote-{pool}-autoal-stage", f"{CONTROL}-{pool}"):
        parts.append(_differences(areas, settings, ours, dict.fromkeys(settings, control), f"Minus `{control}`"))
    return "\n".join(parts)


def best_single(found: Mapping[str, Mapping[int, float]], candidates: Iterable[str]) -> str:
    """Return the candidate with the highest mean AUBC."""
    return max((name for name in candidates if name in found), key=lambda name: np.mean(list(found[name].values())))


def fixed_table(areas: Areas) -> str:
    """Return the selectors with roles, and the controls of filters, against `uherding` and `random`."""
    settings = [name for name in SETTINGS if name in areas]
    sizes = dict.fromkeys(f"uherding-{size}" for name in settings for size in SETTINGS[name].sub_pools)
    ours = [*FIXED, "refine-nine", *sizes]
    parts = ["## Selectors with roles, and what a filter adds\n"]
    for control in ("uherding", "random"):
        text = f"Minus `{control}` on the whole pool"
        parts.append(_differences(areas, settings, ours, dict.fromkeys(settings, control), text))
    return "\n".join(parts)


def regrets(areas: Areas) -> str:
    """Return each contender's regret to `ORACLE`."""
    settings = [name for name in SETTINGS if ORACLE in areas.get(name, {})]
    if not settings:
        return ""
    labels = list(dict.fromkeys(label for name in settings for label in areas[name]))
    lines = [f"## Regret: AUBC of `{ORACLE}` minus the row's, in points\n"]
    lines += [_row(["", *settings]), _row(["---"] * (1 + len(settings)))]
    for label in labels:
        cells = []
        for name in settings:
            found = compare(areas[name][ORACLE], areas[name].get(label, {}))
            cells.append("" if found is None or label == ORACLE else f"{100 * found.mean:+.1f}")
        lines.append(_row([f"`{label}`", *cells]))
    return "\n".join([*lines, ""])


def costs(areas: Areas, seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the median seconds of a run's queries."""
    settings = [name for name in SETTINGS if name in areas]
    labels = list(dict.fromkeys(label for name in settings for label in areas[name]))
    lines = ["## Seconds of all queries of a run, median; two runs at a time, other work beside\n"]
    lines += [_row(["", *settings]), _row(["---"] * (1 + len(settings)))]
    for label in labels:
        cells = [f"{np.median(seconds[name][label]):.1f}" if label in seconds[name] else "" for name in settings]
        lines.append(_row([f"`{label}`", *cells]))
    return "\n".join([*lines, ""])


def _differences(
    areas: Areas, settings: Sequence[str], ours: Sequence[str], theirs: Mapping[str, str], title: str
) -> str:
    """Return a table of paired differences, corrected over all of its cells."""
    found: dict[tuple[str, str], Difference] = {}
    for label in ours:
        for name in settings:
            one, other = areas[name].get(label), areas[name].get(theirs[name])
            difference = compare(one, other) if one and other and label != theirs[name] else None
            if difference is not None:
                found[label, name] = difference
    corrected = dict(zip(found, holm([difference.p for difference in found.values()]), strict=True))
    lines = [f"{title}:\n", _row(["", *settings]), _row(["---"] * (1 + len(settings)))]
    for label in ours:
        if any(key[0] == label for key in found):
            cells = [_cell(found.get((label, name)), corrected.get((label, name))) for name in settings]
            lines.append(_row([f"`{label}`", *cells]))
    return "\n".join([*lines, ""])


def _cell(difference: Difference | None, p: float | None) -> str:
    if difference is None:
        return ""
    low, mean, high = (f"{100 * value:+.1f}" for value in (difference.low, difference.mean, difference.high))
    text = f"{mean} ({low} … {high})"
    return f"**{text}**" if p is not None and p < 0.05 else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
