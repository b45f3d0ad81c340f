"""Spans of tasks and workflows: who is their parent, what ids they have, how they end."""

import os
import sys
import time
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from flyteidl.core.errors_pb2 import ContainerError
from flyteidl.core.execution_pb2 import ExecutionError
from flytekit.core.base_task import IgnoreOutputs
from flytekit.exceptions.system import FlyteNonRecoverableSystemException
from flytekit.exceptions.user import FlyteUserRuntimeException
from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from otel_flyte import semconv
from otel_flyte.adapters import patching
from otel_flyte.adapters.flytekit_v1 import data_spans, pod, task_attributes
from otel_flyte.config import settings
from otel_flyte.metrics import outcomes
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import failures, identity, propagation, state
from otel_flyte.tasks.identity import Attempt
from otel_flyte.tasks.open_task import OpenTask
from otel_flyte.tracing.spans import OpenSpan, link, tracer, uses_our_ids
from otel_flyte.usage import recorder

failures.no_failures.append(IgnoreOutputs)
failures.wrappings += [FlyteUserRuntimeException, FlyteNonRecoverableSystemException]

_RENAMED_IN_A_POD = (semconv.KIND_MAP, semconv.KIND_EAGER_CLEANUP)
"""Kinds that flytekit gives another name when it loads them than when it registers them."""

_CAPTURE = "otel_flyte.stdio_capture.capture"

_missed: ContextVar[str | None] = ContextVar("otel_flyte_cache_miss", default=None)
"""The task that the local cache had no result for, until it is dispatched."""


@guarded
def begin_task(task: Any, literals: Any) -> OpenTask | None:
    """Open the span of a dispatch: the attempt's own in a pod, else one that is nested or local."""
    if _suppressed():
        return None
    patching.install_pending()
    description = task_attributes.describe(task)
    attempt = pod.current.get()
    if attempt is not None and attempt.idle and not attempt.dispatched:
        scope = _begin_attempt_dispatch(attempt, task, description, literals)
    else:
        parent, links = _local_parent()
        attributes = description.attributes if _missed.get() is None else _with_cache_miss(description.attributes)
        scope = OpenTask(description.span_name, parent, task, attributes=attributes, links=links)
        scope.declared = description.attributes
        scope.resources = description.resources
        recorder.begin(scope)
        scope.exposed = bool(propagation.expose(scope.span))
        _capture_output(scope)
    if scope is not None and description.sets_up:
        scope.open_phase(semconv.PHASE_SETUP, task)
    return scope


@guarded
def end_task(scope: OpenTask, error: BaseException | None = None) -> None:
    """End a task or workflow; a pod's attempt goes on to upload its outputs."""
    if scope.phase is not None:
        scope.close_phase(error)
    attempt = pod.current.get()
    if attempt is not None and attempt.scope is scope:
        attempt.dispatching = False
        attempt.error = error
        return
    try:
        if error is not None:
            scope.finish(error)
    finally:
        outcomes.task_ended(scope, alone=False)
        _close(scope)


@guarded
def begin_workflow(workflow: Any) -> OpenTask | None:
    """Open the span of a workflow that runs locally."""
    if _suppressed():
        return None
    name = bounded(workflow.name)
    parent, links = _local_parent()
    scope = OpenTask(
        semconv.SPAN_WORKFLOW.format(name=name),
        parent,
        workflow,
        attributes={semconv.WORKFLOW_NAME: name},
        links=links,
    )
    scope.exposed = bool(propagation.expose(scope.span))
    return scope


def open_attempt(attempt: pod.PodAttempt) -> OpenTask | None:
    """Open the span of a pod's attempt, with what has happened already."""
    if _suppressed():
        return None
    who = identity.attempt_from_environment(os.environ, attempt.output_prefix)
    scope = _attempt_scope(who, attempt.start_time)
    scope.declared = {semconv.TASK_NAME: _known_name() or "unknown"}
    try:
        is_wanted = bool(settings.current().sample_interval)
        for step in attempt.past:
            scope.past_phase(*(step if is_wanted else step._replace(used=None)))
        attempt.past.clear()
        scope.exposed = bool(propagation.expose(scope.span))
    except BaseException:
        _close(scope)
        raise
    age = (time.time_ns() - attempt.start_time) / 1e9 - (time.monotonic() - attempt.first.at)
    recorder.begin(scope, attempt.first, age)
    _capture_output(scope)
    _watch_over(scope)
    return scope


@guarded
def close_attempt(attempt: pod.PodAttempt) -> None:
    """End the span of a pod's attempt, with Flyte's own verdict where it failed."""
    if attempt.scope is None:
        return
    try:
        attempt.scope.close_phase(attempt.error)
        _add_outcome(attempt.scope, attempt.error, attempt.verdict)
    finally:
        outcomes.task_ended(attempt.scope, alone=True)
        _close(attempt.scope)
        _send_now()


@guarded
def _send_now() -> None:
    """Have what is recorded sent while Flyte brings its process to an end."""
    from otel_flyte.process import shutdown

    shutdown.kick()


@guarded
def _watch_over(scope: OpenTask) -> None:
    """Make sure that an attempt is seen whatever becomes of its pod: a signal, a kill, a receiver that is away."""
    from otel_flyte.export import pending_spans
    from otel_flyte.process import signals
    from otel_flyte.sdk import foreign

    foreign.adopt()
    signals.install()
    pending_spans.begin()
    pending_spans.announce(scope)
    _tell_supervisor(scope)


def _tell_supervisor(scope: OpenTask) -> None:
    """Tell ``otel-flyte exec`` what it has to answer for, where it started this process."""
    from otel_flyte.supervisor import client

    if client.is_supervised():
        client.opened(scope.span)


def _add_outcome(scope: OpenTask, error: BaseException | None, verdict: Any) -> None:
    if error is not None:
        scope.finish(error)
    if verdict is None:
        return
    if error is None:
        scope.span.set_status(Status(StatusCode.ERROR, bounded(verdict.message)))
        scope.outcome = {semconv.ERROR_TYPE: bounded(verdict.code), semconv.RESULT: semconv.RESULT_FAILURE}
        scope.span.set_attributes(scope.outcome)
    scope.span.set_attributes(
        {
            semconv.ERROR_CODE: bounded(verdict.code),
            semconv.ERROR_KIND: ContainerError.Kind.Name(verdict.kind),
            semconv.ERROR_ORIGIN: ExecutionError.ErrorKind.Name(verdict.origin),
        }
    )


@guarded
def note_cache(task_name: str, *, hit: bool, start_time: int) -> None:
    """Record a cached call as a task span; a miss is an attribute of the dispatch that follows."""
    outcomes.cache_looked_up(bounded(task_name), semconv.CACHE_HIT if hit else semconv.CACHE_MISS)
    if not hit:
        _missed.set(task_name)
        return
    parent, links = _local_parent()
    span = tracer().start_span(
        semconv.SPAN_TASK.format(name=bounded(task_name)),
        parent,
        attributes={
            semconv.TASK_NAME: bounded(task_name),
            semconv.CACHE_STATUS: semconv.CACHE_HIT,
        },
        links=links,
        start_time=start_time,
    )
    span.end()


class WatchedItems:
    """A map task's mapped task, each of whose executions is a span: a local map runs its items in one dispatch."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._index = 0

    def execute(self, **kwargs: Any) -> Any:
        """Execute the mapped task for one item."""
        item = self._begin_item()
        try:
            result = self._task.execute(**kwargs)
        except BaseException as error:
            self._end_item(item, error)
            raise
        self._end_item(item)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    @guarded
    def _begin_item(self) -> OpenSpan:
        index, self._index = self._index, self._index + 1
        return OpenSpan(semconv.SPAN_MAP_ITEM, context_api.get_current(), attributes={semconv.ARRAY_INDEX: index})

    @guarded
    def _end_item(self, item: OpenSpan | None, error: BaseException | None = None) -> None:
        scope = state.current.get()
        if item is None:
            return
        try:
            if error is not None and scope is not None:
                scope.fail(item.span, error)
        finally:
            item.close()


def _begin_attempt_dispatch(
    attempt: pod.PodAttempt, task: Any, description: task_attributes.Description, literals: Any
) -> OpenTask | None:
    attempt.dispatched = True
    if attempt.scope is None:
        attempt.scope = open_attempt(attempt)
    scope = attempt.scope
    if scope is None:
        return None
    scope.owner = task
    scope.declared = description.attributes
    scope.resources = description.resources
    if description.attributes[semconv.TASK_KIND] in _RENAMED_IN_A_POD and _registered_name():
        scope.declared = {**description.attributes, semconv.TASK_NAME: _registered_name()}
    else:
        scope.span.update_name(description.span_name)
    scope.span.set_attributes(scope.declared)
    execution = identity.execution_from_environment(os.environ)
    data_spans.add_lineage(scope.span, task, literals, execution, settings.current().map_nested)
    _tell_supervisor(scope)
    # Last, since only the end of a dispatch that was begun takes it back.
    attempt.dispatching = True
    return scope


@guarded
def _capture_output(scope: OpenTask) -> None:
    """Have what a task writes become log records; where nobody wants that, it need not be loaded."""
    if _CAPTURE in sys.modules or settings.current().capture_output:
        import_module(_CAPTURE).begin(scope)


def _close(scope: OpenTask) -> None:
    if _CAPTURE in sys.modules:
        sys.modules[_CAPTURE].end(scope)
    if scope.exposed:
        propagation.hide()
    scope.close()


def _suppressed() -> bool:
    return bool(context_api.get_value(context_api._SUPPRESS_INSTRUMENTATION_KEY))


def _local_parent() -> tuple[Context, list[Link]]:
    """Return the parent of a nested or local span: what is current, else what the environment names."""
    current = context_api.get_current()
    if get_current_span(current).get_span_context().is_valid:
        return current, []
    return _environment_parent(current)


def _environment_parent(current: Context) -> tuple[Context, list[Link]]:
    """Follow ``TRACEPARENT``; one that is not sampled is linked, since it must not hide what runs here."""
    incoming = propagation.incoming(os.environ)
    if not incoming.is_valid:
        return current, []
    if incoming.trace_flags.sampled:
        return set_span_in_context(propagation.remote(incoming), current), []
    return current, [link(incoming, semconv.LINK_TRACEPARENT)]


def _with_cache_miss(attributes: dict[str, Any]) -> dict[str, Any]:
    missed = _missed.get()
    _missed.set(None)
    if missed != attributes[semconv.TASK_NAME]:
        return attributes
    return {**attributes, semconv.CACHE_STATUS: semconv.CACHE_MISS}


def _attempt_scope(who: Attempt | None, start_time: int) -> OpenTask:
    """Open an attempt's span: its ids are derived from who runs, unless another process of the attempt has them.

    The parent is ``TRACEPARENT``'s span, the control plane's attempt where that is exported, or none. A map subtask
    with a trace of its own links to the execution's.
    """
    parent, links = _environment_parent(context_api.get_current())
    ids = None
    if who is not None:
        parent, ids = _derived(who, parent, links)
    launched_by = propagation.launched_by(os.environ)
    if launched_by.is_valid:
        links.append(link(launched_by, semconv.LINK_LAUNCHED_BY))
    task_name = _known_name()
    name = semconv.SPAN_TASK.format(name=task_name or "unknown")
    attributes = _identity_attributes(who)
    if task_name:
        attributes[semconv.TASK_NAME] = task_name
    token = state.next_ids.set(ids)
    try:
        return OpenTask(
            name,
            parent,
            None,
            kind=SpanKind.CONSUMER if get_current_span(parent).get_span_context().is_remote else SpanKind.INTERNAL,
            attributes=attributes,
            links=links,
            start_time=start_time,
        )
    finally:
        state.next_ids.reset(token)


def _derived(who: Attempt, parent: Context, links: list[Link]) -> tuple[Context, tuple[int, int] | None]:
    trace_id = who.trace_id(settings.current().map_nested)
    ids = trace_id, who.span_id(identity.ROLE_TASK)
    inherited = get_current_span(parent).get_span_context()
    execution_span = (
        inherited
        if inherited.is_valid
        else _span_context(who.execution.trace_id(), identity.execution_span_id(who.execution))
    )
    if trace_id != who.execution.trace_id():
        links.append(link(execution_span, semconv.LINK_EXECUTION))
        parent, inherited = set_span_in_context(propagation.remote(INVALID_SPAN_CONTEXT), parent), INVALID_SPAN_CONTEXT
    if inherited.span_id == ids[1]:
        return parent, None
    if not inherited.is_valid and (settings.current().control_plane or not uses_our_ids()):
        control_plane_attempt = _span_context(trace_id, who._replace(replica="").span_id(identity.ROLE_ATTEMPT))
        parent = set_span_in_context(propagation.remote(control_plane_attempt), parent)
    return parent, ids


def _registered_name() -> str:
    """Return the name by which Flyte knows the task of this pod, empty outside one."""
    return bounded(identity.first(os.environ, semconv.FLYTE_TASK_NAME))


def _known_name() -> str:
    """Return the name of the task of this pod before it is loaded, empty where nothing says it."""
    return _registered_name() or bounded(pod.task_to_load(sys.argv))


def _span_context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _identity_attributes(who: Attempt | None) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {}
    if who is not None:
        attributes = {
            semconv.RUN_NAME: bounded(who.execution.name),
            semconv.PROJECT: bounded(who.execution.project),
            semconv.DOMAIN: bounded(who.execution.domain),
            semconv.ATTEMPT: who.number,
        }
        if who.node_path:
            attributes[semconv.NODE_PATH] = bounded(who.node_path)
            attributes[semconv.ACTION_NAME] = bounded(who.node_id)
        if who.array_index is not None:
            attributes[semconv.ARRAY_INDEX] = who.array_index
        if who.replica:
            attributes[semconv.REPLICA] = bounded(who.replica)
    for attribute, variables in (
        (semconv.WORKFLOW_NAME, semconv.FLYTE_EXECUTION_WORKFLOW),
        (semconv.LAUNCH_PLAN_NAME, semconv.FLYTE_EXECUTION_LAUNCH_PLAN),
        (semconv.TASK_VERSION, semconv.FLYTE_TASK_VERSION),
        (semconv.EXECUTION_URL, semconv.FLYTE_EXECUTION_URL),
    ):
        value = identity.first(os.environ, variables)
        if value:
            attributes[attribute] = bounded(value)
    return attributes
