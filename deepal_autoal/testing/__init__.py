"""Conformance kit for query strategies: what `deepal check` runs, for the tests of a strategy's author.

One line in a plugin's tests adds one pytest item for every check::

    from deepal_autoal.testing import conformance_test

    test_gini = conformance_test("gini")

`conformance_test` and `check_strategy` take a registered name (with options, and ``candidates`` for a selector), a
`Strategy` class or a function that returns a new strategy. All checks run on small trained models on the CPU, with
one thread, and take seconds. `checks` lists what each of them guarantees.

The checks see only what a few short queries show. They miss, for example, a memory that goes wrong only after four
rounds, unseeded behavior that shows rarely, and what only happens with large pools, full-size networks or a CUDA
device (if there is none). If a strategy's picks are random, they cannot check whether order matters; slow strategies
are asked less often. Each such check says so in its note.

Importing this module imports neither torch nor numpy nor pytest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
