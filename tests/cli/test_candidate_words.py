"""Candidate sets on the command line."""

import json
import subprocess
import sys

import pytest

from deepal_autoal.strategies.candidate_sets import candidate_sets

HYBRID = candidate_sets()["all-hybrid"]
QUICK = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--batch-size", "5",
         "--rounds", "1", "--threads", "1"]  # fmt: skip


def test_run_takes_sets_and_resumes_them(deepal, blob_file, tmp_path):
    command = ["run", "--strategy", "vote", "--candidates", "all-hybrid,margin", "--dataset", blob_file, *QUICK]
    assert deepal(*command, "--out", "r", "-o", "dbal.beta=3")[0] == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    described = {candidate["name"]: candidate["options"] for candidate in config["strategy"]["candidates"]}
    assert list(described) == [*HYBRID, "margin"] and described["dbal"]["beta"] == 3
    assert config["settings"]["candidates"] == {"all-hybrid": HYBRID, "margin": ["margin"]}
    for again in (command, ["run"]):
        assert deepal(*again, "--out", "r", "--resume")[0] == 0
    status, _, err = deepal("run", "--candidates", "all-diversity", "--out", "r", "--resume")
    assert status == 2 and "candidates was" in err


@pytest.mark.parametrize("command", [["run", "--strategy"], ["benchmark", "--strategies"], ["check"]])
def test_an_unknown_set_lists_the_known_ones(deepal, command):
    status, _, err = deepal(*command, "vote", "--candidates", "all-foo")
    assert status == 2 and len(err.splitlines()) == 1
    assert err.startswith("Error: there is no set of candidates 'all-foo'; choose from all, all-cheap, ")


def test_a_typo_is_reported_before_torch_is_loaded():
    code = (
        "import sys\nfrom deepal_autoal.cli.main import main\ntry:\n"
        "    main(['run', '--strategy', 'vote', '--candidates', 'all-cheap,margn'])\n"
        "except SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n" and "Did you mean 'margin'" in done.stderr


def test_benchmark_takes_candidates_of_one_selector(deepal, blob_file, tmp_path):
    strategies = "a1=vote[candidates=[entropy]],vote[candidates=all-hybrid],vote"
    status, _, err = deepal(
        "benchmark", "--strategies", strategies, "--candidates", "margin", "--datasets", blob_file, "--seeds", "1",
        "--out", "b", *QUICK,
    )  # fmt: skip
    assert status == 0, err
    names = {}
    for folder in (tmp_path / "b" / "blobs").iterdir():
        config = json.loads((folder / "seed-0" / "config.json").read_text())
        names[folder.name] = [candidate["name"] for candidate in config["strategy"]["candidates"]]
    assert names == {"a1": ["entropy"], "vote-candidates-all-hybrid": HYBRID, "vote": ["margin"]}


def test_run_takes_options_and_candidates_in_brackets(deepal, blob_file, tmp_path):
    command = ["run", "--strategy", "vote[candidates=[entropy,margin],power=3]", "--dataset", blob_file, *QUICK]
    assert deepal(*command, "--out", "r")[0] == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert [one["name"] for one in config["strategy"]["candidates"]] == ["entropy", "margin"]
    assert config["strategy"]["options"]["power"] == 3
    assert deepal(*command, "--out", "r", "--resume")[0] == 0
    for more, message in ((["-o", "power=2"], "option power is given twice"),
                          (["--candidates", "margin"], "candidates are given twice")):  # fmt: skip
        status, _, err = deepal(*command, *more, "--out", "s")
        assert status == 2 and err.startswith("Error: strategy 'vote': ") and message in err


def test_what_is_typed_replaces_the_settings_file(deepal, blob_file, tmp_path):
    (tmp_path / "s.toml").write_text('strategy = "vote[power=2,candidates=[kmeans]]"\n[options]\nscores = "picks"\n')
    command = ["run", "--config", "s.toml", "--dataset", blob_file, *QUICK]
    for number, (more, power, names) in enumerate((
        ([], 2, ["kmeans"]), (["-o", "power=3"], 3, ["kmeans"]), (["--candidates", "margin"], 2, ["margin"]),
        (["--strategy", "vote[power=4,candidates=[entropy,margin]]"], 4, ["entropy", "margin"]),
    )):  # fmt: skip
        status, _, err = deepal(*command, *more, "--out", f"r{number}")
        assert status == 0, err
        found = json.loads((tmp_path / f"r{number}" / "config.json").read_text())["strategy"]
        assert (found["options"]["power"], [one["name"] for one in found["candidates"]]) == (power, names)
        assert found["options"]["scores"] == "picks"


def test_a_plugin_cannot_have_the_name_of_a_set(deepal):
    status, _, err = deepal("new-plugin", "all-mine")
    assert status == 2 and "reserved for sets" in err
