"""What the fuzzers share: how long they try, where they begin, and how a case that hangs is ended.

DEEPAL_FUZZ_SECONDS: the seconds of one core that each fuzzer takes, instead of its own default. DEEPAL_FUZZ_SEED: the
number of the first case. Each case depends on its number alone, which a failure names: DEEPAL_FUZZ_CASE=17 repeats it.
"""

import itertools
import os
import signal
import time
from contextlib import contextmanager

import pytest

needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="an alarm signal ends what hangs")


class TooLongError(BaseException):
    """Not an Exception, so that nothing catches it."""


def seconds_to_try(default):
    """Return how many seconds of one core a fuzzer takes."""
    return float(os.environ.get("DEEPAL_FUZZ_SECONDS") or default)


def case_numbers(seconds, at_least=3):
    """Yield the numbers of cases until this process has computed for some seconds."""
    case = os.environ.get("DEEPAL_FUZZ_CASE")
    if case:
        yield int(case)
        return
    first = int(os.environ.get("DEEPAL_FUZZ_SEED") or 0)
    end = time.process_time() + seconds
    for number in itertools.count(first):
        yield number
        if number + 1 - first >= at_least and time.process_time() > end:
            return


@contextmanager
def no_hang(case, seconds=60):
    """Fail the test if the block takes too long, on a machine that does other things too."""

    def stop(*_):
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except TooLongError:
        pytest.fail(f"case {case}: no end within {seconds} seconds")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
