"""Executions that a task or a program launches: the span of the submission, and the context that it passes on.

A child of an eager task continues its parent's trace, by ``TRACEPARENT``. Any other execution has a trace of its own,
linked to the span that launched it by ``OTEL_FLYTE_LAUNCHED_BY``: relaunches copy the environment, and one request may
launch thousands.
"""

from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.trace import Span, SpanKind, get_current_span

from otel_flyte import semconv
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import identity, propagation
from otel_flyte.tasks.identity import Execution
from otel_flyte.tasks.open_task import close_span, open_span
from otel_flyte.tracing.spans import OpenSpan, derived_context

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context

_CONTEXT = "_otel_flyte_context"

end = close_span


@guarded
def begin(entity: Any) -> OpenSpan:
    """Open the span of a submission."""
    name = bounded(entity.name if hasattr(entity, "name") else entity.id.name)
    return open_span(
        semconv.SPAN_SUBMIT.format(name=name),
        semconv.SPAN_ROLE_SUBMISSION,
        {semconv.SUBMITTED_NAME: name},
        kind=SpanKind.PRODUCER,
    )


@guarded
def begin_launch(entity: Any, arguments: dict[str, Any]) -> OpenSpan | None:
    """Open the span of a launch by a client; an eager task's child has its own already."""
    return None if semconv.TRACEPARENT in (arguments.get("envs") or {}) else begin(entity)


@guarded
def link_execution(submission: OpenSpan, execution: Any) -> None:
    """Name the execution that a client has launched, and link to its trace."""
    _set_name(submission.span, execution)
    launched = Execution(execution.id.project, execution.id.domain, execution.id.name)
    target = derived_context(launched.trace_id(), identity.execution_span_id(launched))
    submission.span.add_link(target, {semconv.LINK: semconv.LINK_LAUNCHED})


@guarded
def with_launcher(submission: OpenSpan, environment: dict[str, str] | None) -> dict[str, str] | None:
    """Return an execution's variables with the span that launched it; a user's own value stays."""
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
    """Keep the current context on a work item, which the controller's thread will launch."""
    setattr(work_item, _CONTEXT, context_api.get_current())


@guarded
def enter_context(work_item: Any) -> "Token[Context] | None":
    """Make the context current in which a launch was requested."""
    context = getattr(work_item, _CONTEXT, None)
    return context_api.attach(context) if context is not None else None


@guarded
def leave_context(token: "Token[Context]", _error: BaseException | None) -> None:
    """Leave the context of a launch."""
    context_api.detach(token)


@guarded
def name_execution(execution: Any) -> None:
    """Set the name of the child execution on its submission's span."""
    _set_name(get_current_span(), execution)


def _set_name(span: Span, execution: Any) -> None:
    span.set_attribute(semconv.SUBMITTED_RUN_NAME, bounded(execution.id.name))
