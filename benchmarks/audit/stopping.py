"""When to stop, and whether choosing pays, in simulated projects: ``python benchmarks/audit/stopping.py``.

The projects of `coverage`, with the advice of `deepal_autoal.audit.advice` after every batch. Stopping is judged in
hindsight, by the accuracy on the test set, a third of the data, at so much a point, minus the cost of the labels. The
rules:

    gain            even the highest gain that the audit expects of the next batch is worth less than the batch costs
    stable          predictions have stopped changing: Cohen's kappa of the last models is 0.99 or more
    advice          either of the two, as `advise` says
    patience        no gain on the test set in three batches; its labels are free
    patience 100    no gain on 100 samples of it in three batches; their labels are paid for
    all             never stop

A verdict is judged by the number of labels of a uniform sample that gives the project's accuracy on the test set, from
models of 40 such samples a size. With --data, embeddings of MNIST and CIFAR-10 take part (see benchmarks/autoal). A
quarter of an hour of one core; it can be stopped at any time, and the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from coverage import BATCH, INITIAL, SHARE, Check, datasets, project, true_curve

from deepal_autoal.audit.advice import STABLE, advise
from deepal_autoal.audit.report import LAST_ROUNDS, cohens_kappa
from deepal_events.stopping import no_gain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Project = Mapping[str, Any]

HERE = Path(__file__).parent
# Batches in a project, at most, and in how many of them nothing may be gained.
ROUNDS, PATIENCE, FEW = 40, 3, 100
# What a point of accuracy is worth, in labels: a batch of 20 pays for itself with 1, 0.4 and 0.1 points.
VALUES = (20.0, 50.0, 200.0)
RULES = ("advice", "gain", "stable", "patience", f"patience {FEW}", "all")
CHECKED, SHARES = (2, 5, 10, 20, 30), (0.1, 0.3)
EMBEDDINGS, MOST = ("mnist", "cifar10"), 6_000


def all_datasets(data: Path | None) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Yield names, vectors and classes: those of `coverage`, and embeddings if there are any."""
    yield from datasets()
    for name in EMBEDDINGS if data is not None else ():
        with np.load(data / f"{name}.npz") as arrays:
            x, y = arrays["x"][:MOST].astype(float), arrays["y"][:MOST]
        yield name, 0.4 * x / x.std(), y


def stops(x: NDArray[Any], y: NDArray[Any], strategy: str, seed: int) -> Project:
    """Return the test accuracies of a project and after how many batches each rule stops it, None if it does not."""
    most = min(ROUNDS, (len(x) - len(x) // 3 - INITIAL) // BATCH)
    checks = list(project(x, y, strategy, seed, SHARE, range(most + 1)))
    n_classes, kappas = int(y.max()) + 1, [np.nan]
    for before, after in pairwise(checks):
        kappas.append(cohens_kappa(before.predicted, after.predicted, n_classes))
    accuracies, few = [float(one.test.mean()) for one in checks], [float(one.test[:FEW].mean()) for one in checks]
    stability = [None if number < LAST_ROUNDS else float(np.mean(kappas[number - LAST_ROUNDS + 1 : number + 1]))
                 for number in range(len(checks))]  # fmt: skip
    found: dict[str, Any] = {"accuracies": [round(one, 5) for one in accuracies], "few": [round(one, 2) for one in few]}
    for value in VALUES:
        alone = (advise(replace(one.estimate, stability=None), BATCH, 1.0, value) for one in checks)
        found[f"gain {value:g}"] = first(bool(one.should_stop) for one in alone)
    found["stable"] = first(one is not None and one >= STABLE for one in stability)
    for rule, scores in (("patience", accuracies), (f"patience {FEW}", few)):
        found[rule] = first(no_gain(scores[: end + 1], PATIENCE, 0.0) is not None for end in range(len(checks)))
    return found


def first(answers: Iterator[bool]) -> int | None:
    """Return the place of the first yes."""
    return next((place for place, answer in enumerate(answers) if answer), None)


def verdicts(x: NDArray[Any], y: NDArray[Any], strategy: str, share: float, seed: int) -> Project:
    """Return what the audit of a project says of whether choosing pays, at each number of labels."""
    most = (len(x) - len(x) // 3 - INITIAL) // BATCH
    checks = list(project(x, y, strategy, seed, share, [number for number in CHECKED if number <= most]))
    return {"labels": [one.n_labels for one in checks], "accuracies": [float(one.on_test) for one in checks],
            "answers": [one.payoff is not None for one in checks], "verdicts": [verdict_of(one) for one in checks],
            "audited": [one.plain.n for one in checks]}  # fmt: skip


def verdict_of(check: Check) -> str:
    """Return what is said."""
    answer = None if check.payoff is None else check.payoff.is_paying
    return "cannot tell" if answer is None else "pays" if answer else "does not"


def end_of(project: Project, rule: str, value: float) -> int | None:
    """Return after how many batches a rule stops a project, None if it does not."""
    if rule == "gain":
        return project[f"gain {value:g}"]
    if rule == "advice":
        ends = [end for end in (project[f"gain {value:g}"], project["stable"]) if end is not None]
        return min(ends, default=None)
    return project.get(rule)


def stopping_rows(name: str, strategy: str, projects: Sequence[Project]) -> list[dict[str, Any]]:
    """Return the rows of a table: a rule each, at each value of a point."""
    rows = []
    for value in VALUES:
        for rule in RULES:
            late, regret, n_stopped, n_early, ends, bests = [], [], 0, 0, [], []
            for one in projects:
                accuracies = np.array(one["accuracies"])
                worth = 100 * value * accuracies - BATCH * np.arange(len(accuracies))
                best = int(worth.argmax())
                end = end_of(one, rule, value)
                n_stopped += end is not None
                end = len(accuracies) - 1 if end is None else end
                late.append(BATCH * (end - best))
                n_early += end < best
                regret.append(worth[best] - worth[end] + (FEW if rule == f"patience {FEW}" else 0))
                ends.append(INITIAL + BATCH * end)
                bests.append(INITIAL + BATCH * best)
            rows.append({
                "dataset": name, "strategy": strategy, "value": value, "rule": rule, "projects": len(projects),
                "stopped": n_stopped / len(projects), "labels": float(np.mean(ends)), "best": float(np.mean(bests)),
                "beyond": float(np.mean(late)), "beyond_low": float(np.quantile(late, 0.1)),
                "beyond_high": float(np.quantile(late, 0.9)), "early": n_early / len(projects),
                "regret": float(np.mean(regret)),
            })  # fmt: skip
    return rows


def verdict_rows(
    name: str, strategy: str, share: float, projects: Sequence[Project], curve: tuple[list[int], list[float]]
) -> list[dict[str, Any]]:
    """Return the rows of a table: a number of labels each."""
    rows = []
    for place, n_labels in enumerate(projects[0]["labels"]):
        accuracies = [one["accuracies"][place] for one in projects]
        said = [one["verdicts"][place] for one in projects]
        # Of each project; the curve ends at its last size.
        worth = np.interp(accuracies, curve[1], curve[0], left=0.0)
        row = {
            "dataset": name, "strategy": strategy, "share": share, "n_labels": n_labels,
            "audited": projects[0]["audited"][place], "projects": len(projects), "accuracy": np.mean(accuracies),
            "worth": float(np.median(worth)), "answers": np.mean([one["answers"][place] for one in projects]),
        }  # fmt: skip
        is_more = worth > n_labels
        for verdict in ("pays", "does not"):
            is_said = np.array([one == verdict for one in said])
            row |= {verdict: is_said.mean(), f"{verdict}, wrongly": (is_said & (is_more != (verdict == "pays"))).mean()}
        row["worth more"] = is_more.mean()
        rows.append(row)
    return rows


def stopping_table(rows: Sequence[Mapping[str, Any]], strategy: str) -> str:
    """Return the README's table of stopping: for each rule, labels beyond the best end, and the regret in labels."""
    lines = ["| point worth | dataset | best end | " + " | ".join(f"{rule}" for rule in RULES) + " |",
             "|---" * (3 + len(RULES)) + "|"]  # fmt: skip
    for value in VALUES:
        for name in dict.fromkeys(row["dataset"] for row in rows):
            found = {row["rule"]: row for row in rows
                     if (row["dataset"], row["strategy"], row["value"]) == (name, strategy, value)}  # fmt: skip
            cells = [
                f"{row['beyond']:+.0f} ({row['regret']:.0f})" + (f", {row['stopped']:.0%}" if rule == "gain" else "")
                for rule, row in found.items()
            ]
            lines.append(f"| {value:g} | {name} | {found['all']['best']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the README's table of verdicts: of all datasets, how often each is given, in percent."""
    sizes = sorted({row["n_labels"] for row in rows})
    lines = ["| strategy | share | worth more | " + " | ".join(f"{size} labels" for size in sizes) + " |",
             "|---" * (3 + len(sizes)) + "|"]  # fmt: skip
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        for share in SHARES:
            own = [row for row in rows if (row["strategy"], row["share"]) == (strategy, share)]
            cells = []
            for size in sizes:
                at = [row for row in own if row["n_labels"] == size]
                cells.append(" / ".join(f"{100 * np.mean([row[name] for row in at]):.0f}" for name in
                                        ("pays", "does not")))  # fmt: skip
            more = 100 * np.mean([row["worth more"] for row in own])
            lines.append(f"| `{strategy}` | {share:g} | {more:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


class Kept:
    """Projects that were simulated, a line of a file each, so that a study that was stopped goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[Any, ...], Project] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line that was cut off is the last one, and is simulated again.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        for line in lines:
            key, found = json.loads(line)
            self._found[tuple(key)] = found

    def get(self, key: tuple[Any, ...], make: Any) -> Project:
        """Return a project, made if there is none."""
        if key not in self._found:
            self._found[key] = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, self._found[key]]) + "\n")
        return self._found[key]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
                         for row in rows)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of embeddings, mnist.npz and cifar10.npz")
    parser.add_argument("--out", type=Path, default=Path("study"), help="for the projects")
    parser.add_argument("--projects", type=int, default=100)
    parser.add_argument("--results", type=Path, default=HERE, help="folder of stopping.csv and verdicts.csv")
    options = parser.parse_args(arguments)
    kept = Kept(options.out / "stopping.jsonl")
    stopping, verdict = [], []
    for name, x, y in all_datasets(options.data):
        for strategy in ("random", "margin"):
            found = [kept.get(("stops", name, strategy, seed), lambda: stops(x, y, strategy, seed))  # noqa: B023
                     for seed in range(options.projects)]  # fmt: skip
            stopping += stopping_rows(name, strategy, found)
            print(name, strategy, "stopping", flush=True)
        curve = true_curve(x, y)
        for strategy in ("random", "margin", "confident"):
            for share in SHARES:
                found = [
                    kept.get(("verdicts", name, strategy, share, seed),
                             lambda: verdicts(x, y, strategy, share, seed))  # noqa: B023
                    for seed in range(options.projects)
                ]  # fmt: skip
                verdict += verdict_rows(name, strategy, share, found, curve)
            print(name, strategy, "verdicts", flush=True)
    options.results.mkdir(parents=True, exist_ok=True)
    write(options.results / "stopping.csv", stopping)
    write(options.results / "verdicts.csv", verdict)
    for strategy in ("random", "margin"):
        print(f"\n{strategy}\n{stopping_table(stopping, strategy)}")
    print(f"\n{verdict_table(verdict)}")


if __name__ == "__main__":
    main()
