"""The progress bar of runs from Python: shown where somebody sees it, and never in the way."""

from __future__ import annotations

import sys

import pytest

from deepal_autoal import run
from deepal_autoal.experiment import progress_bar

TINY = {"rounds": 2, "initial": 6, "batch_size": 3, "recipe": {"epochs": 1, "min_steps": 1}, "threads": 1}


@pytest.mark.parametrize(("progress", "watched", "is_shown"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_a_bar_shows_rounds_and_accuracy_where_it_is_seen(blob_data, capsys, monkeypatch, progress, watched, is_shown):
    monkeypatch.setattr("deepal_autoal.experiment.loop.is_watched", lambda: watched)
    result = run("margin", blob_data, progress=progress, **TINY)
    shown = capsys.readouterr().err
    assert ("margin on blobs" in shown and "3/3" in shown) == is_shown
    assert (f"12 labeled, accuracy {result.accuracy:.4f}" in shown) == is_shown


def test_a_function_gets_the_phases_and_no_bar_is_shown(blob_data, capsys, monkeypatch):
    monkeypatch.setattr("deepal_autoal.experiment.loop.is_watched", lambda: True)
    phases = []
    run("margin", blob_data, progress=lambda phase, done, total: phases.append(phase), **TINY)
    assert {"train", "query", "evaluate"} <= set(phases) and not capsys.readouterr().err


def test_terminals_and_notebooks_are_watched(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not progress_bar.is_watched()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress_bar.is_watched()
    monkeypatch.delitem(sys.modules, "ipykernel")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert progress_bar.is_watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress_bar.is_watched()
