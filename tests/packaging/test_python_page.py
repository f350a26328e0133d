"""The snippets of docs/python.md do what the page says."""

import re
from pathlib import Path

import pytest

from deepal_autoal import Recipe, plugin_host

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
SNIPPETS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader would try the page, with short trainings; the names that it registers are removed."""
    for_data = Recipe.for_data
    short = {"epochs": 1, "min_steps": 1}
    monkeypatch.setattr(Recipe, "for_data", lambda *given, **changes: for_data(*given, **{**short, **changes}))
    before = set(plugin_host().strategies.names())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    host = plugin_host().strategies
    host.remove([host.get(name) for name in set(host.names()) - before])


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title, text in SNIPPETS if blocks(text)])
def test_the_snippets_of_a_section_run_in_order(folder, title):
    """A block that begins with a file's name is that file."""
    if "scikit-activeml" in title:
        pytest.importorskip("skactiveml")
    names = {}
    for code in blocks(dict(SNIPPETS)[title]):
        file = re.match(r"# ([\w.]+\.py)\n", code)
        if file:
            (folder / file[1]).write_text(code)
        else:
            exec(compile(code, f"{PAGE.name}: {title}", "exec"), names)
    kinds = ("rounds", "failures", "learner_")
    results = [value for value in names.values() if any(hasattr(value, kind) for kind in kinds)]
    assert results and not any(getattr(value, "failures", ()) for value in results)
