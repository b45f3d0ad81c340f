"""The ends of tasks as metrics of low cardinality: durations, attempts by result, and lookups in the local cache."""

import inspect
import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context

from otel_flyte import providers, semconv
from otel_flyte._version import __version__
from otel_flyte.runtime import forks, ticker
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks.open_task import with_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry import metrics
    from opentelemetry.util.types import AttributeValue

    from otel_flyte.tasks.open_task import OpenTask

DURATION_BOUNDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds: tasks run from moments to days."""

_DURATION = "How long an attempt of a task took."
_ATTEMPTS = "Attempts of tasks, by how they ended."
_LOOKUPS = "Lookups in the local cache."


class _Ended(NamedTuple):
    """A task that has ended."""

    provider: "metrics.MeterProvider"
    attributes: "Mapping[str, AttributeValue]"
    seconds: float
    context: Context


_MOST_WAITING = 1000
"""Ended tasks that wait to be recorded; a loop of short tasks must not fill the memory."""

_waiting: deque[_Ended] = deque()
_recording = ForkLock(0.5)
# The parent of a forked child records its own tasks.
forks.register(after_in_child=_waiting.clear)


@guarded
def task_ended(task: "OpenTask") -> None:
    """Count a task that ends now. Its span has its outcome already.

    The SDK takes as long to record it as all spans of a short task take. Our provider does so in a thread of ours,
    before it collects metrics.
    """
    # The only task of its process needs no SDK of metrics.
    if not task.task_name or (task.owns_process and _sent_as_single_points(task)):
        return
    provider = providers.meter_provider()
    if provider is None:
        return
    seconds = (time.time_ns() - task.start_time) / 1e9
    ended = _Ended(provider, _attributes(task), seconds, task.context)
    if provider not in _created:
        _instruments(provider)
    _waiting.append(ended)
    if not getattr(provider, "is_ours", False) or len(_waiting) >= _MOST_WAITING:
        _record_waiting()


@guarded
def cache_looked_up(task_name: str, status: str) -> None:
    """Count a lookup in the local cache."""
    provider = providers.meter_provider()
    if provider is not None:
        attributes = with_identity({semconv.TASK_NAME: task_name, semconv.CACHE_STATUS: status})
        _instruments(provider).lookups.add(1, attributes)


def _sent_as_single_points(task: "OpenTask") -> bool:
    from otel_flyte.export import single_points

    if not single_points.are_possible(task.span):
        return False
    end_time = time.time_ns()
    points = single_points.SinglePoints(task.span, end_time, _attributes(task))
    seconds = (end_time - task.start_time) / 1e9
    points.histogram(semconv.METRIC_TASK_DURATION, "s", _DURATION, DURATION_BOUNDS, seconds)
    points.count(semconv.METRIC_TASK_ATTEMPTS, "{attempt}", _ATTEMPTS)
    points.send()
    return True


def _attributes(task: "OpenTask") -> dict[str, Any]:
    by_name = {semconv.TASK_NAME: task.task_name, semconv.RESULT: semconv.RESULT_SUCCESS}
    return {**task.identity_attributes, **by_name, **task.outcome}


def _record_waiting() -> None:
    """Record the tasks that have ended; a collection waits until all of them are recorded."""
    with _recording:
        while _waiting:
            ended = _waiting.popleft()
            # A collection may wait for this thread: it must create no instruments here.
            instruments, exemplar = _created[ended.provider], _exemplar(ended.context)
            instruments.duration.record(ended.seconds, ended.attributes, **exemplar)
            instruments.attempts.add(1, ended.attributes, **exemplar)


def _before_collection(_: "metrics.CallbackOptions") -> "Iterable[metrics.Observation]":
    _record_waiting()
    return ()


class _Instruments:
    def __init__(self, provider: "metrics.MeterProvider") -> None:
        meter = provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        bounds: dict[str, Any] = {"explicit_bucket_boundaries_advisory": DURATION_BOUNDS}
        # OpenTelemetry has taken advice since 1.30.
        known = inspect.signature(meter.create_histogram).parameters
        advice = {name: value for name, value in bounds.items() if name in known}
        self.duration = meter.create_histogram(semconv.METRIC_TASK_DURATION, "s", _DURATION, **advice)
        self.attempts = meter.create_counter(semconv.METRIC_TASK_ATTEMPTS, "{attempt}", _ATTEMPTS)
        self.lookups = meter.create_counter(semconv.METRIC_TASK_CACHE, "{lookup}", _LOOKUPS)
        if getattr(provider, "is_ours", False):
            meter.create_observable_gauge(semconv.BEFORE_COLLECTION, [_before_collection])
            # An exemplar has the time at which it is recorded.
            ticker.every_second(_record_waiting)


def _instruments(provider: "metrics.MeterProvider") -> _Instruments:
    # Two tasks may end at once, and older SDKs do not expect a second instrument of the same name.
    with _creating:
        if provider not in _created:
            _created[provider] = _Instruments(provider)
        return _created[provider]


_creating = ForkLock(0.5)
_created: "dict[metrics.MeterProvider, _Instruments]" = {}


@cache
def _takes_context() -> bool:
    from opentelemetry import metrics

    return "context" in inspect.signature(metrics.Histogram.record).parameters


def _exemplar(context: Context) -> dict[str, Any]:
    """Make the task's trace the exemplar; before OpenTelemetry 1.29 it was always the current one."""
    return {"context": context} if _takes_context() else {}
