"""Compare selectors, their candidates, controls and oracles: one `deepal benchmark` for every setting.

    python benchmarks/autoal/embeddings.py --data data --out study-data
    python benchmarks/selectors/data.py --out study-data
    python benchmarks/selectors/study.py --data study-data --out study

It can be stopped at any time: the same command continues. --list only writes the settings files, and shows the
commands.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from plan import SETTINGS, Setting, contenders, oracles


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("study-data"))
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--settings", default=",".join(SETTINGS), metavar="A,B", help="default: all")
    parser.add_argument("--seeds", default="10", help="a number of seeds, or a list such as 0,1")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-oracles", action="store_true", help="they take most of the time; add them later")
    parser.add_argument(
        "--skip", default="", metavar="A,B", help="contenders to leave out; the command can add them later"
    )
    parser.add_argument("--list", action="store_true", help="only print the commands")
    options = parser.parse_args(arguments)
    names = options.settings.split(",")
    unknown = [name for name in names if name not in SETTINGS]
    if unknown:
        parser.error(f"there is no setting {unknown[0]!r}; choose from {', '.join(SETTINGS)}")
    skipped = [label.strip() for label in options.skip.split(",") if label.strip()]
    known = {label for name in names for label in contenders(SETTINGS[name])}
    for label in skipped:
        if label not in known:
            parser.error(f"these settings have no contender {label!r}; choose from {', '.join(sorted(known))}")
    options.out.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in names:
        path = options.out / f"{name}.toml"
        path.write_text(
            settings_file(name, SETTINGS[name], options.data, not options.no_oracles, skipped), encoding="utf-8"
        )
        line = ["benchmark", "--config", str(path), "--seeds", options.seeds, "--jobs", str(options.jobs)]
        line += ["--out", str(options.out / name)]
        print("deepal", shlex.join(line), flush=True)
        if not options.list:
            failed |= subprocess.run([sys.executable, "-m", "deepal_autoal", *line]).returncode != 0
    if failed:
        sys.exit(1)


def settings_file(name: str, setting: Setting, data: Path, has_oracles: bool, skipped: Sequence[str] = ()) -> str:
    """Return the benchmark's settings as TOML."""
    found = {label: text for label, text in contenders(setting).items() if label not in skipped}
    # Without a pool size, the oracles' part of the data is left out of all pools, so they take part from the start.
    has_oracles |= setting.pool_size is None
    values = {
        "datasets": str(data / f"{setting.dataset}.npz"), "model": "linear", "initial": setting.initial,
        "batch-size": setting.batch_size, "rounds": setting.rounds,
        **({} if setting.pool_size is None else {"pool-size": setting.pool_size}), **setting.changes,
        **({"oracle": oracles()} if has_oracles else {}),
    }  # fmt: skip
    lines = [f"# {name}, by benchmarks/selectors/study.py", *(f"{key} = {json.dumps(values[key])}" for key in values)]
    lines += ["", "[strategies]", *(f"{label} = {json.dumps(text)}" for label, text in found.items())]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
