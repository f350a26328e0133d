"""The snippets of docs/python.md do what the page says."""

import pytest

from tests.packaging.snippets import execute, sections

SECTIONS = {
    title: [block for block in blocks if block[0] == "python"]
    for title, blocks in sections("python.md").items()
    if any(language == "python" for language, _ in blocks)
}


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_the_snippets_of_a_section_run_in_order(reader, title):
    if "scikit-activeml" in title:
        pytest.importorskip("skactiveml")
    names = execute(SECTIONS[title], reader, f"python.md: {title}")
    kinds = ("rounds", "failures", "learner_")
    results = [value for value in names.values() if any(hasattr(value, kind) for kind in kinds)]
    assert results and not any(getattr(value, "failures", ()) for value in results)
