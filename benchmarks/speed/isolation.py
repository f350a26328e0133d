"""Runs work in a separate process, measures its time and peak memory, and stops it at a limit of either."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from deepal_autoal.measuring.resources import PeakMemory

# Quick work is repeated in the same process until this many seconds have passed, at most this many times.
_AT_LEAST, _MOST_TIMES = 0.1, 5
# Seconds that a process may take to prepare.
_READY = 600.0


@dataclass(frozen=True)
class Measurement:
    """The outcome of a piece of work.

    Attributes:
        status: ``done``, ``stopped`` (out of time), ``memory`` (out of memory) or ``failed``.
        seconds: Seconds taken; None unless it is done.
        peak_bytes: Peak memory above what the process held before.
        value: Its return value.
        message: The error message if it failed.
    """

    status: str
    seconds: float | None = None
    peak_bytes: int | None = None
    value: Any = None
    message: str = ""


def measure(
    prepare: Callable[[], Callable[[], Any]], seconds: float, n_bytes: int, threads: int, cpu_time: bool = False
) -> Measurement:
    """Do a piece of work in a forked process, which shares what is already in memory.

    The forking process must not have computed with more than one thread: OpenMP's threads do not survive a fork.

    Args:
        prepare: Prepares and returns the work; may be called a few times.
        seconds: The work's time limit.
        n_bytes: The limit of memory that it may allocate.
        threads: Threads of torch, BLAS and OpenMP.
        cpu_time: Whether seconds, also those of the limit, are the process's CPU time: for machines with other work.
    """
    # Otherwise the child's garbage collector would visit, and thereby copy, everything that was imported.
    gc.freeze()
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_work, args=(prepare, sender, n_bytes, threads, cpu_time), daemon=True)
    process.start()
    gc.unfreeze()
    sender.close()
    try:
        found = Measurement("failed", message="the process did not get ready in time")
        if receiver.poll(_READY):
            found = receiver.recv()
            if found is None:  # ready
                found = receiver.recv() if _answers(receiver, process, seconds, cpu_time) else Measurement("stopped")
    except EOFError:
        found = Measurement("failed", message="the process died")
    finally:
        process.kill()
        process.join()
        receiver.close()
    return found


def use_one_thread() -> None:
    """Compute with one thread from now on, so the process can be forked."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def _answers(receiver: Connection, process: multiprocessing.Process, seconds: float, cpu_time: bool) -> bool:
    """Return whether the process sends something, or ends, within the time."""
    if not cpu_time:
        return receiver.poll(seconds)

    def spent() -> float:
        with open(f"/proc/{process.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    start = spent()
    while spent() - start < seconds:
        if receiver.poll(0.1):
            return True
    return False


def _work(
    prepare: Callable[[], Callable[[], Any]], sender: Connection, n_bytes: int, threads: int, cpu_time: bool
) -> None:
    clock = time.process_time if cpu_time else time.perf_counter
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    try:
        work = prepare()
        _trim()
        _limit_memory(n_bytes)
        sender.send(None)
        times, peak = [], PeakMemory(torch.device("cpu"))
        with peak:
            start = clock()
            value = work()
            times.append(clock() - start)
        while sum(times) < _AT_LEAST and len(times) < _MOST_TIMES:
            again = prepare()
            start = clock()
            again()
            times.append(clock() - start)
        sender.send(Measurement("done", median(times), peak.n_bytes, value))
    except MemoryError:
        sender.send(Measurement("memory"))
    except Exception as error:
        if "memory" in str(error).lower():
            sender.send(Measurement("memory"))
        else:
            sender.send(Measurement("failed", message="".join(traceback.format_exception(error))))


def _trim() -> None:
    """Return free memory to the system, as it would hide what the work needs."""
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _limit_memory(n_bytes: int) -> None:
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + n_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
