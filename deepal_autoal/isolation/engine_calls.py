"""Calls into the engine: one at a time in a process, and undisturbed by what the host program has set.

How it works: every public function that trains, predicts, queries or loads is an `engine_call`. Such a call holds one
re-entrant lock, because seeding, restoring and comparing the state that all threads share is only right in turns. In
it, that state has its usual values, whatever the host program set; afterwards the host's own are back.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from deepal_autoal.isolation.process_state import (
    GLOBAL_HOOKS,
    SHARED,
    process_state,
    put_filters,
    put_precisions,
    read_precisions,
    restore_process,
)

# How long a call waits for another thread's before it says so.
SECONDS_BEFORE_NOTICE = 60.0

# Shared state whose initial value is the one to compute with. Number of threads and the generators are the engine's own
# settings; what else is in `SHARED` does not change results.
_OF_HOST = tuple(
    item
    for item in SHARED
    if item.name.removeprefix("torch's ")
    in (
        "numpy's error handling", "default dtype", "grad mode", "autocast mode", "anomaly detection",
        "deterministic algorithms", "cuDNN flags",
    )
)  # fmt: skip
# Where that is not the initial value: cuDNN's fastest convolutions do not give the same numbers every time.
_COMPUTED_WITH = {"torch's cuDNN flags": {"enabled": True, "deterministic": True, "benchmark": False}}
_MODULES = "torch.nn.modules.module"

logger = logging.getLogger(__name__)

_lock = threading.RLock()
_holder = ""


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the thread that holds the copied one is not in the child."""
    global _lock, _holder
    _lock, _holder = threading.RLock(), ""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def engine_call() -> Iterator[None]:
    """Wait for other threads' calls, and keep the host program's settings away from the block or function.

    Within it, torch's default dtype and device, grad, inference and autocast modes, deterministic algorithms, anomaly
    detection, float32 precision, cuDNN flags and global module hooks, numpy's error handling and filters that turn
    all warnings into errors are as in a new process, except that cuDNN computes float32 in full (no TF32) and with
    deterministic kernels. A call that waits long says so once.
    """
    global _holder
    lock = _lock
    if not lock.acquire(timeout=SECONDS_BEFORE_NOTICE):
        logger.warning(
            "waiting for a call of thread %r: in one process, threads take turns; for runs at the same time, use "
            "processes, such as those of `deepal benchmark --jobs`",
            _holder,
        )
        lock.acquire()
    before = _holder
    _holder = threading.current_thread().name
    try:
        with _usual_state():
            yield
    finally:
        _holder = before
        lock.release()


@contextmanager
def _usual_state() -> Iterator[None]:
    with ExitStack() as stack:
        if any(_is_for_all(item) for item in warnings.filters):
            stack.enter_context(warnings.catch_warnings())
            put_filters([("default", *item[1:]) if _is_for_all(item) else item for item in warnings.filters])
        if "torch" in sys.modules:
            _enter_usual_torch(stack)
        before = process_state(_OF_HOST)
        restore_process(_COMPUTED_WITH, _OF_HOST)
        stack.callback(restore_process, before, _OF_HOST)
        yield


def _enter_usual_torch(stack: ExitStack) -> None:
    """Enter what `Shared` cannot set and put back: contexts, what differs between machines, and functions."""
    import torch  # waits until another thread has loaded it

    stack.enter_context(torch.inference_mode(False))
    if torch.get_default_device().type != "cpu":
        stack.enter_context(torch.device("cpu"))
    precisions = read_precisions()
    usual = {path: _usual_precision(path) for path in ("cudnn.allow_tf32", *precisions)}
    if any(precisions.get(path) != value for path, value in usual.items()):
        put_precisions(usual)
        stack.callback(put_precisions, precisions)
    for name in GLOBAL_HOOKS:
        hooks = getattr(sys.modules.get(_MODULES), name, None)
        if hooks:
            stack.callback(_put_back, hooks, dict(hooks))
            hooks.clear()


def _usual_precision(path: str) -> Any:
    """Return the setting with which float32 is float32; cuDNN by itself rounds the inputs of convolutions to TF32."""
    if path == "cudnn.allow_tf32":
        return False
    return "none" if path else "highest"


def _put_back(hooks: dict[int, Any], before: dict[int, Any]) -> None:
    added = dict(hooks)
    hooks.clear()
    hooks.update({**before, **added})


def _is_for_all(item: tuple[Any, ...]) -> bool:
    """Return whether a warnings filter turns warnings of all modules into errors."""
    return item[0] == "error" and item[3] is None
