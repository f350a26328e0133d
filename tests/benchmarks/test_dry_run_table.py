"""The recorded comparison of estimates has the headings that its script prints."""

import re
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_recorded_headings_are_those_of_the_script():
    script = (BENCHMARKS / "speed" / "dry_run.py").read_text(encoding="utf-8")
    (head,) = re.findall(r"^HEAD = \((.*?)^\)", script, flags=re.DOTALL | re.MULTILINE)
    printed = re.findall(r'"(.+?)"', head)
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    recorded = page.partition("## Estimates of `--dry-run`")[2].partition("\n| ")[2].splitlines()[0]
    # The table there has no column of evaluations, and one more for the pool.
    assert [*recorded.strip(" |").split(" | ")] == ["pool", *(name for name in printed if name != "evaluate s")]
