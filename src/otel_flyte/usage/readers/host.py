"""The size of the machine: the denominator where neither a declaration nor a control group has one."""

import os
from contextlib import suppress
from pathlib import Path

from otel_flyte.runtime.forks import importing
from otel_flyte.usage.readers import files

_KIB = 1024


def visible_cores() -> int:
    """Return the number of CPUs that the process may use: the affinity of its main thread, else all of the machine.

    Threads may be pinned one by one, so that the affinity of the calling thread has little meaning.
    """
    if hasattr(os, "sched_getaffinity"):
        with suppress(OSError):
            return len(os.sched_getaffinity(os.getpid()))
    return os.cpu_count() or 1


def memory_total(root: Path = Path("/")) -> int | None:
    """Return the bytes of memory of the machine: ``MemTotal`` of ``/proc/meminfo``, else psutil's value."""
    with suppress(OSError):
        text = (root / "proc/meminfo").read_bytes().replace(b" kB", b"")
        kib = files.field(text, b"MemTotal:")
        return None if kib is None else kib * _KIB
    with suppress(Exception):
        with importing:
            import psutil
        return int(psutil.virtual_memory().total)
    return None
