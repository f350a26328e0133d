"""Draws what each built-in strategy chooses on a toy set: ``python docs/choices.py``, which needs matplotlib."""

import io
from pathlib import Path

import matplotlib as mpl
from PIL import Image

from deepal_autoal import plugin_host
from deepal_autoal.experiment.toy_choice import toy_choice
from deepal_autoal.report.figures.choices import choices

PICTURE = Path(__file__).with_name("choices.png")
ORDER = ("control", "uncertainty", "ensemble", "diversity", "hybrid", "learned", "selector")


def main() -> None:
    """Write the picture, with few colors so that it is small."""
    mpl.use("agg")
    entries = [entry for entry in plugin_host().strategies.entries() if entry.provider.builtin]
    entries.sort(key=lambda entry: (ORDER.index(entry.details["family"]), entry.name))
    figure = choices({entry.name: toy_choice(entry.name) for entry in entries})
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=170)
    Image.open(buffer).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
