"""A hook of MkDocs: the site has the repository's own pages, under their own paths, so that links work in both.

    pip install -e '.[docs]'
    mkdocs serve

The page of the API lists what the stubs of the public packages name. Notebooks become pages with the outputs that they
were saved with, so the site's build executes nothing.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# What pages are made of, and what they link to.
PAGES = (
    "*.md", "CITATION.cff", "LICENSE", "docs/*.md", "docs/*.png", "plugins/*.md", "plugins/example/README.md",
    "plugins/example/pyproject.toml", "plugins/example/**/*.py", "benchmarks/**/*.md", "benchmarks/**/*.csv",
    "benchmarks/**/*.html", "benchmarks/**/*.jsonl", "benchmarks/**/*.py", "benchmarks/**/*.svg",
    "benchmarks/**/*.toml", "deepal_autoal/**/*.py",
)  # fmt: skip
NOTEBOOKS = "docs/notebooks/*.ipynb"
PUBLIC = ("deepal_autoal", "deepal_autoal.benchmark", "deepal_autoal.plugins", "deepal_autoal.testing")
EXPORT = re.compile(r"^from \.(\S+) import (\w+) as (\w+)$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add the repository's pages."""
    tracked = tracked_files()
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name not in files.src_uris and (tracked is None or name in tracked):
                files.append(File(name, str(ROOT), config["site_dir"], config["use_directory_urls"]))
    for path in sorted(ROOT.glob(NOTEBOOKS)):
        if tracked is None or path.relative_to(ROOT).as_posix() in tracked:
            for file in notebook_files(path, config):
                files.append(file)
    return files


class Notebook(File):
    """A notebook as a page, under its own name, so that links to it work in the repository and on the site."""

    def is_documentation_page(self) -> bool:
        """Return True: its content is Markdown by now."""
        return True


def notebook_files(path: Path, config: Any) -> list[File]:
    """Return the page of a notebook and its pictures."""
    from nbconvert import MarkdownExporter

    page, resources = MarkdownExporter().from_filename(path, resources={"output_files_dir": f"{path.stem}_files"})
    folder = path.parent.relative_to(ROOT).as_posix()
    page = page.replace("![png](", "![Output of the cell above](").replace("\n```python\n", "\n```ipython3\n")
    made: list[File] = [Notebook.generated(config, f"{folder}/{path.name}", content=page)]
    for name, content in resources["outputs"].items():
        made.append(File.generated(config, f"{folder}/{name}", content=content))
    return made


def tracked_files() -> set[str] | None:
    """Return what git tracks, so that notes and results of the working tree are not published; None without git."""
    try:
        found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    names = found.stdout.decode("utf-8", "surrogateescape").split("\0")
    return {*names} - {""} or None  # nothing of an unpacked archive inside another repository


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Add the public names to the page of the API."""
    if page.file.src_uri != "api.md":
        return markdown
    sections = []
    for package in PUBLIC:
        stub = ROOT.joinpath(*package.split("."), "__init__.pyi").read_text(encoding="utf-8")
        names = sorted(EXPORT.findall(stub), key=lambda found: found[1].lower())
        entries = [f"::: {package}.{module}.{name}\n" for module, name, _ in names]
        sections.append("\n".join([f"## `{package}`\n", *entries]))
    return "\n\n".join([markdown, *sections])
