"""`conformance_test`: every check as one pytest item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepal_autoal.querying.strategy import Strategy
    from deepal_autoal.testing.checks import Check
    from deepal_autoal.testing.subject import Subject


def conformance_test(
    strategy: str | Callable[..., Strategy], *, candidates: Sequence[str] | None = None, **options: Any
) -> Callable[[Check], None]:
    """Return a pytest test of a strategy, with one item for each check, such as ``test_gini[batch-is-exact]``.

    Assign it to a name that pytest collects: ``test_gini = conformance_test("gini")``. A check that does not apply is
    skipped with the reason; a failure says what was expected, what was returned instead, and how to fix it.

    Args:
        strategy: A registered name, a `Strategy` class, or a function that returns a new strategy each time. Nothing
            is created before the first item runs.
        candidates: Names of a selector's candidates; its defaults if None.
        options: Constructor options.
    """
    import pytest

    from deepal_autoal.testing.checks import CHECKS
    from deepal_autoal.testing.run import run_check
    from deepal_autoal.testing.subject import Subject

    @cache
    def subject() -> Subject:
        return Subject(strategy, candidates, options)

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
    def test(check: Check) -> None:
        result = run_check(check, subject())
        if result.status == "skipped":
            pytest.skip(result.note)
        if result.status == "failed":
            pytest.fail(f"{subject().name}: {result.name}: {result.summary}\n{result.message}", pytrace=False)

    test.__doc__ = f"Conformance of {strategy!r}."
    return test
