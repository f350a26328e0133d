"""Files of runs on other machines."""

import pytest

from deepal_autoal import RunFolderError, run
from deepal_autoal.benchmark import RunFolderChanges, RunFolderCopy, read_run_folder, write_run_folder


def test_a_run_continues_from_collected_files(blob_file, tmp_path, quick):
    """A folder that is copied round by round is at each moment as a kill would leave it."""
    here, there = tmp_path / "here", tmp_path / "there"
    changes, copy = RunFolderChanges(there), RunFolderCopy(here)
    moments = []

    def collect(active, record):
        files = changes.take()
        assert ("config.json" in files) == (record["round"] == 0), "an unchanged file was sent again"
        copy.write(files)
        moments.append(sorted({path.name for path in here.iterdir()} - {".lock"}))
        if record["round"] == 1:
            write_run_folder(tmp_path / "second", read_run_folder(here))

    whole = run("margin", blob_file, out=there, on_round=collect, **quick)
    assert moments[1] == ["config.json", "queried.csv", "rounds.jsonl", "state-00001.pt"]
    rounds = []
    again = run(out=tmp_path / "second", resume=True, on_round=lambda _, record: rounds.append(record["round"]))
    assert rounds == [2, 3] and [r["queried"] for r in again.rounds] == [r["queried"] for r in whole.rounds]
    copy.write(changes.take())
    copy.close()
    assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()}


def test_a_copy_is_locked_until_it_is_closed(tmp_path):
    copy = RunFolderCopy(tmp_path)
    with pytest.raises(RunFolderError, match="in use by another process"):
        RunFolderCopy(tmp_path)
    copy.close()
    RunFolderCopy(tmp_path).close()


def test_an_extension_is_copied_as_it_is_written(blob_file, tmp_path, quick):
    """At no moment does the copy hold the summary of fewer rounds than it has."""
    here, there = tmp_path / "here", tmp_path / "there"
    run("margin", blob_file, out=there, **{**quick, "rounds": 1})
    write_run_folder(here, read_run_folder(there))
    changes, copy = RunFolderChanges(there), RunFolderCopy(here)
    changes.take()

    def collect(active, record):
        copy.write(changes.take())
        assert not (here / "summary.json").exists()
        if record["round"] == 2:
            write_run_folder(tmp_path / "second", read_run_folder(here))

    whole = run(out=there, resume=True, rounds=3, on_round=collect)
    copy.write(changes.take())
    copy.close()
    assert (here / "summary.json").read_bytes() == (there / "summary.json").read_bytes()
    for folder in (here, tmp_path / "second"):
        again = run(out=folder, resume=True)
        assert [r["queried"] for r in again.rounds] == [r["queried"] for r in whole.rounds]
    assert len(run(out=here, resume=True, rounds=4).rounds) == 5
