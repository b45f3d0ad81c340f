"""Metrics whose names and attributes users choose as they go: each name keeps one kind, and all of it is bounded."""

import inspect
import re
import threading
from collections.abc import Mapping
from typing import Any

from opentelemetry.metrics import MeterProvider

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import say_once

NAMES_LIMIT = 200
SETS_LIMIT = 1000
"""Sets of attributes of one metric; what is beyond counts for ``otel.metric.overflow``, as in the SDK's own limit."""

VALUES_LIMIT = 10_000
"""Distinct values that are kept apart, of all sets of one metric together."""

DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
"""Seconds: what users time goes from a lookup to an epoch."""

_LONGEST = 255
_NAME_LENGTH = _LONGEST - len(semconv.METRIC_USER.format(name="") + semconv.METRIC_USER_DECREMENTS.format(name=""))
_NO_NAME = re.compile(r"[^A-Za-z0-9_.\-/]")
"""https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax"""

_OVERFLOW = {semconv.METRIC_OVERFLOW: True}

Key = frozenset[tuple[str, Any]]


class _Metric:
    """One name: its kind, its instrument, and what was seen of it."""

    def __init__(self, kind: str, instrument: Any) -> None:
        self.kind = kind
        self.instrument = instrument
        self.sets: set[Key] = set()
        self.levels: dict[Key, float] = {}
        self.values: dict[Key, set[int]] = {}
        self.values_count = 0


class UserMetrics:
    """Records by a meter provider, under a prefix that none of our own metrics has."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        self._metrics: dict[str, _Metric] = {}
        self._lock = threading.Lock()
        forks.register(after_in_child=self._renew)

    def count(self, name: str, amount: float, attributes: Mapping[str, str]) -> None:
        """Add to a counter; what is subtracted has a counter of its own, because a counter never falls."""
        if amount < 0:
            name, amount = semconv.METRIC_USER_DECREMENTS.format(name=name[:_NAME_LENGTH]), -amount
        metric = self._metric(name, "counter")
        if metric is not None:
            metric.instrument.add(amount, self._bounded(name, metric, attributes))

    def gauge(self, name: str, value: float, attributes: Mapping[str, str], *, is_change: bool = False) -> None:
        """Set a gauge, or change it by ``value``: it begins at 0."""
        metric = self._metric(name, "gauge")
        if metric is None:
            return
        bounded = self._bounded(name, metric, attributes)
        key = frozenset(bounded.items())
        with self._lock:
            level = metric.levels[key] = metric.levels.get(key, 0) + value if is_change else value
        metric.instrument.set(level, bounded)

    def duration(self, name: str, seconds: float, attributes: Mapping[str, str]) -> None:
        """Add to a histogram of seconds."""
        metric = self._metric(name, "histogram")
        if metric is not None:
            metric.instrument.record(seconds, self._bounded(name, metric, attributes))

    def distinct(self, name: str, value: object, attributes: Mapping[str, str]) -> None:
        """Set a gauge to how many different values there were since the process began."""
        metric = self._metric(name, "set")
        if metric is None:
            return
        bounded = self._bounded(name, metric, attributes)
        with self._lock:
            values = metric.values.setdefault(frozenset(bounded.items()), set())
            # A value may be as long as it likes, what is kept of it may not.
            told_by = hash(str(value))
            if told_by not in values and metric.values_count < VALUES_LIMIT:
                values.add(told_by)
                metric.values_count += 1
        if metric.values_count >= VALUES_LIMIT:
            say_once(f"the user metric {name} has {VALUES_LIMIT} different values: more are not told apart.")
        metric.instrument.set(len(values), bounded)

    def _metric(self, name: str, kind: str) -> _Metric | None:
        full_name = semconv.METRIC_USER.format(name=_NO_NAME.sub("_", name))[:_LONGEST]
        key = full_name.lower()  # Instruments whose names differ by case are one.
        metric = self._metrics.get(key)
        if metric is None:
            with self._lock:
                metric = self._metrics.get(key)
                if metric is None and len(self._metrics) < NAMES_LIMIT:
                    metric = self._metrics[key] = _Metric(kind, self._instrument(full_name, kind))
        if metric is None:
            say_once(f"there are more than {NAMES_LIMIT} user metrics: what comes under other names is left out.")
        elif metric.kind != kind:
            say_once(f"the user metric {name} is a {metric.kind}: what is recorded of it as {kind} is left out.")
            return None
        return metric

    def _instrument(self, name: str, kind: str) -> Any:
        match kind:
            case "counter":
                return self._meter.create_counter(name)
            case "histogram":
                # OpenTelemetry has taken advice since 1.30.
                known = inspect.signature(self._meter.create_histogram).parameters
                advice: dict[str, Any] = {"explicit_bucket_boundaries_advisory": DURATION_BOUNDS}
                return self._meter.create_histogram(
                    name, "s", **{each: value for each, value in advice.items() if each in known}
                )
            case _:
                return self._meter.create_gauge(name, "{value}" if kind == "set" else "")

    def _bounded(self, name: str, metric: _Metric, attributes: Mapping[str, str]) -> Mapping[str, Any]:
        key = frozenset(attributes.items())
        if key in metric.sets:
            return attributes
        if len(metric.sets) >= SETS_LIMIT:
            overflow = semconv.METRIC_OVERFLOW
            say_once(f"the user metric {name} has more than {SETS_LIMIT} sets of tags: others count for {overflow}.")
            return _OVERFLOW
        metric.sets.add(key)
        return attributes

    def _renew(self) -> None:
        self._lock = threading.Lock()
