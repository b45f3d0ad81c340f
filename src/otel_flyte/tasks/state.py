"""Which task or workflow is open in the current context.

It imports nothing of OpenTelemetry: a hook that finds nothing open costs one look at a context variable.
"""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_flyte.tasks.open_task import OpenTask

current: ContextVar["OpenTask | None"] = ContextVar("otel_flyte_scope", default=None)
"""The innermost open task or workflow."""

next_ids: ContextVar[tuple[int, int] | None] = ContextVar("otel_flyte_next_ids", default=None)
"""Trace id and span id that the next span of our id generator takes."""

open_tasks: dict[int, "OpenTask"] = {}
"""Every open task and workflow of this process, by identity, the outermost first."""

OUR_THREADS = "otel-flyte-"
"""What the names of our own threads begin with."""

signalled: str = ""
"""The signal that asked this process to end, if one has."""


def _nothing() -> None:
    pass


def _not_logged(_span: Any, _attributes: dict[str, str]) -> bool:
    return False


log_exception: Callable[[Any, dict[str, str]], bool] = _not_logged
"""Emits the exception of a span as a log record; returns whether a logger provider took it. Set by ``activation``."""

take_note: Callable[[], object] = _nothing
"""Has a signal that has come already told on what is open; whoever watches for signals puts theirs here."""


def open_around() -> "OpenTask | None":
    """Return the innermost task or workflow that is open here.

    A thread that a task has started knows nothing of the context that started it: what is open around all that runs in
    the process is open around it too.
    """
    scope = current.get()
    if scope is not None or threading.current_thread().name.startswith(OUR_THREADS):
        return scope
    # A copy, looked at once: other threads may close theirs meanwhile.
    chains = [_chain(each) for each in list(open_tasks.values())]
    innermost = chains[-1] if chains else []
    return next((each for each in innermost if all(any(each is one for one in chain) for chain in chains)), None)


def _chain(scope: "OpenTask | None") -> "list[OpenTask]":
    chain = []
    while scope is not None:
        chain.append(scope)
        scope = scope.outer
    return chain
