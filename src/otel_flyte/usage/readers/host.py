"""What the machine has: the denominator where neither a declaration nor a control group gives one."""

import os
from contextlib import suppress
from pathlib import Path

from otel_flyte.runtime.forks import importing
from otel_flyte.usage.readers import files

_KIB = 1024


def visible_cores() -> int:
    """How many CPUs the process may run on: its main thread's affinity, all of the machine's where there is none.

    Threads may be pinned one by one, so the calling thread's own would say little.
    """
    if hasattr(os, "sched_getaffinity"):
        with suppress(OSError):
            return len(os.sched_getaffinity(os.getpid()))
    return os.cpu_count() or 1


def memory_total(root: Path = Path("/")) -> int | None:
    """Bytes of memory of the machine: ``MemTotal`` of ``/proc/meminfo``, or psutil's where there is no such file."""
    with suppress(OSError):
        text = (root / "proc/meminfo").read_bytes().replace(b" kB", b"")
        kib = files.field(text, b"MemTotal:")
        return None if kib is None else kib * _KIB
    with suppress(Exception):
        with importing:
            import psutil
        return int(psutil.virtual_memory().total)
    return None
