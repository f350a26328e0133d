"""The recipes of docs/recipes.md work, as they stand there."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import run
from tests.packaging.snippets import execute, sections

RECIPES = sections("recipes.md")


def write_images(folder):
    """Twenty dark and twenty bright images, in my-images."""
    rng = np.random.default_rng(0)
    (folder / "my-images").mkdir()
    for number in range(40):
        pixels = rng.integers(0, 90, (16, 16), dtype=np.uint8) + 150 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "my-images" / f"{number:02d}.png")


def label_in_label_studio(folder):
    """Write the export of tasks.json in which the samples of the first batch are labeled, as Label Studio does."""
    with open(folder / "my-project" / "batches" / "1.csv", newline="") as file:
        batch = {row["id"] for row in csv.DictReader(file)}
    exported = []
    for number, task in enumerate(json.loads((folder / "tasks.json").read_text()), 1):
        name = task["data"]["deepal_id"]
        choices = ["bright" if int(name[:2]) % 2 else "dark"]
        result = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": choices}}
        annotation = {"id": number, "result": [result], "was_cancelled": False, "ground_truth": False}
        labeled = [annotation] if name in batch else []
        exported.append({"id": number, "inner_id": number, "data": task["data"], "annotations": labeled})
    (folder / "export.json").write_text(json.dumps(exported))


BEFORE = {"A round trip with Label Studio": {0: write_images, 1: label_in_label_studio}}
NEEDS = {"A net of skorch": "skorch", "A Hugging Face dataset": "datasets", "A benchmark on a Ray cluster": "ray"}


def the_net_learns(names, folder):
    assert names["result"].accuracy > 0.8


def the_network_is_loaded(names, folder):
    assert names["network"].head.in_features == 4 * 32 and names["probabilities"].shape == (359, 10)
    rows = list(csv.DictReader((folder / "nets" / "results.csv").open()))
    assert {row["dataset"] for row in rows} == {"digits-Net", "digits-cnn"} and len(rows) == 2 * 2 * 3


def rounds_of(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def interrupted_runs_end_alike(names, folder):
    one, other = rounds_of(folder / "long-run"), rounds_of(folder / "another-run")
    assert len(one) == 6 and [item["queried"] for item in one] == [item["queried"] for item in other]


def the_rule_stops_runs(names, folder):
    rule = names["StopWhenStable"](-1.0)  # of which any agreement is enough
    names["plugin_host"]().register(rule, "stop-at-once")
    try:
        result = run("margin", names["data"], rounds=3)
    finally:
        names["plugin_host"]().unregister(rule)
    assert result.status == "stopped" and "predictions agree" in result.stop_reason and len(result.rounds) == 2


def labels_came_back(names, folder):
    tasks = json.loads((folder / "tasks.json").read_text())
    labels = {task["data"]["deepal_id"]: task["annotations"] for task in tasks}
    assert len(tasks) == 40 and sum(bool(given) for given in labels.values()) == 10
    assert all(task["predictions"] for task in tasks if not task["annotations"])


CHECKS = {
    "A net of skorch": the_net_learns,
    "A network of your own": the_network_is_loaded,
    "Continue a run that was killed": interrupted_runs_end_alike,
    "A stopping rule of your own": the_rule_stops_runs,
    "A round trip with Label Studio": labels_came_back,
}


def test_all_special_cases_are_recipes():
    assert {*BEFORE, *NEEDS, *CHECKS} <= set(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_recipe(reader, deepal, monkeypatch, title):
    if title in NEEDS:
        pytest.importorskip(NEEDS[title])
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    names = execute(RECIPES[title], reader, f"recipes.md: {title}", deepal, BEFORE.get(title))
    CHECKS.get(title, lambda names, folder: None)(names, reader)
