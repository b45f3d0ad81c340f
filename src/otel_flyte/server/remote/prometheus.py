"""Points of usage from Prometheus as OTLP: https://prometheus.io/docs/prometheus/latest/querying/api/."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otel_flyte import semconv
from otel_flyte.export import otlp_requests
from otel_flyte.server.remote import names, processes
from otel_flyte.server.remote.client import Client
from otel_flyte.server.remote.processes import Processes

_DAY = 86400
_MOST_DAYS = 31
_METRIC = re.compile(names.METRIC)
_OF_PROMETHEUS = frozenset({"__name__", "job", "instance", "otel_scope_name", "otel_scope_version"})


class Series(NamedTuple):
    """A series of usage.

    Attributes:
        metric: its name in OpenTelemetry.
        values: each with its time in milliseconds.
    """

    metric: str
    labels: Mapping[str, str]
    values: Sequence[tuple[int, float]]


class Prometheus:
    """Asks Prometheus. Its method raises :class:`otel_flyte.server.source.UnavailableError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def series(self, query: Callable[[int], str], begin: int, end: int) -> list[Series]:
        """Return the series between two times in seconds, as they were sent: a month of them at most.

        A query is made for a number of seconds before its time. Unlike `query_range` it returns the points themselves.
        """
        found = []
        begin = max(begin, end - _MOST_DAYS * _DAY)
        while begin < end:
            until = min(end, begin + _DAY)
            parameters: dict[str, str | int] = {"query": query(until - begin), "time": until}
            document = self._client.json("/api/v1/query", parameters)
            try:
                found += [made for each in document["data"]["result"] if (made := _series(each)) is not None]
            except (ValueError, TypeError, KeyError, AttributeError):
                raise self._client.nonsense() from None
            begin = until
        return found


def _series(given: Mapping[str, Any]) -> Series | None:
    labels = {str(name): str(value) for name, value in given["metric"].items()}
    name = _METRIC.fullmatch(labels.get("__name__", ""))
    if name is None:
        return None
    values = [(round(float(at) * 1000), float(value)) for at, value in given["values"]]
    return Series(
        names.METRICS[name[1]], labels, [(at, value) for at, value in values if math.isfinite(value) and at > 0]
    )


def request(series: Iterable[Series], known: Processes) -> Any:
    """Return series as a request of OTLP, in which those of the devices of a process are one metric.

    They are in the order of their ids: that of a collection is not kept.
    """
    made = otlp_requests.request("metrics")
    metrics: dict[tuple[bytes, str], Any] = {}
    for each in sorted(series, key=lambda each: each.labels.get(names.label(semconv.HW_ID), "")):
        resource = type(made)().resource_metrics.add().resource
        known.of(each.labels, resource)
        key = resource.SerializeToString(deterministic=True), each.metric
        if key not in metrics:
            in_scope = made.resource_metrics.add(resource=resource).scope_metrics.add()
            in_scope.scope.name = semconv.SCOPE
            metrics[key] = in_scope.metrics.add(name=each.metric)
        _write(metrics[key].gauge.data_points, each)
    return made


def _write(points: Any, series: Series) -> None:
    for at, value in series.values:
        point = points.add(time_unix_nano=at * 10**6, as_double=value)
        for label, text in series.labels.items():
            if label not in _OF_PROMETHEUS:
                processes.put(point.attributes.add(), names.KNOWN.get(label, label), text)
