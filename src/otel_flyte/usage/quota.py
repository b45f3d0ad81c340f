"""What a task asked for and may use: the denominators of its percentages.

Limit and request are the declared ``Resources``. The cgroup's limit, which tells the truth, stands beside them, and
takes their place where nothing is declared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from otel_flyte import quantity, semconv


class Denominator(NamedTuple):
    """What use is a share of, and which of the limits that is: ``declared``, ``cgroup`` or ``host``."""

    value: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine gives: cores and bytes of the cgroup, and of the host."""

    cgroup_cores: float | None = None
    cgroup_memory: int | None = None
    host_cores: float | None = None
    host_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What one task asked for, in cores, bytes and devices; ``None`` for what it did not."""

    around: Surroundings
    cpu_limit: float | None = None
    cpu_request: float | None = None
    memory_limit: float | None = None
    memory_request: float | None = None
    gpu_request: float | None = None

    @property
    def cpu(self) -> Denominator:
        """What CPU use is a share of."""
        return _first(self.cpu_limit, self.around.cgroup_cores, self.around.host_cores)

    @property
    def memory(self) -> Denominator:
        """What memory use is a share of."""
        return _first(self.memory_limit, self.around.cgroup_memory, self.around.host_memory)


def of(attributes: Mapping[str, Any], around: Surroundings) -> Quota:
    """Read what a task declared from the attributes of its span."""

    def declared(pattern: str, name: str) -> Any:
        return attributes.get(pattern.format(name=name))

    request, limit = semconv.RESOURCES_REQUEST, semconv.RESOURCES_LIMIT
    return Quota(
        around,
        cpu_limit=quantity.cores(declared(limit, "cpu")),
        cpu_request=quantity.cores(declared(request, "cpu")),
        memory_limit=quantity.size(declared(limit, "mem")),
        memory_request=quantity.size(declared(request, "mem")),
        gpu_request=quantity.cores(declared(request, "gpu") or declared(limit, "gpu")),
    )


def _first(declared: float | None, cgroup: float | None, host: float | None) -> Denominator:
    if declared:
        return Denominator(declared, semconv.QUOTA_DECLARED)
    if cgroup:
        return Denominator(cgroup, semconv.QUOTA_OF_CGROUP)
    return Denominator(host, semconv.QUOTA_OF_HOST)
