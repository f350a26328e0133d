"""Run the command line in this process, in an empty folder."""

import pytest


@pytest.fixture
def new_plugin(deepal):
    """Return a function that runs `deepal new-plugin` in `tmp_path` and returns (status, stdout, stderr)."""
    return lambda *arguments: deepal("new-plugin", *arguments)
