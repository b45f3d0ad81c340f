"""Spans of attempts, tasks and workflows: their parents, their ids and their ends. Every adapter uses them."""

import contextvars
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, SpanKind, get_current_span, set_span_in_context

from otel_flyte import semconv
from otel_flyte.adapters.base import TaskDescription
from otel_flyte.config import settings
from otel_flyte.metrics import outcomes
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import identity, propagation, state
from otel_flyte.tasks.failures import Failure
from otel_flyte.tasks.identity import Attempt
from otel_flyte.tasks.open_task import OpenTask, with_identity
from otel_flyte.tasks.past_phase import PastPhase
from otel_flyte.tracing.span_context import SPAN_KEY
from otel_flyte.tracing.spans import derived_context, link, tracer, uses_our_ids
from otel_flyte.usage import recorder
from otel_flyte.usage.sample import Sample

_CAPTURE = "otel_flyte.stdio_capture.capture"


def open_task(
    description: TaskDescription, owner: object, attributes: Mapping[str, Any], context: Context | None = None
) -> OpenTask:
    """Open the span of a task that is nested in another, or runs locally.

    Args:
        description: describes the task.
        owner: the task, as the engine has it.
        attributes: those of the description and of this run.
        context: the current context, where the caller has it.
    """
    parent, links, is_environment_free = _local_parent(context_api.get_current() if context is None else context)
    task = OpenTask(description.span_name, parent, owner, attributes=attributes, links=links)
    task.resources = description.resources
    recorder.begin(task)
    if not propagation.exposed:
        _expose(task, is_environment_free=is_environment_free)
    _capture_stdio(task)
    return task


def open_workflow(name: str, owner: object, context: Context) -> OpenTask:
    """Open the span of a workflow that runs locally."""
    parent, links, _ = _local_parent(context)
    role, attributes = semconv.SPAN_ROLE_EXECUTION, {semconv.WORKFLOW_NAME: name}
    task = OpenTask(semconv.SPAN_WORKFLOW.format(name=name), parent, owner, role, attributes=attributes, links=links)
    _expose(task)
    return task


def open_attempt(
    attempt: Attempt | None,
    task_name: str,
    attributes: Mapping[str, Any],
    carrier: Mapping[str, str],
    *,
    owns_process: bool = False,
    start_time: int | None = None,
    past: Sequence[PastPhase] = (),
    first: Sample | None = None,
) -> OpenTask:
    """Open the span of an attempt. Its ids are derived, unless another process of the attempt has the same ones.

    The parent is the span of ``TRACEPARENT``, the control plane's attempt where that is exported, or none. A map
    subtask with a trace of its own links to the execution's.

    Args:
        attempt: its identity; ``None`` where it belongs to no execution.
        task_name: name of its task, empty where it is not known yet.
        attributes: attributes of the span besides identity and name.
        carrier: the variables that may hold ``TRACEPARENT`` and ``OTEL_FLYTE_LAUNCHED_BY``.
        owns_process: whether this process was started for the attempt alone.
        start_time: Unix time in ns, if it began before now.
        past: phases that are over.
        first: usage of this process when it was first measured, if that was before now.
    """
    parent, links = _parent_from(carrier, context_api.get_current())
    ids = None
    if attempt is not None:
        parent, ids = _derived(attempt, parent, links)
    launched_by = propagation.launched_by(carrier)
    if launched_by.is_valid:
        links.append(link(launched_by, semconv.LINK_LAUNCHED_BY))
    named = {semconv.TASK_NAME: task_name} if task_name else {}
    token = state.next_ids.set(ids)
    try:
        task = OpenTask(
            semconv.SPAN_TASK.format(name=task_name or "unknown"),
            parent,
            None,
            attempt=attempt,
            owns_process=owns_process,
            kind=SpanKind.CONSUMER if get_current_span(parent).get_span_context().is_remote else SpanKind.INTERNAL,
            attributes={**(attempt.attributes() if attempt is not None else {}), **attributes, **named},
            links=links,
            start_time=start_time,
        )
    finally:
        state.next_ids.reset(token)
    task.task_name = task_name or "unknown"
    _begin_attempt(task, past, first)
    return task


def abandon(before: contextvars.Context) -> None:
    """Close what an exception of a signal handler has left open; the attempt that owns this process goes on.

    Args:
        before: the context variables from before the task began.
    """
    outer, context = before.run(state.current.get), before.run(context_api.get_current)
    task = state.current.get()
    while task is not None and task is not outer and not task.owns_process:
        _close(task)
        if state.current.get() is task:
            state.current.set(task.outer)
        task = state.current.get()
    if task is outer and context_api.get_current() is not context:
        context_api.attach(context)


def end(task: OpenTask, error: BaseException | Failure | None = None) -> None:
    """End a task, an attempt or a workflow."""
    try:
        if error is not None and not task.is_counted:
            task.finish(error)
    finally:
        try:
            if not task.is_counted:
                task.is_counted = True
                outcomes.task_ended(task)
        finally:
            _close(task)


def end_attempt(task: OpenTask, error: BaseException | Failure | None = None) -> None:
    """End an attempt, and send its records while the engine ends the process."""
    try:
        end(task, error)
    finally:
        _send_now()


def update_supervisor(task: OpenTask) -> None:
    """Send the span to ``otel-flyte exec``, which ends it if this process dies; again after its attributes changed."""
    from otel_flyte.supervisor import client

    if client.is_supervised():
        client.opened(task.span)


@guarded
def _begin_attempt(task: OpenTask, past: Sequence[PastPhase], first: Sample | None) -> None:
    for phase in past:
        task.add_past_phase(phase)
    _expose(task)
    age = (time.time_ns() - task.start_time) / 1e9 - (time.monotonic() - first.at) if first is not None else 0.0
    recorder.begin(task, first, age)
    _capture_stdio(task)
    _watch(task)


@guarded
def _watch(task: OpenTask) -> None:
    """Make an attempt visible however its process ends: by a signal, by a kill, without a receiver."""
    from otel_flyte.export import pending_spans
    from otel_flyte.process import signals
    from otel_flyte.sdk import other_providers

    other_providers.adopt()
    signals.install()
    pending_spans.begin()
    pending_spans.announce(task)
    update_supervisor(task)


@guarded
def _send_now() -> None:
    from otel_flyte.process import shutdown

    shutdown.kick()


@guarded
def _expose(task: OpenTask, *, is_environment_free: bool = False) -> None:
    # The environment has one parent for all processes: attempts that share this process can't be it.
    if not task.identity_attributes:
        task.exposed = propagation.expose(task.span, is_environment_free=is_environment_free)


@guarded
def _capture_stdio(task: OpenTask) -> None:
    # Where the user does not want it, it is not even loaded.
    if _CAPTURE in sys.modules or settings.current().capture_output:
        import_module(_CAPTURE).begin(task)


def _close(task: OpenTask) -> None:
    if _CAPTURE in sys.modules:
        sys.modules[_CAPTURE].end(task)
    if task.exposed:
        propagation.hide()
    task.close()


def _local_parent(current: Context) -> tuple[Context, list[Link], bool]:
    """Return the parent of a nested or local span: the current span, else that of the environment; and its links.

    Also return whether the environment is known to have no parent: a short task pays for each look-up of a variable.
    """
    if SPAN_KEY in current and get_current_span(current).get_span_context().is_valid:
        return current, [], False
    if semconv.TRACEPARENT not in os.environ:
        return current, [], True
    return *_parent_from(os.environ, current), False


def _parent_from(carrier: Mapping[str, str], current: Context) -> tuple[Context, list[Link]]:
    """Follow ``TRACEPARENT``. A parent that is not sampled is linked instead: it must not hide this process."""
    incoming = propagation.incoming(carrier)
    if not incoming.is_valid:
        return current, []
    if incoming.trace_flags.sampled:
        return set_span_in_context(NonRecordingSpan(incoming), current), []
    return current, [link(incoming, semconv.LINK_TRACEPARENT)]


def _derived(attempt: Attempt, parent: Context, links: list[Link]) -> tuple[Context, tuple[int, int] | None]:
    """Return the parent and the derived ids of an attempt; no ids where its parent has them."""
    execution = attempt.execution
    trace_id = attempt.trace_id(settings.current().map_nested)
    span_id = attempt.span_id(identity.ROLE_TASK)
    inherited = get_current_span(parent).get_span_context()
    if trace_id != execution.trace_id():
        own = derived_context(execution.trace_id(), identity.execution_span_id(execution))
        links.append(link(inherited if inherited.is_valid else own, semconv.LINK_EXECUTION))
        inherited = INVALID_SPAN.get_span_context()
        parent = set_span_in_context(INVALID_SPAN, parent)
    if inherited.span_id == span_id:
        return parent, None
    if not inherited.is_valid and (settings.current().control_plane or not uses_our_ids()):
        above = attempt._replace(replica="").span_id(identity.ROLE_ATTEMPT)
        parent = set_span_in_context(NonRecordingSpan(derived_context(trace_id, above)), parent)
    return parent, (trace_id, span_id)


def add_cached_task(task_name: str, start_time: int) -> None:
    """Record a task whose result was in the cache: it began at ``start_time``, Unix time in ns, and ends now."""
    parent, links, _ = _local_parent(context_api.get_current())
    span = tracer().start_span(
        semconv.SPAN_TASK.format(name=task_name),
        parent,
        attributes=with_identity(
            {
                semconv.TASK_NAME: task_name,
                semconv.CACHE_STATUS: semconv.CACHE_HIT,
                semconv.SPAN_ROLE: semconv.SPAN_ROLE_ATTEMPT,
            }
        ),
        links=links,
        start_time=start_time,
    )
    span.end()
