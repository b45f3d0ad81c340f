"""What stands between a fault of ours and a user's task.

User code is never called from inside a guard: only our bookkeeping before and after it is.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from otel_flyte import semconv

logger = logging.getLogger(semconv.SCOPE)

P = ParamSpec("P")
R = TypeVar("R")

_reported: set[str] = set()


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make bookkeeping harmless: what it raises is logged once and becomes ``None``.

    Only this project's own tests see the exception itself, by a variable of their own: users run their workflows
    under pytest too, so its presence says nothing.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            report(function.__qualname__, error)
            return None

    return call


def report(where: str, error: Exception) -> None:
    """Log a fault of ours once for each place; raise it where our own tests ask for it."""
    if os.environ.get(semconv.RAISE_INTERNAL_ERRORS):
        raise error
    if where in _reported:
        return
    _reported.add(where)
    logger.warning(
        "otel-flyte failed in %s (%r): the task is not affected, its telemetry may be incomplete.", where, error
    )
    logger.debug("The fault in %s:", where, exc_info=error)


def say_once(problem: str) -> None:
    """Say what was wrong with the configuration and what is used instead, once in a process."""
    if problem not in _reported:
        _reported.add(problem)
        logger.warning("otel-flyte: %s", problem)
