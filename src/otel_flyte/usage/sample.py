"""A sample of the resources in use, and the cheap one that a short task can afford."""

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from otel_flyte import semconv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_flyte.usage.devices.accelerators import DeviceSample

try:
    import resource
except ImportError:  # Not on every platform.
    resource = None  # type: ignore[assignment]

WORTH_SECONDS = 0.1
"""Shorter tasks and phases get no usage."""

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_MARK_UNIT = 1 if sys.platform == "darwin" else 1024


class Sample(NamedTuple):
    """The resources in use at one moment; ``None`` where a value was not read or is not reported.

    Attributes:
        at: seconds, by ``time.monotonic``.
        cpu_seconds: CPU time used so far.
        mark: the largest resident set of this process so far, in bytes.
        memory: bytes of the working set.
        throttled_seconds: time so far in which a CPU quota throttled threads.
        io_read: bytes read from storage so far.
        io_write: bytes written to storage so far.
        oom_kills: OOM-killed processes so far.
        devices: accelerators.
        delayed_seconds: time so far in which threads waited for a CPU; of this process, its first thread's.
        pressure_seconds: time so far in which any thread of the container waited for a CPU.
        resident: bytes of the resident set of this process alone, where nothing else of memory is read.
    """

    at: float
    cpu_seconds: float | None = None
    mark: int | None = None
    memory: int | None = None
    throttled_seconds: float | None = None
    io_read: int | None = None
    io_write: int | None = None
    oom_kills: int | None = None
    devices: "Sequence[DeviceSample] | None" = None
    delayed_seconds: float | None = None
    pressure_seconds: float | None = None
    resident: int | None = None


def of_process() -> Sample:
    """Take a sample of this process and of the children it has waited for, by a few cheap system calls."""
    times = os.times()
    used = time.process_time() + times.children_user + times.children_system
    resident = _field("/proc/self/statm", _PAGE)
    return Sample(
        time.monotonic(),
        used,
        peak_mark(),
        delayed_seconds=_field("/proc/self/schedstat", 1e-9),
        resident=None if resident is None else int(resident),
    )


def _field(path: str, unit: float) -> float | None:
    """Return the second number of a file of this process, ``None`` where there is no ``/proc``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return int(os.read(descriptor, 128).split()[1]) * unit
        finally:
            os.close(descriptor)
    except (OSError, ValueError, IndexError):
        return None


def peak_mark() -> int | None:
    """Return the largest resident set of this process so far, in bytes; the kernel's mark only rises.

    The time before the process ran this program counts too: a child of a large process starts with its mark.
    See ``ru_maxrss`` in https://man7.org/linux/man-pages/man2/getrusage.2.html; macOS counts bytes, Linux kibibytes.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MARK_UNIT if resource is not None else None


def in_brief(first: Sample, last: Sample) -> dict[str, str | int | float]:
    """Return the usage between two samples of this process: CPU, the wait for it, and the mark where it rose.

    A short time gets no usage, because samples may be some milliseconds older than its start.
    """
    if last.at - first.at < WORTH_SECONDS:
        return {}
    found: dict[str, str | int | float] = {semconv.USAGE_SOURCE: semconv.USAGE_OF_PROCESSES}
    if first.cpu_seconds is not None and last.cpu_seconds is not None:
        used = max(0.0, last.cpu_seconds - first.cpu_seconds)
        found[semconv.USAGE_CPU_TIME] = round(used, 4)
        found[semconv.USAGE_CPU_MEAN] = round(used / (last.at - first.at), 4)
    if first.delayed_seconds is not None and last.delayed_seconds is not None:
        found[semconv.USAGE_CPU_DELAYED] = round(max(0.0, last.delayed_seconds - first.delayed_seconds), 4)
    if last.mark is not None and last.mark > (first.mark or 0):
        found[semconv.USAGE_MEMORY_PEAK] = last.mark
    return found
