"""Damaged and odd runs and tables: `deepal report` ends with a report or with one line that says what is wrong.

Bounded and seeded (see `tests.fuzzing`).
"""

import itertools
import json
import os
import random
import re
import shutil

import pytest

from tests.fuzzing import case_numbers, needs_alarm, no_hang, seconds_to_try
from tests.report.made_up_studies import write_run, write_study

SECONDS = seconds_to_try(5)

TEXTS = (
    "", " ", "\x00", "\x1b[2J", "\u202e", "\ud800", "=1+1", "a/b", "../..", "<b>&", "x" * 5000, "ä" * 200, "$\\frac{",
    "\n", "nan",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2.5, 1e308, -1e308, 10**400, 10**19, float("nan"), float("inf"), True, 101, 1e-320)
VALUES = (*TEXTS, *NUMBERS, None, [], {}, [[]], {"": None}, [None], {"a": {"b": []}})
CELLS = (
    *TEXTS[:5],
    *TEXTS[6:],
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "1" * 5000,
    "0x10",
    "1_0",
    "٣",
    "0.5\x00",
    "x" * 140_000,
)
FORMATS = ("csv", "csv", "markdown", "markdown", "latex", "html")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A benchmark with its table, a folder of runs, and a table alone."""
    place = tmp_path_factory.mktemp("sound")
    write_study(place / "study", {"random": 0.0, "picker": 0.05}, datasets=["d"], seeds=range(2), rounds=2)
    for seed in range(2):
        write_run(place / "runs" / f"random-{seed}", [0.5, 0.6, 0.7], seed=seed)
    head = "dataset,strategy,seed,round,n_labeled,accuracy,train_s,query_s"
    rows = [
        f"d,{strategy},{seed},{number},{10 * (number + 1)},{0.5 + 0.1 * number},1.0,0.5"
        for strategy, seed, number in itertools.product(("random", "good"), range(2), range(3))
    ]
    (place / "table").mkdir()
    (place / "table" / "results.csv").write_text("\n".join([head, *rows, ""]))
    return place


def damage(place, rng):
    """Damage a file or folder in one of many ways."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    if not files:
        return
    path = rng.choice(files)
    ways = [flip, cut, empty, drop, replace_by_something_else, repeat]
    ways += [change_cell] * 6 if path.suffix == ".csv" else [change_value] * 6
    rng.choice(ways)(path, rng)


def flip(path, rng):
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 5, 50))):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size + 1)])


def empty(path, rng):
    path.write_bytes(rng.choice((b"", b"\n", b"\xef\xbb\xbf", b"\x00" * 99, b"[" * 100_000, b'{"a":' * 100_000)))


def drop(path, rng):
    if rng.random() < 0.5:
        path.unlink()
    else:
        shutil.rmtree(path.parent)


def replace_by_something_else(path, rng):
    path.unlink()
    kind = rng.randrange(4)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(rng.choice((path, path.parent, path.parent / "nowhere")))
    elif kind == 2 and hasattr(os, "mkfifo"):
        os.mkfifo(path)
    else:
        shutil.move(
            path.parent, path.parent.with_name(rng.choice(("seed-00", "seed-x", "seed-" + "9" * 100, "-", "\udcff")))
        )


def repeat(path, rng):
    path.write_bytes(path.read_bytes() * 2)


def change_cell(path, rng):
    lines = [line.split(",") for line in path.read_text(errors="replace").split("\n")]
    line = rng.choice(lines)
    line[rng.randrange(len(line))] = rng.choice(CELLS)
    if rng.random() < 0.2:
        line.append(rng.choice(CELLS))
    path.write_text("\n".join(map(",".join, lines)), errors="replace")


def change_value(path, rng):
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (ValueError, RecursionError):
        return flip(path, rng)
    part = rng.choice(lines) if lines else None
    while isinstance(part, dict | list) and part:
        key = rng.choice(sorted(part)) if isinstance(part, dict) else rng.randrange(len(part))
        if isinstance(part[key], dict | list) and part[key] and rng.random() < 0.8:
            part = part[key]
            continue
        if rng.random() < 0.2:
            del part[key]
        else:
            part[key] = rng.choice(VALUES)
        break
    path.write_text("\n".join(map(json.dumps, lines)))


@needs_alarm
def test_damaged_runs_and_tables(deepal, sound, tmp_path):
    for number in case_numbers(SECONDS):
        rng = random.Random(number)
        place = tmp_path / str(number) / "runs"
        shutil.copytree(sound / rng.choice(("study", "runs", "table")), place)
        for _ in range(rng.choice((1, 1, 2, 4))):
            damage(place, rng)
        target = rng.choice([place, place, *sorted(place.rglob("*"))[:20]])
        form = rng.choice(FORMATS)
        more = ("--out", tmp_path / "page.html") if form == "html" else ()
        try:
            with no_hang(number):
                status, out, err = deepal("report", target, "--format", form, *more)
        except Exception as error:
            raise AssertionError(f"case {number}: a traceback instead of a line") from error
        errors = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert (status, len(errors)) in ((0, 0), (2, 1)), f"case {number}: {status} {err}"
        assert "Traceback" not in err and "Warning" not in err, f"case {number}: {err}"
        assert status or out.strip(), f"case {number}: silence"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err), f"case {number}: {out}{err}"
        assert status or not re.search(r"\b(nan|inf)\b", out), f"case {number}: {out}"
        shutil.rmtree(place.parent)
