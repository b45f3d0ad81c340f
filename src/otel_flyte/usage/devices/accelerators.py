"""GPUs, NPUs and other accelerators: the protocol of their readers, and the values that readers return.

A package adds a reader by an entry point in the group ``otel_flyte_accelerator``, which names a callable that returns
an `Accelerator`::

    [project.entry-points.otel_flyte_accelerator]
    tpu = "my_package.tpu:Tpu"

A reader does not raise where a machine lacks something: unknown values are ``None``. Values are those that the driver
of the device reports, and estimates only where a docstring says so.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from otel_flyte import semconv

Pids = Callable[[], Iterable[int]]
"""Returns the process ids of the task: its process and all descendants."""

logger = logging.getLogger(semconv.SCOPE)


@dataclass(frozen=True, slots=True)
class Device:
    """One device, or a partition of a device, that the task may use.

    Attributes:
        kind: kind of device, such as `semconv.DEVICE_GPU` or `semconv.DEVICE_NPU`.
        index: position among the devices that the task sees, from 0, as in frameworks.
        id: identifier by the driver that is the same on every machine, such as an NVIDIA UUID.
        name: product name.
        vendor: name of the vendor.
        memory_limit: bytes of memory.
        is_partition: whether it is a part of a device that other tasks may use too, such as a MIG instance.
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
    """The usage of one device since it was read last, and its state; ``None`` where the driver reports nothing.

    Attributes:
        device: the device.
        utilization: share of the time since the last read in which the device was busy, 0 to 1.
        memory_used: bytes in use by any process, without those that the driver reserves.
        power: watts now, or as the mean of the driver's last period.
        energy: joules, cumulative. Only differences have a meaning, and it restarts with the driver.
        temperature: degrees Celsius.
        errors: cumulative counts by kind, such as `semconv.HW_ERROR_CORRECTED`, where the driver counts them.
        io_receive: bytes received over its buses, cumulative.
        io_transmit: bytes sent over its buses, cumulative.
        process_memory: bytes in use by the task's own processes.
        process_utilization: share of the time since the last read in which it was busy for them, 0 to 1.
        is_lost: whether the driver can't reach the device; all other values but errors are ``None`` then.
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

    One background thread calls both methods. A slow call delays the next sample and nothing else. After a fork
    the child may call `open` again.
    """

    @property
    def kind(self) -> str:
        """The `Device.kind` of its devices."""

    def open(self) -> Sequence[Device]:
        """Return the devices that the task may use; none where the driver is missing, which is not an error."""

    def read(self) -> Sequence[DeviceSample]:
        """Read each device that `open` returned; one that can't be read is left out, or returned as lost."""
