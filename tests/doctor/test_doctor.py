"""``deepal doctor``: what it finds, what it remarks, and that nothing private is in it."""

from __future__ import annotations

import copy
import json

import pytest

from deepal_autoal.doctor import examination
from deepal_autoal.doctor.examination import examine, without_home
from deepal_autoal.doctor.remarks import judge


@pytest.fixture(scope="module")
def found():
    return examine()


def healthy(found):
    """Return the examination of a machine with nothing to remark."""
    state = copy.deepcopy(found)
    state["machine"].update(cores=4, usable_cores=4, load=[0.5, 0.5, 0.5], memory_limit_gib=None)
    state["machine"]["has_nvidia_driver"] = True
    state["torch"].update(threads=4, cuda_build="13.0", torchvision_error=None)
    state["torch"]["devices"] = [
        {"device": "cpu", "error": None, "gflops": 50},
        {"device": "cuda:0", "error": None, "gflops": 9000, "name": "GPU", "memory_gib": 80.0, "free_gib": 79.0},
    ]
    state["seconds"] = {"plugins": 0.1, "torch": 1.0}
    state["environment"] = {}
    for plugin in state["plugins"]:
        plugin["problems"] = []
    for folder in state["folders"].values():
        folder.update(free_gib=100.0, is_writable=True)
    state["folders"]["here"]["sync_seconds"] = 0.001
    return state


def test_what_is_found_is_true(found):
    import torch

    assert found["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["torch"]["error"] is None and found["torch"]["threads"] >= 1
    assert found["torch"]["devices"][0]["device"] == "cpu"
    assert found["torch"]["devices"][0]["gflops"] > 0
    assert any(plugin["name"] == "deepal_autoal" for plugin in found["plugins"])
    assert found["folders"]["here"]["exists"] and found["folders"]["here"]["sync_seconds"] > 0
    assert json.loads(json.dumps(found)) == found
    assert [remark for remark in judge(found) if remark.kind == "fault"] == []


def test_a_healthy_machine_has_no_remarks(found):
    assert judge(healthy(found)) == []


@pytest.mark.parametrize(
    ("part", "change", "kind", "words"),
    [
        ("torch", {"error": "no libcuda"}, "fault", "torch cannot be imported (no libcuda)"),
        ("torch", {"torchvision_error": "nms"}, "fault", "may not belong together"),
        ("torch", {"threads": 16}, "slow", "--threads 4"),
        ("torch", {"threads": 1}, "slow", "one thread of 4 cores"),
        ("machine", {"load": [9.0, 9.0, 9.0]}, "slow", "9.0 processes want 4 cores"),
        ("machine", {"cores": 64}, "note", "may use 4 of 64 cores"),
        ("machine", {"memory_limit_gib": 2.0}, "note", "2 GiB of memory"),
        ("packages", {"numpy": "1.0"}, "fault", "numpy 1.0 is installed, numpy>=1.24 is needed"),
        ("packages", {"click": None}, "fault", "click is not installed: pip install 'click>=8.1'"),
        ("seconds", {"torch": 30.0}, "slow", "importing torch took 30 s"),
        ("seconds", {"plugins": 3.0}, "slow", "3.0 s"),
        ("environment", {"DEEPAL_DISABLE_PLUGINS": "acme"}, "note", "disables acme"),
    ],
)
def test_remarks(found, part, change, kind, words):
    state = healthy(found)
    state[part].update(change)
    (remark,) = judge(state)
    assert remark.kind == kind and words in remark.text


def test_remarks_on_devices_folders_and_plugins(found):
    def one(state):
        (remark,) = judge(state)
        return remark.kind, remark.text

    state = healthy(found)
    del state["torch"]["devices"][1]
    assert one(state)[0] == "slow" and "no GPU: the driver may be older than CUDA 13.0" in one(state)[1]
    state["torch"]["cuda_build"] = None
    assert "CPUs only" in one(state)[1]
    state["machine"]["has_nvidia_driver"] = False
    assert one(state)[0] == "note" and "there is no GPU" in one(state)[1]
    state = healthy(found)
    state["torch"]["devices"][1]["error"] = "launch failed"
    assert one(state) == ("fault", "cuda:0 does not compute: launch failed")
    state = healthy(found)
    state["folders"]["temporary"]["free_gib"] = 0.2
    assert one(state)[0] == "slow" and "0.2 GiB left" in one(state)[1]
    state = healthy(found)
    state["folders"]["here"]["sync_seconds"] = 0.5
    assert "500 ms" in one(state)[1]
    state = healthy(found)
    state["plugins"].append({"name": "acme", "version": "1", "problems": ["acme: cannot be imported"]})
    assert one(state) == ("fault", "plugin of acme 1: acme: cannot be imported")


def test_faults_come_first(found):
    state = healthy(found)
    state["machine"]["cores"] = 64
    state["torch"]["threads"] = 16
    state["packages"]["numpy"] = None
    assert [remark.kind for remark in judge(state)] == ["fault", "slow", "note"]


def test_the_home_folder_is_not_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert without_home(f"{tmp_path}/data") == "~/data" and without_home(str(tmp_path)) == "~"
    error = {"plugins": [{"problems": [f"no file '{tmp_path}/x.py' in {tmp_path}."]}], "free": 1.5, "device": None}
    assert without_home(error) == {**error, "plugins": [{"problems": ["no file '~/x.py' in ~."]}]}
    assert without_home(f"{tmp_path}-other/data") == f"{tmp_path}-other/data"
    assert examination.weights_folder() == tmp_path / ".cache" / "torch" / "hub" / "checkpoints"


def test_a_broken_torch_is_a_fault(deepal, monkeypatch):
    monkeypatch.setattr(examination, "import_error", lambda module: "undefined symbol")
    monkeypatch.setenv("DEEPAL_DATA", "somewhere")
    status, out, err = deepal("doctor")
    assert status == 1 and not err and "torch cannot be imported (undefined symbol)" in out and "somewhere" in out


def test_command(deepal, monkeypatch):
    monkeypatch.setattr("deepal_autoal.doctor.remarks.judge", lambda found: [])
    status, out, err = deepal("doctor")
    assert status == 0 and not err and out.endswith("Nothing is wrong or slow.\n") and "GFLOP/s" in out
    status, out, _ = deepal("doctor", "--json")
    assert status == 0 and json.loads(out)["deepal"]["version"] and json.loads(out)["remarks"] == []


def test_a_hidden_gpu_and_unknown_cores_are_said(found, monkeypatch, deepal):
    state = healthy(found)
    state["machine"]["has_nvidia_driver"] = True
    state["torch"].update(devices=[{"device": "cpu", "error": None}], cuda_build="12.4")
    for value, shown in (("", "empty, which hides all"), ("7", "7")):
        state["environment"] = {"CUDA_VISIBLE_DEVICES": value}
        (remark,) = judge(state)
        assert (remark.kind, remark.text) == ("note", f"torch sees no GPU: CUDA_VISIBLE_DEVICES is {shown}")
    monkeypatch.setattr(examination, "usable_cores", lambda: None)
    monkeypatch.setattr("deepal_autoal.doctor.examination.examine", lambda: found | {"machine": examination.machine()})
    status, out, _ = deepal("doctor")
    assert status in (0, 1) and "an unknown number of cores" in out
