"""Charts of an attempt's usage beside its quota, for the deck and the page.

The curves are those of Union's task-level monitoring. Memory is in percent of the memory request and may exceed 100:
*limit* is the limit, *allocated* the larger of request and usage, *used* the usage. CPU is in cores: limit, request,
usage. A request that was not declared is the limit, as in Kubernetes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.formulas import NO_VALUE, STEP_SECONDS, share
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import cores, counted, duration, percent, size
from otel_flyte.recording.usage import Device, Quota, Usage, growth_of

LIMIT, ALLOCATED, USED = "limit", "allocated", "used"

_MIB = 2**20
_Values = Sequence[float | None]


class Curve(NamedTuple):
    """One line of a chart.

    Attributes:
        name: ``limit``, ``allocated`` or ``used``.
        values: an average for each step, ``None`` where it is unknown; a single value holds throughout.
    """

    name: str
    values: tuple[float | None, ...]


class Chart(NamedTuple):
    """One chart.

    Attributes:
        step: seconds for which a value stands.
        seconds: the duration of the attempt.
        curves: those in the background first.
        peak: the largest measured value, which an average by the minute may hide.
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


class Bar(NamedTuple):
    """The usage of one device: fractions of 1, and its memory in words."""

    name: str
    mean: float | None
    peak: float | None
    memory: float | None
    note: str


def charts_of(attempt: Attempt) -> tuple[Chart, ...]:
    """Return the charts of an attempt, none where nothing was measured."""
    usage = attempt.usage or Usage()
    charts = [_memory(attempt, usage), _cpu(attempt, usage)]
    for kind, utilization, memory in (
        (semconv.DEVICE_GPU, semconv.SERIES_GPU, semconv.SERIES_GPU_MEMORY),
        (semconv.DEVICE_NPU, semconv.SERIES_NPU, semconv.SERIES_NPU_MEMORY),
    ):
        charts += [_utilization(attempt, usage, kind, utilization), _device_memory(attempt, usage, kind, memory)]
    return tuple(chart for chart in charts if chart is not None)


def bars_of(usage: Usage | None) -> tuple[Bar, ...]:
    """Return a bar for each device."""
    return tuple(map(_bar, usage.devices)) if usage else ()


def peak_share(usage: Usage | None, quota: Quota) -> float | None:
    """Return the peak of memory as a fraction of the limit, as the notes of a row have it, if both are known."""
    return share(usage.memory_peak, quota.memory_limit) if usage else None


def _memory(attempt: Attempt, usage: Usage) -> Chart | None:
    quota, peak = attempt.quota, usage.memory_peak
    used = _measured(attempt, semconv.SERIES_BYTES, semconv.SERIES_MEMORY, quota.memory_limit, 0)
    used = used or _single(usage.memory_mean)
    if not used and peak is None:
        return None
    note = _joined(
        "" if peak is None else f"peak {size(peak)}{growth_of(usage)}",
        f"request {size(quota.memory_request)}" if quota.memory_request else "",
        f"limit {size(quota.memory_limit)}" if quota.memory_limit else "",
        counted(usage.oom_kills, "OOM kill") if usage.oom_kills else "",
    )
    factor = 100 / quota.memory_request if quota.memory_request else 1 / _MIB
    scaled = _scaled(used, factor)
    scaled_peak = None if peak is None else peak * factor
    curves = [Curve(USED, scaled)] if scaled else []
    if not quota.memory_request:
        return _chart(attempt, ("Memory", "MiB"), curves, scaled_peak, note)
    allocated = tuple(None if value is None else max(100.0, value) for value in scaled)
    allocated = allocated or (max(100.0, scaled_peak or 0.0),)
    curves = [*_constant(LIMIT, quota.memory_limit, factor), Curve(ALLOCATED, allocated), *curves]
    return _chart(attempt, ("Memory", "% of the request"), curves, scaled_peak, note)


def _cpu(attempt: Attempt, usage: Usage) -> Chart | None:
    quota = attempt.quota
    used = _measured(attempt, semconv.SERIES_CORES, semconv.SERIES_CPU, quota.cpu_limit, 3) or _single(usage.cpu_mean)
    if not used:
        return None
    throttled = ""
    if usage.throttled:
        of_time = f" ({percent(usage.throttled / attempt.seconds)} of the time)" if attempt.seconds else ""
        throttled = f"throttled for {duration(usage.throttled)}{of_time}"
    waited = f"waited {duration(usage.waited)} for a CPU" if usage.waited else ""
    note = _joined(
        "" if usage.cpu_mean is None else f"mean {cores(usage.cpu_mean)}",
        "" if usage.cpu_peak is None else f"peak {cores(usage.cpu_peak)}",
        throttled,
        waited,
    )
    constants = (*_constant(LIMIT, quota.cpu_limit), *_constant(ALLOCATED, quota.cpu_request))
    return _chart(attempt, ("CPU", "cores"), [*constants, Curve(USED, _scaled(used, 1.0, 3))], usage.cpu_peak, note)


def _utilization(attempt: Attempt, usage: Usage, kind: str, series: str) -> Chart | None:
    """Return the utilisation in percent of the devices requested, where another number of devices was seen."""
    seen = sum(device.kind == kind for device in usage.devices)
    requested = attempt.quota.gpus if kind == semconv.DEVICE_GPU else 0
    used = _values(attempt, series)
    if not used:
        return None
    mean = usage.gpu_of_request if kind == semconv.DEVICE_GPU else None
    note = _joined(
        f"{requested} requested" if requested else "",
        f"{seen} seen" if seen else "",
        "" if mean is None else f"mean {percent(mean)} of the request",
    )
    curve = Curve(USED, _scaled(used, seen / requested if seen and requested else 1.0))
    return _chart(attempt, (f"{kind.upper()} utilisation", "%"), [curve], None, note)


def _device_memory(attempt: Attempt, usage: Usage, kind: str, series: str) -> Chart | None:
    used = _values(attempt, series)
    if not used:
        return None
    devices = [device for device in usage.devices if device.kind == kind]
    shares = [device.memory_share for device in devices if device.memory_share is not None]
    note = "mean over devices" + (f", the fullest at {percent(max(shares))}" if shares else "")
    return _chart(attempt, (f"{kind.upper()} memory", "%"), [Curve(USED, _scaled(used, 1.0))], None, note)


def _chart(attempt: Attempt, title: tuple[str, str], curves: Sequence[Curve], peak: float | None, note: str) -> Chart:
    rounded = None if peak is None else round(peak, 3)
    step = round(STEP_SECONDS) * attempt.minutes_per_value
    return Chart(*title, step, attempt.seconds, tuple(curves), rounded, note)


def _measured(attempt: Attempt, absolute: str, relative: str, limit: float | None, decimals: int) -> _Values:
    """Return a series in absolute units; the points of gauges have only the one in percent of the limit."""
    values = _values(attempt, absolute)
    return values or (_scaled(_values(attempt, relative), limit / 100, decimals) if limit else ())


def _values(attempt: Attempt, series: str) -> _Values:
    values = list(attempt.series.get(series, ()))[:: attempt.minutes_per_value]
    known = [None if value == NO_VALUE else value for value in values]
    return known if any(value is not None for value in known) else ()


def _single(value: float | None) -> _Values:
    return () if value is None else (value,)


def _scaled(values: _Values, factor: float, decimals: int = 1) -> tuple[float | None, ...]:
    return tuple(None if value is None else round(value * factor, decimals) for value in values)


def _constant(name: str, value: float | None, factor: float = 1.0) -> Iterator[Curve]:
    if value:
        yield Curve(name, (round(value * factor, 3),))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _bar(device: Device) -> Bar:
    of_limit = f" of {size(device.memory_limit)}" if device.memory_limit else ""
    memory = "" if device.memory_peak is None else f"{size(device.memory_peak)}{of_limit}"
    name = f"{device.kind.upper()} {device.index}"
    return Bar(name, device.utilization_mean, device.utilization_peak, device.memory_share, memory)
