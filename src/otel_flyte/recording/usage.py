"""The usage and the quota of an attempt or a phase, read from the attributes of its span."""

import math
import re
from dataclasses import dataclass

from otel_flyte import formulas, quantity, semconv
from otel_flyte.recording import cells, usage_points
from otel_flyte.recording.model import Attributes

_DEVICE = re.compile(
    re.escape(semconv.USAGE_DEVICE_NAME)
    .replace(r"\{kind\}", f"({semconv.DEVICE_GPU}|{semconv.DEVICE_NPU})")
    .replace(r"\{index\}", r"(\d{1,4})")
    .removesuffix("name")
)
_PREFIX = semconv.USAGE_SOURCE.removesuffix("source")
_OF_DEVICES = tuple(f"{_PREFIX}{kind}." for kind in (semconv.DEVICE_GPU, semconv.DEVICE_NPU))

_REQUESTED, _LIMITED = (
    {name: pattern.format(name=name) for name in ("cpu", "mem", "gpu")}
    for pattern in (semconv.RESOURCES_REQUEST, semconv.RESOURCES_LIMIT)
)
"""The attributes of declared resources by the names of the resources."""

LEFT = 0.2
"""A larger fraction of the peak is more than the margin of a recommended limit."""


STARVED = 0.15
"""A task that waited for a CPU for a larger fraction of its CPU time wanted more than the usual margin has."""

UNNOTICED = 0.1
"""Cores. Less is lost when a recommendation is rounded."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Requests and limits, in cores, bytes and devices; ``None`` where there is none.

    A limit that was not declared is the cgroup's, and a request that was not is the limit, as in Kubernetes.
    """

    cpu_limit: float | None = None
    cpu_request: float | None = None
    memory_limit: float | None = None
    memory_request: float | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """The usage of one GPU or NPU: fractions of 1, and bytes."""

    kind: str
    index: int
    utilization_mean: float | None = None
    utilization_peak: float | None = None
    memory_peak: float | None = None
    memory_limit: float | None = None

    @property
    def memory_share(self) -> float | None:
        """The peak of memory as a fraction of the device's memory; ``None`` where either is unknown."""
        return formulas.share(self.memory_peak, self.memory_limit)


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage, in seconds, cores and bytes; ``None`` where it is unknown.

    Attributes:
        cpu_time: seconds.
        delayed: seconds for which threads waited for a CPU, the sum over all threads.
        pressure: seconds in which any thread of the container waited for a CPU.
        memory_peak: the largest working set.
        memory_growth: the part of it beyond the memory in use when the task began.
        memory_left: bytes in use when the task began that earlier tasks, or an interactive session, had left.
        gpu_of_request: the sum of the GPUs' utilisations over the number of GPUs requested.
        is_shared: whether other tasks ran in the process meanwhile, so that the numbers are theirs too.
    """

    cpu_mean: float | None = None
    cpu_peak: float | None = None
    throttled: float | None = None
    cpu_time: float | None = None
    delayed: float | None = None
    pressure: float | None = None
    memory_mean: float | None = None
    memory_peak: float | None = None
    memory_growth: float | None = None
    memory_left: float = 0.0
    oom_kills: int = 0
    gpu_of_request: float | None = None
    is_shared: bool = False
    devices: tuple[Device, ...] = ()

    @property
    def is_memory_of_others(self) -> bool:
        """Whether so much of the peak was in use before that it tells little about the task's need."""
        return self.memory_peak is not None and self.memory_left > LEFT * self.memory_peak

    @property
    def waited(self) -> float | None:
        """Seconds for which the task waited for a CPU; ``None`` where they are unknown."""
        return self.pressure if self.delayed is None else self.delayed

    @property
    def is_starved(self) -> bool:
        """Whether the task wanted more CPU than it got, so that its use is less than its need."""
        if not self.cpu_time or not self.cpu_mean:
            return False
        seconds = self.cpu_time / self.cpu_mean
        # Pressure does not count the threads that wait at the same time.
        enough = self.cpu_time if self.delayed is not None else min(self.cpu_time, seconds)
        return (self.waited or 0.0) > max(STARVED * enough, UNNOTICED * seconds)

    def mean_utilization(self, kind: str) -> float | None:
        """Return the mean utilisation of the devices of a kind, as a fraction of 1; ``None`` where it is unknown."""
        return formulas.mean([device.utilization_mean for device in self.devices if device.kind == kind])


def usage_of(attributes: Attributes) -> Usage | None:
    """Return the usage; ``None`` where nothing was measured."""
    # Most spans have none, and this is the fastest way to see it.
    names = "\n".join(attributes)
    if _PREFIX not in names:
        return None
    usage = Usage(
        cpu_mean=number(attributes.get(semconv.USAGE_CPU_MEAN)),
        cpu_peak=number(attributes.get(semconv.USAGE_CPU_PEAK)),
        throttled=number(attributes.get(semconv.USAGE_CPU_THROTTLED)),
        cpu_time=number(attributes.get(semconv.USAGE_CPU_TIME)),
        delayed=number(attributes.get(semconv.USAGE_CPU_DELAYED)),
        pressure=number(attributes.get(semconv.USAGE_CPU_PRESSURE)),
        memory_mean=number(attributes.get(semconv.USAGE_MEMORY_MEAN)),
        memory_peak=number(attributes.get(semconv.USAGE_MEMORY_PEAK)),
        memory_growth=number(attributes.get(semconv.USAGE_MEMORY_GROWTH)),
        memory_left=number(attributes.get(semconv.USAGE_MEMORY_LEFT)) or 0.0,
        oom_kills=int(number(attributes.get(semconv.USAGE_OOM_KILLS)) or 0),
        gpu_of_request=number(attributes.get(semconv.USAGE_GPU_OF_REQUEST)),
        is_shared=attributes.get(semconv.USAGE_SHARED) is True,
        devices=_devices(attributes) if any(prefix in names for prefix in _OF_DEVICES) else (),
    )
    return usage if usage != Usage(is_shared=usage.is_shared) else None


def quota_of(attributes: Attributes) -> Quota:
    """Return the quota; of an attempt that was killed, from the resources that its task declares."""
    own = attributes.get
    cpu = number(own(semconv.QUOTA_CPU_LIMIT)) or quantity.cores(own(_LIMITED["cpu"]))
    memory = number(own(semconv.QUOTA_MEMORY_LIMIT)) or quantity.size(own(_LIMITED["mem"]))
    cpu_limit = formulas.denominator(cpu, number(own(semconv.QUOTA_CPU_CGROUP))).value
    memory_limit = formulas.denominator(memory, number(own(semconv.QUOTA_MEMORY_CGROUP))).value
    cpu_request = number(own(semconv.QUOTA_CPU_REQUEST)) or quantity.cores(own(_REQUESTED["cpu"]))
    memory_request = number(own(semconv.QUOTA_MEMORY_REQUEST)) or quantity.size(own(_REQUESTED["mem"]))
    gpus = number(own(semconv.QUOTA_GPU_REQUEST)) or quantity.cores(own(_REQUESTED["gpu"]))
    return Quota(
        cpu_limit=cpu_limit,
        cpu_request=formulas.request(cpu_request, cpu_limit),
        memory_limit=memory_limit,
        memory_request=formulas.request(memory_request, memory_limit),
        gpus=round(gpus or quantity.cores(own(_LIMITED["gpu"])) or 0),
    )


def by_minute(attributes: Attributes) -> dict[str, list[float]]:
    """Return each series with one value a minute: a value for several minutes is repeated."""
    times = minutes_per_value(attributes)
    series = {}
    for name in semconv.SERIES:
        values = attributes.get(semconv.USAGE_SERIES.format(name=name))
        if isinstance(values, (list, tuple)):
            known = values[: math.ceil(usage_points.LONGEST / times)]
            series[name] = [value for item in known for value in [_series_value(item)] * times]
    return series


def of_one_minute(attributes: Attributes, usage: Usage) -> dict[str, list[float]]:
    """Return the series of an attempt of at most a minute that has none: its means are that minute's averages."""
    memory = number(attributes.get(semconv.USAGE_MEMORY_OF_LIMIT))
    if memory is not None and usage.memory_peak:
        # The fraction is the peak's.
        memory *= (usage.memory_mean or usage.memory_peak) / usage.memory_peak
    cpu = number(attributes.get(semconv.USAGE_CPU_OF_LIMIT))
    utilization = {kind: usage.mean_utilization(kind) for kind in (semconv.DEVICE_GPU, semconv.DEVICE_NPU)}
    series = formulas.percentages((cpu, 1.0), (memory, 1.0), utilization, {})
    percents = {name: formulas.percent(used, whole) for name, (used, whole) in series.items()}
    return {name: [value] for name, value in percents.items() if value is not None}


def minutes_per_value(attributes: Attributes) -> int:
    """Return the number of minutes for which each value of the span's series stands."""
    step = number(attributes.get(semconv.USAGE_STEP)) or formulas.STEP_SECONDS
    return max(1, min(usage_points.LONGEST, round(step / formulas.STEP_SECONDS)))


def notes(usage: Usage | None, quota: Quota) -> tuple[str, ...]:
    """Return the usage in a few words: ``1.9 cores``, ``2.1 GiB (+1 GiB) of 4 GiB``, ``throttled 3.20 s``."""
    if usage is None:
        return ()
    of_limit = f" of {cells.size(quota.memory_limit)}" if quota.memory_limit else ""
    busy = ((kind.upper(), usage.mean_utilization(kind)) for kind in (semconv.DEVICE_GPU, semconv.DEVICE_NPU))
    return (
        "" if usage.cpu_mean is None else cells.cores(usage.cpu_mean),
        "" if usage.memory_peak is None else f"{cells.size(usage.memory_peak)}{growth_of(usage)}{of_limit}",
        f"throttled {cells.duration(usage.throttled)}" if usage.throttled else "",
        f"waited {cells.duration(usage.waited)} for a CPU" if usage.waited and usage.is_starved else "",
        cells.counted(usage.oom_kills, "OOM kill") if usage.oom_kills else "",
        *("" if mean is None else f"{kind} {cells.percent(mean)}" for kind, mean in busy),
        "shared with other tasks" if usage.is_shared else "",
    )


def growth_of(usage: Usage) -> str:
    """Return the growth since the start in words, to follow the peak; with what was in use before if that is much."""
    known = (
        "" if usage.memory_growth is None else f"+{cells.size(usage.memory_growth)}",
        f"{cells.size(usage.memory_left)} from before" if usage.is_memory_of_others else "",
    )
    words = ", ".join(filter(None, known))
    return f" ({words})" if words else ""


def number(value: object) -> float | None:
    """Return an attribute's value where it is a number that a usage may have."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= usage_points.LARGEST
    return value if is_number else None  # type: ignore[return-value]


def _devices(attributes: Attributes) -> tuple[Device, ...]:
    matches = filter(None, map(_DEVICE.match, attributes))
    return tuple(_device(attributes, kind, index) for kind, index in sorted({(m[1], int(m[2])) for m in matches}))


def _device(attributes: Attributes, kind: str, index: int) -> Device:
    def known(pattern: str) -> float | None:
        return number(attributes.get(pattern.format(kind=kind, index=index)))

    return Device(
        kind,
        index,
        utilization_mean=_share(known(semconv.USAGE_DEVICE_MEAN)),
        utilization_peak=_share(known(semconv.USAGE_DEVICE_PEAK)),
        memory_peak=known(semconv.USAGE_DEVICE_MEMORY_PEAK),
        memory_limit=known(semconv.USAGE_DEVICE_MEMORY_LIMIT),
    )


def _share(value: float | None) -> float | None:
    """Return a fraction of 1; ``None`` for a number outside of 0 to 1, which a driver returns when it has no sample."""
    return value if value is not None and 0 <= value <= 1 else None


def _series_value(item: object) -> float:
    value = number(item)
    return formulas.NO_VALUE if value is None or value < 0 else float(value)
