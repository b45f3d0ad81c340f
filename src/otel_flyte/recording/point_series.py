"""The metrics of the usage of a running task, and the series that their points belong to."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.recording.model import Attributes

MEMORY_PEAKS = "mem_peak"
"""The series of the largest working set of each interval, in bytes."""


class Series(NamedTuple):
    """A series: its name, and what a point's value is multiplied by."""

    name: str
    factor: float = 1.0


_PERCENT = semconv.METRIC_TASK_SERIES.format(name="")
_ABSOLUTE = {
    semconv.METRIC_TASK_CPU_USAGE: Series(semconv.SERIES_CORES),
    semconv.METRIC_TASK_MEMORY_USAGE: Series(semconv.SERIES_BYTES),
    semconv.METRIC_TASK_MEMORY_PEAK: Series(MEMORY_PEAKS),
}
_OF_DEVICES: Mapping[str, str] = {
    semconv.METRIC_HW_GPU_UTILIZATION: semconv.USAGE_CURVE_DEVICE,
    semconv.METRIC_HW_GPU_MEMORY_UTILIZATION: semconv.USAGE_CURVE_DEVICE_MEMORY,
    semconv.METRIC_ACCELERATOR_UTILIZATION: semconv.USAGE_CURVE_DEVICE,
    semconv.METRIC_ACCELERATOR_MEMORY_UTILIZATION: semconv.USAGE_CURVE_DEVICE_MEMORY,
}
_KIND = re.compile("[a-z]{1,16}")

METRICS = (*(f"{_PERCENT}{name}" for name in semconv.SERIES), *_ABSOLUTE, *_OF_DEVICES)
"""The metrics of usage by their names."""


def is_usage(metric: str) -> bool:
    """Return whether the points of a metric are usage."""
    return metric.startswith(_PERCENT) or metric in _ABSOLUTE or metric in _OF_DEVICES


def series_of(metric: str, attributes: Attributes) -> Series | None:
    """Return the series of a point of a usage metric; ``None`` for one of a device of no known kind.

    That of a device is named as its curve on a task's span, and in percent, too.
    """
    if metric.startswith(_PERCENT):
        return Series(metric.removeprefix(_PERCENT))
    if metric in _ABSOLUTE:
        return _ABSOLUTE[metric]
    kind = attributes.get(semconv.HW_TYPE)
    if not (isinstance(kind, str) and _KIND.fullmatch(kind)) or semconv.HW_ID not in attributes:
        return None
    return Series(_OF_DEVICES[metric].format(kind=kind), 100.0)
