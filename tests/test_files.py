import os
import pickle

import numpy as np
import pytest
import torch

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import read_json, read_tensors, write_bytes, write_tensors


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
