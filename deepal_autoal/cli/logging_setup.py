"""Warnings and log messages on the command line."""

from __future__ import annotations

import logging

LOGGERS = ("deepal_autoal", "deepal_events", "deepal_ray", "deepal_strategies")


def set_up_logging(verbose: bool) -> None:
    """Show warnings on standard error, and all log messages with ``verbose``."""
    level = logging.DEBUG if verbose else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(verbose))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False


class _Formatter(logging.Formatter):
    """Formats a message as one line, ``Warning: ...``; tracebacks with --verbose only."""

    def __init__(self, verbose: bool) -> None:
        super().__init__("%(message)s")
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.capitalize()}: {record.getMessage()}"
        if self._verbose and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
