"""The attempt that an entrypoint runs in a pod, as a value.

It begins before anything of OpenTelemetry is imported. Providers are created once the task's module is loaded, and the
steps until then are kept with their times. Where a provider is set already, everything is recorded at once.
"""

import time
from contextvars import ContextVar, Token
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from otel_flyte.adapters.around import Around
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks.past_phase import PastPhase
from otel_flyte.usage import sample

if TYPE_CHECKING:
    from otel_flyte.tasks.open_task import OpenTask

current: ContextVar["PodAttempt | None"] = ContextVar("otel_flyte_pod_attempt", default=None)


class PodAttempt:
    """An attempt from its beginning to its end.

    Attributes:
        output_prefix: URI below which the attempt writes its outputs; the node's identity is part of it.
        start_time: Unix time in ns.
        step: the open step of the entrypoint, outside the dispatch.
        dispatching: whether the task is being dispatched.
        dispatched: whether a dispatch has begun.
        first: usage of this process when the attempt began.
        past: steps that ended before there was a span.
        task: the open task, once there is a span.
        error: the exception that failed the attempt, as far as it is known.
        message: the ``ContainerError`` that Flyte writes.
        token: resets :data:`current`.
    """

    def __init__(self, output_prefix: str) -> None:
        self.output_prefix = output_prefix
        self.start_time = time.time_ns()
        self.step: str | None = None
        self.first = self._step_first = sample.of_process()
        self._step_start = 0
        self.dispatching = False
        self.dispatched = False
        self.past: list[PastPhase] = []
        self.task: OpenTask | None = None
        self.error: BaseException | None = None
        self.message: Any = None
        self.token: Token[PodAttempt | None] | None = None

    @property
    def idle(self) -> bool:
        """Whether the entrypoint is between its steps."""
        return self.step is None and not self.dispatching

    @guarded
    def begin_step(self, name: str) -> None:
        """Begin a step of the entrypoint."""
        self.step = name
        if self.task is not None:
            self.task.open_phase(name, self)
        else:
            self._step_start, self._step_first = time.time_ns(), sample.of_process()

    @guarded
    def end_step(self, error: BaseException | None) -> None:
        """End the open step."""
        name, self.step = self.step, None
        self.error = error if error is not None else self.error
        if self.task is not None:
            self.task.close_phase(error)
        elif name is not None:
            usage = sample.in_brief(self._step_first, sample.of_process())
            self.past.append(PastPhase(name, self._step_start, time.time_ns(), error, usage))


def in_step(name: str, *, before_dispatch: bool = False) -> Around[PodAttempt] | None:
    """Record a block as a step of the entrypoint; ``None`` where it is part of another step, or outside of a pod."""
    attempt = current.get()
    if attempt is None or not attempt.idle or (before_dispatch and attempt.dispatched):
        return None
    attempt.begin_step(name)
    return Around(attempt, PodAttempt.end_step)


def task_to_load(arguments: list[str]) -> str:
    """Return the name of the task in the arguments of an entrypoint, empty where there is none."""
    given = dict(pairwise(arguments))
    module, name = given.get("task-module"), given.get("task-name")
    return f"{module}.{name}" if module and name else ""
