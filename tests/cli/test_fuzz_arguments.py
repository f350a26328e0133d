"""Random command lines and files of settings: each ends with a documented status, and says why if it failed.

Seeded and bounded (see `tests.fuzzing`).
"""

import io
import logging
import os
import random
import shutil
import socket
from contextlib import redirect_stderr, redirect_stdout

import click
import numpy as np
import pytest

from deepal_autoal.cli.logging_setup import LOGGERS
from deepal_autoal.cli.main import cli, main
from tests.fuzzing import case_numbers, needs_alarm, no_hang, seconds_to_try

SECONDS_OF_COMMANDS, SECONDS_OF_FILES = 0.6 * seconds_to_try(12), 0.4 * seconds_to_try(12)

SHORT = ["--epochs", "1", "--min-steps", "1", "--rounds", "1", "--initial", "4", "--batch-size", "2", "--threads", "1"]
CHEAP = ["--dataset", "v.npz", "--model", "linear", *SHORT]
BASES = {
    "run": ["--strategy", "random", *CHEAP, "--quiet"],  # --dry-run of every strategy takes a minute
    "benchmark": ["--strategies", "random", *CHEAP, "--seeds", "1", "--quiet"],
    "embed": ["--dataset", "v.npz", "--model", "linear", "--out", "e.npz"],
    "query": ["--strategy", "random", "-n", "2", "--embeddings", "z.npy", "--out", "p.csv"],
    "report": ["finished", "--format", "csv"],
    "new-plugin": ["mine"],
    "strategies": [],
    "datasets": [],
    "models": [],
    "protocols": [],
    "plugins": [],
}
STATUSES = {"benchmark": {0, 1, 2}}
TEXTS = [
    "", " ", "~", "~nobody-here/x", "~/x", "..", ".", "x", "-", "--", "a,b", ",", "=", "a=b", "é", "\N{GRINNING FACE}",
    "\udcff", "\x1b[31m", "a\0b", "x" * 300, "x/" * 3000, "[" * 5000, "random[" * 500, "{" * 50, "}", "%s", "{0}",
    "nan", "none", "null", "true", "all", "all-cheap", "random", "vote", "autoal", "entropy,margin",
    "vote[oversample=5]", "vote[name=x]", "vote[candidates=[random]]", "fifo", "file", "folder", "v.npz", "finished",
    "bad.npz", "linked", "m.csv",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "-1", "1000000000", "9" * 30, "9" * 5000, "1e9", "0.5", "-0.5", "nan", "inf", "1_000", "٣", "0x10",
]  # fmt: skip
SMALL_NUMBERS = ["0", "1", "2", "-1", "x", "nan", "1e400", ""]
# A large number here is a long computation that was asked for, not a fault.
LONG = {"epochs", "min_steps"}
KEYS = ["candidates", "name", "oversample", "self", "strategy", "x.y", "", "entropy.x", "variant", "seed"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with data, a finished run, and things that are no input."""
    folder = tmp_path_factory.mktemp("fuzz")
    loggers = [(logging.getLogger(name), logging.getLogger(name).level) for name in LOGGERS]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        patch.setenv("DEEPAL_CACHE", str(folder / "cache"))
        patch.setattr(socket.socket, "connect", _offline)
        patch.setattr(socket, "getaddrinfo", _offline)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(30, 3)).astype(np.float32)
        np.savez("v.npz", x=x, y=(x[:, 0] > 0).astype(int))
        np.save("z.npy", x)
        (folder / "bad.npz").write_bytes(b"PK\3\4")
        (folder / "m.csv").write_text("path,label\nx.png,a\n")
        (folder / "file").write_text("text")
        (folder / "folder").mkdir()
        (folder / "linked").symlink_to("linked")
        if hasattr(os, "mkfifo"):
            os.mkfifo("fifo")
        with pytest.raises(SystemExit) as stopped:
            main(["run", *BASES["run"], "--out", "finished"])
        assert stopped.value.code == 0
        yield folder
    for logger, level in loggers:  # as the command line found them
        logger.handlers, logger.propagate, logger.level = [], True, level


def _offline(*arguments, **settings):
    raise OSError("no network in tests")


def check(case, arguments):
    """Run a command line and check how it ends."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with no_hang(f"{case} {arguments!r:.2000}"), redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            main(arguments)
        except SystemExit as stopped:
            status = stopped.code
        except Exception as error:
            raise AssertionError(f"case {case}: {arguments!r:.2000}") from error
    out, err = (stream.buffer.getvalue().decode(errors="replace") for stream in streams)
    shown = f"case {case}: {arguments!r:.2000}\n{out[-500:]}\n{err[-2000:]}"
    assert status in STATUSES.get(arguments[0], {0, 2}), shown
    assert "Traceback" not in out + err, shown
    errors = [line for line in err.split("\n") if line.startswith("Error: ")]
    assert len(errors) == (status == 2), shown
    assert all(len(line) > len("Error: x") and line.isprintable() for line in errors), shown
    for name in ("o", "x", "e.npz", "p.csv", "runs", "mine"):  # what a command may have written
        shutil.rmtree(name, ignore_errors=True)
        if os.path.isfile(name):
            os.unlink(name)


def value_of(rng, option):
    """Return a value for an option: half of the time of the kind it takes."""
    if option.name in LONG:
        return rng.choice(SMALL_NUMBERS)
    if option.name in ("options", "option"):
        return f"{rng.choice(KEYS)}={rng.choice(TEXTS + NUMBERS)}"
    if isinstance(option.type, click.Choice) and rng.random() < 0.5:
        return rng.choice(list(option.type.choices))
    is_number = isinstance(option.type, click.types.IntParamType | click.types.FloatParamType)
    return rng.choice(NUMBERS if is_number == (rng.random() < 0.8) else TEXTS)


def random_command(rng):
    name = rng.choice(["run", "run", "run", "benchmark", "benchmark", *BASES])
    command = cli.commands[name]
    parameters = command.get_params(click.Context(command))
    options = [found for found in parameters if isinstance(found, click.Option) and found.name != "help"]
    arguments = [name, *BASES[name]]
    for option in rng.sample(options, min(len(options), rng.randint(1, 3))):
        if option.name == "jobs":  # processes, each of which imports torch
            arguments += ["--jobs", rng.choice(["0", "-1", "x"])]
        else:
            arguments += [option.opts[-1], *([] if option.is_flag else [value_of(rng, option)])]
    if rng.random() < 0.2:
        arguments.insert(rng.randrange(1, len(arguments) + 1), rng.choice(TEXTS))
    return arguments


@needs_alarm
def test_command_lines(workplace):
    for case in case_numbers(SECONDS_OF_COMMANDS):
        check(case, random_command(random.Random(f"command {case}")))


TOML_VALUES = [
    '""', '"x"', '"a\\u0000b"', '"\\u001b[1m"', '"~/x"', '"é"', '"finished"', '"fifo"', "true", "0", "1", "-1", "nan",
    "inf", "1e400", "9" * 30, "0x" + "f" * 5000, "9" * 5000, "1979-05-27T07:32:00Z", "07:32:00", "[]", "[1, 2]",
    '["random"]', "[[1], [2]]", "[" * 3000 + "]" * 3000, "{}", "{a = 1}", "{a = {b = {c = 1}}}", "'''\nx\n'''",
    '"' + "x" * 3000 + '"', "", "[1", '"x',
]  # fmt: skip
ENCODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "latin-1"]


def random_file(rng, names):
    """Return the bytes of a file of settings."""
    given = {"dataset": '"v.npz"', "model": '"linear"', "strategy": '"random"'}
    chosen = rng.sample(names, rng.randint(1, 3))
    lines = [f"{name} = {value}" for name, value in given.items() if name not in chosen or rng.random() < 0.05]
    for name in chosen:
        written = rng.choice([name, name.replace("_", "-"), name.upper() if rng.random() < 0.1 else name])
        value = rng.choice(TOML_VALUES if name not in LONG else ["0", "1", "-1", "[1]", '"x"'])
        lines.append(f"{written} = {value}")
    if rng.random() < 0.3:
        path = ".".join(["options", *["a"] * rng.choice([0, 1, 3, 3000])])
        lines += [f"[{path}]", f"{rng.choice(['oversample', 'candidates', 'name'])} = {rng.choice(TOML_VALUES)}"]
    content = bytearray("\n".join(lines).encode(rng.choice(ENCODINGS), "replace"))
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


@needs_alarm
def test_files_of_settings(workplace):
    command = cli.commands["run"]
    names = [
        option.name for option in command.get_params(click.Context(command)) if option.name not in ("help", "config")
    ]
    for case in case_numbers(SECONDS_OF_FILES):
        content = random_file(random.Random(f"file {case}"), names)
        (workplace / "c.toml").write_bytes(content)
        arguments = ["run", "--config", "c.toml", *SHORT]  # the command line wins
        try:
            check(case, arguments)
        except BaseException:
            print(content[:2000])
            raise
