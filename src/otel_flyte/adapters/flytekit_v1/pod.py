"""The attempt that an entrypoint runs in a pod.

It begins before anything of OpenTelemetry is imported: providers are made once the task's module is loaded, and what
has happened until then is remembered with its times. Where a provider is set already, everything is recorded live.
"""

import os
import sys
import time
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_flyte import providers, semconv
from otel_flyte.adapters import switch
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity
from otel_flyte.usage import sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from otel_flyte.tasks.open_task import OpenTask

current: ContextVar["PodAttempt | None"] = ContextVar("otel_flyte_pod_attempt", default=None)


class PastStep(NamedTuple):
    """A step that ended before there was a span: its times are Unix times in ns."""

    name: str
    start_time: int
    end_time: int
    error: BaseException | None = None
    used: "Mapping[str, AttributeValue] | None" = None


class PodAttempt:
    """An attempt from its begin to its end.

    Attributes:
        output_prefix: where the attempt writes its outputs; the node's identity stands in it.
        start_time: Unix time in ns.
        step: the open step of the entrypoint, outside the dispatch.
        dispatching: whether the task is being dispatched.
        dispatched: whether it has been.
        first: what this process had in use when it began.
        past: steps that ended before there was a span.
        scope: the task span, once there is one.
        error: what failed the attempt, as far as it is known.
        verdict: the ``ContainerError`` that Flyte writes.
    """

    __slots__ = (
        "dispatched",
        "dispatching",
        "error",
        "first",
        "output_prefix",
        "past",
        "scope",
        "start_time",
        "step",
        "step_first",
        "step_start",
        "verdict",
    )

    def __init__(self, output_prefix: str) -> None:
        self.output_prefix = output_prefix
        self.start_time = time.time_ns()
        self.step: str | None = None
        self.step_start = 0
        self.first = self.step_first = sample.of_process()
        self.dispatching = False
        self.dispatched = False
        self.past: list[PastStep] = []
        self.scope: OpenTask | None = None
        self.error: BaseException | None = None
        self.verdict: Any = None

    @property
    def idle(self) -> bool:
        """Whether the entrypoint is between its steps."""
        return self.step is None and not self.dispatching

    @guarded
    def begin_step(self, name: str) -> None:
        """Begin a step of the entrypoint."""
        self.step = name
        if self.scope is not None:
            self.scope.open_phase(name, self)
        else:
            self.step_start, self.step_first = time.time_ns(), sample.of_process()

    @guarded
    def end_step(self, error: BaseException | None = None) -> None:
        """End the open step."""
        name, self.step = self.step, None
        self.error = error if error is not None else self.error
        if self.scope is not None:
            self.scope.close_phase(error)
        elif name is not None:
            used = sample.in_brief(self.step_first, sample.of_process())
            self.past.append(PastStep(name, self.step_start, time.time_ns(), error, used))


@guarded
def begin(output_prefix: str) -> PodAttempt:
    """Begin the attempt of this process."""
    attempt = PodAttempt(output_prefix)
    _take_code_download(attempt)
    if providers.tracer_provider_is_set():
        _open(attempt)
    return attempt


@guarded
def end(attempt: PodAttempt, error: BaseException | None) -> None:
    """End the attempt with its outcome; one that never came to a dispatch is recorded now."""
    attempt.error = error if attempt.verdict is None and error is not None else attempt.error
    if attempt.scope is None:
        _open(attempt)
    if attempt.scope is not None:
        from otel_flyte.adapters.flytekit_v1 import task_spans

        task_spans.close_attempt(attempt)


@guarded
def leave_code_download(start_time: int) -> None:
    """Hand the time of the code download over to the process that runs the task."""
    os.environ[semconv.CODE_DOWNLOAD] = f"{start_time} {time.time_ns()}"


@guarded
def fail_code_download(start_time: int, error: BaseException) -> None:
    """Record an attempt that ended before there was code to run."""
    attempt = PodAttempt(identity.output_prefix(sys.argv))
    attempt.start_time = start_time
    attempt.past.append(PastStep(semconv.PHASE_CODE_DOWNLOAD, start_time, time.time_ns(), error))
    end(attempt, error)


def _open(attempt: PodAttempt) -> None:
    if switch.records():
        from otel_flyte.adapters.flytekit_v1 import task_spans

        attempt.scope = task_spans.open_attempt(attempt)


def _take_code_download(attempt: PodAttempt) -> None:
    start, _, end = os.environ.pop(semconv.CODE_DOWNLOAD, "").partition(" ")
    if start.isdigit() and end.isdigit():
        attempt.start_time = int(start)
        attempt.past.append(PastStep(semconv.PHASE_CODE_DOWNLOAD, int(start), int(end)))


def task_to_load(arguments: list[str]) -> str:
    """Return the name of the task that an entrypoint's arguments tell its resolver to load, empty where none does."""
    said = dict(pairwise(arguments))
    module, name = said.get("task-module"), said.get("task-name")
    return f"{module}.{name}" if module and name else ""
