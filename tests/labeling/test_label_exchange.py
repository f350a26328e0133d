"""Bad files of answers; export, import from other tools in their own format, added samples, review."""

import csv
import json
import os
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from deepal_autoal.datasets import load_dataset
from deepal_autoal.labeling.contact_sheet import contact_sheet
from deepal_autoal.labeling.data import plain_name
from deepal_autoal.labeling.project import Project
from deepal_autoal.labeling.review import doubts_of, held_out_probabilities
from tests.labeling.conftest import QUICK, ask, ids_of, label_batch, truth, write_answers

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture
def colors(deepal, tmp_path):
    """A project of 24 image files in two folders, named after their colors, the first nine labeled."""
    rng = np.random.default_rng(0)
    for number in range(24):
        color = list(COLORS)[number % 3]
        path = tmp_path / "data" / "unlabeled" / f"day {number % 2}" / f"{number:02d}-{color}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(rng.normal(COLORS[color], 20, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    status, _, err = deepal("label", "init", "p", "--data", "data", *QUICK)
    assert status == 0, err
    names = sorted(Project(tmp_path / "p").state.ids, key=color_order)[:9]
    write_answers("nine.csv", [(name, color_of(name)) for name in names])
    assert deepal("label", "submit", "p", "nine.csv")[0] == 0
    return names


def color_of(name):
    return name.rpartition("-")[2].removesuffix(".png")


def color_order(name):
    return name.rpartition("/")[2]


def labels_of(name="p"):
    state = Project(Path(name)).state
    return {state.ids[row]: label for row, label in state.labels.items()}


BAD_ANSWERS = {
    "columns": ("name,label\n1,a\n", "lacks id"),
    "unknown id": ("id,label\nx,a\n", "line 2: unknown id 'x'. Known: 0, 1, 10 and 37 others."),
    "nearest id": ("id,label\n007,a\n", "line 2: unknown id '007'. Did you mean '7'?"),
    "empty id": ("id,label\n,a\n", "the id is empty"),
    "twice": ("id,label\n1,a\n2,b\n1,a\n", "line 4: 1 is listed a second time"),
    "unknown class": ("id,label\n1,a\n2,bb\n", "line 3: 'bb' is no class of this project; did you mean b?"),
    "other case": ("id,label\n1,A\n", "'A' is written 'a' elsewhere"),
    "missing": ("id,label\n1,nan\n", "stands for a missing one"),
    "cut off in a row": ("id,label\n1,a\n2", "line 3: 1 fields"),
    "cut off in quotes": ('id,label\n1,a\n2,"b', "line 3"),
    "cut off in a label": ("id,label\n1,a\n2,gree", "'gree' is no class"),
    "binary": (b"\x89PNG\r\n\x1a\n\0\xff", "not UTF-8"),
    "empty": ("", "name the columns"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers_take_nothing(deepal, vectors, name):
    deepal("label", "init", "p", "--data", vectors, "--classes", "a,b,c", *QUICK)
    content, expected = BAD_ANSWERS[name]
    Path("bad.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    before = Path("p/journal.jsonl").read_bytes()
    status, _, err = deepal("label", "submit", "p", "bad.csv")
    assert status == 2 and expected in err and err.count("\n") == 1, err
    assert Path("p/journal.jsonl").read_bytes() == before


def test_no_file_of_answers(deepal, project):
    for file, expected in (("none.csv", "No such file"), ("p", "a folder")):
        status, _, err = deepal("label", "submit", "p", file)
        assert status == 2 and expected in err and err.count("\n") == 1
    Path("none.csv").write_text("id,label\n1,\n")
    status, out, _ = deepal("label", "submit", "p", "none.csv")
    assert status == 0 and "nothing to take" in out


def test_answers_from_any_spreadsheet(deepal, project):
    Path("a.csv").write_bytes("\ufeffId;Label;remark\r\n1;a;x\r\n\r\n2;  skip ;\r\n".encode())
    assert deepal("label", "submit", "p", "a.csv")[0] == 0
    Path("a.csv").write_bytes("id\tlabel\n3\té\n".encode("utf-16"))
    assert deepal("label", "submit", "p", "a.csv")[0] == 0
    assert labels_of() == {"1": "a", "3": "é"}


def test_names_like_formulas(deepal, tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(6, dtype=np.float32), ids=np.array(["=1+1", "-x", "'q", "@a", "b", "c"]))
    assert deepal("label", "init", "p", "--data", "f.npz", *QUICK)[0] == 0
    names = ids_of(ask(deepal))
    assert "'=1+1" in names and "'-x" in names
    write_answers("a.csv", [(name, "'=yes" if name in ("b", "c") else "no") for name in names])
    assert deepal("label", "submit", "p", "a.csv")[0] == 0
    assert labels_of()["=1+1"] == "no" and labels_of()["b"] == "=yes"
    assert deepal("label", "export", "p", "--out", "out.csv")[0] == 0
    assert "'=1+1,no,person" in Path("out.csv").read_text()


def test_new_classes(deepal, vectors):
    deepal("label", "init", "p", "--data", vectors, "--classes", "a,b", *QUICK)
    write_answers("a.csv", [("1", "a"), ("2", "c")])
    status, _, err = deepal("label", "submit", "p", "a.csv")
    assert status == 2 and "--new-class 'c'" in err and not labels_of()
    status, out, _ = deepal("label", "submit", "p", "a.csv", "--new-class", "c")
    assert status == 0 and "New classes: c" in out and Project(Path("p")).classes == ["a", "b", "c"]
    write_answers("b.csv", [("3", "c"), ("4", "skip")])
    assert deepal("label", "submit", "p", "b.csv")[0] == 0, "a class that was confirmed is one"
    deepal("label", "init", "q", "--data", vectors, *QUICK)
    Path("c.csv").write_text("id,label\n1,cat\n2,ca")
    status, _, err = deepal("label", "submit", "q", "c.csv")
    assert status == 2 and "cut off" in err and not labels_of("q")


def test_new_classes_much_like_others_are_pointed_out(deepal, project):
    write_answers("a.csv", [("0", "truck"), ("1", "type 1"), ("2", "type 2"), ("3", "trucks"), ("4", "deer")])
    status, _, err = deepal("label", "submit", "p", "a.csv")
    assert status == 0 and err.count("Warning") == 1
    assert "'trucks' is a new class, much like 'truck'" in err
    assert "deepal label classes p --rename trucks truck" in err
    assert deepal("label", "classes", "p", "--rename", "trucks", "truck")[0] == 0
    write_answers("b.csv", [("5", "deeer"), ("6", "house")])
    status, _, err = deepal("label", "submit", "p", "b.csv", "--new-class", "deeer")
    assert status == 0 and not err, "it was confirmed"


def test_classes_are_renamed_joined_and_removed(deepal, vectors):
    deepal("label", "init", "p", "--data", vectors, "--classes", "a,b", *QUICK)
    write_answers("a.csv", [("1", "aa"), ("2", "b"), ("3", "a"), ("4", "c")])
    assert deepal("label", "submit", "p", "a.csv", "--new-class", "aa", "--new-class", "c")[0] == 0
    status, out, err = deepal("label", "classes", "p", "--remove", "aa")
    assert status == 2 and "1 label would be lost" in err and "--rename aa OTHER" in err
    status, out, _ = deepal("label", "classes", "p", "--rename", "aa", "a")
    assert status == 0 and "1 label changed" in out and out.split()[-6:] == ["a", "2", "b", "1", "c", "1"]
    assert labels_of() == {"1": "a", "2": "b", "3": "a", "4": "c"}
    assert [answer.label for answer in Project(Path("p")).state.history[1]] == ["aa", "a"]
    assert deepal("label", "classes", "p", "--rename", "b", "bee")[0] == 0
    assert Project(Path("p")).classes == ["a", "bee", "c"], "a class keeps its place"
    status, _, err = deepal("label", "submit", "p", write_answers("b.csv", [("2", "b")]))
    assert status == 2 and "'b' is no class" in err
    deepal("label", "submit", "p", write_answers("c.csv", [("4", "skip")]))
    status, out, _ = deepal("label", "classes", "p", "--remove", "c")
    assert status == 0 and out.split()[-4:] == ["a", "2", "bee", "1"]
    for arguments, part in (
        (("--remove", "c"), "unknown class 'c'"), (("--rename", "aa", "a"), "unknown class 'aa'"),
        (("--rename", "a", "skip"), "cannot be a class"),
        (("--rename", "a", "-1"), "stands for a missing one"), (("--rename", "a", "a"), "two different"),
        (("--rename", "a", "bee", "--remove", "bee"), "two steps"),
    ):  # fmt: skip
        status, _, err = deepal("label", "classes", "p", *arguments)
        assert status == 2 and part in err, err
    assert Project(Path("p")).classes == ["a", "bee"]


def test_a_killed_renaming_is_repeated(deepal, project):
    """Between its two events; without ``--classes`` a class is what samples have."""
    deepal("label", "submit", "p", write_answers("a.csv", [("1", "a"), ("2", "b")]))
    opened = Project(Path("p"))
    for classes in (["a", "b"], ["a"]):
        opened.add_event("classes", names=classes)
        opened.add_event("renamed", old="b", new="c")
        assert set(opened.classes) == {"a", "b", "c"}
        assert deepal("label", "classes", "p", "--rename", "b", "c")[0] == 0
        assert Project(Path("p")).classes == ["a", "c"] and labels_of() == {"1": "a", "2": "c"}
        deepal("label", "submit", "p", write_answers("a.csv", [("2", "b")]))
        opened.reload()


def test_undo_on_the_page_leaves_a_renaming_alone(deepal, project):
    from deepal_autoal.labeling.server.session import Session

    with project.changing():
        session = Session(project)
        project.add_event("batch", number=1, rows=[1, 2], how="kmeans", model=None)
        session.answer("1", "a")
        session.answer("2", "b")
    assert deepal("label", "classes", "p", "--rename", "a", "x")[0] == 0
    with project.changing():
        session = Session(project)
        session.undo()
        assert labels_of() == {"1": "x"} and not session.view()["can_undo"]


def test_classes_that_are_spelled_alike(deepal, vectors):
    status, _, err = deepal("label", "init", "p", "--data", vectors, "--classes", "a,b,A", *QUICK)
    assert status == 0 and "'a' and 'A' are spelled alike" in err and "deepal label classes p --rename A a" in err
    assert Project(Path("p")).classes == ["a", "b", "A"]
    assert "alike" not in deepal("label", "init", "q", "--data", vectors, "--classes", "a,b", *QUICK)[2]


def test_one_of_anything(deepal, tmp_path):
    np.save("one.npy", np.zeros((1, 2), np.float32))
    assert "p: 1 sample; " in deepal("label", "init", "p", "--data", "one.npy", *QUICK)[1]
    ask(deepal)
    assert "Fill in the 1 open label in" in deepal("label", "status", "p")[1]
    out = deepal("label", "submit", "p", write_answers("a.csv", [("0", "a")]))[1]
    assert "1 of 1 sample is labeled" in out and out[-1] == "\n"
    assert "1 sample written" in deepal("label", "export", "p", "--out", "o.csv")[1]


def test_export_csv(deepal, colors):
    assert deepal("label", "export", "p", "--out", "labels.csv")[0] == 0
    with open("labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: row["label"] for row in rows} == {name: color_of(name) for name in colors}
    assert {row["source"] for row in rows} == {"person"}
    assert deepal("label", "export", "p", "--out", "labels.csv", "--predictions")[0] == 0
    with open("labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and [row["source"] for row in rows].count("person") == 9
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)
    assert np.mean([row["label"] == color_of(row["id"]) for row in rows]) > 0.9
    Path("mine.csv").write_text("mine")
    status, _, err = deepal("label", "export", "p", "--out", "mine.csv")
    assert status == 2 and "not written by this command" in err and Path("mine.csv").read_text() == "mine"


def test_export_for_runs(deepal, colors):
    assert deepal("label", "export", "p", "--out", "tree", "--predictions")[0] == 0
    assert sorted(os.listdir("tree")) == ["blue", "green", "red"]
    assert sum(len(files) for _, _, files in os.walk("tree")) == 24
    assert len(load_dataset("./tree").x_train) + len(load_dataset("./tree").x_test) == 24
    status, _, err = deepal("label", "export", "p", "--out", "tree")
    assert status == 2 and "not an empty folder" in err
    assert deepal("label", "export", "p", "--out", "some.npz")[0] == 0
    assert deepal("label", "export", "p", "--out", "some.npz")[0] == 0, "its own file is replaced"
    data = load_dataset("some.npz")
    assert data.x_train.shape[1:] == (8, 8, 3) and len(data.x_train) + len(data.x_test) == 9
    status, _, err = deepal("label", "export", "p", "--out", "some.doc")
    assert status == 2 and "--format" in err
    status, _, err = deepal("label", "export", "p", "--out", "x", "--format", "cvt")
    assert status == 2 and "cvat" in err


def test_no_tree_inside_the_data_or_without_a_name(deepal, colors, monkeypatch):
    status, _, err = deepal("label", "export", "p", "--out", "data/sorted")
    assert status == 2 and "inside the data" in err and err.count("\n") == 1 and not Path("data/sorted").exists()
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    status, _, err = deepal("label", "export", "../p", "--out", ".")
    assert status == 2 and "name a new folder" in err and err.count("\n") == 1


def test_files_of_one_name_in_the_tree(deepal, tmp_path):
    for name in ("one/a.png", "two/a.png", "b.png"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), len(name)).save(tmp_path / "d" / name)
    deepal("label", "init", "p", "--data", "d", "--classes", "x,y/z", *QUICK)
    write_answers("a.csv", [("one/a.png", "x"), ("two/a.png", "x"), ("b.png", "x")])
    deepal("label", "submit", "p", "a.csv")
    assert deepal("label", "export", "p", "--out", "tree")[0] == 0
    assert sorted(os.listdir("tree/x")) == ["b.png", "one__a.png", "two__a.png"]
    write_answers("a.csv", [("b.png", "y/z")])
    deepal("label", "submit", "p", "a.csv")
    status, _, err = deepal("label", "export", "p", "--out", "tree2")
    assert status == 2 and "'y/z' cannot be the name of a folder" in err and not Path("tree2").exists()


def test_label_studio_tasks(deepal, colors):
    write_answers("s.csv", [(Project(Path("p")).state.ids[-1], "skip")])
    deepal("label", "submit", "p", "s.csv")
    status, out, _ = deepal("label", "export", "p", "--out", "tasks.json", "--predictions")
    assert status == 0 and '<Choices name="label" toName="image" choice="single"><Choice value="blue"/>' in out
    tasks = json.loads(Path("tasks.json").read_text())
    assert len(tasks) == 24 and tasks[0]["data"]["image"].startswith("/data/local-files/?d=data/unlabeled/day%200/")
    for task in tasks:
        prediction = task["predictions"][0]
        assert 0 < prediction["score"] <= 1 and prediction["result"][0]["value"]["choices"][0] in COLORS
        name = task["data"]["deepal_id"]
        if name in colors:
            (annotation,) = task["annotations"]
            result = {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": [color_of(name)]},
            }
            assert annotation["result"] == [result]
    assert sum(task["annotations"][0]["was_cancelled"] for task in tasks if task["annotations"]) == 1
    # Imported again, they change nothing.
    status, out, err = deepal("label", "import", "p", "tasks.json")
    assert status == 0 and "10 known already" in out, err


def label_studio_export(images):
    """Return tasks as Label Studio exports them: pairs of the image's address and annotated choices."""
    return [
        {
            "id": 41 + number,
            "annotations": [
                {
                    "id": 90 + 10 * number + position, "completed_by": 1, "was_cancelled": choice == "skipped",
                    "result": [] if choice == "skipped" else [
                        {"value": {"choices": [choice]}, "id": "u6aQ2", "from_name": "choice", "to_name": "image",
                         "type": "choices", "origin": "manual"}
                    ],
                    "ground_truth": False, "created_at": f"2026-01-0{position + 1}T09:31:50.474800Z",
                    "updated_at": f"2026-01-0{position + 1}T09:31:50.474821Z", "draft_created_at": None,
                    "lead_time": 4.1, "prediction": {}, "result_count": 0, "unique_id": "7ce2", "import_id": None,
                    "last_action": None, "task": 41 + number, "project": 3, "updated_by": 1, "parent_prediction": None,
                    "parent_annotation": None, "last_created_by": None,
                }
                for position, choice in enumerate(choices)
            ],
            "file_upload": None, "drafts": [], "predictions": [], "data": {"image": image}, "meta": {},
            "created_at": "2026-01-01T09:00:00.000000Z", "updated_at": "2026-01-02T09:31:50.500000Z", "inner_id": 1,
            "total_annotations": len(choices), "cancelled_annotations": 0, "total_predictions": 0, "comment_count": 0,
            "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": 3, "updated_by": 1,
            "comment_authors": [],
        }
        for number, (image, choices) in enumerate(images)
    ]  # fmt: skip


def test_label_studio_annotations(deepal, colors):
    images = [
        ("/data/upload/3/1f0c9ab2-09-red.png", ["red"]),
        ("/data/local-files/?d=x/data/unlabeled/day%200/10-green.png", ["green"]),
        ("s3://bucket/data/unlabeled/day 1/11-blue.png", ["red", "blue"]),
        ("https://host/12-red.png?token=1", ["skipped"]),
        ("/data/upload/3/13-green.png", []),
        ("/data/upload/3/14-blue.png", ["Skip"]),
    ]  # fmt: skip
    Path("export.json").write_text(json.dumps(label_studio_export(images)))
    status, out, err = deepal("label", "import", "p", "export.json")
    assert status == 0 and "3 new, 2 skipped" in out, err
    found = {name: label for name, label in labels_of().items() if name not in colors}
    assert len(found) == 3 and all(label == color_of(name) for name, label in found.items())
    assert any(name.endswith("11-blue.png") for name in found), "the newest annotation counts"


def test_label_studio_texts_are_not_matched_by_other_row_numbers(deepal, tmp_path):
    texts = ["good day", "bad day", "good night", "bad night", "good day"]
    Path("t.txt").write_text("\n".join(texts))
    assert deepal("label", "init", "p", "--data", "t.txt", *QUICK)[0] == 0

    def taken(data):
        tasks = label_studio_export([("", ["yes"])])
        tasks[0]["data"] = data
        Path("export.json").write_text(json.dumps(tasks))
        return deepal("label", "import", "p", "export.json")

    assert taken({"id": 3, "text": "good night"})[0] == 0 and labels_of() == {"2": "yes"}
    status, _, err = taken({"deepal_id": "3", "text": "of another project"})
    assert status == 2 and "is no sample" in err
    status, _, err = taken({"text": "good day"})
    assert status == 2 and "is no sample" in err, "two have this text"
    assert taken({"deepal_id": "4", "text": "good day"})[0] == 0 and labels_of() == {"2": "yes", "4": "yes"}


BAD_EXPORTS = {
    "a.json": ("[", "cannot read"),
    "b.json": ('{"tasks": 1}', "not an export of Label Studio"),
    "c.json": ('[{"image": "x.png", "choice": "red", "id": 4}]', "task 4: it has no data and annotations"),
    "d.json": (json.dumps(label_studio_export([("nowhere.png", ["red"])])), "task 41: 'nowhere.png' is no sample"),
    "e.json": (json.dumps(label_studio_export([("09-red.png", ["nan"])])), "stands for a missing one"),
    "f.json": ("[]", "holds no labels"),
    "g.json": (json.dumps(label_studio_export([("09-red.png", ["red"]), ("x/09-red.png", ["blue"])])), "listed twice"),
    "h.xml": ("<annotations><image", "cannot be read as XML"),
    "o.xml": ("<?xml version='1.0' encoding='utf-x'?><annotations/>", "cannot be read as XML"),
    "i.xml": ("<other/>", "lists no images"),
    "j.xml": ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "entities"),
    "k.xml": ('<annotations><image name="09-red.png"><tag label="red"/><tag label="blue"/></image></annotations>',
              "tags of several classes"),
    "l.zip": ("PK", "cannot be read as .zip"),
    "m.csv": ("id,label\n", "deepal label submit p m.csv"),
    "p.json": (json.dumps(label_studio_export([("http://[host/09.png", ["red"])])), "is no sample"),
    "n.xml": ('<annotations><image name="09-red.png"/></annotations>', "holds no labels"),
}  # fmt: skip


@pytest.mark.parametrize("file", BAD_EXPORTS)
def test_bad_exports_take_nothing(deepal, colors, file):
    content, expected = BAD_EXPORTS[file]
    Path(file).write_text(content)
    before = Path("p/journal.jsonl").read_bytes()
    status, _, err = deepal("label", "import", "p", file)
    assert status == 2 and expected in err and err.count("\n") == 1, err
    assert Path("p/journal.jsonl").read_bytes() == before


CVAT_EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <job>
      <id>7</id><size>3</size><mode>annotation</mode><overlap>0</overlap><bugtracker></bugtracker>
      <created>2026-01-05 10:02:11.115911+00:00</created><updated>2026-01-05 10:07:42.531107+00:00</updated>
      <subset>default</subset><start_frame>0</start_frame><stop_frame>2</stop_frame><frame_filter></frame_filter>
      <segments><segment><id>7</id><start>0</start><stop>2</stop><url>http://localhost:8080/api/jobs/7</url></segment>
      </segments>
      <owner><username>admin</username><email></email></owner><assignee></assignee>
      <labels>
        <label><name>red</name><color>#f02020</color><type>any</type><attributes></attributes></label>
        <label><name>blue</name><color>#2020f0</color><type>tag</type><attributes></attributes></label>
      </labels>
    </job>
    <dumped>2026-01-05 10:08:01.733210+00:00</dumped>
  </meta>
  <image id="0" name="day 1/09-red.png" width="8" height="8">
    <tag label="red" source="manual">
    </tag>
  </image>
  <image id="1" name="11-blue.png" width="8" height="8">
    <tag label="blue" source="manual">
    </tag>
    <box label="red" source="manual" occluded="0" xtl="1" ytl="1" xbr="3" ybr="3" z_order="0">
    </box>
  </image>
  <image id="2" name="12-red.png" width="8" height="8">
  </image>
</annotations>
"""


@pytest.mark.parametrize("form", ["xml", "zip", "folders"])
def test_cvat_export_is_read(deepal, colors, form):
    file = "export.xml" if form == "xml" else "export.zip"
    if form == "xml":
        Path(file).write_text(CVAT_EXPORT)
    else:
        with zipfile.ZipFile(file, "w") as archive:
            if form == "zip":
                archive.writestr("annotations.xml", CVAT_EXPORT)
            else:
                for name in ("red/09-red.png", "blue/blue_11-blue.png", "no_label/12-red.png"):
                    archive.writestr(name, b"")
    status, out, err = deepal("label", "import", "p", file)
    assert status == 0 and "2 new" in out, err
    found = {name.rpartition("/")[2]: label for name, label in labels_of().items() if name not in colors}
    assert found == {"09-red.png": "red", "11-blue.png": "blue"}


def test_cvat_annotations(deepal, colors):
    for file in ("out.zip", "out.xml"):
        assert deepal("label", "export", "p", "--out", file, "--predictions")[0] == 0
        assert deepal("label", "export", "p", "--out", file)[0] == 0, "its own file is replaced"
    root = ElementTree.parse("out.xml").getroot()
    assert root.findtext("version") == "1.1" and len(root.findall("meta/task/labels/label")) == 3
    images = {image.get("name"): image for image in root.findall("image")}
    assert len(images) == 24 and {image.get("width") for image in images.values()} == {"8"}
    tags = {name: [tag.get("label") for tag in image.findall("tag")] for name, image in images.items()}
    assert {name: found for name, found in tags.items() if found} == {name: [color_of(name)] for name in colors}
    with zipfile.ZipFile("out.zip") as archive:
        assert archive.namelist() == ["annotations.xml"]
    status, out, _ = deepal("label", "import", "p", "out.zip")
    assert status == 0 and "9 known already" in out


def test_a_models_labels_are_not_imported(deepal, colors):
    for file in ("out.xml", "out.json"):
        assert deepal("label", "export", "p", "--out", file, "--predictions")[0] == 0
        status, out, err = deepal("label", "import", "p", file)
        assert status == 0 and "0 new, 9 known already" in out, err
        assert ("tags of 15 images are a model's" in err) == (file == "out.xml")


def test_a_models_labels_are_submitted_only_once_checked(deepal, colors):
    assert deepal("label", "export", "p", "--out", "all.csv", "--predictions")[0] == 0
    status, _, err = deepal("label", "submit", "p", "all.csv")
    assert status == 2 and "15 labels of a model" in err and err.count("\n") == 1 and len(labels_of()) == 9
    Path("all.csv").write_text(Path("all.csv").read_text().replace(",model,", ",person,"))
    assert deepal("label", "submit", "p", "all.csv")[0] == 0 and len(labels_of()) == 24


def test_file_that_is_no_image_any_more(deepal, colors):
    path = next(Path("data").rglob("*.png"))
    path.write_bytes(b"x" * path.stat().st_size)
    status, _, err = deepal("label", "export", "p", "--out", "out.xml")
    assert status == 2 and "not an image that can be read" in err and err.count("\n") == 1


def test_formats_that_need_files(deepal, project):
    label_batch(deepal)
    for form, expected in (("folder", "image files"), ("cvat", "image files"), ("label-studio", "shows no arrays")):
        status, _, err = deepal("label", "export", "p", "--out", "x", "--format", form)
        assert status == 2 and expected in err and not Path("x").exists()


def test_export_before_there_is_anything(deepal, project):
    for options in ([], ["--predictions"]):
        status, _, err = deepal("label", "export", "p", "--out", "a.csv", *options)
        assert status == 2 and ("has no labels yet" in err or "two classes" in err) and not Path("a.csv").exists()


def test_added_images(deepal, colors):
    Image.new("RGB", (8, 8), COLORS["red"]).save("data/unlabeled/later-red.png")
    Path("more").mkdir()
    Image.new("RGB", (8, 8), COLORS["blue"]).save("more/other-blue.png")
    status, out, err = deepal("label", "add", "p", "data")
    assert status == 0 and "1 sample added; 25 in all" in out, err
    assert deepal("label", "add", "p", "more")[0] == 0
    status, _, err = deepal("label", "add", "p", "more")
    assert status == 2 and "does not have already" in err
    Image.new("RGB", (9, 8), COLORS["blue"]).save("more/odd.png")
    status, _, err = deepal("label", "add", "p", "more")
    assert status == 2 and "9x8 pixels, but" in err
    Path("third").mkdir()
    Image.new("RGB", (8, 8)).save("third/other-blue.png")
    status, _, err = deepal("label", "add", "p", "third")
    assert status == 2 and "in the project already" in err
    write_answers("a.csv", [("other-blue.png", "blue")])
    assert deepal("label", "submit", "p", "a.csv")[0] == 0
    assert len(ids_of(ask(deepal, "-n", "16"))) == 16
    os.remove("data/unlabeled/later-red.png")
    status, _, err = deepal("label", "export", "p", "--out", "t", "--predictions")
    assert status == 2 and "1 of 1 image files" in err and "later-red.png" in err


def test_images_added_to_one_folder_again_and_again(deepal, colors):
    for number in range(3):
        Image.new("RGB", (8, 8), COLORS["red"]).save(f"data/later {number}.png")
        status, out, err = deepal("label", "add", "p", "data")
        assert status == 0 and f"1 sample added; {25 + number} in all" in out, err
    Path("data/list.csv").write_text("path\n./later 0.png\n")
    status, _, err = deepal("label", "add", "p", "data/list.csv")
    assert status == 2 and "does not have already" in err, "however the path is written"
    status, _, err = deepal("label", "init", "p", "--data", "data")
    assert status == 2 and "on these data already" in err
    os.rename("data", "moved")
    assert deepal("label", "next", "p")[0] == 2
    assert deepal("label", "init", "p", "--data", "moved")[0] == 0
    assert deepal("label", "next", "p")[0] == 0, "everything in the folder is found again"


def test_changed_images_are_noticed(deepal, colors):
    path = next(Path("data").rglob("*.png"))
    Image.new("RGB", (8, 8)).save(path)
    for command in (["next", "p"], ["export", "p", "--out", "t", "--predictions"]):
        status, _, err = deepal("label", *command)
        assert status == 2 and "were changed since" in err and path.name in err and err.count("\n") == 1


def test_added_vectors(deepal, project, vectors):
    label_batch(deepal)
    np.save("more.npy", np.load(vectors)[:5] + 1)
    np.save("wide.npy", np.zeros((5, 7), np.float32))
    status, out, err = deepal("label", "add", "p", "more.npy")
    assert status == 0 and "5 samples added; 45 in all" in out, err
    for file, expected in (("more.npy", "already"), ("wide.npy", "shape (7,)"), ("p", "already")):
        status, _, err = deepal("label", "add", "p", file)
        assert status == 2 and (expected in err or "inside" in err), err
    Path("t.txt").write_text("a text\n")
    status, _, err = deepal("label", "add", "p", "t.txt")
    assert status == 2 and "holds texts" in err
    assert len(set(ids_of(ask(deepal, "-n", "39")))) == 39


def test_review_finds_a_wrong_label_and_a_changed_one(deepal, project, vectors):
    status, _, err = deepal("label", "review", "p")
    assert status == 2 and "10 labels" in err
    names = [str(row) for row in range(30)]
    write_answers("a.csv", [(name, "a" if name == "4" else truth(name)) for name in names])
    write_answers("b.csv", [("7", "c"), ("8", "c")])
    write_answers("c.csv", [("7", "b")])
    for file in ("a.csv", "b.csv", "c.csv"):
        assert deepal("label", "submit", "p", file)[0] == 0
    for old, new in (("c", "d"), ("d", "c")):  # no different answers
        assert deepal("label", "classes", "p", "--rename", old, new)[0] == 0
    status, out, err = deepal("label", "review", "p")
    assert status == 0, err
    assert "The models agree with 9" in out and "The strongest come first" in out
    with open("p/review.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert (rows["4"]["label"], rows["4"]["suggested"], rows["4"]["reason"]) == ("a", "b", "model")
    assert rows["7"]["label"] == "b" and "changed: b (csv" in rows["7"]["reason"] and "8" not in rows
    assert "a, or b?" in Path("p/review.html").read_text()
    status, out, _ = deepal("label", "submit", "p", "p/review.csv")
    assert status == 0 and "0 new" in out, "unchanged, it changes nothing"
    text = Path("p/review.csv").read_text().replace("4,a,b,", "4,b,b,")
    Path("p/review.csv").write_text(text)
    deepal("label", "submit", "p", "p/review.csv")
    doubts, agreement = doubts_of(Project(Path("p")))
    assert labels_of()["4"] == "b" and not [doubt for doubt in doubts if doubt.reason == "model"]
    assert agreement > 0.9


def test_held_out_probabilities_do_not_see_the_label(deepal, project):
    """Whatever a sample's own label is, its probabilities stay."""
    names = [str(row) for row in range(20)]
    write_answers("a.csv", [(name, truth(name)) for name in names])
    deepal("label", "submit", "p", "a.csv")
    opened = Project(Path("p"))
    rows, labels = np.arange(20), np.arange(20) % 3
    first = held_out_probabilities(opened, rows, labels)
    assert first.argmax(axis=1).tolist() == labels.tolist()
    swapped = labels.copy()
    swapped[4] = 0
    assert held_out_probabilities(opened, rows, swapped)[4].argmax() == labels[4]
    lonely = np.where(labels == 2, 0, labels)
    lonely[0] = 2
    assert np.isnan(held_out_probabilities(opened, rows, lonely)[0]).all()


def test_contact_sheet_escapes(deepal, tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(6, dtype=np.float32), ids=np.array(["<script>", "b", "c", "d", "e", "f"]))
    deepal("label", "init", "p", "--data", "f.npz", *QUICK)
    page = contact_sheet(Project(tmp_path / "p"), [0, 1], "a<b", "c&d", {0: '"x"<'}).decode()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a&lt;b" in page and "&quot;x&quot;&lt;" in page


def test_labels_that_begin_with_an_apostrophe(deepal, project):
    """Only what a spreadsheet's prefix stands before loses it."""
    assert deepal("label", "submit", "p", write_answers("a.csv", [("1", "'t Zand"), ("2", "'=x")]))[0] == 0
    assert labels_of() == {"1": "'t Zand", "2": "=x"}
    assert deepal("label", "export", "p", "--out", "out.csv")[0] == 0
    assert deepal("label", "submit", "p", "out.csv")[1].startswith("Labels taken: 0 new, 2 known already")


def test_one_class_in_two_unicode_forms(deepal, project, tmp_path):
    """Folders' names and keyboards differ in how they write accents."""
    assert deepal("label", "submit", "p", write_answers("a.csv", [("1", "cafe\u0301"), ("2", "caf\u00e9")]))[0] == 0
    assert labels_of() == {"1": "caf\u00e9", "2": "caf\u00e9"}
    assert deepal("label", "classes", "p", "--rename", "caf\u00e9", "e\u0301")[0] == 0
    assert set(labels_of().values()) == {"\u00e9"}
    for name in ("cafe\u0301/1.png", "unlabeled/2.png"):
        (tmp_path / "d" / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "d" / name)
    assert deepal("label", "init", "q", "--data", "d", "--classes", "caf\u00e9,b", *QUICK)[0] == 0
    assert Project(Path("q")).settings.classes == ("caf\u00e9", "b")
    assert set(Project(Path("q")).state.labels.values()) == {"caf\u00e9"}


def test_a_class_of_a_project_that_has_it_decomposed(deepal, project):
    old = Project(Path("p"))
    with old.changing():
        old.add_event("answers", source="csv", answers={"3": "cafe\u0301"})
    assert deepal("label", "submit", "p", write_answers("a.csv", [("1", "cafe\u0301"), ("2", "caf\u00e9")]))[0] == 0
    assert set(labels_of().values()) == {"cafe\u0301"}
    # The name of another class makes them one, in whatever form it is written.
    assert deepal("label", "submit", "p", write_answers("b.csv", [("2", "cafe")]))[0] == 0
    assert set(labels_of().values()) == {"cafe\u0301", "cafe"}
    assert deepal("label", "classes", "p", "--rename", "cafe", "caf\u00e9")[0] == 0
    assert set(labels_of().values()) == {"cafe\u0301"}
    assert deepal("label", "classes", "p", "--rename", "caf\u00e9", "caf\u00e9")[0] == 0
    assert set(labels_of().values()) == {"caf\u00e9"}


def test_folders_are_added_to_a_project_whose_classes_are_decomposed(deepal, tmp_path):
    for name in ("d/b/1.png", "d/unlabeled/2.png", "more/cafe\u0301/3.png", "more/b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    assert deepal("label", "init", "q", "--data", "d", "--classes", "a,b", *QUICK)[0] == 0
    old = Project(Path("q"))
    with old.changing():
        old.add_event("classes", names=["cafe\u0301"])
    status, _, err = deepal("label", "add", "q", "more")
    assert status == 0, err
    project = Project(Path("q"))
    assert project.classes == ["a", "b", "cafe\u0301"]
    assert {project.state.ids[row]: label for row, label in project.state.labels.items()} == {
        "b/1.png": "b", "cafe\u0301/3.png": "cafe\u0301", "b/4.png": "b",
    }  # fmt: skip


def test_a_class_is_removed_in_any_unicode_form(deepal, project):
    changed = Project(Path("p"))
    with changed.changing():
        changed.add_event("classes", names=["cafe\u0301"])
    assert deepal("label", "classes", "p", "--remove", "caf\u00e9")[0] == 0
    assert "cafe\u0301" not in Project(Path("p")).classes


def test_spellings():
    """Case, width and punctuation make no other class; the vowels of Indic scripts, which are marks, do."""
    assert plain_name("D 1") == plain_name("\uff44\uff11") == "d1"
    assert plain_name("\u0915\u0940") != plain_name("\u0915\u093f")
    assert plain_name("\u2764\ufe0f") != plain_name("\u2600\ufe0f")


def test_predictions_without_their_confidence(deepal, colors):
    """Who removes a column in the spreadsheet hands in a model's labels all the same."""
    assert deepal("label", "export", "p", "--out", "all.csv", "--predictions")[0] == 0
    rows = [line.rsplit(",", 1)[0] for line in Path("all.csv").read_text().splitlines()]
    Path("cut.csv").write_text("\n".join(rows) + "\n")
    status, _, err = deepal("label", "submit", "p", "cut.csv")
    assert status == 2 and "15 labels of a model" in err and err.count("\n") == 1 and len(labels_of()) == 9
