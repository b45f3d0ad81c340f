"""Metrics that users record through ``current_context().stats``, as instruments of OpenTelemetry.

statsd works as before: a call is recorded here once the client has accepted it. A sample rate reduces the packets for
statsd, whose server scales them up again; here every call counts once.
"""

import math
import os
from datetime import timedelta
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from flytekit.core.mock_stats import MockStats

from otel_flyte import providers, semconv
from otel_flyte.logs.capture import task_attributes
from otel_flyte.metrics import handover
from otel_flyte.metrics.user_metrics import UserMetrics
from otel_flyte.runtime.guard import guarded, say_once
from otel_flyte.runtime.limits import ENTRIES_LIMIT, bounded, in_64_bits, in_brief
from otel_flyte.tasks import identity

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

PARAMETERS = {
    "incr": ("count", "rate"),
    "decr": ("count", "rate"),
    "gauge": ("value", "rate", "delta"),
    "timing": ("delta", "rate"),
    "timer": ("rate",),
    "set": ("value", "rate"),
}
"""Parameters after the name: https://statsd.readthedocs.io/en/stable/reference.html"""

_OF_MOCK = {"incr": ("count", "tags"), "decr": ("count", "tags"), "gauge": ("value", "tags")}
_OF_FLYTEKIT = ("exec_project", "exec_domain", "exec_workflow", "exec_launchplan", "api_version")
"""Tags of flytekit's own client. Their values are in the attributes and the resource already."""

_VARIABLES = {
    semconv.USER_WORKFLOW: semconv.FLYTE_EXECUTION_WORKFLOW,
    semconv.USER_LAUNCH_PLAN: semconv.FLYTE_EXECUTION_LAUNCH_PLAN,
    semconv.USER_TASK: semconv.FLYTE_TASK_NAME,
}


@guarded
def record(stats: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    """Record a call of a statsd client, or of flytekit's mock of one."""
    recorded = providers.recorded_meter_provider
    used = [each for each in (providers.meter_provider(), recorded and recorded()) if each is not None]
    if not used:
        return
    name = str(args[0] if args else kwargs.get("stat"))
    scope = stats.scope if isinstance(stats, MockStats) else stats._scope_prefix
    name = f"{scope}.{name}" if scope else name
    parameters = _OF_MOCK[method] if isinstance(stats, MockStats) else PARAMETERS[method]
    given = {**dict(zip(parameters, args[1:], strict=False)), **kwargs}
    attributes = _attributes(stats, given.get("tags"))
    for provider in used:
        if method == "timer":
            _observe(result, provider, name, attributes)
        else:
            _add(provider, method, name, given, attributes)


def _add(provider: "MeterProvider", method: str, name: str, given: dict[str, Any], attributes: dict[str, Any]) -> None:
    value = (
        given.get("count", 1) if method in ("incr", "decr") else given.get("delta" if method == "timing" else "value")
    )
    if method == "set":
        # A value may change before it is recorded.
        handover.later(_distinct, provider, name, str(value), attributes)
    elif isinstance(value, timedelta):  # The mock's timers are gauges of it.
        handover.later(_duration, provider, name, value.total_seconds(), attributes)
    elif isinstance(value, Real):
        number = _plain(value)
        if number is None:
            say_once(f"the user metric {in_brief(name)} has values that are no finite number: they are left out")
        elif method == "gauge":
            handover.later(_gauge, provider, name, number, attributes, given.get("delta"))
        elif method == "timing":
            handover.later(_duration, provider, name, number / 1000, attributes)
        else:
            handover.later(_count, provider, name, -number if method == "decr" else number, attributes)


def _count(provider: "MeterProvider", name: str, amount: float, attributes: dict[str, Any]) -> None:
    _metrics_of(provider).count(name, amount, attributes)


def _gauge(provider: "MeterProvider", name: str, value: float, attributes: dict[str, Any], is_change: object) -> None:
    _metrics_of(provider).gauge(name, value, attributes, is_change=bool(is_change))


def _duration(provider: "MeterProvider", name: str, seconds: float, attributes: dict[str, Any]) -> None:
    _metrics_of(provider).duration(name, seconds, attributes)


def _distinct(provider: "MeterProvider", name: str, value: str, attributes: dict[str, Any]) -> None:
    _metrics_of(provider).distinct(name, value, attributes)


def _plain(value: Real) -> float | None:
    """Return a number of a library as one of Python that OTLP can hold, ``None`` where there is none."""
    try:
        number = in_64_bits(int(value)) if isinstance(value, Integral) else float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _observe(timer: Any, provider: "MeterProvider", name: str, attributes: dict[str, Any]) -> None:
    """Record the duration that a timer of ``statsd`` measures: it bypasses the wrapped methods of its client."""
    if hasattr(timer, "client"):
        timer.client = _ObservedClient(timer.client, provider, name, attributes)


class _ObservedClient:
    """The client of a timer, which calls its method ``timing`` only."""

    def __init__(self, client: Any, provider: "MeterProvider", name: str, attributes: dict[str, Any]) -> None:
        self._client = client
        self._provider = provider
        self._name = name
        self._attributes = attributes

    def timing(self, stat: str, delta: float, *args: Any, **kwargs: Any) -> Any:
        """Send a duration in milliseconds, and record it."""
        result = self._client.timing(stat, delta, *args, **kwargs)
        guarded(handover.later)(_duration, self._provider, self._name, delta / 1000, self._attributes)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _attributes(stats: Any, tags: Any) -> dict[str, Any]:
    """Return the attributes of the task and the tags of the user, which take precedence."""
    attributes: dict[str, Any] = {name: identity.first(os.environ, variables) for name, variables in _VARIABLES.items()}
    of_task = task_attributes()
    attributes[semconv.USER_TASK] = of_task.pop(semconv.TASK_NAME, attributes[semconv.USER_TASK])
    found = {name: value for name, value in {**attributes, **of_task}.items() if value != ""}
    of_client = {name: value for name, value in _tags_of(stats).items() if name not in _OF_FLYTEKIT}
    given = {**of_client, **(tags if isinstance(tags, dict) else {})}
    found.update((bounded(name), bounded(value)) for name, value in list(given.items())[:ENTRIES_LIMIT])
    return found


def _tags_of(stats: Any) -> dict[Any, Any]:
    tags = stats.tags if isinstance(stats, MockStats) else stats._tags
    return tags if isinstance(tags, dict) else {}


@cache
def _metrics_of(provider: "MeterProvider") -> UserMetrics:
    return UserMetrics(provider)
