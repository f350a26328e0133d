"""Every built-in strategy keeps the contract."""

import pytest

from deepal_autoal import plugin_host
from deepal_autoal.testing import check_strategy

pytestmark = pytest.mark.slow

BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
# Fewer steps of their own networks: what the kit checks does not depend on how long they train.
BUDGETS = {"vaal": {"epochs": 1, "width": 4}, "autoal": {"steps": 20, "warmup_steps": 5}}


@pytest.mark.parametrize("name", BUILTIN)
def test_conformance(name):
    report = check_strategy(name, **BUDGETS.get(name, {}))
    assert report.ok, f"\n{report}"
