"""Folders of images on the command line: classes named at the start, bad files left out, pipes refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

QUICK = ["--model", "linear", "--epochs", "1", "--min-steps", "1", "--initial", "4", "--batch-size", "2", "--rounds",
         "1", "--threads", "1"]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label in ("cat", "dog"):
            place = tmp_path / "pets" / split / label
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(place / f"{number}.png")
    (tmp_path / "pets" / "train" / "dog" / "5.png").write_bytes(b"no image")
    return tmp_path / "pets"


def test_bad_files_are_left_out_by_run_benchmark_and_embed(deepal, folder, tmp_path):
    status, _, err = deepal("run", "--dataset", folder, *QUICK, "--out", "r")
    assert status == 2 and err.count("Error: ") == 1 and "train/dog/5.png" in err and "--skip-bad" in err
    status, _, err = deepal("run", "--dataset", folder, *QUICK, "--skip-bad", "--out", "r")
    assert status == 0, err
    assert "pool 11, test 4, 2 classes (cat 6, dog 5); model linear" in err
    assert "1 of 16 files are left out: train/dog/5.png (is not an image that can be read)" in err
    assert json.loads((tmp_path / "r" / "config.json").read_text())["dataset"]["skipped"] == ["train/dog/5.png"]
    status, _, err = deepal("run", "--resume", "--out", "r")
    assert status == 0, err
    bench = ["benchmark", "--strategies", "random", "--datasets", folder, "--seeds", "1", "--out", "b", *QUICK]
    assert deepal(*bench)[0] == 2
    status, _, err = deepal(*bench, "--skip-bad")
    assert status == 0 and "pets: 2 classes (cat 6, dog 5)" in err, err
    (config,) = (tmp_path / "b").glob("*/random/seed-0/config.json")
    assert json.loads(config.read_text())["dataset"]["skipped"] == ["train/dog/5.png"]
    embed = ["embed", "--dataset", folder, "--model", "linear", "--out", "pool.npz", "--quiet"]
    assert deepal(*embed)[0] == 2
    assert deepal(*embed, "--skip-bad")[0] == 0
    assert np.load(tmp_path / "pool.npz")["skipped"].tolist() == ["train/dog/5.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["own.npz", "own.csv", "own"])
def test_pipes_and_devices_are_no_datasets(deepal, tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    for place in (name, f"zero-{name}"):
        status, _, err = deepal("run", "--dataset", f"./{place}", *QUICK)
        assert status == 2 and "is not a dataset" in err and len(err.strip().splitlines()) == 1
