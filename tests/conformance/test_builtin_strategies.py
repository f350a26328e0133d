"""Every built-in strategy keeps the contract."""

import pytest

from deepal_autoal import plugin_host
from deepal_autoal.testing import check_strategy

pytestmark = pytest.mark.slow

BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
# Fewer steps and models of their own, and one candidate of a family: what the kit checks does not depend on how many.
BUDGETS = {
    "vaal": {"epochs": 1, "width": 4},
    "autoal": {"candidates": ["entropy", "kmeans", "bald"], "steps": 20, "warmup_steps": 5},
    "ensvarr": {"n_members": 2},
    "batchbald": {"n_passes": 10, "n_configurations": 100},
    "epig": {"n_passes": 10},
    "discal": {"mini_queries": 2, "steps": 20},
    "rambo": {"pairs": 1, "chunks": 1, "interpolated": 4, "epochs": 2, "steps": 2},
    "dulo": {"pairs": 1, "steps": 20},
    "selectal": {"folds": 2, "repeats": 1},
    "exploit-explore": {"steps": 20},
    "refine": {"candidates": ["margin", "badge"], "last": "typiclust", "depth": 2, "batches": 4},
}


@pytest.mark.parametrize("name", BUILTIN)
def test_conformance(name):
    report = check_strategy(name, **BUDGETS.get(name, {}))
    assert report.ok, f"\n{report}"
