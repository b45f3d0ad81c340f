"""Charts of an attempt's usage beside its quota, for the deck and the page.

The curves are those of Union's task-level monitoring. Memory is in percent of the memory request and may exceed 100:
*limit* is the limit, *allocated* the larger of request and usage, *used* the usage. CPU is in cores: limit, request,
usage. A request that was not declared is the limit, as in Kubernetes.

A task span has the use at the sampling interval, with a curve for each device. While the task runs, its metrics have
the use at the interval of their export. In older recordings the curves have a value by the minute.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.formulas import LONGEST_CURVE, share
from otel_flyte.recording import attempt_usage
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.cells import cores, counted, duration, percent, size
from otel_flyte.recording.curves import Fine
from otel_flyte.recording.roles import Role
from otel_flyte.recording.usage import Device, Quota, Usage, growth_of

LIMIT, ALLOCATED, USED = "limit", "allocated", "used"

_MIB = 2**20
_PHASES = 40
_BANDS = 2
_TICKS = 5
_UNITS = ((3600, "h"), (60, "min"))

_TICK_SECONDS = (
    *(factor * 10.0**power for power in (-4, -3, -2, -1) for factor in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400),
)


class Curve(NamedTuple):
    """One line of a chart.

    Attributes:
        name: ``limit``, ``allocated``, ``used``, or that of a device.
        values: an average for each step, ``None`` where it is unknown; a single value holds throughout.
        maxima: the largest value in each step; empty where they are unknown or all equal to the averages.
        tone: the name of its colour where that is not its own.
    """

    name: str
    values: tuple[float | None, ...]
    maxima: tuple[float | None, ...] = ()
    tone: str = ""


class Phase(NamedTuple):
    """A phase of the attempt, in seconds since its start; the tone is ``task`` for user code, else ``phase``."""

    name: str
    begin: float
    end: float
    tone: str


class Chart(NamedTuple):
    """One chart.

    Attributes:
        step: seconds for which a value stands.
        seconds: the duration of the attempt.
        curves: those in the background first.
        peak: the largest measured value, which an average may hide.
        phases: those of the attempt.
    """

    title: str
    unit: str
    step: float
    seconds: float
    curves: tuple[Curve, ...]
    peak: float | None = None
    note: str = ""
    phases: tuple[Phase, ...] = ()

    @property
    def top(self) -> float:
        """The largest value of any curve."""
        values = (value for curve in self.curves for value in (*curve.values, *curve.maxima))
        return max([*(value for value in values if value is not None), self.peak or 0.0])

    @property
    def has_bands(self) -> bool:
        """Whether the maxima are drawn: those of many devices would hide their curves."""
        return sum(bool(curve.maxima) for curve in self.curves) <= _BANDS

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round times with their texts, in one unit."""
        longest = _TICK_SECONDS[-1]
        multiple = longest * math.ceil(self.seconds / longest / _TICKS)
        step = next((size for size in _TICK_SECONDS if self.seconds <= _TICKS * size), multiple)
        unit, name = next(((unit, name) for unit, name in _UNITS if step % unit == 0), (1, "s"))
        count = int(self.seconds / step + 1e-9)
        return ((0.0, "0"), *((index * step, f"{index * step / unit:g} {name}") for index in range(1, count + 1)))


class Bar(NamedTuple):
    """The usage of one device: fractions of 1, and its memory in words."""

    name: str
    mean: float | None
    peak: float | None
    memory: float | None
    note: str


def charts_of(attempt: Attempt, longest: int = LONGEST_CURVE) -> tuple[Chart, ...]:
    """Return the charts of an attempt, none where nothing was measured.

    Args:
        attempt: the attempt.
        longest: the number of values of a curve at the sampling interval from which on neighbours are averaged.
    """
    usage = attempt.usage or Usage()
    charts = [_memory(attempt, usage, longest), _cpu(attempt, usage, longest)]
    for kind, utilization, memory in (
        (semconv.DEVICE_GPU, semconv.SERIES_GPU, semconv.SERIES_GPU_MEMORY),
        (semconv.DEVICE_NPU, semconv.SERIES_NPU, semconv.SERIES_NPU_MEMORY),
    ):
        charts.append(_utilization(attempt, usage, kind, utilization, longest))
        charts.append(_device_memory(attempt, usage, kind, memory, longest))
    phases = _phases(attempt)
    return tuple(chart._replace(phases=phases) for chart in charts if chart is not None)


def bars_of(usage: Usage | None) -> tuple[Bar, ...]:
    """Return a bar for each device."""
    return tuple(map(_bar, usage.devices)) if usage else ()


def peak_share(usage: Usage | None, quota: Quota) -> float | None:
    """Return the peak of memory as a fraction of the limit, as the notes of a row have it, if both are known."""
    return share(usage.memory_peak, quota.memory_limit) if usage else None


def _memory(attempt: Attempt, usage: Usage, longest: int) -> Chart | None:
    quota, peak = attempt.quota, usage.memory_peak
    used = attempt_usage.absolute(attempt, semconv.SERIES_BYTES, semconv.SERIES_MEMORY, quota.memory_limit, 0)
    used = used or attempt_usage.single(usage.memory_mean)
    line, unit = attempt_usage.by_minute(attempt, used), 1.0
    for fine in attempt_usage.fine(attempt, semconv.USAGE_CURVE_MEMORY, longest):
        line, unit = fine, float(_MIB)
    if not line.means and peak is None:
        return None
    note = _joined(
        "" if peak is None else f"peak {size(peak)}{growth_of(usage)}",
        f"request {size(quota.memory_request)}" if quota.memory_request else "",
        f"limit {size(quota.memory_limit)}" if quota.memory_limit else "",
        counted(usage.oom_kills, "OOM kill") if usage.oom_kills else "",
    )
    factor = 100 / quota.memory_request if quota.memory_request else 1 / _MIB
    scaled = attempt_usage.scaled(line.means, unit * factor)
    scaled_peak = None if peak is None else peak * factor
    drawn = [_curve(USED, line, unit * factor)] if scaled else []
    if not quota.memory_request:
        return _chart(attempt, ("Memory", "MiB"), drawn, scaled_peak, note, step=line.step)
    allocated = tuple(None if value is None else max(100.0, value) for value in scaled)
    allocated = allocated or (max(100.0, scaled_peak or 0.0),)
    drawn = [*_constant(LIMIT, quota.memory_limit, factor), Curve(ALLOCATED, allocated), *drawn]
    return _chart(attempt, ("Memory", "% of the request"), drawn, scaled_peak, note, step=line.step)


def _cpu(attempt: Attempt, usage: Usage, longest: int) -> Chart | None:
    quota = attempt.quota
    used = attempt_usage.absolute(attempt, semconv.SERIES_CORES, semconv.SERIES_CPU, quota.cpu_limit, 3)
    used = used or attempt_usage.single(usage.cpu_mean)
    fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_CPU, longest)
    line = fine[0] if fine else attempt_usage.by_minute(attempt, used)
    if not line.means:
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
    drawn = [*constants, _curve(USED, line, 1.0, 3)]
    return _chart(attempt, ("CPU", "cores"), drawn, usage.cpu_peak, note, step=line.step)


def _utilization(attempt: Attempt, usage: Usage, kind: str, series: str, longest: int) -> Chart | None:
    """Return the utilisation in percent of the devices requested, where another number of devices was seen."""
    seen = sum(device.kind == kind for device in usage.devices)
    requested = attempt.quota.gpus if kind == semconv.DEVICE_GPU else 0
    used = attempt_usage.values(attempt, series)
    fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_DEVICE.format(kind=kind), longest)
    if not used and not fine:
        return None
    mean = usage.gpu_of_request if kind == semconv.DEVICE_GPU else None
    note = _joined(
        f"{requested} requested" if requested else "",
        f"{seen} seen" if seen else "",
        "" if mean is None else f"mean {percent(mean)} of the request",
    )
    lines = fine or [attempt_usage.by_minute(attempt, used)]
    of_requested = seen / requested if seen and requested and len(lines) == 1 else 1.0
    drawn = _of_devices(kind, lines, of_requested)
    return _chart(attempt, (f"{kind.upper()} utilisation", "%"), drawn, None, note, step=lines[0].step)


def _device_memory(attempt: Attempt, usage: Usage, kind: str, series: str, longest: int) -> Chart | None:
    used = attempt_usage.values(attempt, series)
    fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_DEVICE_MEMORY.format(kind=kind), longest)
    if not used and not fine:
        return None
    devices = [device for device in usage.devices if device.kind == kind]
    shares = [device.memory_share for device in devices if device.memory_share is not None]
    lines = fine or [attempt_usage.by_minute(attempt, used)]
    known = ("" if len(lines) > 1 else "mean over devices", f"the fullest at {percent(max(shares))}" if shares else "")
    note = ", ".join(filter(None, known))
    drawn = _of_devices(kind, lines, 1.0)
    return _chart(attempt, (f"{kind.upper()} memory", "%"), drawn, None, note, step=lines[0].step)


def _chart(
    attempt: Attempt, title: tuple[str, str], drawn: Sequence[Curve], peak: float | None, note: str, *, step: float
) -> Chart:
    rounded = None if peak is None else round(peak, 3)
    return Chart(*title, step, attempt.seconds, tuple(drawn), rounded, note)


def _phases(attempt: Attempt) -> tuple[Phase, ...]:
    if attempt.span is None:
        return ()
    phases = [child for child in attempt.span.children if child.role is Role.PHASE]

    def at(time_ns: int) -> float:
        return round(min(attempt.seconds, max(0.0, (time_ns - attempt.start_ns) / 1e9)), 3)

    return tuple(
        Phase(
            phase.span.name,
            at(phase.start_ns),
            at(attempt.end_ns if phase.end_ns is None else phase.end_ns),
            "task" if phase.span.name == semconv.PHASE_USER_CODE else "phase",
        )
        for phase in phases[:_PHASES]
    )


def _curve(name: str, line: Fine, factor: float, decimals: int = 1, tone: str = "") -> Curve:
    maxima = () if line.maxima == line.means else attempt_usage.scaled(line.maxima, factor, decimals)
    return Curve(name, attempt_usage.scaled(line.means, factor, decimals), maxima, tone)


def _of_devices(kind: str, lines: Sequence[Fine], factor: float) -> list[Curve]:
    if len(lines) == 1:
        return [_curve(USED, lines[0], factor)]
    return [_curve(f"{kind.upper()} {line.label}", line, factor, 1, f"device{at}") for at, line in enumerate(lines)]


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
