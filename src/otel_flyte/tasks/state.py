"""The open tasks and workflows of this process.

It imports nothing of OpenTelemetry: a hook that finds no open task costs one look at a context variable.
"""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_flyte.tasks.open_task import OpenTask

current: ContextVar["OpenTask | None"] = ContextVar("otel_flyte_open_task", default=None)
"""The innermost open task or workflow of this context."""

next_ids: ContextVar[tuple[int, int] | None] = ContextVar("otel_flyte_next_ids", default=None)
"""Trace id and span id of the next span that our id generator creates ids for."""

open_tasks: dict[int, "OpenTask"] = {}
"""Every open task and workflow of this process by identity, the outermost first."""

OUR_THREADS = "otel-flyte-"
"""Prefix of the names of our own threads."""

signalled: str = ""
"""The signal that asked this process to end, empty if none has."""


def _nothing() -> None:
    pass


def _not_logged(_span: Any, _failure: Any) -> bool:
    return False


log_failure: Callable[[Any, Any], bool] = _not_logged
"""Emits the ``Failure`` of a span as a log record and returns whether there is a logger provider.

``activation`` sets it.
"""

check_signals: Callable[[], object] = _nothing
"""Acts on a signal that has arrived, before a span ends of it. Set by the module that watches for signals."""


def open_here() -> "OpenTask | None":
    """Return the innermost task or workflow that is open here.

    A thread that a task has started has no context of its own. It belongs to the task that is open around everything
    that runs in this process.
    """
    task = current.get()
    if task is not None or threading.current_thread().name.startswith(OUR_THREADS):
        return task
    # A copy: other threads may close theirs meanwhile.
    chains = [_chain(each) for each in list(open_tasks.values())]
    innermost = chains[-1] if chains else []
    return next((each for each in innermost if all(any(each is one for one in chain) for chain in chains)), None)


def _chain(task: "OpenTask | None") -> "list[OpenTask]":
    chain = []
    while task is not None:
        chain.append(task)
        task = task.outer
    return chain
