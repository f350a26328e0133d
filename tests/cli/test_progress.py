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


def test_long_phases_are_reported_without_a_terminal(monkeypatch, capsys, blob_data, quick):
    now = [100.0]
    monkeypatch.setattr("deepal_autoal.cli.progress.time.monotonic", lambda: now[0])
    display = RunDisplay(quiet=False)

    def start(view):
        display.start(view)
        capsys.readouterr()
        for step in range(100):
            display.phase("train", step, 100)
            now[0] += 2.0

    run("random", blob_data, on_start=start, on_round=display.round, progress=lambda *given: None, **quick)
    lines = capsys.readouterr().err.splitlines()
    # After 4, then 6, 12, 24, 48 and 60 seconds more.
    assert lines[:6] == [
        f"round 0: train {step}% ({step} of 100), about {left} left"
        for step, left in ((2, "3 min 16 s"), (5, "3 min 10 s"), (11, "2 min 58 s"), (23, "2 min 34 s"),
                           (47, "1 min 46 s"), (77, "46 s"))
    ]  # fmt: skip
    assert lines[6].startswith("round 0/3: 12 labeled")
