"""The time for which the threads of a process could have run, but had no CPU.

It is the second number of ``/proc/PID/task/TID/schedstat``, in nanoseconds:
https://docs.kernel.org/scheduler/sched-stats.html. ``/proc/PID/schedstat`` is that of the first thread alone. The
kernel adds the time when a thread gets a CPU.
"""

import os
from contextlib import suppress

from otel_flyte.usage.readers import files
from otel_flyte.usage.readers.files import KernelFile

_NANOSECONDS = 10**9

_HELD = 8
"""Threads of a process whose files stay open."""

_MOST = 128
"""Each further thread would cost some microseconds for each sample."""


class RunQueue:
    """The threads of one process.

    Args:
        folder: of the process.
        held: whether files may stay open between readings.
    """

    def __init__(self, folder: str, *, held: bool) -> None:
        self._folder = folder
        self._held = held
        self._files: dict[str, KernelFile] = {}
        self._nanoseconds: dict[str, int] = {}
        self._of_ended = 0
        self._threads = 0

    def read(self, threads: int) -> float | None:
        """Return the seconds of all threads, as far as they were read before they ended; ``None`` where none is known.

        Args:
            threads: their number, by which new ones are noticed.
        """
        if threads != self._threads or not self._read():
            self._list()
            self._read()
            self._threads = threads
        known = self._nanoseconds.values()
        return (self._of_ended + sum(known)) / _NANOSECONDS if known or self._of_ended else None

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _read(self) -> bool:
        """Read each known thread; return whether all are there."""
        for thread, file in self._files.items():
            found = _nanoseconds(file.read())
            if found is None:
                return False
            self._nanoseconds[thread] = found
        return True

    def _list(self) -> None:
        listed: list[str] = []
        with suppress(OSError):
            listed = os.listdir(f"{self._folder}/task")[:_MOST]  # noqa: PTH208  # pathlib takes twice as long
        for thread in self._files.keys() - set(listed):
            self._files.pop(thread).close()
            self._of_ended += self._nanoseconds.pop(thread, 0)
        for thread in listed:
            if thread not in self._files:
                held = self._held and len(self._files) < _HELD
                self._files[thread] = KernelFile(f"{self._folder}/task/{thread}/schedstat", held=held, at_once=True)


def _nanoseconds(schedstat: bytes | None) -> int | None:
    fields = (schedstat or b"").split(None, 2)
    return files.integer(fields[1]) if len(fields) > 1 else None
