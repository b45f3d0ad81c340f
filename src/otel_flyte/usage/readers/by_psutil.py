"""Processes by psutil, where there is no ``/proc``: macOS."""

import os
import time

import psutil

from otel_flyte.usage.readers.process import Key, Process


class Psutil:
    """Reads processes by psutil."""

    def own_pid(self) -> int:
        """Return the calling process."""
        return os.getpid()

    def pids(self, *, anew: bool = False) -> set[int]:  # noqa: ARG002  # the list is always new
        """Return all processes."""
        return set(psutil.pids())

    def parent(self, pid: int) -> int | None:
        """Return the parent of a process, ``None`` where it is gone."""
        try:
            return psutil.Process(pid).ppid()
        except psutil.Error:
            return None

    def age(self, key: Key) -> float:
        """Return the age of a process in seconds."""
        return time.time() - key.born

    def reader(self, pid: int, *, held: bool) -> "_Reader":  # noqa: ARG002  # nothing is held
        """Return a reader of one process."""
        return _Reader(pid)

    def close(self) -> None:
        """Do nothing: nothing is held."""


class _Reader:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self) -> Process | None:
        """Read the process, ``None`` where it is gone or another user's."""
        try:
            process = psutil.Process(self._pid)
            with process.oneshot():
                times = process.cpu_times()
                memory = process.memory_info()
                return Process(
                    key=Key(self._pid, process.create_time()),
                    parent=process.ppid(),
                    ended=process.status() == psutil.STATUS_ZOMBIE,
                    user=times.user,
                    system=times.system,
                    waited=self._waited(times),
                    resident=memory.rss,
                    anonymous=max(memory.rss - getattr(memory, "shared", 0), 0),
                    virtual=memory.vms,
                    layout=None,
                    io_read=None,
                    io_write=None,
                )
        except psutil.Error:
            return None

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _waited(self, times: object) -> float:
        """Return the CPU time of children that were waited for; macOS reports it to the process itself only."""
        if self._pid == os.getpid():
            own = os.times()
            return own.children_user + own.children_system
        return float(getattr(times, "children_user", 0) + getattr(times, "children_system", 0))
