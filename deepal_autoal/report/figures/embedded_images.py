"""Shrinks images inside SVG without changing what they show."""

from __future__ import annotations

import base64
import io

_PREFIX = "data:image/png;base64,"
_JPEG_QUALITY = 88


def smaller_image(address: str) -> str:
    """Return a data URL of the same image: gray as gray PNG, color as PNG or JPEG, whichever is smaller.

    Args:
        address: A PNG image's data URL; others are returned unchanged.
    """
    if not address.startswith(_PREFIX):
        return address
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(address[len(_PREFIX) :]))) as found:
        image = found.convert("RGB")
    channels = [channel.tobytes() for channel in image.split()]
    if channels[0] == channels[1] == channels[2]:
        return _encode(image.convert("L"), "PNG", optimize=True)
    return min(
        _encode(image, "PNG", optimize=True), _encode(image, "JPEG", quality=_JPEG_QUALITY, optimize=True), key=len
    )


def _encode(image: object, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[attr-defined]
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
