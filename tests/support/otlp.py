"""OTLP messages as JSON, and how to send them to a collector."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes with strings as values."""
    return [{"key": key, "value": {"stringValue": str(value)}} for key, value in values.items()]


def now() -> dict[str, str]:
    return {"timeUnixNano": str(time.time_ns())}


def message(signal: str, resource: Mapping[str, Any], records: Sequence[Mapping[str, Any]], scope: str = "") -> Any:
    """Return a request with records of one resource and scope; ``signal`` is ``traces``, ``logs`` or ``metrics``."""
    resources, scopes, key = {
        "traces": ("resourceSpans", "scopeSpans", "spans"),
        "logs": ("resourceLogs", "scopeLogs", "logRecords"),
        "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
    }[signal]
    of_scope = {"scope": {"name": scope}, key: list(records)}
    return {resources: [{"resource": {"attributes": attributes(resource)}, scopes: [of_scope]}]}


def span(trace_id: str, span_id: str, *, name: str = "task t", **fields: Any) -> dict[str, Any]:
    """Return a span of 20 ms that ends now."""
    end = time.time_ns()
    times = {"startTimeUnixNano": str(end - 20_000_000), "endTimeUnixNano": str(end)}
    return {"traceId": trace_id, "spanId": span_id, "name": name, "kind": 1, **times, **fields}


def log_record(body: str, **values: Any) -> dict[str, Any]:
    return {**now(), "body": {"stringValue": body}, "severityText": "INFO", "attributes": attributes(values)}


def gauge(name: str, value: float = 1, **values: Any) -> dict[str, Any]:
    point = {**now(), "asDouble": value, "attributes": attributes(values)}
    return {"name": name, "gauge": {"dataPoints": [point]}}


def counter(name: str, value: int, *, temporality: int, **values: Any) -> dict[str, Any]:
    """Return a monotonic sum; ``temporality`` is 1 for delta and 2 for cumulative."""
    end = time.time_ns()
    point = {"asInt": str(value), "timeUnixNano": str(end), "startTimeUnixNano": str(end - 1)}
    points = [{**point, "attributes": attributes(values)}]
    return {"name": name, "sum": {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": points}}


def send(endpoint: str, signal: str, body: Any) -> None:
    """Send a request to a base URL; the receiver has acknowledged it on return.

    Raises:
        requests.HTTPError: The receiver has rejected it.
    """
    requests.post(f"{endpoint}/v1/{signal}", json=body, timeout=10).raise_for_status()
