"""Pictures of what strategies choose on the toy set."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepal_autoal import InputError, ScoringStrategy, hookimpl
from deepal_autoal.experiment.toy_choice import BATCH_SIZE, toy_choice, toy_data
from deepal_autoal.report.figures.choices import choices


def test_the_toy_set_is_always_the_same() -> None:
    x, y, labeled = toy_data()
    again = toy_data()
    assert all(np.array_equal(one, other) for one, other in zip((x, y, labeled), again, strict=True))
    assert len(x) == len(y) == 268 and len(set(labeled)) == 12 and np.bincount(y[labeled]).tolist() == [4, 4, 4]


def test_margin_chooses_near_the_boundaries_and_the_same_twice() -> None:
    choice = toy_choice("margin")
    assert len(set(choice.chosen)) == BATCH_SIZE and not set(choice.chosen) & set(choice.labeled)
    assert choice.predicted is not None and set(np.unique(choice.predicted)) == {0, 1, 2}
    assert np.array_equal(choice.chosen, toy_choice("margin").chosen)
    # Random samples are farther from a point where the prediction changes.
    right, above = choice.predicted[:-1, 1:], choice.predicted[1:, :-1]
    rows, columns = np.nonzero((right != choice.predicted[:-1, :-1]) | (above != choice.predicted[:-1, :-1]))
    points = np.stack([choice.grid[columns], choice.grid[rows]], axis=1)

    def distance(indices: np.ndarray) -> float:
        gaps = choice.x[indices][:, None] - points
        return float(np.linalg.norm(gaps, axis=2).min(axis=1).mean())

    assert distance(choice.chosen) < 0.7 * distance(np.arange(len(choice.x)))


def test_a_failure_stands_in_the_pictures_place(registered: Any, deepal: Any, tmp_path: Path) -> None:
    class Cats(ScoringStrategy):
        requires = frozenset()

        def score(self, context: Any) -> Any:
            raise InputError("it needs images of cats")

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry: Any) -> None:
            registry.add("cats", Cats)

    registered(Plugin(), "cats-plugin")
    found = toy_choice("cats")
    assert "it needs images of cats" in found.failure and not len(found.chosen)
    path = tmp_path / "two.svg"
    status, out, err = deepal("strategies", "cats", "random", "--plot", path)
    assert status == 0, err
    assert out == f"Picture: {path}\n"
    text = " ".join(" ".join(ET.parse(path).getroot().itertext()).split())
    assert " cats " in text and " random " in text and "needs images of" in text
    status, _, err = deepal("strategies", "random", "--plot", path)  # its own picture may be replaced
    assert status == 0, err


def test_png_and_foreign_files(deepal: Any, tmp_path: Path) -> None:
    path = tmp_path / "random.png"
    status, _, err = deepal("strategies", "random", "--plot", path)
    assert status == 0, err
    with Image.open(path) as image:
        assert image.width > 1000
    path.write_bytes(b"mine")
    status, _, err = deepal("strategies", "random", "--plot", path)
    assert status == 2 and "--plot" in err and path.read_bytes() == b"mine"


def test_one_choice_is_drawn_larger() -> None:
    found = toy_choice("random")
    alone, two = choices({"random": found}), choices({"a": found, "b": found})
    assert len(two.axes) == 3  # with the legend's
    assert alone.axes[1].get_window_extent().width == 300
