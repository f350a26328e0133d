"""Waterbirds, BreakHis and chest X-rays, in small copies of their folders."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import load_dataset, run
from deepal_autoal.datasets import are_image_files
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.published.breakhis import held_out_patients
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.results import read_results
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.study import read_study
from deepal_autoal.report.tables.dataset_tables import accuracy_table

WriteImage = Callable[..., Path]
COLUMNS = ["img_id", "img_filename", "y", "split", "place", "place_filename"]
SIZE = (12, 10)  # height and width


def write_waterbirds(data_dir: Path, write_image: WriteImage, n: int = 40) -> list[dict[str, Any]]:
    """Write a table of birds with all combinations of split, class and background."""
    folder = data_dir / "waterbird_complete95_forest2water2"
    rows = []
    for number in range(n):
        y, place, split = number % 2, number // 2 % 2, (0, 0, 1, 2, 2)[number // 4 % 5]
        name = f"{number:03}.Some_Bird/Some_Bird_{number:04}_7.jpg"
        write_image(folder / name, (30, 24 + number % 3))
        rows.append(dict(zip(COLUMNS, (number, name, y, split, place, "/o/ocean/1.jpg"), strict=True)))
    write_table(folder / "metadata.csv", rows)
    return rows


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def write_breakhis(data_dir: Path, write_image: WriteImage, mixed: str = "SOB_M_LC_14-13412") -> Path:
    folder = data_dir / "BreaKHis_v1" / "histology_slides" / "breast"
    patients = {
        "benign": ["SOB_B_A_14-22549AB", "SOB_B_A_14-22549CD", "SOB_B_F_14-9133", "SOB_B_TA_14-16184", "SOB_B_PT_14-1"],
        "malignant": ["SOB_M_DC_14-13412", mixed, "SOB_M_DC_14-2523", "SOB_M_PC_15-190EF", "SOB_M_MC_14-12773"],
    }
    for label, names in patients.items():
        for name in names:
            kind = "adenosis" if "_A_" in name else "ductal_carcinoma"
            for times in (40, 100, 200, 400):
                place = folder / label / "SOB" / kind / name / f"{times}X"
                write_image(place / f"{name.replace('_', '-')}-{times}-001.png", (20, 14))
    (folder / "README.txt").write_text("BreaKHis")
    return folder


def write_xrays(folder: Path, write_image: WriteImage) -> Path:
    for split, count in (("train", 4), ("test", 2), ("val", 1)):
        for label in ("NORMAL", "PNEUMONIA"):
            for number in range(count):
                write_image(folder / split / label / f"{label}-{number}.jpeg", (30 + number, 22), mode="L")
    return folder


@pytest.mark.parametrize("name", ["waterbirds", "breakhis", "chestxray"])
def test_missing_data_are_explained_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: there is no .*; download the data from https://\S+ and") as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message and "--data-dir" in message
    assert are_image_files(name)


def test_waterbirds_splits_and_groups(tmp_path: Path, write_image: WriteImage) -> None:
    rows = write_waterbirds(tmp_path, write_image)
    data = load_dataset("waterbirds", tmp_path, SIZE)
    assert (data.name, data.class_names) == ("waterbirds", ("landbird", "waterbird"))
    for ids, labels, split in ((data.ids_train, data.y_train, 0), (data.ids_test, data.y_test, 2)):
        expected = [row for row in rows if row["split"] == split]
        assert ids is not None and ids.tolist() == [row["img_filename"] for row in expected]
        assert labels.tolist() == [row["y"] for row in expected]
    assert data.groups_test is not None
    names = [data.group_names[group] for group in data.groups_test]
    places = [row["place"] for row in rows if row["split"] == 2]
    assert names == [
        f"{('landbird', 'waterbird')[y]} on {('land', 'water')[place]}"
        for y, place in zip(data.y_test, places, strict=True)
    ]
    assert data.describe()["test_groups"] == {name: names.count(name) for name in data.group_names}
    assert data.x_train.shape[1:] == (*SIZE, 3) and isinstance(data.x_train, np.memmap)
    # 224 pixels a side unless asked otherwise; the images are scaled in proportion and cropped.
    assert load_dataset("waterbirds", tmp_path).input_shape == (3, 224, 224)
    moved = replace(data, groups_test=(data.groups_test + 1) % 4)
    assert moved.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("y", "2", "y is '2', not 0 to 1"), ("split", "", "split is ''"), ("place", "land", "place is 'land'"),
     ("img_filename", "", "img_filename is empty"), ("img_filename", "../x.jpg", "leads out of"),
     ("img_filename", "000.Some_Bird/Some_Bird_0000_7.jpg", "listed a second time")],
)  # fmt: skip
def test_damaged_waterbirds_tables_name_the_line(
    tmp_path: Path, write_image: WriteImage, column: str, value: str, message: str
) -> None:
    rows = write_waterbirds(tmp_path, write_image)
    (tmp_path / "x.jpg").write_bytes(b"")
    rows[6][column] = value
    write_table(tmp_path / "waterbird_complete95_forest2water2" / "metadata.csv", rows)
    with pytest.raises(InputError, match=r"metadata\.csv, line 8: .*" + message):
        load_dataset("waterbirds", tmp_path, SIZE)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "waterbirds_v1.0"
    folder.mkdir()
    (folder / "metadata.csv").write_text("img_id,img_filename,y,split\n0,a.jpg,0,0\n")
    with pytest.raises(InputError, match=r"metadata\.csv has no column place; download it again"):
        load_dataset("waterbirds", tmp_path)


def test_unusable_files_are_named_or_skipped_and_groups_stay_aligned(tmp_path: Path, write_image: WriteImage) -> None:
    rows = write_waterbirds(tmp_path, write_image)
    test_rows = [row for row in rows if row["split"] == 2]
    folder = tmp_path / "waterbird_complete95_forest2water2"
    (folder / test_rows[1]["img_filename"]).unlink()
    (folder / test_rows[4]["img_filename"]).write_bytes(b"no image")
    with pytest.raises(InputError, match=r"2 of .*--skip-bad"):
        load_dataset("waterbirds", tmp_path, SIZE)
    data = load_dataset("waterbirds", tmp_path, SIZE, skip_bad=True)
    kept = [row for number, row in enumerate(test_rows) if number not in (1, 4)]
    assert data.groups_test is not None and len(data.skipped) == 2
    assert data.groups_test.tolist() == [2 * row["y"] + row["place"] for row in kept]


def test_breakhis_is_split_by_patient(tmp_path: Path, write_image: WriteImage) -> None:
    write_breakhis(tmp_path, write_image)
    data = load_dataset("breakhis", tmp_path, SIZE)
    assert data.class_names == ("benign", "malignant") and len(data.x_train) + len(data.x_test) == 40
    assert data.ids_train is not None and data.ids_test is not None

    def patients(ids: np.ndarray) -> set[str]:
        return {path.split("/")[5].split("_")[3].rstrip("ABCDEFG") for path in ids}

    assert not patients(data.ids_train) & patients(data.ids_test)
    assert set(data.y_test) == {0, 1} and len(patients(data.ids_test)) == 2  # one of four of each class
    assert patients(data.ids_test) == set(data.source["test split"].split(": ")[1].split(", "))


def test_breakhis_holds_out_a_share_of_each_class() -> None:
    labels = {f"14-{number}": "benign" if number < 24 else "malignant" for number in range(82)}
    held_out = held_out_patients(labels)
    assert held_out == held_out_patients(dict(reversed(labels.items())))
    assert [sum(labels[name] == label for name in held_out) for label in ("benign", "malignant")] == [7, 17]
    with pytest.raises(InputError, match="class benign has images of 1 patients"):
        held_out_patients({"14-1": "benign", "14-2": "malignant", "14-3": "malignant"})


def test_breakhis_in_other_folders_is_refused(tmp_path: Path, write_image: WriteImage) -> None:
    folder = write_breakhis(tmp_path, write_image, mixed="patient 7")
    with pytest.raises(InputError, match=r"patient 7.* is not in <class>/SOB/<type>/.*restore"):
        load_dataset("breakhis", tmp_path, SIZE)
    write_image(folder / "normal" / "a.png")
    with pytest.raises(InputError, match="must hold the folders benign and malignant, not normal"):
        load_dataset("breakhis", tmp_path, SIZE)


@pytest.mark.parametrize("place", ["chest_xray", "chest_xray/chest_xray"])
def test_chest_xrays(tmp_path: Path, write_image: WriteImage, place: str) -> None:
    folder = write_xrays(tmp_path / place, write_image)
    data = load_dataset("chestxray", tmp_path, SIZE)
    assert data.class_names == ("NORMAL", "PNEUMONIA") and data.input_shape == (1, *SIZE)
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0] * 4 + [1] * 4, [0, 0, 1, 1])
    with Image.open(folder / "train" / "NORMAL" / "NORMAL-0.jpeg") as image:
        assert abs(float(data.x_train[0].mean()) - float(np.asarray(image).mean())) < 12
    for file in (folder / "test" / "NORMAL").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"the class folder .*NORMAL holds no images"):
        load_dataset("chestxray", tmp_path, SIZE)


@pytest.fixture
def birds() -> Dataset:
    """Vectors in which the background, the second feature, fits the class in training and in half of the test set."""
    rng = np.random.default_rng(0)
    y, place = np.tile([0, 1], 60), np.repeat([0, 1], 60)
    x = rng.normal(size=(120, 2)).astype(np.float32) * 0.3 + np.stack([y, place], axis=1) * [0.4, 3.0]
    train = y == place
    return Dataset(
        "birds", x[train].astype(np.float32), y[train], x.astype(np.float32), y, ("land", "water"),
        groups_test=2 * y + place, group_names=("ll", "lw", "wl", "ww"),
    )  # fmt: skip


def test_runs_record_the_worst_group(tmp_path: Path, birds: Dataset) -> None:
    settings: dict[str, Any] = {"initial": 20, "batch_size": 5, "rounds": 1, "model": "linear", "seed": 0}
    shared = tmp_path / "round-0.pt"
    for name in ("random", "margin"):  # the second run reads round 0 from the file
        out = tmp_path / "study" / "birds" / name / "seed-0"
        result = run(name, birds, out=out, initial_model=shared, **settings)
        for record in result.rounds:
            by_group = record["group_accuracy"]
            assert list(by_group) == ["ll", "lw", "wl", "ww"]
            assert record["worst_group_accuracy"] == min(by_group.values())
            assert record["accuracy"] == pytest.approx(np.mean(list(by_group.values())))  # of one size each
            assert record["worst_group_accuracy"] < record["accuracy"] - 0.1
        summary = json.loads((out / "summary.json").read_text())
        assert summary["final_worst_group_accuracy"] == result.rounds[-1]["worst_group_accuracy"]
    assert "train.shared" in result.rounds[0]["seconds"]
    assert [run.worst_group for run in read_results(tmp_path / "study").runs] != [None, None]
    table = accuracy_table(Contents(read_study([tmp_path / "study"])))
    column = next(column for column in table.columns if column.title == "worst group, %")
    assert column.show(table.rows[0]) == f"{100 * table.rows[0]['worst_group_mean']:.2f}"


def test_groups_must_fit(birds: Dataset) -> None:
    for changes, message in (
        ({"groups_test": np.zeros(3, np.int64)}, "one integer per test sample"),
        ({"group_names": ("ll", "lw", "wl")}, r"groups_test holds 0\.\.3"),
        ({"group_names": ("ll", "lw", "wl", "ll")}, "as many distinct group_names"),
    ):
        with pytest.raises(InputError, match=message):
            replace(birds, **changes)
