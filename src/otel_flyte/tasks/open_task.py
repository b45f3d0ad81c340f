"""A task or workflow that is open in the current context, and its phases.

It has at most one open phase. Spans that start while a phase is open have it as parent, the user's own included.
"""

import time
from typing import TYPE_CHECKING

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, set_span_in_context

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded, report
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import failures, state
from otel_flyte.tasks.resources import NOT_DECLARED, DeclaredResources
from otel_flyte.tracing.spans import OpenSpan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextvars import Token
    from typing import Any, Protocol

    from opentelemetry.util.types import AttributeValue

    class Usage(Protocol):
        """What a task uses, as far as its span and phases tell of it."""

        def begin_phase(self) -> None:
            """Note that a phase begins."""

        def end_phase(self, span: Span) -> None:
            """Tell the phase's span what was used in it."""

        def end(self) -> None:
            """Tell the task's span what was used."""

        def so_far(self) -> Mapping[str, float]:
            """Return what was used until now, by attribute."""

        def until_now(self) -> Mapping[str, AttributeValue]:
            """Return what the task's span would be told if it ended now."""


class OpenTask(OpenSpan):
    """An open task or workflow.

    Opening and closing a phase is what a short task pays most for: both methods hold their own guard, and the phase's
    span and token stand here instead of in an object of their own.

    Attributes:
        owner: the flytekit object that it belongs to.
        phase: the span of the open phase.
        phase_name: its name; that of the last one between two phases.
        phase_owner: who opened the phase and will close it.
        exposed: whether processes that are started now have this span as parent.
        outer: the task or workflow that was open when it was opened.
        start_time: Unix time in ns.
        declared: what is known of the task itself, by attribute, whether or not the span is recorded.
        resources: the resources that it declares.
        outcome: how it ended, by attribute, where that was no success.
        usage: what it uses, where that is recorded.
    """

    __slots__ = (
        "declared",
        "exposed",
        "outcome",
        "outer",
        "outer_token",
        "owner",
        "phase",
        "phase_name",
        "phase_owner",
        "phase_token",
        "resources",
        "start_time",
        "usage",
    )

    def __init__(
        self,
        name: str,
        parent: Context,
        owner: object,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: "Mapping[str, AttributeValue] | None" = None,
        links: "Sequence[Link]" = (),
        start_time: int | None = None,
    ) -> None:
        super().__init__(name, parent, kind=kind, attributes=attributes, links=links, start_time=start_time)
        self.owner = owner
        self.phase: Span | None = None
        self.phase_name = ""
        self.phase_owner: object = None
        self.phase_token: Token[Context] | None = None
        self.exposed = False
        self.start_time = start_time or time.time_ns()
        self.declared: Mapping[str, Any] = {}
        self.resources: DeclaredResources = NOT_DECLARED
        self.outcome: dict[str, str] = {}
        self.usage: Usage | None = None
        self.outer = state.current.get()
        self.outer_token: Token[OpenTask | None] = state.current.set(self)
        state.open_tasks[id(self)] = self

    def open_phase(self, name: str, owner: object) -> None:
        """Start a phase; ``owner`` is who may close it."""
        try:
            phase = self.tracer.start_span(name, self.context, record_exception=False, set_status_on_exception=False)
            self.phase_token = context_api.attach(set_span_in_context(phase, self.context))
            self.phase = phase
            self.phase_name = name
            self.phase_owner = owner
            if self.usage is not None:
                self.usage.begin_phase()
        except Exception as fault:
            report("OpenTask.open_phase", fault)

    def close_phase(self, error: BaseException | None = None) -> None:
        """End the open phase, if there is one."""
        phase, token = self.phase, self.phase_token
        if phase is None or token is None:
            return
        state.take_note()
        self.phase = self.phase_owner = self.phase_token = None
        try:
            context_api.detach(token)
            try:
                if self.usage is not None:
                    self.usage.end_phase(phase)
                if error is not None:
                    self.fail(phase, error)
            finally:
                phase.end()
        except Exception as fault:
            report("OpenTask.close_phase", fault)

    @guarded
    def past_phase(
        self,
        name: str,
        start_time: int,
        end_time: int,
        error: BaseException | None = None,
        attributes: "Mapping[str, AttributeValue] | None" = None,
    ) -> None:
        """Record a phase that is already over; times are Unix times in ns."""
        span = self.tracer.start_span(
            name,
            self.context,
            attributes=attributes,
            start_time=start_time,
            record_exception=False,
            set_status_on_exception=False,
        )
        if error is not None:
            self.fail(span, error)
        span.end(end_time)

    def fail(self, span: Span, error: BaseException) -> None:
        """Mark a span of this scope as failed; the innermost one that fails carries the exception."""
        state.take_note()
        if not failures.is_failure(error):
            return
        if not failures.is_recorded(error):
            failures.record(span, error)
        failures.fail(span, error)

    def finish(self, error: BaseException | None = None) -> None:
        """Give the task's or workflow's span its outcome; success is what it is without one."""
        if error is None:
            return
        self.fail(self.span, error)
        self.outcome[semconv.RESULT] = failures.result(error)
        if failures.is_failure(error):
            self.outcome[semconv.ERROR_TYPE] = bounded(failures.type_name(error))
        self.span.set_attribute(semconv.RESULT, self.outcome[semconv.RESULT])

    def close(self) -> None:
        """End what is still open, and the scope with it."""
        state.open_tasks.pop(id(self), None)
        if self.phase is not None:
            self.close_phase()
        state.current.reset(self.outer_token)
        context_api.detach(self.token)
        try:
            if self.usage is not None:
                self.usage.end()
        except Exception as fault:
            report("OpenTask.close", fault)
        finally:
            self.span.end()
