"""The values of one Ascend chip, from either source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

MIB = 1024 * 1024
FULL = 100


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip of one card.

    Attributes:
        card: the driver's number of the card.
        number: the chip's number on the card.
        logic: number among the chips that this container sees, as in frameworks and ``ASCEND_RT_VISIBLE_DEVICES``.
        physical: number on the machine, as in ``ASCEND_VISIBLE_DEVICES``.
        id: identifier that is the same on every machine.
        name: product name.
        memory_limit: bytes of memory.
    """

    card: int
    number: int
    logic: int
    physical: int
    id: str
    name: str
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a chip: see `otel_flyte.usage.devices.accelerators.DeviceSample`."""

    utilization: float | None = None
    memory_used: int | None = None
    power: float | None = None
    temperature: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    is_lost: bool = False


class Source(Protocol):
    """A source of values of chips."""

    def chips(self) -> list[Chip]:
        """Return the chips; none where there is no driver."""

    def read(self, chip: Chip) -> Reading | None:
        """Read a chip, ``None`` where nothing is known yet."""
