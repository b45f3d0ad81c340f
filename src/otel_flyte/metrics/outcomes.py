"""The ends of tasks as metrics of low cardinality: durations, attempts by result, and lookups in the local cache."""

import inspect
import time
from typing import TYPE_CHECKING, Any

from otel_flyte import providers, semconv
from otel_flyte._version import __version__
from otel_flyte.metrics import handover
from otel_flyte.runtime.forks import ForkLock
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks.open_task import with_identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry import metrics
    from opentelemetry.util.types import AttributeValue

    from otel_flyte.tasks.open_task import OpenTask

DURATION_BOUNDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds: tasks run from moments to days."""

_DURATION = "How long an attempt of a task took."
_ATTEMPTS = "Attempts of tasks, by how they ended."
_LOOKUPS = "Lookups in the local cache."


@guarded
def task_ended(task: "OpenTask") -> None:
    """Count a task that ends now. Its span has its outcome already."""
    # The only task of its process needs no SDK of metrics.
    is_alone = task.owns_process and not handover.is_waiting()
    if not task.task_name or (is_alone and _sent_as_single_points(task)):
        return
    provider = providers.meter_provider()
    if provider is None:
        return
    if provider not in _created:
        _create_instruments(provider)
    seconds = (time.time_ns() - task.start_time) / 1e9
    # The SDK takes as long to record it as all spans of a short task take.
    handover.later(_record, provider, seconds, _attributes(task), context=task.context)
    if not getattr(provider, "is_ours", False):
        # The program may shut its provider down at any time.
        handover.record_waiting()


@guarded
def cache_looked_up(task_name: str, status: str) -> None:
    """Count a lookup in the local cache."""
    provider = providers.meter_provider()
    if provider is not None:
        _create_instruments(provider)
        attributes = with_identity({semconv.TASK_NAME: task_name, semconv.CACHE_STATUS: status})
        handover.later(_record_lookup, provider, attributes)


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


def _record(provider: "metrics.MeterProvider", seconds: float, attributes: dict[str, Any]) -> None:
    instruments = _created[provider]
    instruments.duration.record(seconds, attributes)
    instruments.attempts.add(1, attributes)


def _record_lookup(provider: "metrics.MeterProvider", attributes: "Mapping[str, AttributeValue]") -> None:
    _created[provider].lookups.add(1, attributes)


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


_creating = ForkLock(0.5)
_created: "dict[metrics.MeterProvider, _Instruments]" = {}


def _create_instruments(provider: "metrics.MeterProvider") -> None:
    # Two tasks may end at once, and older SDKs do not expect a second instrument of the same name.
    with _creating:
        if provider not in _created:
            _created[provider] = _Instruments(provider)
