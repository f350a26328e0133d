"""Commands, exit statuses and messages, in process."""

import json
import re

import click
import pytest

from deepal_autoal.cli.help_groups import GROUPS
from deepal_autoal.cli.main import cli, main

QUICK = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--batch-size", "5",
         "--rounds", "2", "--threads", "1"]  # fmt: skip


@pytest.mark.parametrize("kind", ["strategies", "datasets", "models", "protocols", "plugins"])
def test_listings(deepal, kind):
    status, out, _ = deepal(kind, "--json")
    rows = json.loads(out)
    assert status == 0 and rows and all(row["name"] and row["summary"] for row in rows)
    status, out, _ = deepal(kind)
    assert status == 0 and all(row["name"] in out for row in rows)


def test_strategies_list_family_requirements_reference_and_origin(deepal):
    rows = {row["name"]: row for row in json.loads(deepal("strategies", "--json")[1])}
    for row in rows.values():
        assert row["family"] and row["reference"] and row["distribution"] == "deepal_autoal" and row["version"]
    assert rows["entropy"]["requires"] == ["probabilities"]


def test_help_and_version(deepal):
    status, out, _ = deepal("--help")
    assert status == 0 and all(command in out for command in cli.commands)
    status, out, _ = deepal("--version")
    assert status == 0 and out.startswith("deepal ")
    status, out, _ = deepal("run", "--help")
    assert status == 0 and "--candidates" in out


def test_every_option_says_what_it_does():
    for command in cli.commands.values():
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{command.name} {parameter.name}"


def test_run_writes_a_folder_and_shows_a_table(deepal, blob_file, tmp_path):
    status, out, err = deepal(
        "run", "--strategy", "autoal", "--candidates", "entropy,margin", "--dataset", blob_file, *QUICK
    )
    assert status == 0, err
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 1 and str(folders[0].relative_to(tmp_path)) in out
    assert "accuracy" in out and "AUBC" in out and "entropy 0." in out and "round 2/2" in err
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["command"][:2] == ["deepal", "run"] or config["command"][0] == "deepal"
    assert [candidate["name"] for candidate in config["strategy"]["candidates"]] == ["entropy", "margin"]
    status, out, _ = deepal("run", "--dataset", blob_file, "--quiet", *QUICK)
    assert status == 0 and len(out.splitlines()) == 1 and (tmp_path / out.strip() / "summary.json").exists()


def test_two_runs_on_one_day_get_two_folders(deepal, blob_file):
    outs = [deepal("run", "--dataset", blob_file, "--quiet", *QUICK)[1].strip() for _ in range(2)]
    assert outs[1] == f"{outs[0]}-2"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--strategy", "entrpy"], "Did you mean 'entropy'"),
        (["--dataset", "digts"], "Did you mean 'digits'"),
        (["--model", "cn"], "Did you mean 'cnn'"),
        (["--strategy", "entropy", "--candidates", "margin"], "takes no candidates"),
        (["--strategy", "autoal", "--candidates", "entropy,margn"], "Did you mean 'margin'"),
        (["--strategy", "vote", "-o", "oversampl=3"], "Did you mean 'oversample'"),
        (["--strategy", "vote", "-o", "oversample"], "KEY=VALUE"),
        (["--rounds", "many"], "--rounds"),
        (["--round", "3"], "--round"),
        (["--resume"], "--out"),
        (["--initial", "0"], "--initial 0"),
        (["--batch-size", "5000"], "largest|at most --rounds 0"),
        (["--rounds", "100"], "at most --rounds 69"),
        (["--device", "cuda:7"], "cuda:7"),
        (["--dataset", "./nowhere.npz"], "nowhere.npz"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--scaling", "standard"], "--scaling standard: give auto, global, feature, l2 or none"),
        (["--scaling", "l2"], "--scaling l2 is for vectors, and these samples are images"),
    ],
)
def test_wrong_use_is_status_2_and_one_line(deepal, tmp_path, arguments, message):
    status, out, err = deepal("run", *arguments)
    assert status == 2 and out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("Error: ")
    assert any(part in lines[0] for part in message.split("|"))
    assert not list(tmp_path.glob("runs/*"))  # nothing is left behind


def test_unknown_command(deepal):
    status, _, err = deepal("rnu")
    assert status == 2 and err.startswith("Error: ") and len(err.splitlines()) == 1


def test_the_scaling_is_shown_kept_and_read_from_a_file(deepal, blob_file, tmp_path):
    (tmp_path / "study.toml").write_text(f'dataset = "{blob_file}"\nscaling = "l2"\nmodel = "linear"\nepochs = 1\n')
    settings = ["--config", "study.toml", "--rounds", "1", "--min-steps", "1"]
    for number, (arguments, line) in enumerate([
        ((), "scaling l2 (as asked for)"), (("--scaling", "auto"), "scaling global (features of one kind)"),
    ]):  # fmt: skip
        status, _, err = deepal("run", *settings, *arguments, "--out", f"run{number}")
        assert status == 0 and line in err.splitlines()[:2]
    status, _, err = deepal("run", "--resume", "--out", "run1", "--scaling", "feature")
    assert status == 2 and "scaling was 'global' and is now 'feature'" in err and len(err.splitlines()) == 1
    status, _, err = deepal("run", "--dry-run", *settings, "--scaling", "standard")
    assert status == 2 and "give auto, global" in err
    status, _, err = deepal("embed", "--dataset", "digits", "--model", "cnn", "--out", "e.npz", "--scaling", "none")
    assert status == 2 and "for vectors" in err.splitlines()[-1]


def test_config_file_and_command_line_wins(deepal, blob_file, tmp_path):
    (tmp_path / "study.toml").write_text(
        f'strategy = "vote"\ncandidates = ["entropy", "margin"]\ndataset = "{blob_file}"\nmodel = "linear"\n'
        "initial = 10\nbatch-size = 5\nrounds = 3\nepochs = 2\nmin-steps = 4\nwarm-start = true\n"
        "[options]\nfinal = 'diverse'\noversample = 4\n"
    )
    status, _, err = deepal("run", "--config", "study.toml", "--rounds", "1", "--out", "run")
    assert status == 0, err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["rounds"] == 1 and config["batch_size"] == 5 and config["recipe"]["warm_start"] is True
    assert config["strategy"]["options"]["oversample"] == 4
    assert [candidate["name"] for candidate in config["strategy"]["candidates"]] == ["entropy", "margin"]
    (tmp_path / "bad.toml").write_text("stratgy = 'vote'\n")
    status, _, err = deepal("run", "--config", "bad.toml")
    assert status == 2 and "Did you mean 'strategy'" in err
    (tmp_path / "unlike.toml").write_text("xyz = 1\n")
    _, _, err = deepal("run", "--config", "unlike.toml")
    known = err.partition("Known: ")[2].partition(". It is in")[0].split(", ")
    assert {"strategy", "rounds", "quiet"} <= set(known) and not {"help", "config", "resume"} & set(known)
    assert not [name for name in known if name.startswith("_")]
    (tmp_path / "worse.toml").write_text("strategy = \n")
    assert deepal("run", "--config", "worse.toml")[0] == 2


def test_interrupt_keeps_rounds_and_names_the_resuming_command(deepal, blob_file, tmp_path, monkeypatch):
    from deepal_autoal.cli.progress import RunDisplay

    show = RunDisplay.round

    def interrupt(self, run, record):
        show(self, run, record)
        if record["round"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunDisplay, "round", interrupt)
    status, _, err = deepal("run", "--dataset", blob_file, "--out", "run", *QUICK)
    assert status == 130 and "deepal run --resume --out run" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    status, out, err = deepal("run", "--resume", "--out", "run")
    assert status == 0 and "continuing after round 1" in err and "final accuracy" in out


def test_folder_of_another_run(deepal, blob_file):
    assert deepal("run", "--dataset", blob_file, "--out", "run", *QUICK)[0] == 0
    status, _, err = deepal("run", "--dataset", blob_file, "--out", "run", *QUICK)
    assert status == 2 and "--resume" in err
    status, _, err = deepal("run", "--dataset", blob_file, "--out", "run", "--resume", *QUICK, "--seed", "5")
    assert status == 2 and "seed was 0 and is now 5" in err


def test_unexpected_errors_keep_their_traceback(blob_file, monkeypatch):
    import deepal_autoal.experiment.loop

    def fail(*arguments, **settings):
        raise ZeroDivisionError

    monkeypatch.setattr(deepal_autoal.experiment.loop, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["run", "--dataset", str(blob_file)])


def test_bare_command_shows_help_and_typos_get_suggestions(deepal):
    status, out, err = deepal()
    assert status == 0 and "Commands:" in out and err == ""
    assert "Did you mean 'strategies'" in deepal("strategy")[2]
    assert "--strategy" in deepal("run", "--stratgy", "margin")[2]


@pytest.mark.parametrize(
    "line, message",
    [("rounds = 1.5", "1.5"), ("rounds = true", "True"), ("warm-start = 3", "true or false"), ("seed = [1, 2]", "1,2"),
     ("strategy = {name = 'x'}", "single value"), ("options = 3", "table")],
)  # fmt: skip
def test_config_values_of_the_wrong_type(deepal, tmp_path, line, message):
    (tmp_path / "bad.toml").write_text(line + "\n")
    status, _, err = deepal("run", "--config", "bad.toml")
    assert status == 2 and message in err and "bad.toml" in err and len(err.splitlines()) == 1


def test_options_on_the_command_line_add_to_those_in_the_file(deepal, blob_file, tmp_path):
    (tmp_path / "study.toml").write_text('[options]\nfinal = "diverse"\noversample = 4\n')
    arguments = ["run", "--config", "study.toml", "-o", "oversample=6", "--strategy", "vote", "--dataset", blob_file]
    status, _, err = deepal(*arguments, "--out", "run", *QUICK)
    assert status == 0, err
    options = json.loads((tmp_path / "run" / "config.json").read_text())["strategy"]["options"]
    assert options["final"] == "diverse" and options["oversample"] == 6


def test_a_folder_in_use_is_left_alone(deepal, blob_file, tmp_path):
    from deepal_autoal.experiment.records import RunFolder

    with RunFolder(tmp_path / "run"):
        status, _, err = deepal("run", "--dataset", blob_file, "--out", "run", *QUICK)
        assert status == 2 and "in use" in err and (tmp_path / "run" / ".lock").exists()
    (tmp_path / "mine").mkdir()
    assert deepal("run", "--strategy", "entrpy", "--out", "mine")[0] == 2
    assert (tmp_path / "mine").exists()


def test_interrupt_before_anything_is_written_repeats_the_command(deepal, monkeypatch, tmp_path):
    import deepal_autoal.experiment.loop

    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(deepal_autoal.experiment.loop, "run", interrupt)
    status, _, err = deepal("run", "--strategy", "margin", "--out", "my run")
    assert status == 130 and "deepal run --strategy margin --out 'my run' --resume" in err


def test_a_strategy_name_creates_no_folders_elsewhere(deepal, tmp_path):
    assert deepal("run", "--strategy", "../../elsewhere/x")[0] == 2
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path.parent / "elsewhere").exists()


def test_an_error_in_a_strategy_shows_its_traceback(deepal, blob_file, monkeypatch):
    from deepal_strategies.margin import Margin

    monkeypatch.setattr(Margin, "score", lambda self, context: 1 / 0)
    status, _, err = deepal("run", "--strategy", "margin", "--dataset", blob_file, *QUICK)
    lines = err.strip().splitlines()
    assert status == 2 and "Traceback" in err
    assert lines[-1].startswith("Error: strategy 'margin' of deepal_autoal") and "ZeroDivisionError" in lines[-1]


def test_cards_explain_every_option_with_the_default_in_force(deepal):
    status, out, _ = deepal("strategies", "autoal", "badge", "coreset", "vaal", "--json")
    cards = {card["name"]: card for card in json.loads(out)}
    assert status == 0
    assert all(set(card["option_meanings"]) == set(card["options"]) for card in cards.values())
    assert cards["autoal"]["options"]["scores"] == "ranks" and cards["autoal"]["options"]["shrinkage"] == 400
    assert [name for name, value in cards["autoal"]["options"].items() if value is None] == [
        "oversample", "power", "uncertainty",
    ]  # fmt: skip
    _, out, _ = deepal("strategies", "autoal", "vaal")
    assert max(map(len, out.splitlines())) <= 80
    assert "  n_cycles=1  Halvings C; each trains a task model on half the labeled set.\n" in out
    assert "=None" not in out and "loss_module=true" in out


@pytest.mark.parametrize("command", ["run", "benchmark"])
def test_help_lists_options_by_group_in_80_columns(deepal, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = deepal(command, "--help")
    assert status == 0 and max(map(len, out.splitlines())) <= 80
    titles = [line.removesuffix(":") for line in out.splitlines() if re.fullmatch(r"[A-Z][a-z]+:", line)]
    assert titles == [*GROUPS.values(), "Other"]
    assert out.index("--dataset") < out.index("--strateg") < out.index("--rounds") < out.index("--model NAME")
    # Only the help itself belongs nowhere.
    assert [line.split()[0] for line in out.partition("Other:")[2].splitlines() if line.strip()] == ["-h,"]


def test_strategies_are_listed_in_80_columns(deepal):
    status, out, _ = deepal("strategies")
    assert status == 0 and max(map(len, out.splitlines())) <= 80
    assert "badge              hybrid       k-means++ seeding" in out
    status, out, _ = deepal("strategies", "badge")
    assert "\nuse                 A strong default for large batches" in out


def test_the_table_of_rounds_has_the_audit(deepal, blob_file):
    status, out, err = deepal(
        "run", "--dataset", blob_file, "--strategy", "random", "--audit", "0.4", "--audit-folds", "0", "--out", "run",
        *QUICK, "--rounds", "2",
    )  # fmt: skip
    assert status == 0, err
    head, _, first, second, *_ = out.splitlines()
    assert "accuracy  audit, 95% interval" in head
    interval = r"[01]\.\d{4} \([01]\.\d{4} to [01]\.\d{4}\)"
    assert re.search(r" [01]\.\d{4}  - ", first) and re.search(rf" [01]\.\d{{4}}  {interval}", second)
    assert re.search(rf"round 1/2: 15 labeled, accuracy [01]\.\d{{4}}, audit {interval}", err)


def test_a_budget_that_was_made_smaller_for_the_pool_is_said(deepal, blob_file):
    arguments = ["run", "--dataset", blob_file, "--pool-size", "60", "--epochs", "1"]
    assert "small pool: 30 labels to begin with, then 1 x 20; the usual budget does not fit" in deepal(*arguments)[2]
    fitting = (["--initial", "10", "--batch-size", "5", "--rounds", "2"], ["--initial", "10", "--batch-size", "5"])
    for given in fitting:
        status, _, err = deepal(*arguments, *given)
        assert status == 0 and "small pool" not in err
