"""Styles do not depend on order, and differ for all kinds of color vision."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from deepal_autoal.report import style
from deepal_autoal.report.style import assign_styles, figure_id, slug, swatch

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    parts = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colors_have_contrast_on_white():
    assert all(1.05 / (linear(color) @ TO_XYZ[1] + 0.05) >= 3 for color in (*style.COLORS, style.NEUTRAL))


@pytest.mark.parametrize("vision", VISION)
def test_colors_differ_for_all_kinds_of_vision(vision):
    seen = [lab(np.asarray(VISION[vision]) @ linear(color)) for color in (*style.COLORS, style.NEUTRAL)]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 14


def test_styles_are_distinct_and_do_not_depend_on_order(many):
    styles = assign_styles(many)
    assert assign_styles(many[::-1]) == styles and list(styles) == sorted(many)
    looks = {(found.color, found.dash, found.marker) for found in styles.values()}
    assert len(looks) == len(many)
    assert len({(found.color, found.dash) for found in styles.values()}) == len(many)
    # The neutral style differs from the others, which look the same without it.
    assert styles["random"].color == style.NEUTRAL and styles["random"].dash
    without = assign_styles(set(many) - {"random"})
    assert all(without[label].color == styles[label].color for label in without)


def test_styles_of_252_strategies_are_distinct():
    styles = assign_styles(f"s{number}" for number in range(252))
    assert len({(found.color, found.dash, found.marker) for found in styles.values()}) == 252


def test_highlighted():
    styles = assign_styles(["a", "b"], highlighted=["b"])
    assert [styles[label].is_highlighted for label in "ab"] == [False, True]


def test_keys_are_valid_in_ids_and_distinct():
    labels = ["a b", "a-b", "A--B", "-", "$", "混合", "x" * 99, "a\x00b"]
    styles = assign_styles(labels)
    keys = [styles[label].key for label in labels]
    assert len(set(keys)) == len(labels)
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", key) for key in keys)


def test_figure_ids_differ_even_if_slugs_do_not():
    assert figure_id("kind", "mnist") == "kind-mnist" and figure_id("kind") == "kind"
    texts = ["a b", "a-b", "A-b", "a--b", "", "\ud800"]
    assert len({figure_id("kind", text) for text in texts}) == len(texts)
    assert "--" not in "".join(figure_id("kind", text) for text in texts)
    assert slug("!") == "x"


def test_swatches_are_drawings_of_the_style(many):
    for found in assign_styles(many, highlighted=["entropy"]).values():
        root = ElementTree.fromstring(swatch(found))
        assert found.color in swatch(found) and len(root) == 2
        assert ("stroke-dasharray" in root[0].attrib) == bool(found.dash)
