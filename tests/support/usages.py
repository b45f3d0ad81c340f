"""Usage attributes of task spans, and metric records of tasks without a span."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from otel_flyte import semconv
from support import traces

GIB = 2**30


def quota(cpu: float | None = 2.0, memory: int | None = 4 * GIB, gpus: int | None = None) -> dict[str, Any]:
    """Return quotas: the same values as request and as limit."""
    asked = {
        semconv.QUOTA_CPU_LIMIT: cpu,
        semconv.QUOTA_CPU_REQUEST: cpu,
        semconv.QUOTA_MEMORY_LIMIT: memory,
        semconv.QUOTA_MEMORY_REQUEST: memory,
        semconv.QUOTA_GPU_REQUEST: gpus and float(gpus),
    }
    return {name: value for name, value in asked.items() if value is not None}


def usage(mean: float = 1.0, peak: float = 1.6, memory: int = 3 * GIB, throttled: float = 0.0) -> dict[str, Any]:
    """Return the usage of CPU and memory."""
    return {
        semconv.USAGE_CPU_MEAN: mean,
        semconv.USAGE_CPU_PEAK: peak,
        semconv.USAGE_CPU_THROTTLED: throttled,
        semconv.USAGE_MEMORY_MEAN: memory // 2,
        semconv.USAGE_MEMORY_PEAK: memory,
        # The kernel's peak including read files, which must not affect any result.
        semconv.USAGE_MEMORY_WITH_CACHE: 100 * GIB,
    }


def device(index: int, mean: float, peak: float, memory: int, kind: str = semconv.DEVICE_GPU) -> dict[str, Any]:
    """Return the usage of one device."""
    attributes = {
        semconv.USAGE_DEVICE_NAME: "NVIDIA H100 80GB HBM3",
        semconv.USAGE_DEVICE_MEAN: mean,
        semconv.USAGE_DEVICE_PEAK: peak,
        semconv.USAGE_DEVICE_MEMORY_PEAK: memory,
        semconv.USAGE_DEVICE_MEMORY_LIMIT: 80 * GIB,
    }
    return {pattern.format(kind=kind, index=index): value for pattern, value in attributes.items()}


def series(step: int = 60, **values: Sequence[float]) -> dict[str, Any]:
    """Return series with averages for every ``step`` seconds."""
    attributes: dict[str, Any] = {semconv.USAGE_SERIES.format(name=name): list(each) for name, each in values.items()}
    return {**attributes, semconv.USAGE_STEP: step}


def curves(*, step: float = 1.0, **values: str | Sequence[str]) -> dict[str, Any]:
    """Return curves of ``cpu``, ``memory``, ``gpu__utilization`` and so on, as texts."""
    name = semconv.USAGE_CURVE_CPU.removesuffix("cpu")
    attributes: dict[str, Any] = {name + key.replace("__", "."): value for key, value in values.items()}
    return {**attributes, semconv.USAGE_CURVE_STEP: step}


def node(path: str, task: str, attempt: int = 0, **more: Any) -> dict[str, Any]:
    """Return the identity of an attempt in a pod."""
    return {
        semconv.TASK_NAME: task,
        semconv.NODE_PATH: path,
        semconv.ACTION_NAME: path,
        semconv.ATTEMPT: attempt,
        **more,
    }


def write_points(
    path: Path,
    resource: Mapping[str, str],
    task: str,
    identity: Mapping[str, str] | None = None,
    **series: Mapping[int, float],
) -> None:
    """Append metric records: for each series its values by the second since the beginning.

    The identity of the attempt is on the resource, or given where attempts share a process.
    """
    metrics = [
        {
            "name": semconv.METRIC_TASK_SERIES.format(name=name),
            "unit": "%",
            "gauge": {
                "dataPoints": [
                    {
                        "timeUnixNano": str(traces.nanoseconds(seconds)),
                        "asDouble": value,
                        "attributes": _attributes({semconv.TASK_NAME: task, **(identity or {})}),
                    }
                    for seconds, value in values.items()
                ]
            },
        }
        for name, values in series.items()
    ]
    other = {"name": "process.cpu.time", "sum": {"dataPoints": [{"asDouble": 1.0}]}}
    scopes = [{"scope": {"name": semconv.SCOPE}, "metrics": [*metrics, other]}]
    document = {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": scopes}]}
    with path.open("a") as file:
        file.write(json.dumps(document) + "\n")


def _attributes(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in values.items()]
