"""Tables of the benchmark of task models, in Markdown.

    python benchmarks/models/tables.py --rows benchmarks/results/models.csv --out benchmarks/results/models.md
    python benchmarks/models/tables.py --rows dev.csv --part dev --ours mlp

Reads the file that run.py writes. Without --out the tables go to standard output.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bar import MOST_BEHIND, NLL_FACTOR, SECONDS_FACTOR, SKLEARN, Cases, Verdict, cases_of, judge, mean_accuracy
from data import NAMES, PARTS
from rows import read_rows

OURS = "auto"
FAILS = " ✗"
NOTE = f"""Means over seeds, seconds medians. "Difference" is the accuracy of `{{ours}}` minus that of the best of
scikit-learn's models, in points, with the 95 % bootstrap interval over paired seeds; the best is chosen on the same
seeds, which flatters it. "NLL" is the negative log-likelihood over that of logistic regression (by cross-validation
from three labels a class on), with the better of its two scalings; "seconds" is the time over its, with the faster.
The bar: at most {MOST_BEHIND:g} point behind, NLL at most {NLL_FACTOR:g} times, seconds at most {SECONDS_FACTOR:g}
times;{FAILS} marks what misses it.""".replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="the CSV file of run.py")
    parser.add_argument("--part", choices=PARTS, default="test")
    parser.add_argument("--ours", default=OURS, help="the task model that the bar is for")
    parser.add_argument("--out", type=Path, help="the Markdown file")
    options = parser.parse_args(arguments)
    cases = cases_of(read_rows(options.rows), options.part)
    if not cases:
        sys.exit(f"{options.rows} holds no rows of the part {options.part}: run benchmarks/models/run.py first")
    text = render(cases, options.ours)
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")


def render(cases: Cases, ours: str) -> str:
    """Return all tables."""
    ordered = dict(sorted(cases.items(), key=lambda item: (NAMES.index(item[0][0]), item[0][1])))
    verdicts = verdicts_of(ordered, ours)
    parts = ["# Task models against scikit-learn and plain PyTorch", "Made by `tables.py`; do not edit."]
    parts += ["## Overview", overview(ordered)]
    if verdicts:
        parts += [f"## `{ours}` against the best of scikit-learn", NOTE.format(ours=ours), comparison(verdicts)]
    parts += ["## Accuracy of all models, percent", accuracies(ordered)]
    return "\n\n".join(parts) + "\n"


def verdicts_of(cases: Cases, ours: str) -> list[Verdict]:
    found = (judge(case, by_model, ours) for case, by_model in cases.items())
    return [verdict for verdict in found if verdict is not None]


def models_of(cases: Cases) -> list[str]:
    return list(dict.fromkeys(model for by_model in cases.values() for model in by_model))


def overview(cases: Cases) -> str:
    """Return how often each model that is not scikit-learn's reaches each bar."""
    head = ["model", "cases", "accurate", "NLL", "fast", "all three", "mean difference, points", "worst, points"]
    lines = [line(head), line(["---"] * len(head))]
    for model in models_of(cases):
        verdicts = [] if model.startswith(SKLEARN) else verdicts_of(cases, model)
        if verdicts:
            held = [(v.is_accurate, v.is_likely, v.is_fast) for v in verdicts]
            counts = [sum(values) for values in zip(*held, strict=True)] + [sum(map(all, held))]
            points = [100 * verdict.difference.mean for verdict in verdicts]
            lines.append(
                line([f"`{model}`", str(len(held)), *map(str, counts), f"{sum(points) / len(points):+.2f}",
                      f"{min(points):+.2f}"])
            )  # fmt: skip
    return "\n".join(lines)


def comparison(verdicts: Iterable[Verdict]) -> str:
    """Return a row for each data set and number of labels."""
    head = ["data", "labels a class", "best of scikit-learn", "its accuracy", "ours", "difference (95 %)", "NLL",
            "seconds", "ours, s"]  # fmt: skip
    lines = [line(head), line(["---"] * len(head))]
    for verdict in verdicts:
        low, mean, high = (100 * value for value in (verdict.difference.low, verdict.difference.mean,
                                                     verdict.difference.high))  # fmt: skip
        lines.append(
            line([
                verdict.dataset, str(verdict.per_class), f"`{verdict.best}`", f"{100 * verdict.best_accuracy:.1f}",
                f"{100 * verdict.accuracy:.1f}", f"{mean:+.1f} ({low:+.1f} … {high:+.1f})" + mark(verdict.is_accurate),
                f"{verdict.nll_ratio:.2f}" + mark(verdict.is_likely),
                f"{verdict.seconds_ratio:.3g}" + mark(verdict.is_fast), f"{verdict.seconds:.2g}",
            ])
        )  # fmt: skip
    return "\n".join(lines)


def mark(holds: bool) -> str:
    return "" if holds else FAILS


def accuracies(cases: Cases) -> str:
    """Return the mean accuracy of each model, the highest of a row in bold."""
    models = models_of(cases)
    lines = [line(["data", "labels a class", *(f"`{model}`" for model in models)]), line(["---"] * (len(models) + 2))]
    for (dataset, per_class), by_model in cases.items():
        means = {model: 100 * mean_accuracy(list(rows.values())) for model, rows in by_model.items()}
        shown = {model: f"{value:.1f}" for model, value in means.items()}
        highest = f"{max(means.values()):.1f}"
        cells = [f"**{text}**" if text == highest else text for text in (shown.get(model, "") for model in models)]
        lines.append(line([dataset, str(per_class), *cells]))
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
