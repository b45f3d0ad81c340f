"""What one attempt, or one of its phases, used of what was asked for, read from the attributes of its span."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otel_flyte import quantity, semconv
from otel_flyte.recording import cells
from otel_flyte.recording.otlp_file import Attributes, AttributeValue

NO_VALUE = -1.0
"""Stands in a series where there is none."""

_MINUTE = 60
_DEVICE = re.compile(
    re.escape(semconv.USAGE_DEVICE_NAME)
    .replace(r"\{kind\}", f"({semconv.DEVICE_GPU}|{semconv.DEVICE_NPU})")
    .replace(r"\{index\}", r"(\d{1,4})")
    .removesuffix("name")
)


@dataclass(frozen=True, slots=True)
class Quota:
    """What was asked for, in cores, bytes and devices; ``None`` for what was not.

    A limit that was not declared is the cgroup's, and a request that was not is the limit, as in Kubernetes.
    """

    cpu_limit: float | None = None
    cpu_request: float | None = None
    memory_limit: float | None = None
    memory_request: float | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """What was used of one GPU or NPU: shares of 1, and bytes."""

    kind: str
    index: int
    utilization_mean: float | None = None
    utilization_peak: float | None = None
    memory_peak: float | None = None
    memory_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used, in seconds, cores and bytes; ``None`` where nobody knows.

    Attributes:
        memory_peak: the largest working set.
        gpu_of_request: the utilisations of all GPUs over how many were asked for.
        is_shared: whether these are the numbers of a process in which others ran meanwhile.
    """

    cpu_mean: float | None = None
    cpu_peak: float | None = None
    throttled: float | None = None
    memory_mean: float | None = None
    memory_peak: float | None = None
    oom_kills: int = 0
    gpu_of_request: float | None = None
    is_shared: bool = False
    devices: tuple[Device, ...] = ()


def of(attributes: Attributes) -> Usage | None:
    """Read what was used; ``None`` where nothing was measured."""
    usage = Usage(
        cpu_mean=number(attributes.get(semconv.USAGE_CPU_MEAN)),
        cpu_peak=number(attributes.get(semconv.USAGE_CPU_PEAK)),
        throttled=number(attributes.get(semconv.USAGE_CPU_THROTTLED)),
        memory_mean=number(attributes.get(semconv.USAGE_MEMORY_MEAN)),
        memory_peak=number(attributes.get(semconv.USAGE_MEMORY_PEAK)),
        oom_kills=int(number(attributes.get(semconv.USAGE_OOM_KILLS)) or 0),
        gpu_of_request=number(attributes.get(semconv.USAGE_GPU_OF_REQUEST)),
        is_shared=attributes.get(semconv.USAGE_SHARED) is True,
        devices=_devices(attributes),
    )
    return usage if usage != Usage(is_shared=usage.is_shared) else None


def quota_of(attributes: Attributes) -> Quota:
    """Read what was asked for; of an attempt that was killed, from what its task declares."""

    def declared(pattern: str, name: str) -> AttributeValue:
        return attributes.get(pattern.format(name=name))

    request, limit = semconv.RESOURCES_REQUEST, semconv.RESOURCES_LIMIT
    cpu_limit = (
        number(attributes.get(semconv.QUOTA_CPU_LIMIT))
        or quantity.cores(declared(limit, "cpu"))
        or number(attributes.get(semconv.QUOTA_CPU_CGROUP))
    )
    memory_limit = (
        number(attributes.get(semconv.QUOTA_MEMORY_LIMIT))
        or quantity.size(declared(limit, "mem"))
        or number(attributes.get(semconv.QUOTA_MEMORY_CGROUP))
    )
    gpus = number(attributes.get(semconv.QUOTA_GPU_REQUEST)) or quantity.cores(
        declared(request, "gpu") or declared(limit, "gpu")
    )
    return Quota(
        cpu_limit=cpu_limit,
        cpu_request=number(attributes.get(semconv.QUOTA_CPU_REQUEST))
        or quantity.cores(declared(request, "cpu"))
        or cpu_limit,
        memory_limit=memory_limit,
        memory_request=number(attributes.get(semconv.QUOTA_MEMORY_REQUEST))
        or quantity.size(declared(request, "mem"))
        or memory_limit,
        gpus=round(gpus or 0),
    )


def by_minute(attributes: Attributes) -> dict[str, list[float]]:
    """Give each series with one value a minute: one that stands for several minutes stands there as often."""
    times = minutes_a_value(attributes)
    series = {}
    for name in semconv.SERIES:
        values = attributes.get(semconv.USAGE_SERIES.format(name=name))
        if isinstance(values, (list, tuple)):
            series[name] = [value for item in values for value in [_not_negative(number(item))] * times]
    return series


def of_one_minute(attributes: Attributes) -> dict[str, list[float]]:
    """Give the series of an attempt of less than a minute that has none: its means are that minute's averages."""
    usage = of(attributes) or Usage()
    memory = number(attributes.get(semconv.USAGE_MEMORY_OF_LIMIT))
    if memory is not None and usage.memory_peak:
        # The share is the peak's.
        memory *= (usage.memory_mean or usage.memory_peak) / usage.memory_peak
    shares = {
        semconv.SERIES_CPU: number(attributes.get(semconv.USAGE_CPU_OF_LIMIT)),
        semconv.SERIES_MEMORY: memory,
        semconv.SERIES_GPU: mean_utilization(usage, semconv.DEVICE_GPU),
        semconv.SERIES_NPU: mean_utilization(usage, semconv.DEVICE_NPU),
    }
    return {name: [100 * share] for name, share in shares.items() if share is not None}


def minutes_a_value(attributes: Attributes) -> int:
    """Tell for how many minutes each value of the span's series stands."""
    return max(1, round((number(attributes.get(semconv.USAGE_STEP)) or _MINUTE) / _MINUTE))


def notes(attributes: Attributes) -> tuple[str, ...]:
    """Say in a few words what was used: ``1.9 cores``, ``2.1 GiB of 4 GiB``, ``throttled 3.2 s``, ``GPU 83 %``."""
    usage = of(attributes)
    if usage is None:
        return ()
    limit = quota_of(attributes).memory_limit
    of_limit = f" of {cells.size(limit)}" if limit else ""
    return (
        "" if usage.cpu_mean is None else cells.cores(usage.cpu_mean),
        "" if usage.memory_peak is None else f"{cells.size(usage.memory_peak)}{of_limit}",
        f"throttled {cells.duration(usage.throttled)}" if usage.throttled else "",
        f"{usage.oom_kills} OOM kill{'s' * (usage.oom_kills != 1)}" if usage.oom_kills else "",
        *(_busy(usage, kind) for kind in (semconv.DEVICE_GPU, semconv.DEVICE_NPU)),
        "shared with other tasks" if usage.is_shared else "",
    )


def mean_utilization(usage: Usage, kind: str) -> float | None:
    """Give the mean utilisation over a task's devices of a kind, as a share of 1; ``None`` where nobody knows."""
    known = [device.utilization_mean for device in usage.devices if device.kind == kind]
    shares = [share for share in known if share is not None]
    return sum(shares) / len(shares) if shares else None


def number(value: object) -> float | None:
    """Give an attribute's value as a number, where it is one."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None  # type: ignore[return-value]


def _busy(usage: Usage, kind: str) -> str:
    share = mean_utilization(usage, kind)
    return "" if share is None else f"{kind.upper()} {cells.percent(share)}"


def _devices(attributes: Attributes) -> tuple[Device, ...]:
    found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for name, value in attributes.items():
        match = _DEVICE.match(name)
        if match:
            found[match[1], int(match[2])][name[match.end() :]] = value
    return tuple(_device(kind, index, found[kind, index]) for kind, index in sorted(found))


def _device(kind: str, index: int, told: Mapping[str, Any]) -> Device:
    def value(pattern: str) -> float | None:
        return number(told.get(pattern.removeprefix(semconv.USAGE_DEVICE_NAME.removesuffix("name"))))

    return Device(
        kind,
        index,
        utilization_mean=value(semconv.USAGE_DEVICE_MEAN),
        utilization_peak=value(semconv.USAGE_DEVICE_PEAK),
        memory_peak=value(semconv.USAGE_DEVICE_MEMORY_PEAK),
        memory_limit=value(semconv.USAGE_DEVICE_MEMORY_LIMIT),
    )


def _not_negative(value: float | None) -> float:
    return NO_VALUE if value is None or value < 0 else float(value)
