"""Scalars are read back with TensorBoard's own reader and compared with the run's records."""

import logging

import pytest

from deepal_autoal import InputError, run
from deepal_events.tensorboard import scalars

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    reader = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return reader


def test_every_number_of_the_record_is_written(blob_data, quick, tmp_path):
    options = {"tensorboard": True}
    result = run("vote", blob_data, candidates=["entropy", "kmeans"], out=tmp_path / "run", plugin_options=options,
                 **quick)  # fmt: skip
    reader = read(tmp_path / "run")
    accuracy = reader.Scalars("accuracy")
    assert [event.step for event in accuracy] == [record["n_labeled"] for record in result.rounds]
    assert [event.value for event in accuracy] == pytest.approx([record["accuracy"] for record in result.rounds])
    assert [event.value for event in reader.Scalars("strategy/weights/kmeans")] == pytest.approx(
        [0.5] * quick["rounds"]
    )
    assert {"seconds/train", "seconds/query", "query_peak_bytes"} <= set(reader.Tags()["scalars"])
    assert "queried" not in reader.Tags()["scalars"]


def test_off_by_default(blob_data, quick, tmp_path):
    run("random", blob_data, out=tmp_path / "run", **quick)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_resumed_run_has_every_round_once(blob_file, quick, tmp_path):
    def kill(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("random", blob_file, out=tmp_path / "run", on_round=kill, plugin_options={"tensorboard": True}, **quick)
    result = run(out=tmp_path / "run", resume=True)
    steps = [event.step for event in read(tmp_path / "run").Scalars("accuracy")]
    assert steps == [record["n_labeled"] for record in result.rounds]


def test_a_missing_package_is_reported_before_training(blob_data, quick, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        run("random", blob_data, out=tmp_path / "run", plugin_options={"tensorboard": True}, **quick)
    assert not (tmp_path / "run").exists()


def test_a_missing_run_folder_is_reported_and_the_run_continues(blob_data, quick, caplog):
    with caplog.at_level(logging.WARNING):
        result = run("random", blob_data, plugin_options={"tensorboard": True}, **quick)
    assert len(result.rounds) == quick["rounds"] + 1 and "give the run one (out=...)" in caplog.text


def test_nested_numbers_only():
    values = {"a": 1, "b": {"c": 2.5, "d": "text", "e": {"f": 3}}, "g": [1, 2], "h": None, "i": True}
    assert dict(scalars(values)) == {"a": 1.0, "b/c": 2.5, "b/e/f": 3.0}
