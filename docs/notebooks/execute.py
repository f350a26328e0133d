"""Execute the notebooks of this folder and save them with their outputs.

    pip install -e '.[docs]'
    python docs/notebooks/execute.py                # all of them
    python docs/notebooks/execute.py digits         # one

Each runs in a temporary folder, and nothing of this machine is kept: no times, no paths. Pictures are reduced to few
colors, since a notebook should stay below 300 kB.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LARGEST = 300_000  # bytes of a notebook


def main() -> None:
    """Execute and save what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, without .ipynb; default: all")
    for name in parser.parse_args().names or sorted(path.stem for path in HERE.glob("*.ipynb")):
        execute(HERE / f"{name}.ipynb")


def execute(path: Path) -> None:
    """Execute a notebook and save it.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails; the file is then as it was.
        SystemExit: If it has become too large.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    # So that `!deepal` is the one of this environment.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.pop("DEEPAL_NOTEBOOK_QUICK", None)
    # As the command line sets them: threads that wait for each other sleep.
    os.environ.update({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEEPAL_CACHE"] = str(Path(folder, ".cache"))
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=None, resources=place, coalesce_streams=True).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}  # fmt: skip
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            if output["output_type"] == "stream":
                output["text"] = without_bars(output["text"])
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = with_few_colors(output["data"]["image/png"])
    text = nbformat.writes(notebook, indent=1) + "\n"
    if len(text) > LARGEST:
        sys.exit(f"{path} would have {len(text):,} bytes, more than {LARGEST:,}: show less in it")
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {len(text):,} bytes")


def without_bars(text: str) -> str:
    """Return a terminal's output as it stands at the end: without what carriage returns have overwritten."""
    lines = (line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(lines)


def with_few_colors(encoded: str) -> str:
    """Return a PNG in base64 with at most 64 colors."""
    from PIL import Image

    picture: Any = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
