import sys

import pytest

from deepal_autoal import Recipe, plugin_host


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """The folder where a reader would try a page, with short trainings; what the page registers is removed."""
    for_data = Recipe.for_data
    short = {"epochs": 1, "min_steps": 1}
    monkeypatch.setattr(Recipe, "for_data", lambda *given, **changes: for_data(*given, **{**short, **changes}))
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    before, modules = set(plugin_host().strategies.names()), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    host = plugin_host().strategies
    host.remove([host.get(name) for name in set(host.names()) - before])
    for name in set(sys.modules) - modules:  # files of the page, whose names other pages may use
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]
