"""Cleans matplotlib's SVG for use in a page: unique ids, no page-wide style rules, fewer bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from deepal_autoal.report.figures.embedded_images import smaller_image

_NAMESPACES = re.compile(r' xmlns(:xlink)?="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_DECLARATION = re.compile(r"\s*([\w-]+)\s*:\s*([^;]*[^;\s])\s*;?")
_ROTATED_BY_NOTHING = re.compile(r"rotate\(-?0(?: [^)]*)?\)")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
# Attributes that hold coordinates.
_COORDINATES = ("d", "x", "y", "transform", "width", "height")
# Narrower than matplotlib's own font, which was used to place the text.
_FONTS = "'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_CONTAINERS = ("g", "defs")


def clean_svg(text: str, figure_id: str, title: str, description: str, tips: Mapping[str, str]) -> str:
    """Return an SVG element for use in a page.

    Args:
        text: The output of matplotlib's SVG backend.
        figure_id: The prefix of all ids.
        title: The figure's title, in plain text.
        description: The figure's description, in plain text.
        tips: Tooltips by id of a mark; a mark with an empty one ignores the pointer.
    """
    text = text[text.index("<svg") :]
    # Without namespaces, ElementTree keeps the elements' names as they are.
    root = ElementTree.fromstring(_NAMESPACES.sub("", text).replace("xlink:href", "href"))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style", "title"):
                parent.remove(child)
    for element in root.iter():
        _shorten(element)
    used = {element.get("href", "")[1:] for element in root.iter("use")}
    used |= {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    new_names = {name: f"{figure_id}-{number}" for number, name in enumerate(sorted(used))}
    for element in root.iter():
        _rename(element, new_names, kept={*tips, figure_id})
    _flatten(root)
    for element in root.iter("g"):
        tip = tips.get(element.get("id", ""))
        if tip:
            note = ElementTree.Element("title")
            note.text = tip
            element.insert(0, note)
        elif tip is not None:
            element.set("pointer-events", "none")
    content = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{root.get("viewBox")}" role="img" '
        f'aria-labelledby="{figure_id}-title {figure_id}-desc" font-family="{_FONTS}" '
        f'stroke-linejoin="round"><title id="{figure_id}-title">{escape(title)}</title>'
        f'<desc id="{figure_id}-desc">{escape(description)}</desc>{content}</svg>'
    )


def _shorten(element: ElementTree.Element) -> None:
    """Remove redundant detail: digits beyond a hundredth of a point, the font of each text, white space."""
    for name in _COORDINATES:
        value = element.get(name)
        if value is not None:
            value = " ".join(_ROTATED_BY_NOTHING.sub("", _NUMBER.sub(_rounded, value)).split())
            if name == "d" and not set("CQ") & set(value):
                value = value.replace(" L ", " ")  # points after the first are lines by default
            if value:
                element.set(name, value)
            else:
                del element.attrib[name]
    style = element.get("style")
    if style is not None:
        # As attributes, which a page's style sheet overrides.
        del element.attrib["style"]
        for name, value in _DECLARATION.findall(style):
            if name == "font":  # older matplotlib: "font: 700 8px 'DejaVu Sans', ..."
                weight = re.search(r"\b(\d00)\s", value)
                font_size = re.search(r"([\d.]+)px", value)
                if weight:
                    element.set("font-weight", weight[1])
                if font_size:
                    element.set("font-size", font_size[1])
            elif name not in ("font-family", "stroke-dashoffset"):
                element.set(name, " ".join(_NUMBER.sub(_rounded, value).removesuffix("px").split()))
    if element.tag == "image":
        element.set("href", smaller_image(element.get("href", "")))
    if element.tag != "text":
        element.text = None
    element.tail = None


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".").replace("-0.", "-.").removesuffix("-0") or "0"


def _rename(element: ElementTree.Element, new_names: Mapping[str, str], kept: set[str]) -> None:
    name = element.get("id", "")
    if name in new_names:
        element.set("id", new_names[name])
    elif name and name not in kept:
        del element.attrib["id"]
    for key, value in element.attrib.items():
        if key == "href" and value[:1] == "#":
            element.set(key, "#" + new_names[value[1:]])
        elif "url(#" in value:
            element.set(key, _REFERENCE.sub(lambda match: f"url(#{new_names[match[1]]})", value))


def _flatten(element: ElementTree.Element) -> None:
    """Replace groups without attributes by their children."""
    children = []
    for child in element:
        _flatten(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif child.tag not in _CONTAINERS or len(child):
            children.append(child)
    element[:] = children
