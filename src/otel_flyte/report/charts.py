"""What one attempt used of what it had asked for, as charts: what the Deck and the page have in common.

The lines mean what Union's task-level monitoring has them mean. Memory is in percent of the memory requested and may
exceed 100: *limit* is the limit, *allocated* the larger of the request and what was used, *used* what was used. CPU is
in cores: limit, allocated (the request), used. A request that was not declared is the limit, as in Kubernetes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otel_flyte import semconv
from otel_flyte.recording import cells
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.usage import NO_VALUE, Device, Quota, Usage

LIMIT, ALLOCATED, USED = "limit", "allocated", "used"

_MINUTE = 60
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: ``limit``, ``allocated`` or ``used``.
        values: an average for each step, ``None`` where nothing is known; a single one holds throughout.
    """

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        title: what it shows.
        unit: of its values.
        step: seconds for which a value stands.
        seconds: how long the attempt took.
        curves: its lines, those in the background first.
        peak: the largest value that was seen, which an average by the minute may hide.
        note: the same in words, and what else belongs to it.
    """

    title: str
    unit: str
    step: int
    seconds: float
    curves: tuple[Curve, ...]
    peak: float | None = None
    note: str = ""

    @property
    def top(self) -> float:
        """The largest value of any curve."""
        known = [value for curve in self.curves for value in curve.values if value is not None]
        return max([*known, self.peak or 0.0])


@dataclass(frozen=True, slots=True)
class Bar:
    """What one device did: shares of 1, and its memory in words."""

    name: str
    mean: float | None
    peak: float | None
    memory: float | None
    note: str


def of(attempt: Attempt) -> tuple[Chart, ...]:
    """Give the charts of an attempt, none where nothing was measured."""
    usage = attempt.usage or Usage()
    found = [_memory(attempt, usage), _cpu(attempt, usage)]
    for kind, utilization, memory in (
        (semconv.DEVICE_GPU, semconv.SERIES_GPU, semconv.SERIES_GPU_MEMORY),
        (semconv.DEVICE_NPU, semconv.SERIES_NPU, semconv.SERIES_NPU_MEMORY),
    ):
        found += [_utilization(attempt, usage, kind, utilization), _device_memory(attempt, usage, kind, memory)]
    return tuple(chart for chart in found if chart is not None)


def bars(usage: Usage | None) -> tuple[Bar, ...]:
    """Give what each device did."""
    return tuple(map(_bar, usage.devices)) if usage else ()


def peak_share(usage: Usage | None, quota: Quota) -> float | None:
    """Give the peak of the memory as a share of the request; ``None`` where either is unknown."""
    if usage is None or usage.memory_peak is None or not quota.memory_request:
        return None
    return usage.memory_peak / quota.memory_request


def _memory(attempt: Attempt, usage: Usage) -> Chart | None:
    quota = attempt.quota
    used = _bytes(attempt) or _single(usage.memory_mean)
    if not used and usage.memory_peak is None:
        return None
    said = _said(
        "" if usage.memory_peak is None else f"peak {cells.size(usage.memory_peak)}",
        "" if not quota.memory_request else f"request {cells.size(quota.memory_request)}",
        "" if not quota.memory_limit else f"limit {cells.size(quota.memory_limit)}",
        f"{usage.oom_kills} OOM kill{'s' * (usage.oom_kills != 1)}" if usage.oom_kills else "",
    )
    if not quota.memory_request:
        in_mib = tuple(_scaled(used, 1 / _MIB))
        peak = None if usage.memory_peak is None else usage.memory_peak / _MIB
        return _chart(attempt, ("Memory", "MiB"), _known(in_mib), peak, said)
    factor = 100 / quota.memory_request
    percent = tuple(_scaled(used, factor))
    peak = None if usage.memory_peak is None else usage.memory_peak * factor
    allocated = tuple(None if value is None else max(100.0, value) for value in percent) or (max(100.0, peak or 0.0),)
    return _chart(
        attempt,
        ("Memory", "% of the request"),
        (*_constant(LIMIT, quota.memory_limit, factor), Curve(ALLOCATED, allocated), *_known(percent)),
        peak,
        said,
    )


def _cpu(attempt: Attempt, usage: Usage) -> Chart | None:
    quota = attempt.quota
    used = _cores(attempt) or _single(usage.cpu_mean)
    if not used:
        return None
    throttled = ""
    if usage.throttled:
        share = f" ({cells.percent(usage.throttled / attempt.seconds)} of the time)" if attempt.seconds else ""
        throttled = f"throttled for {cells.duration(usage.throttled)}{share}"
    curves = (
        *_constant(LIMIT, quota.cpu_limit),
        *_constant(ALLOCATED, quota.cpu_request),
        Curve(USED, tuple(_scaled(used, 1.0, 3))),
    )
    mean = "" if usage.cpu_mean is None else f"mean {cells.cores(usage.cpu_mean)}"
    peak = "" if usage.cpu_peak is None else f"peak {cells.cores(usage.cpu_peak)}"
    return _chart(attempt, ("CPU", "cores"), curves, usage.cpu_peak, _said(mean, peak, throttled))


def _utilization(attempt: Attempt, usage: Usage, kind: str, series: str) -> Chart | None:
    """Give the utilisation as a percentage of the devices asked for, where more or fewer than those were seen."""
    devices = [device for device in usage.devices if device.kind == kind]
    asked = attempt.quota.gpus if kind == semconv.DEVICE_GPU else 0
    factor = len(devices) / asked if devices and asked else 1.0
    used = _values(attempt, series)
    if not used:
        return None
    busy = usage.gpu_of_request if kind == semconv.DEVICE_GPU else None
    said = _said(
        f"{asked} requested" if asked else "",
        f"{len(devices)} seen" if devices else "",
        "" if busy is None else f"mean {cells.percent(busy)} of the request",
    )
    curves = (Curve(USED, tuple(_scaled(used, factor))),)
    return _chart(attempt, (f"{kind.upper()} utilisation", "%"), curves, None, said)


def _device_memory(attempt: Attempt, usage: Usage, kind: str, series: str) -> Chart | None:
    used = _values(attempt, series)
    if not used:
        return None
    peaks = [
        device.memory_peak / device.memory_limit
        for device in usage.devices
        if device.kind == kind and device.memory_peak is not None and device.memory_limit
    ]
    said = f"mean over devices, the fullest at {cells.percent(max(peaks))}" if peaks else "mean over devices"
    return _chart(attempt, (f"{kind.upper()} memory", "%"), (Curve(USED, tuple(_scaled(used, 1.0))),), None, said)


def _chart(attempt: Attempt, what: tuple[str, str], curves: Sequence[Curve], peak: float | None, note: str) -> Chart:
    step = _MINUTE * attempt.minutes_a_value
    rounded = None if peak is None else round(peak, 3)
    return Chart(*what, step, attempt.seconds, tuple(curves), rounded, note)


def _bytes(attempt: Attempt) -> list[float | None]:
    """Give bytes; of metric records alone, which are in percent of the limit, by way of that."""
    limit = attempt.quota.memory_limit
    return _values(attempt, semconv.SERIES_BYTES) or (
        _scaled(_values(attempt, semconv.SERIES_MEMORY), limit / 100, 0) if limit else []
    )


def _cores(attempt: Attempt) -> list[float | None]:
    limit = attempt.quota.cpu_limit
    return _values(attempt, semconv.SERIES_CORES) or (
        _scaled(_values(attempt, semconv.SERIES_CPU), limit / 100, 3) if limit else []
    )


def _values(attempt: Attempt, series: str) -> list[float | None]:
    values = list(attempt.series.get(series, ()))[:: attempt.minutes_a_value]
    known: list[float | None] = [None if value == NO_VALUE else value for value in values]
    return known if any(value is not None for value in known) else []


def _single(value: float | None) -> list[float | None]:
    return [] if value is None else [value]


def _scaled(values: Sequence[float | None], factor: float, decimals: int = 1) -> list[float | None]:
    return [None if value is None else round(value * factor, decimals) for value in values]


def _known(used: tuple[float | None, ...]) -> tuple[Curve, ...]:
    """Give the line of what was used, where more is known of it than its peak."""
    return (Curve(USED, used),) if used else ()


def _constant(name: str, value: float | None, factor: float = 1.0) -> Iterator[Curve]:
    if value:
        yield Curve(name, (round(value * factor, 3),))


def _said(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _bar(device: Device) -> Bar:
    memory = limit = ""
    share = None
    if device.memory_peak is not None:
        memory = cells.size(device.memory_peak)
        limit = f" of {cells.size(device.memory_limit)}" if device.memory_limit else ""
        share = device.memory_peak / device.memory_limit if device.memory_limit else None
    name = f"{device.kind.upper()} {device.index}"
    return Bar(name, device.utilization_mean, device.utilization_peak, share, f"{memory}{limit}")
