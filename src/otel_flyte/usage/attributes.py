"""What was used, as attributes of spans; what is not known is left out."""

from typing import TYPE_CHECKING

from otel_flyte import semconv
from otel_flyte.usage.quota import Quota
from otel_flyte.usage.statistics import NOTHING, Series, Window

if TYPE_CHECKING:
    from otel_flyte.usage.sampler import Windows
    from otel_flyte.usage.sources import Sources

Value = bool | int | float | str | list[float] | None
Attributes = dict[str, bool | int | float | str | list[float]]

_DECIMALS = 4


def of_window(window: Window, quota: Quota, source: str) -> Attributes:
    """Tell what was used in a window, in seconds, cores, bytes, joules, and shares of which 1 is the whole."""
    memory = window.memory_peak
    return _known(
        {
            semconv.USAGE_SOURCE: source,
            semconv.USAGE_SAMPLES: window.samples,
            semconv.USAGE_CPU_TIME: _rounded(window.growth("cpu_seconds")),
            semconv.USAGE_CPU_MEAN: _rounded(window.mean_cores),
            semconv.USAGE_CPU_PEAK: _rounded(window.peak_cores),
            semconv.USAGE_CPU_OF_LIMIT: _share(window.mean_cores, quota.cpu.value),
            semconv.USAGE_CPU_OF_REQUEST: _share(window.mean_cores, quota.cpu_request),
            semconv.USAGE_CPU_THROTTLED: _rounded(window.growth("throttled_seconds")),
            semconv.USAGE_MEMORY_MEAN: _whole(window.memory.mean),
            semconv.USAGE_MEMORY_PEAK: _whole(memory),
            semconv.USAGE_MEMORY_OF_LIMIT: _share(memory, quota.memory.value),
            semconv.USAGE_MEMORY_OF_REQUEST: _share(memory, quota.memory_request),
            semconv.USAGE_IO_READ: _whole(window.growth("io_read")),
            semconv.USAGE_IO_WRITE: _whole(window.growth("io_write")),
            semconv.USAGE_GPU_OF_REQUEST: _share(window.busy_gpus.mean, quota.gpu_request),
            **_devices(window),
        }
    )


def of_task(windows: "Windows", quota: Quota, sources: "Sources", *, shared: bool) -> Attributes:
    """Tell what a task used, what it had asked for, and the averages by the minute."""
    window = windows.task
    return {
        **of_quota(quota),
        **of_window(window, quota, sources.kind),
        **_known(
            {
                semconv.USAGE_SHARED: shared or None,
                semconv.USAGE_MEMORY_WITH_CACHE: sources.peak_with_page_cache(),
                semconv.USAGE_OOM_KILLS: _whole(window.growth("oom_kills")) or None,
            }
        ),
        **_series(windows, quota),
    }


def of_quota(quota: Quota) -> Attributes:
    """Tell what was asked for, in cores, bytes and devices, and what percentages are of."""
    return _known(
        {
            semconv.QUOTA_CPU_LIMIT: quota.cpu_limit,
            semconv.QUOTA_CPU_REQUEST: quota.cpu_request,
            semconv.QUOTA_CPU_CGROUP: quota.around.cgroup_cores,
            semconv.QUOTA_CPU_SOURCE: quota.cpu.source,
            semconv.QUOTA_MEMORY_LIMIT: _whole(quota.memory_limit),
            semconv.QUOTA_MEMORY_REQUEST: _whole(quota.memory_request),
            semconv.QUOTA_MEMORY_CGROUP: quota.around.cgroup_memory,
            semconv.QUOTA_MEMORY_SOURCE: quota.memory.source,
            semconv.QUOTA_GPU_REQUEST: quota.gpu_request,
        }
    )


def so_far(window: Window) -> dict[str, float]:
    """Tell what a task has used by the last sample of its window, for those who ask while it runs."""
    last = window.last
    known = {
        semconv.USAGE_CPU_TIME: _rounded(window.growth("cpu_seconds")),
        semconv.USAGE_MEMORY_LAST: last.memory,
        semconv.USAGE_MEMORY_PEAK: window.memory_peak,
    }
    for (kind, index), device in window.devices.items():
        known[semconv.USAGE_DEVICE_LAST.format(kind=kind, index=index)] = device.sample.utilization
        known[semconv.USAGE_DEVICE_MEMORY_LAST.format(kind=kind, index=index)] = device.sample.memory_used
    return {name: float(value) for name, value in known.items() if value is not None}


def _devices(window: Window) -> dict[str, Value]:
    found: dict[str, Value] = {}
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
            found[pattern.format(kind=kind, index=index)] = value
    known = [energy for energy in joules if energy is not None]
    found[semconv.USAGE_ENERGY] = _rounded(sum(known)) if known else None
    return found


def _series(windows: "Windows", quota: Quota) -> Attributes:
    """Give the averages of a task that was sampled while it ran; shares in percent, as ModelArts has them."""
    series = windows.series
    by_name: dict[str, tuple[Series | None, float | None, int]] = {
        semconv.SERIES_CPU: (series.cores, _percent_of(quota.cpu.value), 2),
        semconv.SERIES_MEMORY: (series.bytes, _percent_of(quota.memory.value), 2),
        semconv.SERIES_GPU: (series.utilization.get(semconv.DEVICE_GPU), 100.0, 2),
        semconv.SERIES_GPU_MEMORY: (series.memory.get(semconv.DEVICE_GPU), 100.0, 2),
        semconv.SERIES_NPU: (series.utilization.get(semconv.DEVICE_NPU), 100.0, 2),
        semconv.SERIES_NPU_MEMORY: (series.memory.get(semconv.DEVICE_NPU), 100.0, 2),
        semconv.SERIES_CORES: (series.cores, 1.0, 3),
        semconv.SERIES_BYTES: (series.bytes, 1.0, 0),
    }
    step = max(each.step for each, _, _ in by_name.values() if each is not None)
    found: Attributes = {semconv.USAGE_STEP: int(step)}
    for name, (each, factor, decimals) in by_name.items():
        if each is None or factor is None:
            continue
        values = each.values(step)
        if any(value != NOTHING for value in values):
            found[semconv.USAGE_SERIES.format(name=name)] = [
                value if value == NOTHING else round(factor * value, decimals) for value in values
            ]
    return found


def _percent_of(whole: float | None) -> float | None:
    return 100 / whole if whole else None


def _known(values: dict[str, Value]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def _share(used: float | None, whole: float | None) -> float | None:
    return None if used is None or not whole else round(used / whole, _DECIMALS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
