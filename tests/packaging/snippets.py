"""Execute a documentation page's code as a reader would, section by section."""

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def sections(name):
    """Return the sections of a page that have code, by title: a list of pairs of language and code for each."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    return {title: _BLOCK.findall(body) for title, body in found.items() if _BLOCK.search(body)}


def execute(blocks, folder, title, deepal=None, before=None):
    """Execute blocks in order and return the names that they define.

    A Python block that begins with a file's name is that file. Of a shell block, every command must be ``deepal``.

    Args:
        blocks: Pairs of language and code.
        folder: The working directory.
        title: Of the section, for tracebacks.
        deepal: Runs the command line and returns status, output and errors.
        before: Functions by number of block, from 0, that do what the text asks the reader to do first.
    """
    names = {}
    for number, (language, code) in enumerate(blocks):
        if before and number in before:
            before[number](folder)
        file = re.match(r"# ([\w.]+\.py)\n", code)
        if language == "sh":
            for line in code.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "deepal", line
                status, _, errors = deepal(*arguments)
                assert status == 0, f"{line}\n{errors}"
        elif file:
            (folder / file[1]).write_text(code)
        else:
            exec(compile(code, f"{title}, block {number}", "exec"), names)
    return names
