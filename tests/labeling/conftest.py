import csv

import numpy as np
import pytest

from deepal_autoal.labeling.project import Project
from tests.conftest import blobs

QUICK = ["--strategy", "margin", "--model", "linear", "--batch-size", "6", "--audit", "0"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vectors(tmp_path):
    """A file of 40 vectors of three classes; row r is of class r % 3."""
    path = tmp_path / "vectors.npy"
    np.save(path, blobs(40)[0])
    return path


@pytest.fixture
def project(deepal, vectors):
    """A new project about `vectors`, in the folder p."""
    status, _, err = deepal("label", "init", "p", "--data", vectors, *QUICK)
    assert status == 0, err
    return Project(vectors.parent / "p")


def truth(name):
    """Return the class of a sample of `vectors`."""
    return "abc"[int(name) % 3]


def write_answers(path, answers):
    """Write a file of answers: pairs of id and label."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *answers])
    return path


def ids_of(path):
    with open(path, newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


def ask(deepal, *options):
    """Return the file of the next batch of project p."""
    status, out, err = deepal("label", "next", "p", *options)
    assert status == 0, err
    return out.strip()


def label_batch(deepal, *options):
    """Ask for a batch of project p, label it truthfully, submit it, and return its ids."""
    path = ask(deepal, *options)
    names = ids_of(path)
    write_answers(path, [(name, truth(name)) for name in names])
    status, _, err = deepal("label", "submit", "p", path)
    assert status == 0, err
    return names
