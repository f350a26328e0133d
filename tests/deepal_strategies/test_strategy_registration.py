"""Every built-in strategy is registered, and listing them imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepal_autoal import plugin_host
from deepal_strategies.albl.strategy import ALBL
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.random_candidate import RandomCandidate
from deepal_strategies.round_robin import RoundRobin
from deepal_strategies.tailor import Tailor
from deepal_strategies.vote import Vote

FOURTEEN = {
    "entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd", "badge", "lpl", "vaal", "coreset",
    "ensvarr", "ddu", "albl",
}  # fmt: skip
OTHERS = {
    "random", "vote", "dbal", "entropy-dropout", "margin-dropout", "leastconf-dropout", "autoal", "maxherding",
    "uherding", "probcover", "typiclust", "cluster-margin", "dropquery",
    "alfamix", "bait",
    "batchbald", "epig", "galaxy", "gradnorm", "power",
    "advbim", "ceal", "deepfool", "discal", "dpp", "exploit-explore", "waal",
    "selectal", "tailor",
    "dulo", "glister", "rambo",
    "random-candidate", "refine", "round-robin", "sub-pool", "switch", "tcm",
}  # fmt: skip


def test_names():
    builtin = {entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin}
    assert builtin == FOURTEEN | OTHERS


@pytest.mark.parametrize("selector", [AutoAL, ALBL, Tailor, Vote, RandomCandidate, RoundRobin])
def test_selectors_choose_among_the_papers_seven_by_default(selector):
    assert selector.default_candidates == ("entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd")


def test_registration_imports_nothing_heavy():
    code = (
        "import sys, deepal_strategies.registration; "
        "sys.exit(bool({'torch', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
