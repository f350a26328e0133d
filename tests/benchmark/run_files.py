"""Read the files of runs and benchmarks without the code under test."""

import csv
import json


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_rounds(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def untimed(folder):
    drop = ("seconds", "query_peak_bytes")
    return [{key: value for key, value in record.items() if key not in drop} for record in read_rounds(folder)]


def read_json(path):
    return json.loads(path.read_text())


def runs_of(out):
    return sorted(str(path.parent.relative_to(out)) for path in out.glob("*/*/*/summary.json"))


def content(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
