"""Damaged files of runs, learners, models and caches: right results or one clear error, never others.

The random damage is bounded and seeded (see `tests.fuzzing`).
"""

import json
import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import ActiveLearner, load_dataset, load_model, run
from deepal_autoal.errors import DeepALError
from deepal_autoal.experiment.results import read_results
from tests.fuzzing import case_numbers, needs_alarm, no_hang, seconds_to_try

SECONDS = seconds_to_try(10)


def stop_after_round_1(active, record):
    if record["round"] == 1:
        raise KeyboardInterrupt


def untimed(records):
    return [{k: v for k, v in record.items() if k not in ("seconds", "query_peak_bytes")} for record in records]


def result_of(action, case=""):
    """Return what an action gives, or None if it ends in one clear error."""
    try:
        with no_hang(case):
            return action()
    except DeepALError as error:
        assert str(error).strip() and "\n" not in str(error), f"not one line: {error}"
        return None


def damage(folder, rng, foreign):
    """Damage a file of a folder at random, and return what was done."""
    files = sorted(path for path in folder.iterdir() if path.name != ".lock" and path.is_file())
    path = files[rng.integers(len(files))]
    content = bytearray(path.read_bytes())
    position = int(rng.integers(len(content)))
    kind = ["bit", "bits", "bytes", "cut", "longer", "empty", "twice", "deleted", "other", "foreign"][rng.integers(10)]
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else 3):
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    elif kind == "bytes":
        content[position : position + 8] = rng.bytes(8)
    elif kind == "cut":
        del content[position:]
    elif kind == "longer":
        content += rng.bytes(20)
    elif kind == "empty":
        content.clear()
    elif kind == "twice":
        content *= 2
    elif kind == "deleted":
        path.unlink()
        return f"{path.name}: deleted"
    elif kind == "other":
        content = files[rng.integers(len(files))].read_bytes()
    elif (foreign / path.name).exists():
        content = (foreign / path.name).read_bytes()
    path.write_bytes(content)
    return f"{path.name}: {kind}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a finished and an unfinished run, those of another seed, a learner, and images."""
    place = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    x += y[:, np.newaxis]
    np.savez(place / "data.npz", x=x[:40], y=y[:40], x_test=x[40:], y_test=y[40:])
    settings = {"epochs": 2, "recipe": {"min_steps": 4}, "model": "linear", "initial": 6, "batch_size": 3,
                "rounds": 3, "threads": 1, "dataset": place / "data.npz"}  # fmt: skip
    run("margin", out=place / "finished", **settings)
    run("entropy", out=place / "finished-other", **settings, seed=1)
    for name, strategy, seed in (("begun", "margin", 0), ("begun-other", "entropy", 1)):
        with pytest.raises(KeyboardInterrupt):
            run(strategy, out=place / name, on_round=stop_after_round_1, **settings, seed=seed)
    learner = ActiveLearner(x, "margin", 3, model="linear", recipe={"epochs": 2, "min_steps": 4}, device="cpu")
    learner.tell(np.arange(9), y[:9])
    learner.ask(4)
    (place / "learner").mkdir()
    learner.save(place / "learner/learner.pt")
    for number in range(12):
        image = place / "images" / "ab"[number % 2] / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 5), dtype=np.uint8)).save(image)
    return place


def read_run(folder):
    (found,) = read_results(folder).runs
    return found.dataset, found.strategy, found.seed, found.n_labeled, found.accuracy


def finish(folder, **settings):
    result = run(out=folder, resume=True, **settings)
    assert untimed(result.rounds) == untimed(map(json.loads, (folder / "rounds.jsonl").read_text().splitlines()))
    return untimed(result.rounds)


def finish_longer(folder):
    return finish(folder, rounds=4)


def predict(folder):
    return load_model(folder, device="cpu").predict_proba(np.ones((2, 4), np.float32)).tolist()


def continue_learner(folder):
    x = np.load(folder.parent / "data.npz")
    pool = np.concatenate([x["x"], x["x_test"]])
    learner = ActiveLearner.load(folder / "learner.pt", pool, device="cpu")
    return learner.ask(4).tolist(), learner.predict_proba(pool[:3]).tolist()


# What is read back: the folder of it, and how.
READINGS = [
    ("finished", finish), ("finished", finish_longer), ("finished", predict), ("finished", read_run),
    ("begun", finish), ("begun", finish_longer), ("learner", continue_learner),
]  # fmt: skip


@needs_alarm
@pytest.mark.parametrize(("name", "reading"), READINGS, ids=[f"{name}-{act.__name__}" for name, act in READINGS])
def test_random_damage(made, tmp_path, name, reading):
    """Each case depends on its number alone."""
    copy = made / "copy"

    def renew():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made / name, copy)

    renew()
    expected = reading(copy)
    n_tried, n_refused = 0, 0
    for number in case_numbers(SECONDS / len(READINGS)):
        renew()
        done = damage(copy, np.random.default_rng([number, len(name)]), made / f"{name}-other")
        try:
            found = result_of(lambda: reading(copy), number)
        except Exception as error:
            raise AssertionError(f"case {number}, {done}: {error!r}") from error
        assert found is None or found == expected, f"case {number}, {done}: other results"
        n_tried, n_refused = n_tried + 1, n_refused + (found is None)
    if n_tried > 40:
        assert 0 < n_refused < n_tried  # it tests something
    shutil.rmtree(copy)


def test_random_damage_of_a_cache(made, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    data = load_dataset(str(made / "images"))
    expected = data.x_train.copy(), data.fingerprint  # the map itself would end with the file's end
    (file,) = (tmp_path / "cache").glob("*.npy")
    whole = file.read_bytes()
    for number in range(40):
        done = damage(tmp_path / "cache", np.random.default_rng(number), tmp_path)
        data = load_dataset(str(made / "images"))
        assert data.fingerprint == expected[1], f"case {number}, {done}"
        np.testing.assert_array_equal(data.x_train, expected[0])
        assert file.read_bytes() == whole
        for lock in (tmp_path / "cache").glob("*.lock"):
            lock.unlink()


def copy_of(made, name, tmp_path):
    shutil.copytree(made / name, tmp_path / name)
    return tmp_path / name


def test_an_edited_record_of_a_finished_run_is_noticed(made, tmp_path):
    folder = copy_of(made, "finished", tmp_path)
    text = (folder / "rounds.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    records[1]["accuracy"] = 0.999
    for content in ("\n".join(map(json.dumps, records)) + "\n", "", "\n".join(text.splitlines()[:2]) + "\n"):
        (folder / "rounds.jsonl").write_text(content)
        for reading in (finish, read_run):
            with pytest.raises(DeepALError, match=r"rounds.jsonl is damaged or was edited|holds no rounds"):
                reading(folder)


def test_edited_settings_and_records_of_an_unfinished_run_are_noticed(made, tmp_path):
    folder = copy_of(made, "begun", tmp_path)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DeepALError, match=r"config.json is damaged or was edited"):
        finish(folder)
    (folder / "config.json").write_text(config)
    rounds = (folder / "rounds.jsonl").read_text()
    (folder / "rounds.jsonl").write_text(rounds.replace('"accuracy": 0', '"accuracy": 1'))
    with pytest.raises(DeepALError, match=r"rounds.jsonl is damaged or was edited: it does not match the saved state"):
        finish(folder)
    (folder / "rounds.jsonl").unlink()
    with pytest.raises(DeepALError, match=r"rounds.jsonl lacks the rounds before the saved state"):
        finish(folder)


def test_a_lost_model_is_made_again_before_the_run_ends(made, tmp_path):
    """As if the process had died before the summary."""
    folder = copy_of(made, "begun", tmp_path)
    expected = finish(copy_of(made, "finished", tmp_path))

    def stop_after_the_last(active, record):
        if record["round"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out=folder, resume=True, on_round=stop_after_the_last)
    whole = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(whole[:-50] + bytes(50))
    assert finish(folder) == expected
    assert predict(folder) == predict(tmp_path / "finished")


def without_checksums(folder):
    """Turn a run folder into one of a version that wrote none."""
    for name in ("config.json", "summary.json"):
        if (folder / name).exists():
            content = json.loads((folder / name).read_text())
            (folder / name).write_text(
                json.dumps({key: value for key, value in content.items() if key not in ("checksum", "checksums")})
            )
    (folder / "queried.csv").unlink()


def test_files_of_earlier_versions_are_read(made, tmp_path):
    from deepal_autoal.files import read_tensors, write_tensors

    finished, begun = copy_of(made, "finished", tmp_path), copy_of(made, "begun", tmp_path)
    expected = finish(finished), predict(finished), read_run(finished)
    for folder in (finished, begun):
        without_checksums(folder)
    state = read_tensors(begun / "state-00001.pt")
    write_tensors(begun / "state-00001.pt", {key: state[key] for key in ("learner", "stop_reason")})
    assert (finish(finished), predict(finished), read_run(finished)) == expected
    with pytest.raises(DeepALError, match="begun by an earlier version"):
        finish_longer(begun)
    assert finish(begun) == expected[0]
    # Without checksums, a summary still has to fit its records.
    text = (finished / "rounds.jsonl").read_text()
    (finished / "rounds.jsonl").write_text("".join(text.splitlines(keepends=True)[:-1]))
    with pytest.raises(DeepALError, match=r"does not match summary.json"):
        read_run(finished)


@pytest.mark.parametrize("name", ["finished", "begun"])
def test_what_a_newer_version_wrote_is_refused(made, tmp_path, name):
    folder = copy_of(made, name, tmp_path)
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if k != "checksum"}
    readings = [finish, predict, read_run] if name == "finished" else [finish]
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    for reading in readings:
        with pytest.raises(DeepALError, match=r"written by a newer version of deepal_autoal.*update deepal_autoal"):
            reading(folder)
    settings = {**config["settings"], "of_the_future": 3}
    (folder / "config.json").write_text(json.dumps({**config, "settings": settings}))
    with pytest.raises(DeepALError, match=r"does not know \('of_the_future'\): it was written by a newer version"):
        finish(folder)
    (folder / "config.json").write_text(json.dumps({**config, "recipe": {**config["recipe"], "of_the_future": 3}}))
    with pytest.raises(DeepALError, match=r"does not know \('of_the_future'\): it was written by a newer version"):
        finish(folder)


@pytest.mark.parametrize("depth", [150, 300, 900, 100_000])
@pytest.mark.parametrize("file", ["config.json", "rounds.jsonl", "summary.json"])
def test_deep_nesting_is_one_clear_error(made, tmp_path, file, depth):
    folder = copy_of(made, "finished", tmp_path)
    text = (folder / file).read_text()
    inside = '{"x": ' + '{"a":' * depth + "1" + "}" * depth + ", "
    for content in ("[" * depth, "[" * depth + "]" * depth + "\n", text.replace("{", inside, 1)):
        (folder / file).write_text(content)
        for reading in (finish, read_run):
            assert result_of(lambda reading=reading: reading(folder)) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("file", ["config.json", "rounds.jsonl", "summary.json", "model.pt", "state-00002.pt"])
def test_a_pipe_is_not_waited_for(made, tmp_path, file):
    folder = copy_of(made, "finished", tmp_path)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    readings = {"model.pt": [predict], "state-00002.pt": [finish_longer]}.get(file, [finish, read_run])
    for reading in readings:
        with pytest.raises(DeepALError, match="it is a pipe or a socket, not a file"), no_hang("pipe"):
            reading(folder)


def test_files_that_cannot_be_deleted_do_no_harm(made, tmp_path, monkeypatch):
    """Except where one must go."""
    folder, other = copy_of(made, "begun", tmp_path), copy_of(made, "finished", tmp_path)
    expected = finish_longer(copy_of(made, "finished", tmp_path / "more"))
    (folder / f".rounds.jsonl.1-2{'.deepal-tmp'}").write_text("left by a kill")

    def refuse(*arguments, **more):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    assert finish_longer(folder) == expected
    with pytest.raises(DeepALError, match=r"cannot delete .*summary.json: Operation not permitted"):
        finish_longer(other)
    monkeypatch.undo()
    assert finish(other) == expected


def test_a_folder_that_becomes_read_only_is_one_clear_error(made, tmp_path, monkeypatch):
    folder = copy_of(made, "begun", tmp_path)
    expected = finish(copy_of(made, "finished", tmp_path))

    def read_only(active):
        def refuse(*arguments, **more):
            raise OSError(30, "Read-only file system")

        for name in ("deepal_autoal.files.open", "pathlib.Path.unlink", "os.replace", "os.unlink", "os.rmdir"):
            monkeypatch.setattr(name, refuse, raising=False)

    with pytest.raises(DeepALError, match=r"cannot write .*: Read-only file system; files written earlier are kept"):
        run(out=folder, resume=True, on_start=read_only)
    monkeypatch.undo()
    assert finish(folder) == expected


def test_an_older_cache_causes_no_error(made, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    expected = load_dataset(str(made / "images")).fingerprint
    (file,) = (tmp_path / "cache").glob("*.npy")
    file.write_bytes(file.read_bytes()[:-4])
    with caplog.at_level(logging.WARNING):
        assert load_dataset(str(made / "images")).fingerprint == expected
    assert "of an earlier version: it is rebuilt" in caplog.text
