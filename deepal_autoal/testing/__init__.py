"""Conformance kit for query strategies: what `deepal check` runs, for the tests of a strategy's author.

One line in a plugin's tests gives one pytest item for every check::

    from deepal_autoal.testing import conformance_test

    test_gini = conformance_test("gini")

`conformance_test` and `check_strategy` take a registered name (with ``candidates`` of a selector and options), a
`Strategy` class or a function that returns a new strategy. All checks work on small trained models on the CPU, with
one thread, and take seconds. What each of them guarantees stands in `checks`.

They see what a few short queries show, so not, for one, a memory that goes wrong only after four rounds, an unseeded
behaviour that shows rarely, or what only large pools, trained networks of real size or CUDA devices that are not here
bring about. Of strategies whose picks are random they cannot tell whether order matters, and of slow ones they ask
less: each such check says so in its note.

Importing this module imports neither torch nor numpy nor pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepal_autoal.testing.items import conformance_test
    from deepal_autoal.testing.report import Report, Result
    from deepal_autoal.testing.run import check_strategy

_HOMES = {
    "Report": "report",
    "Result": "report",
    "check_strategy": "run",
    "conformance_test": "items",
}

__all__ = ["Report", "Result", "check_strategy", "conformance_test"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
