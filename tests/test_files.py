import os
import pickle

import numpy as np
import pytest
import torch

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import csv_for_people, read_json, read_tensors, write_bytes, write_json, write_tensors


def test_state_survives_a_round_trip(tmp_path):
    value = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "b": torch.eye(2),
        "c": [1, 2.5, "x", None, True, (np.float64(3.0), np.int64(4))],
        "d": {"deep": {1: np.array([], dtype=np.float32)}},
    }
    write_tensors(tmp_path / "s.pt", value)
    back = read_tensors(tmp_path / "s.pt")
    assert back["a"].dtype == np.int32 and back["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert torch.equal(back["b"], torch.eye(2)) and back["c"] == [1, 2.5, "x", None, True, [3.0, 4]]
    assert back["d"]["deep"][1].shape == (0,)


@pytest.mark.parametrize("value", [{"x": object()}, {"x": {3.5: 1}}, {"x": np.array([object()])}])
def test_unsupported_values_are_refused(tmp_path, value):
    with pytest.raises((RunFolderError, TypeError)):
        write_tensors(tmp_path / "s.pt", value)
    assert not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["EVIL"],)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL", str(tmp_path / "made"))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"x": Evil()}, tmp_path / "zip.pt")
    for name in ("plain.pt", "zip.pt"):
        with pytest.raises(RunFolderError, match="cannot read"):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "made").exists()


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and [item.name for item in tmp_path.iterdir()] == ["file"]


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path):
    """torch itself does not compare the checksums that it writes."""
    state = {"weights": torch.linspace(0, 1, 50), "labels": np.arange(20)}
    write_tensors(tmp_path / "s.pt", state)
    whole = (tmp_path / "s.pt").read_bytes()
    n_noticed = 0
    for position in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "s.pt").write_bytes(damaged)
        try:
            back = read_tensors(tmp_path / "s.pt")
        except RunFolderError as error:
            assert "\n" not in str(error)
            n_noticed += 1
        else:
            assert torch.equal(back["weights"], state["weights"]) and np.array_equal(back["labels"], state["labels"])
    assert n_noticed > 100


def test_checksums_are_written_whatever_the_program_around_us_set(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        write_tensors(tmp_path / "s.pt", {"a": torch.ones(3)})
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(read_tensors(tmp_path / "s.pt")["a"], torch.ones(3))


def test_edited_json_is_noticed(tmp_path):
    path = tmp_path / "value.json"
    value = {"b": [1, 2.5, "é"], "a": {"1": None}}
    write_json(path, value)
    assert read_json(path) == value
    text = path.read_text()
    path.write_text(text.replace("2.5", "2.6"))
    with pytest.raises(RunFolderError, match=r"value.json is damaged or was edited: its content does not match"):
        read_json(path)
    path.write_text(text.replace("\n", ""))  # the same content
    assert read_json(path) == value
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}, "a file without a checksum"


def test_tables_for_people_hold_no_formulas():
    rows = [["=1+1", "+x", "-x", "@x", "\tx", "\uff1dx"], ["-1.5", "+2", "a=b", "", 'say "hi", all', -3]]
    lines = csv_for_people(["a"] * 6, rows).decode().splitlines()
    assert lines[1] == "'=1+1,'+x,'-x,'@x,'\tx,'\uff1dx"
    assert lines[2] == '-1.5,+2,a=b,,"say ""hi"", all",-3'
    assert csv_for_people(["id"], [["bad\udcff.png"]]) == b"id\nbad\\udcff.png\n"


def test_only_regular_files_are_replaced(tmp_path):
    pipe, folder, link = tmp_path / "pipe", tmp_path / "folder", tmp_path / "link"
    os.mkfifo(pipe)
    folder.mkdir()
    for path, kind in ((pipe, "a pipe or a socket"), (folder, "a folder")):
        with pytest.raises(RunFolderError, match=f"cannot write {path}: it is {kind}, not a file"):
            write_bytes(path, b"new")
    link.symlink_to(tmp_path / "target")
    write_bytes(link, b"new")
    assert link.is_symlink() and (tmp_path / "target").read_bytes() == b"new" and pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe", "target"]


def test_reading_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(RunFolderError, match=r"config.json: .*it is a pipe or a socket, not a file"):
        read_json(tmp_path / "config.json")
