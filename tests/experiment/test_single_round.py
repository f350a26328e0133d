"""All labels asked for at once, by --single-round."""

import pytest

from deepal_autoal import run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.records import RunFolder
from deepal_autoal.files import read_json
from deepal_autoal.report.study import read_study

ONE_QUERY = {"batch_size": 18, "rounds": 1}


def untimed(result):
    return [
        {name: value for name, value in record.items() if name not in ("seconds", "query_peak_bytes")}
        for record in result.rounds
    ]


def test_it_is_one_query_for_the_labels_of_all_rounds(tmp_path, blob_file, quick):
    result = run("margin", blob_file, out=tmp_path / "run", single_round=True, **quick)
    config = read_json(tmp_path / "run/config.json")
    assert config["single_round"] is True and (config["rounds"], config["batch_size"]) == (1, 18)
    assert len((tmp_path / "run/rounds.jsonl").read_text().splitlines()) == 2
    assert [len(record["queried"]) for record in result.rounds] == [18, 0]
    assert untimed(result) == untimed(run("margin", blob_file, **quick | ONE_QUERY))
    assert untimed(result) != untimed(run("margin", blob_file, **quick))


def test_a_strategy_sees_one_round(blob_data, quick):
    seen = []

    def watching(context):
        seen.append((context.round, context.n_rounds))
        return context.candidates.probabilities()[:, 0]

    run(watching, blob_data, single_round=True, **quick)
    assert seen == [(0, 1)]


def test_runs_without_it_record_what_they_did_before(tmp_path, blob_file, quick):
    run("random", blob_file, out=tmp_path / "run", **quick)
    config = read_json(tmp_path / "run/config.json")
    assert "single_round" not in config and "single_round" not in config["settings"]


def test_the_same_command_resumes_and_any_difference_is_refused(tmp_path, blob_file, quick):
    folder = tmp_path / "run"

    def killed(live, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_file, out=folder, single_round=True, on_round=killed, **quick)
    whole = run("margin", blob_file, single_round=True, **quick)
    assert untimed(run("margin", blob_file, out=folder, resume=True, single_round=True, **quick)) == untimed(whole)
    assert untimed(run(out=folder, resume=True)) == untimed(whole)
    with pytest.raises(RunFolderError, match="single_round was True and is now False"):
        run(out=folder, resume=True, single_round=False)
    with pytest.raises(RunFolderError, match="batch_size was 18 and is now 24"):  # more rounds are a larger batch
        run(out=folder, resume=True, rounds=4)
    run("margin", blob_file, out=tmp_path / "rounds", **quick)
    with pytest.raises(RunFolderError, match="single_round was False and is now True"):
        run(out=tmp_path / "rounds", resume=True, single_round=True)


def test_no_round_can_become_the_single_one(tmp_path, blob_file, quick):
    settings = {**quick, "rounds": 0, "single_round": True}
    assert [record["queried"] for record in run("margin", blob_file, out=tmp_path / "run", **settings).rounds] == [[]]
    with pytest.raises(RunFolderError, match="batch_size was 6 and is now 12"):
        run(out=tmp_path / "run", resume=True, rounds=2)
    assert untimed(run(out=tmp_path / "run", resume=True, rounds=1)) == untimed(
        run("margin", blob_file, **settings | {"rounds": 1})
    )


def test_commands_and_files_have_it(deepal, blob_file, tmp_path):
    (tmp_path / "once.toml").write_text("single-round = true\nrounds = 3\nbatch-size = 6\n")
    quick = ["--dataset", blob_file, "--config", "once.toml", "--model", "linear", "--initial", "12", "--epochs", "2"]
    status, _, err = deepal("run", "--out", "run", *quick)
    assert status == 0 and "single round: all 18 labels are asked for at once" in err
    assert read_json(tmp_path / "run/config.json")["single_round"] is True
    status, out, _ = deepal("run", "--dry-run", *quick)
    assert status == 0 and "12 + 1 x 18 labels, all asked for at once;" in out


def test_a_protocol_is_asked_at_once(image_data, tmp_path):
    settings = {"protocol": "deepal+/mnist", "model": "linear", "initial": 10, "epochs": 1, "threads": 1}
    result = run("random", image_data, rounds=3, batch_size=5, single_round=True, **settings)
    assert [len(record["queried"]) for record in result.rounds] == [15, 0]


def test_benchmarks(tmp_path, blob_file, quick):
    study = tmp_path / "study"
    run_benchmark("random", [blob_file], 1, study, single_round=True, **quick)
    run_benchmark("random,margin", [blob_file], 1, study, single_round=True, **quick)
    folders = sorted(study.glob("*/*/seed-0"))
    assert len(folders) == 2
    for folder in folders:
        with RunFolder(folder, resume=True) as held:
            assert [len(record["queried"]) for record in held.read_rounds()] == [18, 0]
    with pytest.raises(RunFolderError, match="single_round was True and is now False"):
        run_benchmark("random", [blob_file], 1, study, **quick | ONE_QUERY)
    # It is the same run by another name, so reports compare them.
    run("power", blob_file, out=tmp_path / "other", **quick | ONE_QUERY, options={"score": "entropy"})
    assert read_study([study, tmp_path / "other"]).strategies == ("margin", "power", "random")
