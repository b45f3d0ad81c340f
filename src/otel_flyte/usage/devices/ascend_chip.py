"""What is known of one Ascend chip, whoever tells it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

MIB = 1024 * 1024
FULL = 100


@dataclass(frozen=True, slots=True)
class Chip:
    """One chip of one card.

    Attributes:
        card: what the driver calls the card.
        number: the chip's number on it.
        logic: its number among those that this container sees, by which frameworks and
            ``ASCEND_RT_VISIBLE_DEVICES`` count.
        physical: its number on the machine, by which ``ASCEND_VISIBLE_DEVICES`` counts.
        id: what it is called anywhere.
        name: its product name.
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
    """What a chip does now: see `otel_flyte.usage.devices.accelerators.DeviceSample`."""

    utilization: float | None = None
    memory_used: int | None = None
    power: float | None = None
    temperature: float | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    is_lost: bool = False


class Source(Protocol):
    """Who tells of chips."""

    def chips(self) -> list[Chip]:
        """Find them; none where there is no driver."""

    def read(self, chip: Chip) -> Reading | None:
        """Read one, ``None`` where nothing is known yet."""


def share(percent: float | None) -> float | None:
    """Give a share of 1; what is beyond 100 is no share (239 says that a profiler has the counters)."""
    return percent / FULL if percent is not None and 0 <= percent <= FULL else None
