"""The site has what the repository has, and nothing else that lies in the working tree."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")


ROOT = Path(__file__).parents[2]


@pytest.fixture
def pages(monkeypatch, tmp_path):
    """The hook, for a repository in an empty folder."""
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    return pages


def test_only_tracked_files_are_published(pages, monkeypatch, tmp_path):
    from mkdocs.structure.files import Files

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("README.md", "notes.md"):
        (tmp_path / name).write_text("text")

    def published():
        return pages.on_files(Files([]), {"site_dir": str(tmp_path / "site"), "use_directory_urls": True}).src_uris

    assert {*published()} == {"README.md", "notes.md"}  # without git
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert {*published()} == {"README.md", "notes.md"}  # nothing is tracked: the archive of a release
    subprocess.run(["git", "add", "README.md"], cwd=tmp_path, check=True)
    assert {*published()} == {"README.md"}


def test_notebooks_become_pages_with_their_outputs():
    for package in ("nbconvert", "material", "mkdocstrings"):
        pytest.importorskip(package)
    from mkdocs.config import load_config
    from mkdocs.structure.files import Files

    config = load_config(str(ROOT / "mkdocs.yml"))
    files = config.plugins.on_files(Files([]), config=config)
    source = ROOT / "docs" / "notebooks" / "own-images.ipynb"
    page = files.get_file_from_path("docs/notebooks/own-images.ipynb")
    assert page.is_documentation_page() and page.content_string.startswith("# Your own images")
    assert "20 of 1000 samples are labeled" in page.content_string and "```ipython3" in page.content_string
    pictures = [file.src_uri for file in files if file.src_uri.startswith("docs/notebooks/own-images_files/")]
    shown = sum("image/png" in output.get("data", {}) for cell in json.loads(source.read_text())["cells"]
                for output in cell.get("outputs", ()))  # fmt: skip
    assert len(pictures) == shown > 0
    assert all(name.removeprefix("docs/notebooks/") in page.content_string for name in pictures)
