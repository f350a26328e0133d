"""Every built-in strategy is registered, and listing them imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

from deepal_autoal import plugin_host
from deepal_strategies.autoal.strategy import AutoAL

FOURTEEN = {
    "entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd", "badge", "lpl", "vaal", "coreset",
    "ensvarr", "ddu", "albl",
}  # fmt: skip
OTHERS = {"random", "vote", "dbal", "entropy-dropout", "margin-dropout", "leastconf-dropout", "autoal"}


def test_names():
    builtin = {entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin}
    assert builtin == FOURTEEN | OTHERS


def test_autoal_searches_the_papers_seven_by_default():
    assert set(AutoAL.default_candidates) == {
        "entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd"
    }  # fmt: skip


def test_registration_imports_nothing_heavy():
    code = (
        "import sys, deepal_strategies.registration; "
        "sys.exit(bool({'torch', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
