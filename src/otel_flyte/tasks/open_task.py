"""An open task or workflow, and its phases.

It has at most one open phase. Spans that start while a phase is open are its children, the user's own included.
"""

import os
import time
from typing import TYPE_CHECKING

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded, report
from otel_flyte.tasks import failures, state
from otel_flyte.tasks.failures import Failure
from otel_flyte.tasks.past_phase import PastPhase
from otel_flyte.tasks.resources import NOT_DECLARED, DeclaredResources
from otel_flyte.tracing.flyte_span import plain
from otel_flyte.tracing.span_context import SPAN_KEY
from otel_flyte.tracing.spans import OpenSpan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token
    from typing import Protocol

    from opentelemetry.util.types import AttributeValue

    from otel_flyte.tasks.identity import Attempt

    class Usage(Protocol):
        """The resources that a task uses."""

        def begin_phase(self) -> None:
            """Begin to measure a phase."""

        def end_phase(self, span: Span) -> None:
            """Set the usage of a phase on its span."""

        def end(self) -> None:
            """Set the usage of the task on its span."""

        def so_far(self) -> Mapping[str, float]:
            """Return the usage until now, by attribute."""

        def until_now(self) -> Mapping[str, AttributeValue]:
            """Return the attributes that the task's span would get if it ended now."""


_PHASE = plain({semconv.SPAN_ROLE: semconv.SPAN_ROLE_PHASE})
_CHECKED_AFTER_NS = 10_000_000
"""A phase that is shorter does not look whether a signal has arrived: the thread that waits for it comes soon."""

_OPT_INS = {semconv.EXCEPTION_SIGNAL_LOGS, semconv.EXCEPTION_SIGNAL_BOTH}
"""https://opentelemetry.io/docs/specs/semconv/exceptions/"""

_NO_ATTRIBUTES: "Mapping[str, AttributeValue]" = {}


class OpenTask(OpenSpan):
    """An open task or workflow.

    Opening and closing a phase is the largest cost of a short task: both methods hold their own guard, and the span and
    the token of the phase are attributes instead of an object of their own.

    Attributes:
        owner: the object of the engine that it belongs to.
        attempt: the attempt that it is, or is part of; ``None`` outside of executions.
        owns_process: whether it is the attempt for which this process was started, as in a pod of Flyte 1. Its identity
            is then on the resource.
        identity_attributes: attributes of every span, log record and data point of this task; empty where the resource
            has them, and where there is no attempt.
        phase: the span of the open phase.
        phase_name: its name; between two phases, the name of the last one.
        phase_owner: the object that opened the phase and will close it.
        exposed: whether processes that are started now have this span as parent.
        outer: the task or workflow that was open when it was opened.
        start_time: Unix time in ns.
        task_name: name of the task, empty for a workflow.
        resources: the resources that it declares.
        outcome: attributes of its end, unless that was a success.
        is_counted: whether its end has been counted.
        usage: the resources that it uses, where that is measured.
    """

    # A signal handler may raise an exception before they are set.
    exposed = False
    phase: Span | None = None
    usage: "Usage | None" = None
    outer_token: "Token[OpenTask | None] | None" = None

    def __init__(
        self,
        name: str,
        parent: Context,
        owner: object,
        role: str = semconv.SPAN_ROLE_ATTEMPT,
        *,
        attempt: "Attempt | None" = None,
        owns_process: bool = False,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: "Mapping[str, AttributeValue]" = _NO_ATTRIBUTES,
        links: "Sequence[Link]" = (),
        start_time: int | None = None,
    ) -> None:
        self.outer: OpenTask | None = state.current.get()
        self.attempt: Attempt | None = attempt
        self.identity_attributes: Mapping[str, AttributeValue] = _NO_ATTRIBUTES
        if attempt is not None and not owns_process:
            self.identity_attributes = attempt.attributes()
        elif attempt is None and self.outer is not None:
            self.attempt = self.outer.attempt
            self.identity_attributes = self.outer.identity_attributes
        self.task_name = str(attributes.get(semconv.TASK_NAME, ""))
        self._phase_attributes = _PHASE
        if self.identity_attributes:
            named = {semconv.TASK_NAME: self.task_name} if self.task_name else {}
            self.identity_attributes = {**self.identity_attributes, **named}
            self._phase_attributes = plain({**self.identity_attributes, **_PHASE})
            attributes = {**self.identity_attributes, **attributes}
        self.start_time = start_time or time.time_ns()
        super().__init__(name, parent, role, kind=kind, attributes=attributes, links=links, start_time=self.start_time)
        self.owner = owner
        self.owns_process = owns_process
        self.phase_name = ""
        self.phase_owner: object = None
        self.phase_token: Token[Context] | None = None
        self._phase_start = 0
        self.resources: DeclaredResources = NOT_DECLARED
        self.outcome: dict[str, str] = {}
        self.is_counted = False
        self.outer_token = state.current.set(self)
        state.open_tasks[id(self)] = self

    def open_phase(self, name: str, owner: object) -> None:
        """Start a phase, which ``owner`` will close."""
        try:
            self._phase_start = time.time_ns()
            phase = self.tracer.start_span(
                name,
                self.context,
                attributes=self._phase_attributes,
                start_time=self._phase_start,
                record_exception=False,
                set_status_on_exception=False,
            )
            self.phase_token = context_api.attach(Context({**self.context, SPAN_KEY: phase}))
            self.phase = phase
            self.phase_name = name
            self.phase_owner = owner
            if self.usage is not None:
                self.usage.begin_phase()
        except Exception as fault:
            report("OpenTask.open_phase", fault)

    def close_phase(self, error: BaseException | None = None) -> None:
        """End the open phase, if there is one."""
        phase = self.phase
        if phase is None:
            return
        if error is not None or time.time_ns() - self._phase_start > _CHECKED_AFTER_NS:
            state.check_signals()
        # A signal handler may raise an exception between any two lines: this method is called again then.
        token, self.phase_token = self.phase_token, None
        try:
            if token is not None:
                context_api.detach(token)
            try:
                if self.usage is not None:
                    self.usage.end_phase(phase)
                if error is not None and phase.is_recording():
                    fail(phase, error)
            finally:
                if phase.is_recording():
                    phase.end()
                self.phase = self.phase_owner = None
        except Exception as fault:
            report("OpenTask.close_phase", fault)

    @guarded
    def add_past_phase(self, past: PastPhase) -> None:
        """Record a phase that is over."""
        span = self.tracer.start_span(
            past.name,
            self.context,
            attributes={**self._phase_attributes, **(past.usage or {})},
            start_time=past.start_time,
            record_exception=False,
            set_status_on_exception=False,
        )
        if past.error is not None:
            fail(span, past.error)
        span.end(past.end_time)

    def finish(self, error: "BaseException | Failure") -> None:
        """Set the outcome of a task that ends without success."""
        failure = fail(self.span, error)
        if failure is None:
            self.outcome[semconv.RESULT] = semconv.RESULT_SKIP
        else:
            self.outcome |= {semconv.RESULT: failure.result, semconv.ERROR_TYPE: failure.type}
            self.span.set_attributes(failure.decision())
        self.span.set_attribute(semconv.RESULT, self.outcome[semconv.RESULT])

    def close(self) -> None:
        """End the open phase and the span. A second call ends what an exception of a signal handler has left open."""
        state.open_tasks.pop(id(self), None)
        if self.phase is not None:
            self.close_phase()
        outer_token, self.outer_token = self.outer_token, None
        if outer_token is not None:
            state.current.reset(outer_token)
        token, self.token = self.token, None
        if token is not None:
            context_api.detach(token)
        if not self.span.is_recording():
            return
        try:
            if self.usage is not None:
                self.usage.end()
        except Exception as fault:
            report("OpenTask.close", fault)
        finally:
            self.span.end()


def open_span(
    name: str,
    role: str,
    attributes: "Mapping[str, AttributeValue]" = _NO_ATTRIBUTES,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
) -> OpenSpan:
    """Open a span below the current one."""
    return OpenSpan(name, context_api.get_current(), role, kind=kind, attributes=with_identity(attributes))


@guarded
def close_span(opened: OpenSpan, error: BaseException | None) -> None:
    """Close a span that :func:`open_span` opened, with its failure."""
    try:
        if error is not None:
            fail(opened.span, error)
    finally:
        opened.close()


def with_identity(attributes: "Mapping[str, AttributeValue]") -> "Mapping[str, AttributeValue]":
    """Return attributes of a span, with the identity of the open task where the resource does not have it."""
    task = state.current.get()
    return {**task.identity_attributes, **attributes} if task is not None and task.identity_attributes else attributes


def fail(span: Span, error: BaseException | Failure) -> Failure | None:
    """Mark a span as failed, and return the failure; ``None`` where the error is none."""
    state.check_signals()
    failure = error if isinstance(error, Failure) else failures.of_exception_once(error)
    if failure is not None:
        if failure.stack:
            _add_exception(span, failure)
        span.set_status(Status(StatusCode.ERROR, failure.message))
        span.set_attribute(semconv.ERROR_TYPE, failure.type)
    return failure


def _add_exception(span: Span, failure: Failure) -> None:
    """Add the exception event, or emit a log record instead of it, or both, by the user's choice.

    Without a logger provider it is the event: an exception must not be lost.
    """
    chosen = {part.strip() for part in os.environ.get(semconv.EXCEPTION_SIGNAL, "").lower().split(",")}
    is_logged = bool(chosen & _OPT_INS and guarded(state.log_failure)(span, failure))
    if not is_logged or semconv.EXCEPTION_SIGNAL_BOTH in chosen:
        span.add_event(semconv.EVENT_EXCEPTION, failure.exception())
