"""Executions that a task or a program launches: the span of the submission, and the context that it carries.

A child of an eager task continues its parent's trace, by ``TRACEPARENT``. Any other execution has a trace of its own
and a link to whoever launched it, by ``OTEL_FLYTE_LAUNCHED_BY``: relaunches copy the environment, and one request may
launch thousands.
"""

from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags, get_current_span

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import failures, identity, propagation
from otel_flyte.tasks.identity import Execution
from otel_flyte.tracing.spans import OpenSpan

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context

_CONTEXT = "_otel_flyte_context"


@guarded
def begin(entity: Any) -> OpenSpan:
    """Open the span of a submission."""
    name = bounded(entity.name if hasattr(entity, "name") else entity.id.name)
    return OpenSpan(
        semconv.SPAN_SUBMIT.format(name=name),
        context_api.get_current(),
        kind=SpanKind.PRODUCER,
        attributes={semconv.SUBMITTED_NAME: name},
    )


@guarded
def end(submission: OpenSpan, error: BaseException | None = None) -> None:
    """End the span of a submission."""
    try:
        if error is not None and not failures.is_recorded(error):
            failures.record(submission.span, error)
        if error is not None:
            failures.fail(submission.span, error)
    finally:
        submission.close()


@guarded
def begin_launch(entity: Any, arguments: dict[str, Any]) -> OpenSpan | None:
    """Open the span of a launch by a client; an eager task's child has its own already."""
    if semconv.TRACEPARENT in (arguments.get("envs") or {}):
        return None
    return begin(entity)


@guarded
def end_launch(submission: OpenSpan, execution: Any) -> None:
    """End the span of a launch, with a link to the trace of the execution that it made."""
    try:
        _link_execution(submission.span, execution)
    finally:
        submission.close()


def _link_execution(span: Span, execution: Any) -> None:
    _name_execution(span, execution)
    launched = Execution(execution.id.project, execution.id.domain, execution.id.name)
    span.add_link(
        SpanContext(
            launched.trace_id(),
            identity.execution_span_id(launched),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        ),
        {semconv.LINK: semconv.LINK_LAUNCHED},
    )


@guarded
def with_launcher(submission: OpenSpan, environment: dict[str, str] | None) -> dict[str, str] | None:
    """Return an execution's variables with the one that says who launched it; a user's own value stays."""
    traceparent = propagation.variables(submission.span).get(semconv.TRACEPARENT)
    if traceparent is None:
        return environment
    return {semconv.OTEL_FLYTE_LAUNCHED_BY: traceparent, **(environment or {})}


@guarded
def with_parent(environment: dict[str, str]) -> dict[str, str]:
    """Return a child execution's variables with the submission's span as parent."""
    return {**environment, **propagation.variables(get_current_span())}


@guarded
def keep_context(work_item: Any) -> None:
    """Keep the current context on what the controller's thread will launch."""
    setattr(work_item, _CONTEXT, context_api.get_current())


@guarded
def enter_context(work_item: Any) -> "Token[Context] | None":
    """Make the context current in which a launch was asked for."""
    context = getattr(work_item, _CONTEXT, None)
    return context_api.attach(context) if context is not None else None


@guarded
def leave_context(token: "Token[Context] | None") -> None:
    """Leave the context of a launch."""
    if token is not None:
        context_api.detach(token)


@guarded
def note_execution(execution: Any) -> None:
    """Name the child execution on its submission's span."""
    _name_execution(get_current_span(), execution)


def _name_execution(span: Span, execution: Any) -> None:
    span.set_attribute(semconv.SUBMITTED_RUN_NAME, bounded(execution.id.name))
