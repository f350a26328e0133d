"""Measure default training of images with few labels: accuracy and time before and after, and the effect of each part.

    python benchmarks/models/recipes.py --data data --out recipes.csv
    python benchmarks/models/recipes.py --data data --out parts.csv --recipes parts --labels 10 --split development

For every dataset, number of random labels and seed, each recipe is trained on the same labels from the same initial
weights, with the dataset's default model. `--split development` does not use the test split: labels come from one half
of the training split, accuracy from the other. Results that are already in the CSV are not computed again. The table of
all results is printed, with 95% intervals over seeds of accuracies and of paired differences to the first recipe.
"""

import argparse
import csv
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; before torch is loaded

import numpy as np
import torch
from scipy.stats import t as student

from deepal_autoal import LabeledData, Recipe, Trainer, UnlabeledData, load_dataset
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.models import build_model
from deepal_autoal.training.inputs import Inputs, Normalization

# The first version: no augmentation except for CIFAR, a constant rate, 100 steps or 20 epochs in batches of 64.
BEFORE = Recipe()
# Named datasets have their own augmentation; a folder of images with this name is treated as the dataset.
KNOWN_AUGMENTATION = {"cifar10": ("crop", "flip")}
# Changes to the default, one at a time.
PARTS: dict[str, dict[str, object]] = {
    "no augmentation": {"augmentation": ()},
    "crop only": {"augmentation": ("crop",)},
    "constant rate": {"schedule": "constant"},
    "onecycle": {"schedule": "onecycle"},
    "constant rate, averaging 0.98": {"schedule": "constant", "averaging": 0.98},
    "averaging 0.98": {"averaging": 0.98},
    "half the rate": {"learning_rate": 1e-3},
    "twice the rate": {"learning_rate": 4e-3},
    "weight decay 0.05 (adamw)": {"optimizer": "adamw", "weight_decay": 0.05},
    "batches of 32": {"train_batch_size": 32},
    "200 steps": {"min_steps": 200},
    "800 steps": {"min_steps": 800},
}
# The most samples to evaluate on a development split.
DEVELOPMENT_SAMPLES = 5_000
CPU = torch.device("cpu")
FIELDS = ("dataset", "model", "split", "labels_per_class", "recipe", "seed", "accuracy", "train_s", "steps")


@dataclass(frozen=True)
class Problem:
    """The samples from which labels are drawn, and those on which accuracy is measured.

    Attributes:
        name: Name of the dataset.
        augmentation: The default augmentation of its images.
        pool: Samples that may be labeled, and their labels.
        scored: Samples that accuracy is measured on, and their labels.
    """

    name: str
    augmentation: tuple[str, ...]
    n_classes: int
    pool: Inputs
    pool_labels: np.ndarray
    scored: Inputs
    scored_labels: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of named datasets")
    parser.add_argument("--datasets", default="digits,mnist", help="names or folders of images, separated by commas")
    parser.add_argument("--labels", default="5,10,30,100", help="random labels a class, on average")
    parser.add_argument("--recipes", default="before,default", help="before, default, names of parts, or parts: all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--split", choices=("test", "development"), default="test")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.recipes.split(",")
    if "parts" in names:
        names[names.index("parts") :] = ["default", *PARTS]
    rows = read(arguments.out)
    done = {tuple(row[field] for field in FIELDS[:6]) for row in rows}
    for name in arguments.datasets.split(","):
        problem = prepare(load_dataset(name, arguments.data), arguments.split)
        # Seed by seed, so runs are paired even if time runs out.
        for per_class in map(int, arguments.labels.split(",")):
            for seed in range(arguments.seeds):
                for recipe in names:
                    key = (problem.name, arguments.model, arguments.split, str(per_class), recipe, str(seed))
                    if key not in done and per_class * problem.n_classes <= len(problem.pool_labels):
                        row = dict(zip(FIELDS, key, strict=False)) | measure(
                            problem, arguments.model, per_class, recipe, seed
                        )
                        rows.append({field: str(value) for field, value in row.items()})
                        write(arguments.out, rows)
    print("\n".join(table(rows)))


def prepare(data: Dataset, split: str) -> Problem:
    """Return a dataset with its test split, or with fixed halves of the training split."""
    x, y, x_scored, y_scored = data.x_train, data.y_train, data.x_test, data.y_test
    if split == "development":
        order = np.random.default_rng(2026).permutation(len(x))
        half = len(x) // 2
        pool, scored = np.sort(order[:half]), np.sort(order[half : half + DEVELOPMENT_SAMPLES])
        x, y, x_scored, y_scored = x[pool], y[pool], data.x_train[scored], data.y_train[scored]
    statistics = Normalization.fit(x)
    augmentation = KNOWN_AUGMENTATION.get(data.name, data.augmentation)
    return Problem(data.name, augmentation, data.n_classes, Inputs(x, statistics, CPU), y,
                   Inputs(x_scored, statistics, CPU), y_scored)  # fmt: skip


def recipe_of(name: str, problem: Problem) -> Recipe:
    """Return a recipe by its name in the table."""
    default = Recipe.for_data(problem.pool.input_shape, problem.augmentation)
    if name == "before":
        return replace(BEFORE, augmentation=KNOWN_AUGMENTATION.get(problem.name, ()))
    return default if name == "default" else replace(default, **PARTS[name])


def measure(problem: Problem, model: str, per_class: int, recipe: str, seed: int) -> dict[str, object]:
    """Train on random labels, and return test accuracy in [0, 1], CPU seconds, and steps."""
    drawn = np.random.default_rng([seed, per_class]).permutation(len(problem.pool_labels))
    rows = np.sort(drawn[: per_class * problem.n_classes])
    trainer = Trainer(
        lambda: build_model(model, problem.pool.input_shape, problem.n_classes), recipe_of(recipe, problem), CPU
    )
    no_unlabeled = UnlabeledData(problem.pool, np.arange(0))
    began = time.process_time()
    fitted = trainer.fit(LabeledData(problem.pool, rows, problem.pool_labels[rows]), no_unlabeled, seed=seed)
    seconds = time.process_time() - began
    logits, _ = fitted.sweep(problem.scored, np.arange(len(problem.scored_labels)), logits_only=True)
    accuracy = float((logits.argmax(dim=1).numpy() == problem.scored_labels).mean())
    return {"accuracy": round(accuracy, 5), "train_s": round(seconds, 2), "steps": fitted.metrics["steps"]}


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of an earlier run, if there was one."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write all rows."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict[str, str]]) -> list[str]:
    """Return a Markdown table's lines: mean and 95% interval of accuracy and of its difference to the first recipe."""
    lines = ["| dataset | labels a class | recipe | seeds | accuracy, % | difference | CPU s | steps |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    first: dict[tuple[str, str], dict[str, float]] = {}
    cells: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows:
        cells.setdefault((row["dataset"], row["labels_per_class"], row["recipe"]), []).append(row)
    for (dataset, per_class, recipe), members in sorted(cells.items(), key=lambda item: (item[0][0], int(item[0][1]))):
        accuracy = {row["seed"]: 100 * float(row["accuracy"]) for row in members}
        base = first.setdefault((dataset, per_class), accuracy)
        paired = [] if base is accuracy else [accuracy[seed] - base[seed] for seed in accuracy if seed in base]
        seconds = np.mean([float(row["train_s"]) for row in members])
        lines.append(
            f"| {dataset} | {per_class} | {recipe} | {len(members)} | {with_interval([*accuracy.values()])} | "
            f"{with_interval(paired, '+')} | {seconds:.1f} | {members[0]['steps']} |"
        )
    return lines


def with_interval(values: list[float], sign: str = "") -> str:
    """Return ``mean ± half the width of Student's 95% interval``."""
    if len(values) < 2:
        return f"{values[0]:{sign}.1f}" if values else ""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):{sign}.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
