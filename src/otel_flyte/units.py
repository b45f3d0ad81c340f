"""The units of attributes, in UCUM, beside their names in :mod:`otel_flyte.semconv`."""

import re
from collections.abc import Mapping
from functools import lru_cache

from otel_flyte import semconv

BYTES, SECONDS, CORES, SHARE, JOULES, EPOCH_NS = "By", "s", "{core}", "1", "J", "ns"
"""A share is a fraction of 1; ``ns`` are nanoseconds since the epoch."""

_OF_NAMES: Mapping[str, tuple[str, ...]] = {
    BYTES: (
        semconv.QUOTA_MEMORY_LIMIT,
        semconv.QUOTA_MEMORY_REQUEST,
        semconv.QUOTA_MEMORY_CGROUP,
        semconv.USAGE_MEMORY_MEAN,
        semconv.USAGE_MEMORY_PEAK,
        semconv.USAGE_MEMORY_BEFORE,
        semconv.USAGE_MEMORY_GROWTH,
        semconv.USAGE_MEMORY_LEFT,
        semconv.USAGE_MEMORY_LAST,
        semconv.USAGE_MEMORY_WITH_CACHE,
        semconv.USAGE_IO_READ,
        semconv.USAGE_IO_WRITE,
        semconv.USAGE_DEVICE_MEMORY_LAST,
        semconv.USAGE_DEVICE_MEMORY_PEAK,
        semconv.USAGE_DEVICE_MEMORY_LIMIT,
        semconv.USAGE_DEVICE_OWN_MEMORY_PEAK,
        semconv.INPUT_PROPERTY.replace("{property}", "size"),
        semconv.OUTPUT_PROPERTY.replace("{property}", "size"),
        semconv.OUTPUT_TRUNCATED,
    ),
    SECONDS: (
        semconv.USAGE_CPU_TIME,
        semconv.USAGE_CPU_THROTTLED,
        semconv.USAGE_CPU_DELAYED,
        semconv.USAGE_CPU_PRESSURE,
        semconv.USAGE_STEP,
        semconv.USAGE_CURVE_STEP,
        semconv.PHASE_ELAPSED,
        semconv.TASK_TIMEOUT,
    ),
    CORES: (
        semconv.QUOTA_CPU_LIMIT,
        semconv.QUOTA_CPU_REQUEST,
        semconv.QUOTA_CPU_CGROUP,
        semconv.USAGE_CPU_MEAN,
        semconv.USAGE_CPU_PEAK,
    ),
    SHARE: (
        semconv.USAGE_CPU_OF_LIMIT,
        semconv.USAGE_CPU_OF_REQUEST,
        semconv.USAGE_MEMORY_OF_LIMIT,
        semconv.USAGE_MEMORY_OF_REQUEST,
        semconv.USAGE_GPU_OF_REQUEST,
        semconv.USAGE_DEVICE_LAST,
        semconv.USAGE_DEVICE_MEAN,
        semconv.USAGE_DEVICE_PEAK,
        semconv.USAGE_DEVICE_OWN_MEAN,
    ),
    JOULES: (semconv.USAGE_ENERGY, semconv.USAGE_DEVICE_ENERGY),
    EPOCH_NS: (semconv.PENDING_START,),
}


def _pattern(name: str) -> str:
    """Return the pattern of a name; a part in braces stands for any text."""
    parts = (re.escape(part) for part in re.split(r"\{\w+\}", name))
    return r".+?".join(parts)


_PATTERNS = {unit: re.compile("|".join(map(_pattern, names)), re.DOTALL) for unit, names in _OF_NAMES.items()}


@lru_cache(4096)
def unit_of(name: str) -> str:
    """Return the unit of an attribute, empty where it has none or is unknown."""
    return next((unit for unit, pattern in _PATTERNS.items() if pattern.fullmatch(name)), "")
