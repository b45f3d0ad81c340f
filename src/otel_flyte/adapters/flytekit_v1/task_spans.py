"""Spans of flytekit's tasks, workflows and map items: of a pod's attempt, nested and local ones."""

import copy
import os
import sys
from contextvars import ContextVar
from typing import Any

from flyteidl.core.errors_pb2 import ContainerError
from flyteidl.core.execution_pb2 import ExecutionError
from opentelemetry import context as context_api

from otel_flyte import semconv
from otel_flyte.adapters import patching, task_spans
from otel_flyte.adapters.around import Around
from otel_flyte.adapters.base import TaskDescription
from otel_flyte.adapters.flytekit_v1 import data_spans, pod_attempt, task_attributes
from otel_flyte.adapters.flytekit_v1.pod_attempt import PodAttempt
from otel_flyte.config import settings
from otel_flyte.metrics import outcomes
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import bounded
from otel_flyte.tasks import failures, identity
from otel_flyte.tasks.failures import Failure
from otel_flyte.tasks.open_task import OpenTask, close_span, open_span
from otel_flyte.tracing.spans import OpenSpan, is_suppressed

_RENAMED_IN_A_POD = (semconv.KIND_MAP, semconv.KIND_EAGER_CLEANUP)
"""Kinds of tasks whose name in a pod is not the one by which they are registered."""

_missed: ContextVar[str | None] = ContextVar("otel_flyte_cache_miss", default=None)
"""The task that the local cache had no result for, until it is dispatched."""


@guarded
def begin_task(task: Any, literals: Any) -> OpenTask | None:
    """Open the span of a dispatch: the attempt's own in a pod, else a nested or local one."""
    context = context_api.get_current()
    if is_suppressed(context):
        return None
    patching.install_pending()
    description = task_attributes.describe(task)
    attempt = pod_attempt.current.get()
    if attempt is not None and attempt.idle and not attempt.dispatched:
        opened = _begin_dispatch(attempt, task, description, literals)
    else:
        attributes = description.attributes if _missed.get() is None else _with_cache_miss(description)
        opened = task_spans.open_task(description, task, attributes, context)
    if opened is not None and description.sets_up:
        opened.open_phase(semconv.PHASE_SETUP, task)
    return opened


@guarded
def end_task(task: OpenTask, error: BaseException | None) -> None:
    """End a task or workflow; a pod's attempt goes on to upload its outputs."""
    task.close_phase(error)
    attempt = pod_attempt.current.get()
    if attempt is not None and attempt.task is task:
        attempt.dispatching = False
        attempt.error = error
    else:
        task_spans.end(task, error)


abandon = guarded(task_spans.abandon)


@guarded
def begin_workflow(workflow: Any) -> OpenTask | None:
    """Open the span of a workflow that runs locally."""
    context = context_api.get_current()
    return None if is_suppressed(context) else task_spans.open_workflow(bounded(workflow.name), workflow, context)


def open_attempt(attempt: PodAttempt) -> OpenTask | None:
    """Open the span of a pod's attempt, and record the phases that are over."""
    if is_suppressed(context_api.get_current()):
        return None
    is_measured = bool(settings.current().sample_interval)
    return task_spans.open_attempt(
        identity.attempt_from_environment(os.environ, attempt.output_prefix),
        _registered_name() or bounded(pod_attempt.task_to_load(sys.argv)),
        _attributes_of_environment(),
        os.environ,
        owns_process=True,
        start_time=attempt.start_time,
        past=[step if is_measured else step._replace(usage=None) for step in attempt.past],
        first=attempt.first,
    )


@guarded
def close_attempt(attempt: PodAttempt) -> None:
    """End the span of a pod's attempt, with Flyte's own decision where it failed."""
    if attempt.task is None:
        return
    attempt.task.close_phase(attempt.error)
    task_spans.end_attempt(attempt.task, _failure(attempt))


def failure_of_message(message: Any) -> Failure:
    """Return the failure that a ``ContainerError`` describes."""
    code = bounded(message.code)
    return Failure(
        type=code,
        message=bounded(message.message),
        kind=ExecutionError.ErrorKind.Name(message.origin),
        code=code,
        recoverable=message.kind == ContainerError.RECOVERABLE,
    )


@guarded
def record_cache(task_name: str, *, hit: bool, start_time: int) -> None:
    """Record a cached call as a task span; a miss is an attribute of the dispatch that follows."""
    name = bounded(task_name)
    outcomes.cache_looked_up(name, semconv.CACHE_HIT if hit else semconv.CACHE_MISS)
    if hit:
        task_spans.add_cached_task(name, start_time)
    else:
        _missed.set(task_name)


@guarded
def with_observed_items(map_task: Any) -> Any:
    """Return a copy of a map task that records each item as a span: a local map runs all items in one dispatch."""
    copied = copy.copy(map_task)
    copied._run_task = ObservedTask(map_task._run_task)
    return copied


class ObservedTask:
    """The mapped task of a map task, each of whose executions is a span."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._index = 0

    def execute(self, **kwargs: Any) -> Any:
        """Execute the mapped task for one item."""
        with Around(self._begin_item(), close_span):
            return self._task.execute(**kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    @guarded
    def _begin_item(self) -> OpenSpan:
        index, self._index = self._index, self._index + 1
        return open_span(semconv.SPAN_MAP_ITEM, semconv.SPAN_ROLE_ITEM, {semconv.ARRAY_INDEX: index})


def _begin_dispatch(attempt: PodAttempt, task: Any, description: TaskDescription, literals: Any) -> OpenTask | None:
    """Complete the span of a pod's attempt now that its task is loaded."""
    attempt.dispatched = True
    if attempt.task is None:
        attempt.task = open_attempt(attempt)
    opened = attempt.task
    if opened is None:
        return None
    attributes = description.attributes
    if attributes[semconv.TASK_KIND] in _RENAMED_IN_A_POD and _registered_name():
        attributes = {**attributes, semconv.TASK_NAME: _registered_name()}
    else:
        opened.span.update_name(description.span_name)
    opened.span.set_attributes(attributes)
    opened.owner, opened.task_name, opened.resources = task, attributes[semconv.TASK_NAME], description.resources
    execution = opened.attempt.execution if opened.attempt is not None else None
    data_spans.add_lineage(opened.span, task, literals, execution, settings.current().map_nested)
    task_spans.update_supervisor(opened)
    # Last: only the end of a dispatch that has begun resets it.
    attempt.dispatching = True
    return opened


@guarded
def _failure(attempt: PodAttempt) -> BaseException | Failure | None:
    """Return the failure of an attempt: its exception where that is known, with Flyte's own decision."""
    if attempt.message is None:
        return attempt.error
    decided = failure_of_message(attempt.message)
    found = failures.of_exception_once(attempt.error) if attempt.error is not None else None
    if found is None:
        return decided
    return found._replace(kind=decided.kind, code=decided.code, recoverable=decided.recoverable)


def _with_cache_miss(description: TaskDescription) -> Any:
    missed = _missed.get()
    _missed.set(None)
    if missed != description.attributes[semconv.TASK_NAME]:
        return description.attributes
    return {**description.attributes, semconv.CACHE_STATUS: semconv.CACHE_MISS}


def _registered_name() -> str:
    """Return the name by which Flyte knows the task of this pod, empty outside one."""
    return bounded(identity.first(os.environ, semconv.FLYTE_TASK_NAME))


def _attributes_of_environment() -> dict[str, str]:
    named = {
        semconv.WORKFLOW_NAME: semconv.FLYTE_EXECUTION_WORKFLOW,
        semconv.LAUNCH_PLAN_NAME: semconv.FLYTE_EXECUTION_LAUNCH_PLAN,
        semconv.TASK_VERSION: semconv.FLYTE_TASK_VERSION,
        semconv.EXECUTION_URL: semconv.FLYTE_EXECUTION_URL,
    }
    found = {name: identity.first(os.environ, variables) for name, variables in named.items()}
    return {name: bounded(value) for name, value in found.items() if value}
