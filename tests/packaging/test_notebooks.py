"""The notebooks of docs/notebooks run as they stand, are executed, small, and free of this machine's paths."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# Executes cells, read from standard input as JSON, in one process: `!deepal` is called in it, not in a new one, and may
# have names in braces, as in IPython.
PROGRAM = r"""
import json, re, shlex, sys
from deepal_autoal.cli.main import main

def command(line):
    program, *arguments = shlex.split(line)
    assert program == "deepal", line
    try:
        main(arguments)
    except SystemExit as stopped:
        assert stopped.code == 0, (line, stopped.code)

names = {"__name__": "__main__", "_command": command}
for number, source in enumerate(json.load(sys.stdin)):
    code = re.sub(r"^( *)!(.*)$", lambda found: f"{found[1]}_command(f{found[2]!r})", source, flags=re.MULTILINE)
    exec(compile(code, f"code cell {number}", "exec"), names)
"""


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(path):
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(path, tmp_path):
    environment = {
        **os.environ, "DEEPAL_NOTEBOOK_QUICK": "1", "DEEPAL_CACHE": str(tmp_path / "cache"), "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    sources = ["".join(cell["source"]) for cell in code_cells(path)]
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(sources), cwd=tmp_path / "work", env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_notebook(path):
    """It was executed from the top, in order and without an error; see docs/notebooks/execute.py."""
    notebook, text = read(path), path.read_text(encoding="utf-8")
    assert notebook["nbformat"] == 4 and len(text.encode()) < 300_000
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(names) == len(set(names)) and "".join(notebook["cells"][0]["source"]).startswith("# ")
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    for output in outputs:
        printed = "".join(output.get("text", ())) + json.dumps({**output.get("data", {}), "image/png": ""})
        assert not re.search(r"(^|[\s\"'=:])(/(home|root|tmp|Users|usr|opt)/|[A-Z]:\\)|\r|it/s", printed), printed


def test_links_lead_to_files():
    for path in NOTEBOOKS:
        for cell in read(path)["cells"]:
            if cell["cell_type"] == "markdown":
                for link in re.findall(r"\]\(([^)#]+)", "".join(cell["source"])):
                    assert link.startswith("http") or (path.parent / link).exists(), f"{path.name}: {link}"


def test_three_notebooks_are_in_the_navigation():
    navigation = (FOLDER.parents[1] / "mkdocs.yml").read_text()
    assert len(NOTEBOOKS) >= 3 and all(f"docs/notebooks/{path.name}" in navigation for path in NOTEBOOKS)
