"""Studies are run as scripts, so they can import only modules of their own folder."""

import ast
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(STUDIES.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(STUDIES)))
def test_studies_import_only_modules_of_their_own_folder(path):
    ours = {file.stem for file in FILES}
    beside = {file.stem for file in path.parent.glob("*.py")}
    assert not {name for name in imported(path) if name in ours} - beside
