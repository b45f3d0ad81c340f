"""What GPUs, NPUs and other devices do for a task: the protocol by which anybody adds a kind of them.

A third party's package names a callable that gives an `Accelerator` in the entry point group
``otel_flyte_accelerator``::

    [project.entry-points.otel_flyte_accelerator]
    tpu = "my_package.tpu:Tpu"

A reader never raises for what a machine lacks: what is not known is ``None``, and what is known of a device is what its
own driver says. No estimate is made but where a docstring says so.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otel_flyte import semconv

Pids = Callable[[], Iterable[int]]
"""Gives the process ids of the task: its process and all that come of it."""

logger = logging.getLogger(semconv.SCOPE)


@dataclass(frozen=True, slots=True)
class Device:
    """One device, or a partition of one, that the task may use.

    Attributes:
        kind: what it is, `semconv.DEVICE_GPU` or `semconv.DEVICE_NPU` for those known here.
        index: its position among those that the task sees, from 0: frameworks count alike.
        id: what the driver calls it anywhere, such as an NVIDIA UUID.
        name: its product name.
        vendor: who made it.
        memory_limit: bytes of memory that it has.
        is_partition: whether it is a part of a device that others may use too, such as a MIG instance.
    """

    kind: str
    index: int
    id: str
    name: str
    vendor: str
    memory_limit: int | None = None
    is_partition: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """What one device did since it was read last, and what it holds now; ``None`` is what nobody says.

    Attributes:
        device: the device.
        utilization: share of the time since the last read in which it computed, 0 to 1.
        memory_used: bytes in use, whoever uses them, without those that the driver reserves for itself.
        power: watts now, or in the mean of the driver's own last period.
        energy: joules, cumulative: only differences mean something, and it starts anew with the driver.
        temperature: degrees Celsius.
        errors: cumulative counts by kind, such as `semconv.HW_ERROR_CORRECTED`; what nobody counts is left out.
        io_receive: bytes that it received over its buses, cumulative.
        io_transmit: bytes that it sent over its buses, cumulative.
        process_memory: bytes in use by the task's own processes.
        process_utilization: share of the time since the last read in which it computed for them, 0 to 1.
        is_lost: whether the driver says that it can't be reached; all else is ``None`` then but for errors.
    """

    device: Device
    utilization: float | None = None
    memory_used: int | None = None
    power: float | None = None
    energy: float | None = None
    temperature: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    io_receive: int | None = None
    io_transmit: int | None = None
    process_memory: int | None = None
    process_utilization: float | None = None
    is_lost: bool = False


class Accelerator(Protocol):
    """The devices of one driver.

    Both methods are called by one thread, in the background; what takes long delays the next sample and nothing else.
    After a fork the child may call `open` again.
    """

    @property
    def kind(self) -> str:
        """What its devices are: `Device.kind` of each."""

    def open(self) -> Sequence[Device]:
        """Find the devices that the task may use; none where the driver is missing, which is no error."""

    def read(self) -> Sequence[DeviceSample]:
        """Read each device that `open` gave; one that can't be read is left out, or said to be lost."""
