"""The figures of labeling: what is measured, without measuring."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def measure(labeling_study):
    return labeling_study.measure


def test_photos_of_mixed_sizes(measure, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (32, 32)).save(tmp_path / "images" / name / f"{number}.png")
    truth = measure.write_photos(tmp_path / "images", tmp_path / "photos", 40)
    files = list((tmp_path / "photos").iterdir())
    assert {file.name for file in files} == set(truth) and sorted(truth.values()) == ["cat"] * 20 + ["dog"] * 20
    sizes = {Image.open(file).size for file in files}
    assert (32, 32) in sizes and len(sizes) > 5


def test_vectors_have_classes_to_learn(measure, tmp_path):
    truth = measure.write_vectors(tmp_path / "v.npz", 500)
    x = np.load(tmp_path / "v.npz")["x"]
    assert x.shape == (500, measure.DIMENSIONS) and len(truth) == 500
    labels, names = np.array([truth[str(row)] for row in range(500)]), np.array(sorted(set(truth.values())))
    means = np.array([x[:250][labels[:250] == name].mean(0) for name in names])
    nearest = np.argmin(((x[250:, None] - means) ** 2).sum(2), axis=1)
    assert len(names) == 10 and 0.5 < (names[nearest] == labels[250:]).mean() < 1


def test_a_command_is_measured_and_the_least_is_kept(measure, tmp_path):
    output, seconds = measure.deepal("--version", folder=tmp_path)
    assert "deepal" in output and seconds.cpu > 0 and seconds.wall > 0
    with pytest.raises(SystemExit, match="exit status 2"):
        measure.deepal("label", "status", "none", folder=tmp_path)
    one, other = measure.Seconds(3.0, 1.0), measure.Seconds(2.0, 4.0)
    (row,) = measure.least_of("start", "photos", ["init"], [[one], [other]])
    assert (row["repeats"], row["wall_s"], row["cpu_s"]) == (2, "2.000", "1.000")


def test_a_batch_is_filled_in(measure, tmp_path):
    path = tmp_path / "1.csv"
    path.write_text("id,label\n7,\n8,\n")
    measure.fill_in(path, {"7": "a", "8": "b"})
    assert path.read_text().split() == ["id,label", "7,a", "8,b"]
