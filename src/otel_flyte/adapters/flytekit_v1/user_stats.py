"""What users count and measure through ``current_context().stats``, as instruments of OpenTelemetry.

statsd goes on as it was: each call is told here once it has accepted what it was called with. A sample rate thins out
what is sent to statsd, whose server scales it up again; here every call counts, once.
"""

import math
import os
from datetime import timedelta
from numbers import Integral, Real
from typing import Any

from flytekit.core.mock_stats import MockStats
from opentelemetry.metrics import MeterProvider

from otel_flyte import providers, semconv
from otel_flyte.logs.capture import of_task
from otel_flyte.metrics.user_metrics import UserMetrics
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.limits import ENTRIES_LIMIT, bounded
from otel_flyte.tasks import identity

PARAMETERS = {
    "incr": ("count", "rate"),
    "decr": ("count", "rate"),
    "gauge": ("value", "rate", "delta"),
    "timing": ("delta", "rate"),
    "timer": ("rate",),
    "set": ("value", "rate"),
}
"""After the name, as ``statsd`` has them: https://statsd.readthedocs.io/en/stable/reference.html"""

_OF_MOCK = {"incr": ("count", "tags"), "decr": ("count", "tags"), "gauge": ("value", "tags")}
_OF_FLYTEKIT = ("exec_project", "exec_domain", "exec_workflow", "exec_launchplan", "api_version")
"""Tags that flytekit gives its client; what they say is in the attributes and the resource."""

_VARIABLES = {
    semconv.USER_WORKFLOW: semconv.FLYTE_EXECUTION_WORKFLOW,
    semconv.USER_LAUNCH_PLAN: semconv.FLYTE_EXECUTION_LAUNCH_PLAN,
    semconv.USER_TASK: semconv.FLYTE_TASK_NAME,
}

_metrics: tuple[MeterProvider, UserMetrics] | None = None


@guarded
def note(stats: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Record what a statsd client, or flytekit's mock of one, has been called with."""
    metrics = _current()
    if metrics is None:
        return
    name = str(args[0] if args else kwargs.get("stat"))
    scope = stats.scope if isinstance(stats, MockStats) else stats._scope_prefix
    name = f"{scope}.{name}" if scope else name
    parameters = _OF_MOCK[method] if isinstance(stats, MockStats) else PARAMETERS[method]
    given = {**dict(zip(parameters, args[1:], strict=False)), **kwargs}
    attributes = _attributes(stats, given.get("tags"))
    if method == "timer":
        _watch(result, metrics, name, attributes)
    else:
        _record(metrics, method, name, given, attributes)


def _record(metrics: UserMetrics, method: str, name: str, given: dict[str, Any], attributes: dict[str, str]) -> None:
    value = (
        given.get("count", 1) if method in ("incr", "decr") else given.get("delta" if method == "timing" else "value")
    )
    if method == "set":
        metrics.distinct(name, value, attributes)
    elif isinstance(value, timedelta):  # The mock's timers are gauges of it.
        metrics.duration(name, value.total_seconds(), attributes)
    elif not isinstance(value, Real) or not math.isfinite(value):
        return
    elif method == "gauge":
        metrics.gauge(name, _plain(value), attributes, is_change=bool(given.get("delta")))
    elif method == "timing":
        metrics.duration(name, float(value) / 1000, attributes)
    else:
        metrics.count(name, -_plain(value) if method == "decr" else _plain(value), attributes)


def _plain(value: Real) -> float:
    """Return a number as Python's own: OTLP has no other."""
    return int(value) if isinstance(value, Integral) else float(value)


def _watch(timer: Any, metrics: UserMetrics, name: str, attributes: dict[str, str]) -> None:
    """Have a timer of ``statsd`` tell what it has measured: it passes its client's wrapped methods by."""
    if hasattr(timer, "client"):
        timer.client = _WatchedClient(timer.client, metrics, name, attributes)


class _WatchedClient:
    """The client of a timer, which calls nothing of it but ``timing``."""

    def __init__(self, client: Any, metrics: UserMetrics, name: str, attributes: dict[str, str]) -> None:
        self._client = client
        self._metrics = metrics
        self._name = name
        self._attributes = attributes

    def timing(self, stat: str, delta: float, *args: Any, **kwargs: Any) -> Any:
        """Send what was measured, in milliseconds, and record it."""
        result = self._client.timing(stat, delta, *args, **kwargs)
        guarded(self._metrics.duration)(self._name, delta / 1000, self._attributes)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _attributes(stats: Any, tags: Any) -> dict[str, str]:
    """Return what tells the task, then what the user says: a tag of theirs has the last word."""
    attributes = {name: identity.first(os.environ, variables) for name, variables in _VARIABLES.items()}
    attributes[semconv.USER_TASK] = of_task().get(semconv.TASK_NAME, attributes[semconv.USER_TASK])
    found = {name: value for name, value in attributes.items() if value}
    of_client = {name: value for name, value in (_tags_of(stats)).items() if name not in _OF_FLYTEKIT}
    given = {**of_client, **(tags if isinstance(tags, dict) else {})}
    found.update((bounded(name), bounded(value)) for name, value in list(given.items())[:ENTRIES_LIMIT])
    return found


def _tags_of(stats: Any) -> dict[Any, Any]:
    tags = stats.tags if isinstance(stats, MockStats) else stats._tags
    return tags if isinstance(tags, dict) else {}


def _current() -> UserMetrics | None:
    """Return what records by the meter provider of the moment, ``None`` where nobody would hear of it."""
    global _metrics
    provider = providers.meter_provider()
    if provider is None:
        return None
    if _metrics is None or _metrics[0] is not provider:
        _metrics = provider, UserMetrics(provider)
    return _metrics[1]
