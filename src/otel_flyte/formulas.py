"""Formulas of usage that tasks and recordings share, so that both report the same numbers."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from otel_flyte import semconv

T = TypeVar("T")

NO_VALUE: Final = -1.0
"""Stands in a series where no value is known, as in the answers of ModelArts."""

STEP_SECONDS: Final = 60.0
LONGEST_SERIES: Final = 1440

LONGEST_CURVE: Final = 240
MOST_CURVES: Final = 8
"""Devices of a kind that have a curve each."""


class Denominator(NamedTuple):
    """The whole that usage is a share of, and the kind of limit that it is: ``declared``, ``cgroup`` or ``host``."""

    value: float | None
    source: str


def denominator(declared: float | None, cgroup: float | None, host: float | None = None) -> Denominator:
    """Return the declared limit, else the limit of the cgroup, else the size of the host."""
    if declared:
        return Denominator(declared, semconv.QUOTA_DECLARED)
    if cgroup:
        return Denominator(cgroup, semconv.QUOTA_OF_CGROUP)
    return Denominator(host, semconv.QUOTA_OF_HOST)


def request(declared: float | None, limit: float | None) -> float | None:
    """Return the declared request, else the limit, as Kubernetes does."""
    return declared or limit


def share(used: float | None, whole: float | None) -> float | None:
    """Return usage as a share of a whole, 1 for all of it; ``None`` where either is unknown."""
    return None if used is None or not whole else used / whole


def percent(used: float | None, whole: float | None) -> float | None:
    """Return usage in percent of a whole; ``None`` where either is unknown."""
    return None if used is None or not whole else 100 * used / whole


def mean(values: "list[float | None]") -> float | None:
    """Return the mean of the known values, ``None`` where none is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def percentages(
    cpu: tuple[T | None, float | None],
    memory: tuple[T | None, float | None],
    utilization: Mapping[str, T | None],
    device_memory: Mapping[str, T | None],
) -> dict[str, tuple[T | None, float | None]]:
    """Return the quantity and the whole of each series in percent, by name, in the order of ModelArts.

    Args:
        cpu: cores in use, and their limit.
        memory: bytes in use, and their limit.
        utilization: mean over the devices of each kind, as a share of 1.
        device_memory: the same for the memory in use.
    """
    gpu, npu = semconv.DEVICE_GPU, semconv.DEVICE_NPU
    return {
        semconv.SERIES_CPU: cpu,
        semconv.SERIES_MEMORY: memory,
        semconv.SERIES_GPU: (utilization.get(gpu), 1.0),
        semconv.SERIES_GPU_MEMORY: (device_memory.get(gpu), 1.0),
        semconv.SERIES_NPU: (utilization.get(npu), 1.0),
        semconv.SERIES_NPU_MEMORY: (device_memory.get(npu), 1.0),
    }
