"""The values that a device can have.

Drivers return other numbers where they know nothing, such as 4294967295 percent. These are unknown here: a mean or a
sum with one of them would be wrong for the whole task.
"""

import math
from dataclasses import replace

from otel_flyte.usage.devices.accelerators import DeviceSample

_ROUNDED_UP = 1.005
"""A share of 1 that was divided and rounded on its way."""

_MOST_WATTS = 10_000.0
_MOST_JOULES = 1e13
"""What 10 kW use in 30 years."""

_COLDEST, _HOTTEST = -55.0, 150.0
"""Degrees Celsius: sensors report -55 °C at least, and silicon fails below 150 °C."""

_MOST_MEMORY = 2.0**50
_MOST_ERRORS = 2.0**32 - 2
_MOST_BYTES = 2.0**74
"""NVLink's counters are KiB of 64 bits."""

_ALL_ONES = (2**32 - 1, 2**64 - 1)
"""A driver's -1 in an unsigned counter."""


def within(value: float | None, least: float, most: float) -> float | None:
    """Return a value that is a number from ``least`` to ``most``, otherwise ``None``."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # NaN is in no range.
    return value if is_number and value is not None and least <= value <= most else None


def percent(value: float | None) -> float | None:
    """Return a percentage as a share of 1, ``None`` where it is not one.

    239 percent of an NPU mean that a profiler uses its counters.
    """
    return None if value is None else share(value / 100)


def share(value: float | None) -> float | None:
    """Return a share from 0 to 1."""
    known = within(value, 0, _ROUNDED_UP)
    return None if known is None else min(1.0, known)


def watts(value: float | None) -> float | None:
    """Return a power that a device can have."""
    return within(value, 0, _MOST_WATTS)


def counter(value: int | None) -> int | None:
    """Return a raw counter, ``None`` where the driver has none: it must not look like a burst."""
    return _whole(value, math.inf) if value not in _ALL_ONES else None


def memory(value: float | None) -> int | None:
    """Return a device's memory in bytes; a device without any is one that reports none."""
    return _whole(value, _MOST_MEMORY) or None


def credible(sample: DeviceSample) -> DeviceSample:
    """Return a sample without the values that no device can have."""
    most = sample.device.memory_limit or _MOST_MEMORY
    errors = {kind: _whole(count, _MOST_ERRORS) for kind, count in (sample.errors or {}).items()}
    return replace(
        sample,
        utilization=share(sample.utilization),
        memory_used=_whole(sample.memory_used, most),
        power=watts(sample.power),
        energy=within(sample.energy, 0, _MOST_JOULES),
        temperature=within(sample.temperature, _COLDEST, _HOTTEST),
        errors={kind: count for kind, count in errors.items() if count is not None},
        io_receive=_whole(sample.io_receive, _MOST_BYTES),
        io_transmit=_whole(sample.io_transmit, _MOST_BYTES),
        process_memory=_whole(sample.process_memory, most),
        process_utilization=share(sample.process_utilization),
    )


def _whole(value: float | None, most: float) -> int | None:
    known = within(value, 0, most)
    return None if known is None or not math.isfinite(known) else int(known)
