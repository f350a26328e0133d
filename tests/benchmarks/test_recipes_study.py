"""The study of training recipes: the rows it writes, the rows it skips, and its table."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal import Recipe, load_dataset

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "models" / "recipes.py"


@pytest.fixture(scope="module")
def recipes():
    spec = importlib.util.spec_from_file_location("recipes_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["recipes_study"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["recipes_study"]


def test_recipes_are_the_default_and_its_variants(recipes):
    problem = recipes.prepare(load_dataset("digits", "nowhere"), "development")
    assert recipes.recipe_of("before", problem) == Recipe()
    assert recipes.recipe_of("default", problem) == Recipe.for_data((1, 8, 8), ("affine",))
    for name, changes in recipes.PARTS.items():
        changed = recipes.recipe_of(name, problem)
        assert changed != recipes.recipe_of("default", problem)
        assert all(getattr(changed, field) == value for field, value in changes.items())


def test_the_development_split_does_not_use_the_test_split(recipes):
    data = load_dataset("digits", "nowhere")
    problem = recipes.prepare(data, "development")
    rows = [np.concatenate([part.batch(np.arange(len(part))).numpy()]) for part in (problem.pool, problem.scored)]
    assert len(rows[0]) + len(rows[1]) == len(data.x_train) and abs(len(rows[0]) - len(rows[1])) <= 1
    whole = recipes.prepare(data, "test")
    assert len(whole.pool) == len(data.x_train) and len(whole.scored) == len(data.x_test)


def test_existing_results_are_not_computed_again(recipes, tmp_path, monkeypatch, capsys):
    trained = []

    def quick(name, problem):
        trained.append(name)
        return Recipe(epochs=1, min_steps=1, learning_rate=1e-3 if name == "before" else 2e-3)

    monkeypatch.setattr(recipes, "recipe_of", quick)
    out = tmp_path / "recipes.csv"

    def call(seeds):
        monkeypatch.setattr(sys, "argv", ["recipes.py", "--datasets", "digits", "--labels", "1", "--seeds", str(seeds),
                                          "--out", str(out), "--split", "development"])  # fmt: skip
        recipes.main()
        return capsys.readouterr().out

    call(1)
    printed = call(2)
    assert trained == ["before", "default"] * 2
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        (name, seed) for seed in "01" for name in ("before", "default")
    ]
    assert all(0 <= float(row["accuracy"]) <= 1 and row["steps"] == "1" for row in rows)
    assert "| digits | 1 | default | 2 |" in printed


def test_differences_are_paired(recipes):
    accuracy = {"before": [0.5, 0.6, 0.8], "default": [0.6, 0.7, 0.9]}
    rows = [
        {"dataset": "d", "labels_per_class": "5", "recipe": recipe, "seed": str(seed), "accuracy": str(value),
         "train_s": "2.0", "steps": "7"}
        for recipe, values in accuracy.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    # Student's 97.5% quantile for two degrees of freedom is 4.303; the standard deviation of 50, 60 and 80 is 15.28.
    assert recipes.table(rows)[2:] == [
        "| d | 5 | before | 3 | 63.3 ± 37.9 |  | 2.0 | 7 |",
        "| d | 5 | default | 3 | 73.3 ± 37.9 | +10.0 ± 0.0 | 2.0 | 7 |",
    ]
