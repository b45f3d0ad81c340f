"""The devices that a task may use, by the variables that frameworks obey.

Sources: `CUDA environment variables
<https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html>`_, `the NVIDIA container
toolkit <https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html>`_.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from otel_flyte import semconv

T = TypeVar("T")

_ALL = "all"
_NONE = "none"
_VOID = ("", "void")
_MOST = 1023

Names = Callable[[T], Iterable[str]]
"""Returns all names of a device, other than its number."""


def gpus(environ: Mapping[str, str], devices: Sequence[Sequence[T]], names: Names[T]) -> list[T]:
    """Return the GPUs that the task may use, in the order in which CUDA numbers them.

    Each GPU is a sequence of its parts: itself, or its MIG instances. Without ``CUDA_VISIBLE_DEVICES`` CUDA takes only
    the first instance. All are returned here, because each process of a task may take another one.
    """
    chosen = environ.get(semconv.CUDA_VISIBLE_DEVICES)
    if chosen is None:
        return _of_container(environ.get(semconv.NVIDIA_VISIBLE_DEVICES, ""), devices, names)
    return _of_cuda(chosen, devices, names)


def _of_cuda(chosen: str, devices: Sequence[Sequence[T]], names: Names[T]) -> list[T]:
    """Return the devices by the rules of CUDA.

    A number is a position in PCI order, which is NVML's. CUDA's own default puts the fastest GPU first, which differs
    only where a machine has GPUs of several models and ``CUDA_DEVICE_ORDER`` is not ``PCI_BUS_ID``. The number of a
    split GPU means its first instance, a name may be a prefix, and an entry without a device ends the list.
    """
    visible: list[T] = []
    for entry in (entry.strip() for entry in chosen.split(",")):
        if entry.isdecimal():
            found = list(devices[int(entry)][:1]) if int(entry) < len(devices) else []
        else:
            found = [part for parts in devices for part in parts if _is(entry, part, names)]
        # A prefix that several devices share names no device.
        if len(found) != 1:
            break
        visible += [part for part in found if part not in visible]
    return visible


def _of_container(given: str, devices: Sequence[Sequence[T]], names: Names[T]) -> list[T]:
    """Return the devices that were assigned to a container, where its runtime has not hidden the others.

    A privileged container sees all GPUs of its machine. Where the runtime has hidden the others, the remaining devices
    are renumbered, so that numbers mean nothing: then there are no more of them than were assigned. ``void`` has no
    meaning, because runtimes that assign devices by CDI set it too.
    """
    everything = [part for parts in devices for part in parts]
    if given.strip() == _NONE:
        return []
    if given.strip() in (*_VOID, _ALL):
        return everything
    entries = [entry.strip() for entry in given.split(",")]
    numbers = {int(entry) for entry in entries if entry.isdecimal()}
    if numbers and (len(devices) <= len(entries) or max(numbers) >= len(devices)):
        return everything
    numbered = [part for number, parts in enumerate(devices) if number in numbers for part in parts]
    named = [part for part in everything if any(_is(entry, part, names) for entry in entries)]
    return [part for part in everything if part in numbered or part in named] or everything


def numbers(text: str) -> list[int]:
    """Parse a list of numbers and of ranges such as ``0-3``; any other entry ends it."""
    listed: list[int] = []
    for entry in text.split(","):
        first, is_range, last = entry.strip().partition("-")
        if not first.isdecimal() or (is_range and not last.isdecimal()):
            break
        listed += range(int(first), min(int(last if is_range else first), _MOST) + 1)
    return list(dict.fromkeys(listed))


def _is(entry: str, device: T, names: Names[T]) -> bool:
    return len(entry) > len("GPU-") and any(name.startswith(entry) for name in names(device))
