"""Usage as attributes of spans; unknown values are left out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from otel_flyte import formulas, semconv
from otel_flyte.formulas import NO_VALUE
from otel_flyte.usage.before import Before, described
from otel_flyte.usage.curves import ALL, Curve, TaskCurves
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.statistics import Series, Window

if TYPE_CHECKING:
    from otel_flyte.usage.sources import Sources
    from otel_flyte.usage.windows import Windows

Value = bool | int | float | str | list[float] | list[str] | None
Attributes = dict[str, bool | int | float | str | list[float] | list[str]]

_DECIMALS = 4
_MIB = 2**20


def of_window(window: Window, quota: Quota, sources: "Sources") -> Attributes:
    """Return the usage in a window, in seconds, cores, bytes and joules, and as shares of 1."""
    memory = window.memory_peak
    declared = quota.declared
    return _known(
        {
            **sources.described(),
            semconv.USAGE_SAMPLES: window.samples,
            semconv.USAGE_CPU_TIME: _rounded(window.growth("cpu_seconds")),
            semconv.USAGE_CPU_MEAN: _rounded(window.mean_cores),
            semconv.USAGE_CPU_PEAK: _rounded(window.peak_cores),
            semconv.USAGE_CPU_OF_LIMIT: _share(window.mean_cores, quota.cpu.value),
            semconv.USAGE_CPU_OF_REQUEST: _share(window.mean_cores, declared.requests.cpu),
            semconv.USAGE_CPU_THROTTLED: _rounded(window.growth("throttled_seconds")),
            semconv.USAGE_CPU_DELAYED: _rounded(window.growth("delayed_seconds")),
            semconv.USAGE_CPU_PRESSURE: _rounded(window.growth("pressure_seconds")),
            semconv.USAGE_MEMORY_MEAN: _whole(window.memory.mean),
            semconv.USAGE_MEMORY_PEAK: _whole(memory),
            semconv.USAGE_MEMORY_OF_LIMIT: _share(memory, quota.memory.value),
            semconv.USAGE_MEMORY_OF_REQUEST: _share(memory, declared.requests.memory),
            semconv.USAGE_IO_READ: _whole(window.growth("io_read")),
            semconv.USAGE_IO_WRITE: _whole(window.growth("io_write")),
            semconv.USAGE_GPU_OF_REQUEST: _share(window.busy_gpus.mean, declared.accelerators),
            **dict(_devices(window)),
        }
    )


def of_task(windows: "Windows", quota: Quota, sources: "Sources", before: Before, *, shared: bool) -> Attributes:
    """Return the usage of a task, the memory in use before, its quota, its curves, and the averages for each minute."""
    window = windows.task
    return {
        **of_quota(quota),
        **of_window(window, quota, sources),
        **described(before, window.memory_peak),
        **_known(
            {
                semconv.USAGE_SHARED: shared or None,
                semconv.USAGE_MEMORY_WITH_CACHE: sources.peak_with_page_cache(),
                semconv.USAGE_OOM_KILLS: _whole(window.growth("oom_kills")) or None,
            }
        ),
        **_series(windows, quota),
        **_curves(windows.curves),
    }


def of_quota(quota: Quota) -> Attributes:
    """Return the declared resources in cores, bytes and devices, and the denominators of percentages."""
    requests, limits = quota.declared.requests, quota.declared.limits
    return _known(
        {
            semconv.QUOTA_CPU_LIMIT: limits.cpu,
            semconv.QUOTA_CPU_REQUEST: requests.cpu,
            semconv.QUOTA_CPU_CGROUP: quota.machine.cgroup_cores,
            semconv.QUOTA_CPU_SOURCE: quota.cpu.source,
            semconv.QUOTA_MEMORY_LIMIT: _whole(limits.memory),
            semconv.QUOTA_MEMORY_REQUEST: _whole(requests.memory),
            semconv.QUOTA_MEMORY_CGROUP: quota.machine.cgroup_memory,
            semconv.QUOTA_MEMORY_SOURCE: quota.memory.source,
            semconv.QUOTA_GPU_REQUEST: quota.declared.accelerators,
        }
    )


def of_last_sample(window: Window) -> dict[str, float]:
    """Return the usage of a running task by the last sample of its window."""
    known = {
        semconv.USAGE_CPU_TIME: _rounded(window.growth("cpu_seconds")),
        semconv.USAGE_MEMORY_LAST: window.last.memory,
        semconv.USAGE_MEMORY_PEAK: window.memory_peak,
    }
    for (kind, index), device in window.devices.items():
        known[semconv.USAGE_DEVICE_LAST.format(kind=kind, index=index)] = device.sample.utilization
        known[semconv.USAGE_DEVICE_MEMORY_LAST.format(kind=kind, index=index)] = device.sample.memory_used
    return {name: float(value) for name, value in known.items() if value is not None}


def _devices(window: Window) -> Iterator[tuple[str, Value]]:
    joules = []
    for (kind, index), device in window.devices.items():
        joules.append(device.energy.growth)
        for pattern, value in (
            (semconv.USAGE_DEVICE_NAME, device.sample.device.name),
            (semconv.USAGE_DEVICE_MEAN, _rounded(device.utilization.mean)),
            (semconv.USAGE_DEVICE_PEAK, _rounded(device.utilization.peak)),
            (semconv.USAGE_DEVICE_MEMORY_PEAK, _whole(device.memory.peak)),
            (semconv.USAGE_DEVICE_MEMORY_LIMIT, device.sample.device.memory_limit),
            (semconv.USAGE_DEVICE_OWN_MEAN, _rounded(device.own_utilization.mean)),
            (semconv.USAGE_DEVICE_OWN_MEMORY_PEAK, _whole(device.own_memory.peak)),
            (semconv.USAGE_DEVICE_ENERGY, _rounded(device.energy.growth)),
        ):
            yield pattern.format(kind=kind, index=index), value
    known = [energy for energy in joules if energy is not None]
    yield semconv.USAGE_ENERGY, _rounded(sum(known)) if known else None


def _series(windows: "Windows", quota: Quota) -> Attributes:
    """Return the averages for each minute: shares in percent, as in ModelArts, then cores and bytes."""
    series = windows.series
    percentages = formulas.percentages(
        (series.cores, quota.cpu.value), (series.bytes, quota.memory.value), series.utilization, series.memory
    )
    by_name: dict[str, tuple[Series | None, float, int]] = {
        name: (each, 100 / whole, 2) for name, (each, whole) in percentages.items() if whole
    }
    by_name[semconv.SERIES_CORES] = series.cores, 1.0, 3
    by_name[semconv.SERIES_BYTES] = series.bytes, 1.0, 0
    step = max(each.step for each, _, _ in by_name.values() if each is not None)
    found: Attributes = {semconv.USAGE_STEP: int(step)}
    for name, (each, factor, decimals) in by_name.items():
        values = each.values(step) if each is not None else []
        if any(value != NO_VALUE for value in values):
            found[semconv.USAGE_SERIES.format(name=name)] = [
                value if value == NO_VALUE else round(factor * value, decimals) for value in values
            ]
    return found


def _curves(curves: TaskCurves) -> Attributes:
    """Return the curves as texts: a number of cores, MiB or percent for each step, and its maximum where that differs.

    An array of numbers would take two to five times the space in OTLP, and a span may have only 128 attributes.
    """
    count = curves.count
    texts: dict[str, Value] = {
        semconv.USAGE_CURVE_CPU: _text(curves.cores.values(count), 1.0, 2),
        semconv.USAGE_CURVE_MEMORY: _text(curves.bytes.values(count), 1 / _MIB, 0),
    }
    for pattern, found in (
        (semconv.USAGE_CURVE_DEVICE, curves.utilization),
        (semconv.USAGE_CURVE_DEVICE_MEMORY, curves.memory),
    ):
        for kind, by_index in found.items():
            shown = {ALL: by_index[ALL]} if ALL in by_index else by_index
            texts[pattern.format(kind=kind)] = list(_of_devices(shown, count)) or None
    known = {name: text for name, text in texts.items() if text}
    return _known({semconv.USAGE_CURVE_STEP: float(curves.step), **known}) if known else {}


def _of_devices(curves: Mapping[int, Curve], count: int) -> Iterator[str]:
    for index, curve in sorted(curves.items()):
        name = semconv.CURVE_OF_ALL if index == ALL else str(index)
        yield f"{name}: {_text(curve.values(count), 100.0, 0)}"


def _text(values: Iterable[tuple[float, float] | None], factor: float, decimals: int) -> str:
    return " ".join(
        semconv.CURVE_UNKNOWN if value is None else "/".join(_numbers(value, factor, decimals)) for value in values
    )


def _numbers(value: tuple[float, float], factor: float, decimals: int) -> list[str]:
    average, peak = (f"{factor * number:.{decimals}f}" for number in value)
    return [average] if average == peak else [average, peak]


def _known(values: Mapping[str, Value]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def _share(used: float | None, whole: float | None) -> float | None:
    return _rounded(formulas.share(used, whole))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
