"""NVIDIA GPUs and MIG instances, through NVML.

NVML is never shut down: other code in the process may use it. The process frees it at its end.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from otel_flyte import semconv
from otel_flyte.runtime.forks import importing
from otel_flyte.usage.devices import visible
from otel_flyte.usage.devices.accelerators import Device, DeviceSample, Pids, logger
from otel_flyte.usage.devices.nvml_driver import ClosedError, Driver, LostError, Part, parts
from otel_flyte.usage.devices.nvml_gpu import Gpu, Xids

_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h."""


class Nvml:
    """Reads the GPUs that the task may use.

    Args:
        library: replaces the module ``pynvml``, which is imported late.
        environ: variables, of which ``CUDA_VISIBLE_DEVICES`` and ``NVIDIA_VISIBLE_DEVICES`` are read.
        pids: returns the processes of the task; without it no usage by process is read.
        clock: returns monotonic seconds.
        proc: the folder of the kernel's process table.
    """

    kind = semconv.DEVICE_GPU

    def __init__(
        self,
        library: Any = None,
        environ: Mapping[str, str] = os.environ,
        pids: Pids | None = None,
        clock: Callable[[], float] = time.monotonic,
        proc: Path = Path("/proc"),
    ) -> None:
        self._library = library
        self._environ = environ
        self._pids = pids
        self._clock = clock
        self._proc = proc
        self._gpus: list[Gpu] = []
        self._xids: dict[str, Xids] = {}
        self._process: int | None = None
        self._is_missing = False
        self._is_first_namespace = False
        self._pids_are_foreign = False

    @property
    def processes_unknown(self) -> str | None:
        """The reason why usage by the task's own processes is unknown, ``None`` where it is known."""
        return "pid namespace" if self._pids_are_foreign else None

    def open(self) -> Sequence[Device]:
        """Load the driver's library and return the GPUs; none without a driver, which is not searched for again."""
        # A forked child opens the library again: handles and events of the parent stay with the parent.
        self._process = os.getpid()
        self._gpus, self._xids = [], {}
        if self._is_missing:
            return []
        try:
            with importing:
                library = self._library = self._library or import_module("pynvml")
            library.nvmlInit()
        except Exception as error:
            self._is_missing = True
            logger.debug("No NVIDIA GPU is read: %s", error)
            return []
        self._is_first_namespace = _is_first_pid_namespace(self._proc)
        with contextlib.suppress(ClosedError):
            self._find(Driver(library))
        return [gpu.device for gpu in self._gpus]

    def read(self) -> Sequence[DeviceSample]:
        """Read each GPU; one that the driver can't reach is returned as lost, and tried again once a minute."""
        if self._process != os.getpid():
            self.open()
        if not self._gpus:
            return []
        try:
            for xids in self._xids.values():
                xids.count()
            own = partial(self._own, frozenset(self._pids())) if self._pids else None
            return [gpu.sample(self._xids[gpu.part.gpu].of(gpu.part), own) for gpu in self._gpus]
        except ClosedError:
            logger.debug("NVML was shut down by other code in this process; it is opened again.")
            self._process = None
            return []

    def _find(self, driver: Driver) -> None:
        for part in visible.gpus(self._environ, parts(driver), Part.names):
            try:
                if part.gpu not in self._xids:
                    self._xids[part.gpu] = Xids(driver, part)
                self._gpus.append(Gpu(driver, part, len(self._gpus), self._clock))
            except LostError as error:
                logger.debug("The GPU %s is not read: %s", part.id, error)

    def _own(self, pids: frozenset[int], listed: Sequence[int]) -> frozenset[int] | None:
        """Return the task's processes among those that a GPU lists, ``None`` where its ids belong elsewhere.

        In the first namespace all ids are right. In another namespace a driver may report ids of the first. They are
        trusted where all of them exist here and one is the task's own.
        """
        own = pids.intersection(listed)
        is_trusted = self._is_first_namespace or (bool(own) and all((self._proc / str(pid)).exists() for pid in listed))
        self._pids_are_foreign = not is_trusted
        return own if is_trusted else None


def _is_first_pid_namespace(proc: Path) -> bool:
    try:
        return str((proc / "self/ns/pid").readlink()) == _FIRST_PID_NAMESPACE
    except OSError:
        return False
