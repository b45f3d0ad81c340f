"""Calls of NVML, and the GPUs and MIG instances that it knows.

Sources: the `NVML reference <https://docs.nvidia.com/deploy/nvml-api/>`_ and ``nvml.h``, whose numbers are used where
older releases of the module ``pynvml`` have no name for them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from otel_flyte.usage.devices.accelerators import logger

# nvmlReturn_t
_UNINITIALIZED = 1
_FUNCTION_NOT_FOUND = 13
NEVER = frozenset((3, 4, _FUNCTION_NOT_FOUND, 25, 26))
"""Not supported, no permission, function or argument version not found, deprecated: not called again."""

_LOST = frozenset((15, 16, 28))
"""The GPU is lost, requires a reset, was not found."""

_NOTHING_NEW = frozenset((0, 6, 10))
"""No process computes (an error in ``pynvml``), no sample since the last one, no event in time."""


class LostError(Exception):
    """The driver can't reach the device."""


class ClosedError(Exception):
    """Other code in this process has shut NVML down."""


class Driver:
    """The library, and the one place that handles its errors."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self._lacking: set[tuple[str, str]] = set()
        self._reported: set[tuple[str, str]] = set()

    def ask(self, of: str, name: str, *arguments: Any, known_as: str = "", nothing: Any = None) -> Any:
        """Call a function for a device; return ``None`` where it fails now, without a call where it never succeeds.

        Args:
            of: identifier of the device.
            name: name of the function.
            arguments: its arguments.
            known_as: name of the call where the same function may fail for some arguments only.
            nothing: the result where the driver has nothing to report.

        Raises:
            LostError: the device can't be reached.
            ClosedError: NVML was shut down.
        """
        question = (of, known_as or name)
        if question in self._lacking:
            return None
        try:
            return getattr(self.library, name)(*arguments)
        except Exception as error:
            # An error without a code is one of the module: it lacks the name, or is older than the library.
            code = getattr(error, "value", _FUNCTION_NOT_FOUND)
            if code in _NOTHING_NEW:
                return nothing
            self._explain(question, code, error)
            return None

    def lacks(self, of: str, name: str) -> bool:
        """Return whether a function never succeeds for a device."""
        return (of, name) in self._lacking

    def _explain(self, question: tuple[str, str], code: int, error: Exception) -> None:
        if code in _LOST:
            raise LostError(str(error)) from error
        if code == _UNINITIALIZED:
            raise ClosedError from error
        if code in NEVER:
            self._lacking.add(question)
        if question not in self._reported:
            self._reported.add(question)
            logger.debug("NVML: %s fails for the GPU %s: %s", question[1], question[0], error)


@dataclass(frozen=True)
class Part:
    """A whole GPU, or a MIG instance of a GPU.

    Attributes:
        id: its UUID.
        handle: the library's handle.
        gpu: the UUID of the whole GPU.
        gpu_handle: the handle of the whole GPU.
        instance: the number of the MIG GPU instance, ``None`` for a whole GPU.
        compute_instance: the number of the MIG compute instance in it.
    """

    id: str
    handle: Any = field(compare=False)
    gpu: str
    gpu_handle: Any = field(compare=False)
    instance: int | None = None
    compute_instance: int | None = None

    @property
    def is_partition(self) -> bool:
        """Return whether it is a MIG instance."""
        return self.instance is not None

    def names(self) -> Iterator[str]:
        """Return its names: an instance has an older name too, made of numbers."""
        yield self.id
        if self.is_partition:
            yield f"MIG-{self.gpu}/{self.instance}/{self.compute_instance}"


def parts(driver: Driver) -> list[Sequence[Part]]:
    """Return the parts of each GPU, in NVML's order; none for a GPU that can't be reached.

    Raises:
        ClosedError: NVML was shut down.
    """
    found: list[Sequence[Part]] = []
    for index in range(driver.ask("", "nvmlDeviceGetCount") or 0):
        try:
            found.append(_parts_of(driver, index))
        except LostError as error:
            logger.debug("The GPU %d is not read: %s", index, error)
            found.append(())
    return found


def text(name: Any) -> str:
    """Return a name as text, empty where there is none; older releases of ``pynvml`` return bytes."""
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")


def _parts_of(driver: Driver, index: int) -> Sequence[Part]:
    handle = driver.ask("", "nvmlDeviceGetHandleByIndex", index, known_as=f"GPU {index}")
    uuid = text(driver.ask(str(index), "nvmlDeviceGetUUID", handle)) if handle is not None else ""
    if not uuid:
        return ()
    mode = driver.ask(uuid, "nvmlDeviceGetMigMode", handle)
    return list(_instances(driver, uuid, handle)) if mode and mode[0] else [Part(uuid, handle, uuid, handle)]


def _instances(driver: Driver, gpu: str, gpu_handle: Any) -> Iterator[Part]:
    for index in range(driver.ask(gpu, "nvmlDeviceGetMaxMigDeviceCount", gpu_handle) or 0):
        # An index without an instance fails; the next index may still have one.
        handle = driver.ask(gpu, "nvmlDeviceGetMigDeviceHandleByIndex", gpu_handle, index, known_as=f"MIG {index}")
        uuid = text(driver.ask(gpu, "nvmlDeviceGetUUID", handle)) if handle is not None else ""
        if uuid:
            instance = driver.ask(uuid, "nvmlDeviceGetGpuInstanceId", handle)
            compute_instance = driver.ask(uuid, "nvmlDeviceGetComputeInstanceId", handle)
            yield Part(uuid, handle, gpu, gpu_handle, -1 if instance is None else instance, compute_instance)
