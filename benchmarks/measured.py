"""Writes what the studies measured into the strategies' cards: ``python benchmarks/measured.py``.

Each figure is the mean AUBC of a strategy minus ``random``'s in points, over the seeds of a study. Left out are
CIFAR-10's images with few labels, whose study has two seeds, and contenders that are not strategies with default
options.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from deepal_autoal import plugin_host
from deepal_autoal.experiment.results import read_results
from deepal_autoal.experiment.run_files import area_under_budget_curve

HERE = Path(__file__).parent
CARDS = HERE.parent / "plugins" / "deepal_strategies" / "measured.json"
# The study of AutoAL, by setting: initial and final labels, seeds.
OF_AUTOAL = {"low": (30, 270, 10), "imbalanced": (100, 500, 10), "medium": (200, 1000, 10), "high": (1000, 2500, 10)}
# The study of all strategies on embeddings, by its file.
EMBEDDINGS = {"low": (10, 110), "medium": (100, 500), "high": (500, 2_500)}
# Options other than the defaults: VAAL far below the paper's size, and the final stage before coverage.
LEFT_OUT = {
    ("mnist-small", "vaal"),
    *(("mnist-small", name) for name in ("vote", "autoal")),
    *(
        (f"{data}-{budget}", name)
        for data in ("mnist", "cifar10")
        for budget in OF_AUTOAL
        for name in ("vote", "autoal")
    ),
}


def studies() -> dict[str, dict[str, object]]:
    """Return each study's data and budget, by name."""
    found: dict[str, dict[str, object]] = {
        "digits": {"data": "digits, 8x8 images, cnn", "initial": 20, "final": 220, "seeds": 5},
        "mnist-small": {"data": "MNIST, images, cnn", "initial": 50, "final": 350, "seeds": 3},
    }
    for name in ("MNIST", "CIFAR-10"):
        short = name.lower().replace("-", "")
        for initial, final in EMBEDDINGS.values():
            found[f"{short}-{initial}-{final}"] = {
                "data": f"{name}, embeddings, linear", "initial": initial, "final": final, "seeds": 10,
            }  # fmt: skip
        for budget, (initial, final, seeds) in OF_AUTOAL.items():
            found[f"{short}-{budget}"] = {
                "data": f"{name}, embeddings, linear{', imbalanced classes' if budget == 'imbalanced' else ''}",
                "initial": initial, "final": final, "seeds": seeds,
            }  # fmt: skip
    return {name: {"study": name, **study, "classes": 10} for name, study in found.items()}


def areas() -> Iterator[tuple[str, str, float]]:
    """Yield study, strategy and mean AUBC in [0, 1]."""
    for row in _rows(HERE / "all_strategies" / "summary.csv"):
        yield "digits", row["strategy"], float(row["aubc_mean"])
    curves: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in _rows(HERE / "results" / "small_mnist.csv"):
        curve = curves.setdefault((row["strategy"], row["seed"]), [])
        curve.append((int(row["n_labeled"]), float(row["accuracy"])))
    found: dict[tuple[str, str], list[float]] = {}
    for (strategy, _), curve in curves.items():
        found.setdefault(("mnist-small", strategy), []).append(area_under_budget_curve(*zip(*curve, strict=True)))
    for row in _rows(HERE / "autoal" / "results" / "runs.csv"):
        found.setdefault((row["setting"], row["label"]), []).append(float(row["aubc"]))
    for budget, (initial, final) in EMBEDDINGS.items():
        for run in read_results(HERE / "all_strategies" / "embeddings" / f"{budget}.csv").runs:
            found.setdefault((f"{run.dataset}-{initial}-{final}", run.strategy), []).append(run.aubc)
    for (study, strategy), values in found.items():
        yield study, strategy, fmean(values)


def measured() -> str:
    """Return the file's text: studies, and by strategy the points in each."""
    names = {entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin}
    found = {(study, name): area for study, name, area in areas() if name in names and (study, name) not in LEFT_OUT}
    points: dict[str, dict[str, float]] = {}
    for study in studies():
        for name in sorted(name for where, name in found if where == study and name != "random"):
            points.setdefault(name, {})[study] = round(100 * (found[study, name] - found[study, "random"]), 2)
    parts = {"studies": studies(), "points": dict(sorted(points.items()))}
    blocks = (
        f'"{title}": {{\n' + ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in part.items()) + "\n}"
        for title, part in parts.items()
    )
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


if __name__ == "__main__":
    CARDS.write_text(measured())
