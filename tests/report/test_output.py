"""SVG for pages and files, and PNG: valid, small, and the same bytes each time."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.errors import RunFolderError
from deepal_autoal.report import figures
from deepal_autoal.report.style import assign_styles

NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawn(make_results, styles_of, many):
    results = make_results(many, n_rounds=19)
    return figures.learning_curves(results, "digits", styles_of(results))


def test_svg_fits_in_a_page(drawn):
    svg = figures.to_svg(drawn, "A & B", "<what>")
    assert svg.startswith("<svg ") and "<style" not in svg and "<metadata" not in svg and "xlink" not in svg
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("viewBox") and not {"width", "height", "style"} & set(root.attrib)
    assert [root[0].tag, root[0].text] == [NAMESPACE + "title", "A & B"]
    assert [root[1].tag, root[1].text] == [NAMESPACE + "desc", "<what>"]
    assert root.get("aria-labelledby").split() == [root[0].get("id"), root[1].get("id")]
    ids = {element.get("id") for element in root.iter()} - {None}
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
    assert references and {one or other for one, other in references} <= ids
    assert "labels" in {element.text for element in root.iter(NAMESPACE + "text")}


def test_cleaning_keeps_coordinates(drawn):
    root = ElementTree.fromstring(figures.to_svg(drawn, "t", "d"))
    height = float(root.get("viewBox").split()[3])
    lines = [line for line in drawn.axes[0].lines if str(line.get_gid()).endswith("--line")]
    groups = {element.get("id"): element for element in root.iter(NAMESPACE + "g")}
    assert len(lines) == 22
    for line in lines:
        path = groups[line.get_gid()].find(f"{NAMESPACE}path")
        found = np.array(re.findall(r"-?[\d.]+", path.get("d")), dtype=float).reshape(-1, 2)
        wanted = line.get_transform().transform(line.get_xydata())
        np.testing.assert_allclose(found, np.column_stack([wanted[:, 0], height - wanted[:, 1]]), atol=0.006)
        assert path.get("stroke") == line.get_color().lower()


def test_tooltips(drawn):
    root = ElementTree.fromstring(figures.to_svg(drawn, "t", "d"))
    line = next(element for element in root.iter(f"{NAMESPACE}g") if (element.get("id") or "").endswith("--line"))
    assert re.fullmatch(r"entropy: [\d.]+% \([\d.]+% to [\d.]+%\) at 210 labels, 5 seeds", line[0].text)
    band = next(element for element in root.iter(f"{NAMESPACE}g") if (element.get("id") or "").endswith("--band"))
    assert band.get("pointer-events") == "none"


def test_svg_is_small(drawn):
    assert len(figures.to_svg(drawn, "t", "d").encode()) < 60_000


def test_same_data_same_bytes(make_results, styles_of, tmp_path, monkeypatch):
    results = make_results(["random", "b"])
    for number, epoch in enumerate(("1", "1000000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        figure = figures.learning_curves(results, "digits", styles_of(results))
        figures.to_svg_file(figure, tmp_path / f"{number}.svg", "t", "d")
        figures.to_png(figure, tmp_path / f"{number}.png", dpi=50)
        # Drawing the figure again changes nothing.
        assert figures.to_svg(figure, "t", "d") == figures.to_svg(figure, "t", "d")
    for ending in ("svg", "png"):
        assert (tmp_path / f"0.{ending}").read_bytes() == (tmp_path / f"1.{ending}").read_bytes()


def test_files(drawn, tmp_path):
    figures.to_svg_file(drawn, tmp_path / "a.svg", "t", "d")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.tag == NAMESPACE + "svg" and root.get("width") == "560pt"
    figures.to_png(drawn, tmp_path / "a.png", dpi=144)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1120
    with pytest.raises(RunFolderError):
        figures.to_png(drawn, tmp_path / "none" / "a.png")


def test_images_are_preserved():
    """Gray images exactly; color images nearly."""
    import base64
    import io

    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (1, 8, 8), dtype=np.uint8)
    color = np.stack([np.full((32, 32, 3), (200, 40, 90), dtype=np.uint8)])
    for images, tolerance in ((gray, 0), (color, 4)):
        styles = assign_styles(["a"])
        svg = figures.to_svg(figures.first_picks({"a": images}, "d", styles), "t", "d")
        (content,) = re.findall(r'href="data:image/\w+;base64,([^"]+)"', svg)
        with Image.open(io.BytesIO(base64.b64decode(content))) as found:
            pixels = np.asarray(found.convert("RGB")).astype(int)
        if "scale(1 -1)" in svg or "matrix" in svg:
            pixels = pixels[::-1]
        wanted = np.broadcast_to(images[0].reshape(*images.shape[1:3], -1), pixels.shape).astype(int)
        assert min(abs(pixels - wanted).max(), abs(pixels[::-1] - wanted).max()) <= tolerance
