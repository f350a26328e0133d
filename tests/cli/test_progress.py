"""The display on a terminal."""

import io

from deepal_autoal import run
from deepal_autoal.cli.progress import RunDisplay


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_terminal_shows_a_bar_and_a_line_per_round(monkeypatch, blob_data, quick, tmp_path):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    display = RunDisplay(quiet=False)
    result = run(
        "margin", blob_data, out=tmp_path / "r", progress=display.phase, on_start=display.start, on_round=display.round,
        **quick,
    )  # fmt: skip
    display.finish(result)
    shown = terminal.getvalue()
    assert "margin on blobs" in shown and "0/4" in shown and "query" in shown
    for record in result.rounds:
        assert f"round {record['round']}/3: {record['n_labeled']} labeled, accuracy {record['accuracy']:.4f}" in shown


def test_quiet_shows_nothing_during_the_run(monkeypatch, blob_data, quick):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    display = RunDisplay(quiet=True)
    run("margin", blob_data, progress=display.phase, on_start=display.start, on_round=display.round, **quick)
    assert terminal.getvalue() == ""
