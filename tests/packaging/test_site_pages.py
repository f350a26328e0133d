"""The site has what the repository has, and nothing else that lies in the working tree."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")


def test_only_tracked_files_are_published(monkeypatch, tmp_path):
    from mkdocs.structure.files import Files

    path = Path(__file__).parents[2] / "docs" / "site_pages.py"
    spec = importlib.util.spec_from_file_location("site_pages", path)
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
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
