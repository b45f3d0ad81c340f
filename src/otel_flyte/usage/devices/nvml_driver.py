"""How NVML is asked, and which GPUs and MIG instances it knows.

Sources: the `NVML reference <https://docs.nvidia.com/deploy/nvml-api/>`_ and ``nvml.h``, whose numbers stand here where
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
"""Not supported, no permission, no such function, no such version of its argument, deprecated: asked no more."""

_LOST = frozenset((15, 16, 28))
"""The GPU is lost, requires a reset, was not found."""

_NOTHING_NEW = frozenset((0, 6, 10))
"""No process computes (which ``pynvml`` makes an error of), no sample since the last one, no event within the time."""


class LostError(Exception):
    """The driver can't reach the device."""


class ClosedError(Exception):
    """Somebody in this process shut NVML down."""


class Driver:
    """The library, and the one place for what it answers instead of a value."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self._lacking: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()

    def ask(self, of: str, name: str, *arguments: Any, known_as: str = "", nothing: Any = None) -> Any:
        """Call a function for a device; ``None`` where there is no answer now, and unasked where there never is one.

        ``known_as`` tells questions apart that differ in their arguments, and may have an answer each; ``nothing`` is
        what to return where the answer is that there is nothing to tell of.

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
            # What has no code is a fault of the module itself: it lacks the name, or is older than the library.
            code = getattr(error, "value", _FUNCTION_NOT_FOUND)
            if code in _NOTHING_NEW:
                return nothing
            self._explain(question, code, error)
            return None

    def lacks(self, of: str, name: str) -> bool:
        """Whether a function will never have an answer for a device."""
        return (of, name) in self._lacking

    def _explain(self, question: tuple[str, str], code: int, error: Exception) -> None:
        if code in _LOST:
            raise LostError(str(error)) from error
        if code == _UNINITIALIZED:
            raise ClosedError from error
        if code in NEVER:
            self._lacking.add(question)
        if question not in self._told:
            self._told.add(question)
            logger.debug("NVML has no answer to %s for the GPU %s: %s", question[1], question[0], error)


@dataclass(frozen=True)
class Part:
    """What a GPU consists of: itself, or a MIG instance of it.

    Attributes:
        id: its UUID.
        handle: what the library knows it by.
        gpu: the UUID of the whole GPU.
        gpu_handle: what the library knows the whole GPU by.
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
        """Whether it is a MIG instance."""
        return self.instance is not None

    def names(self) -> Iterator[str]:
        """Give what it is called: an instance has a name of former times too, made of numbers."""
        yield self.id
        if self.is_partition:
            yield f"MIG-{self.gpu}/{self.instance}/{self.compute_instance}"


def parts(driver: Driver) -> list[Sequence[Part]]:
    """Find what each GPU consists of, in NVML's order; nothing for one that can't be reached.

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
    """Give a name that older releases of ``pynvml`` return as bytes; empty where there is none."""
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
        # Places without an instance are not found, which is no reason to ask for the next no more.
        handle = driver.ask(gpu, "nvmlDeviceGetMigDeviceHandleByIndex", gpu_handle, index, known_as=f"MIG {index}")
        uuid = text(driver.ask(gpu, "nvmlDeviceGetUUID", handle)) if handle is not None else ""
        if uuid:
            instance = driver.ask(uuid, "nvmlDeviceGetGpuInstanceId", handle)
            compute_instance = driver.ask(uuid, "nvmlDeviceGetComputeInstanceId", handle)
            yield Part(uuid, handle, gpu, gpu_handle, -1 if instance is None else instance, compute_instance)
