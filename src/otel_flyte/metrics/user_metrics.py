"""Metrics whose names and attributes users choose at run time: each name has one kind, and everything is bounded."""

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_flyte import semconv
from otel_flyte._version import __version__
from otel_flyte.runtime.guard import say_once

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

NAMES_LIMIT = 200
SETS_LIMIT = 1000
"""Sets of attributes of one metric. Further sets count as ``otel.metric.overflow``, as in the SDK's own limit."""

VALUES_LIMIT = 10_000
"""Distinct values that are counted, of all sets of one metric together."""

DURATION_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
"""Seconds: users time lookups, epochs and all between."""

_LONGEST = 255
_NAME_LENGTH = _LONGEST - len(semconv.METRIC_USER.format(name="") + semconv.METRIC_USER_DECREMENTS.format(name=""))
_INVALID = re.compile(r"[^A-Za-z0-9_.\-/]")
"""https://opentelemetry.io/docs/specs/otel/metrics/api/#instrument-name-syntax"""

_OVERFLOW = {semconv.METRIC_OVERFLOW: True}

Attributes = Mapping[str, Any]
Key = frozenset[tuple[str, Any]]


class _Metric:
    """One name: its kind, its instrument, and its sets of attributes, levels and values so far."""

    def __init__(self, kind: str, instrument: Any) -> None:
        self.kind = kind
        self.instrument = instrument
        self.sets: set[Key] = set()
        self.levels: dict[Key, float] = {}
        self.values: dict[Key, set[int]] = {}
        self.values_count = 0


class UserMetrics:
    """Records user metrics with a meter provider, under a prefix that none of our own metrics has.

    One thread at a time uses it: see :mod:`otel_flyte.metrics.handover`.
    """

    def __init__(self, provider: "MeterProvider") -> None:
        self._meter = provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
        self._metrics: dict[str, _Metric] = {}

    def count(self, name: str, amount: float, attributes: Attributes) -> None:
        """Add to a counter. A counter never falls, so decrements have a counter of their own."""
        if amount < 0:
            name, amount = semconv.METRIC_USER_DECREMENTS.format(name=name[:_NAME_LENGTH]), -amount
        metric = self._metric(name, "counter")
        if metric is not None:
            metric.instrument.add(amount, self._bounded(name, metric, attributes))

    def gauge(self, name: str, value: float, attributes: Attributes, *, is_change: bool = False) -> None:
        """Set a gauge, or change it by ``value``: it begins at 0."""
        metric = self._metric(name, "gauge")
        if metric is None:
            return
        bounded = self._bounded(name, metric, attributes)
        key = frozenset(bounded.items())
        level = metric.levels[key] = metric.levels.get(key, 0) + value if is_change else value
        metric.instrument.set(level, bounded)

    def duration(self, name: str, seconds: float, attributes: Attributes) -> None:
        """Add to a histogram of seconds."""
        metric = self._metric(name, "histogram")
        if metric is not None:
            metric.instrument.record(seconds, self._bounded(name, metric, attributes))

    def distinct(self, name: str, value: object, attributes: Attributes) -> None:
        """Set a gauge to the number of distinct values since the process began."""
        metric = self._metric(name, "set")
        if metric is None:
            return
        bounded = self._bounded(name, metric, attributes)
        values = metric.values.setdefault(frozenset(bounded.items()), set())
        # A value may have any length: its hash is bounded.
        hashed = hash(str(value))
        if hashed not in values and metric.values_count < VALUES_LIMIT:
            values.add(hashed)
            metric.values_count += 1
        if metric.values_count >= VALUES_LIMIT:
            say_once(f"the user metric {name} has {VALUES_LIMIT} distinct values: further values are not counted")
        metric.instrument.set(len(values), bounded)

    def _metric(self, name: str, kind: str) -> _Metric | None:
        full_name = semconv.METRIC_USER.format(name=_INVALID.sub("_", name))[:_LONGEST]
        key = full_name.lower()  # Names of instruments are case-insensitive.
        metric = self._metrics.get(key) or self._add(key, full_name, kind)
        if metric is None:
            say_once(f"there are more than {NAMES_LIMIT} user metrics: metrics with other names are ignored")
        elif metric.kind != kind:
            say_once(f"the user metric {name} is a {metric.kind}: its {kind} values are ignored")
            return None
        return metric

    def _add(self, key: str, name: str, kind: str) -> _Metric | None:
        if key not in self._metrics and len(self._metrics) < NAMES_LIMIT:
            self._metrics[key] = _Metric(kind, self._instrument(name, kind))
        return self._metrics.get(key)

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

    def _bounded(self, name: str, metric: _Metric, attributes: Attributes) -> Attributes:
        key = frozenset(attributes.items())
        if key in metric.sets:
            return attributes
        if len(metric.sets) >= SETS_LIMIT:
            overflow = semconv.METRIC_OVERFLOW
            say_once(f"the user metric {name} has more than {SETS_LIMIT} sets of tags: others count as {overflow}")
            return _OVERFLOW
        metric.sets.add(key)
        return attributes
