"""Every built-in strategy keeps the contract."""

import pytest

from deepal_autoal import plugin_host
from deepal_autoal.testing import check_strategy

BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]


@pytest.mark.parametrize("name", BUILTIN)
def test_conformance(name):
    report = check_strategy(name)
    assert report.ok, f"\n{report}"
