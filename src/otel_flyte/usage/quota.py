"""The resources that a task may use: the denominators of its shares and percentages."""

from dataclasses import dataclass

from otel_flyte import formulas
from otel_flyte.formulas import Denominator
from otel_flyte.tasks.resources import NOT_DECLARED, DeclaredResources


@dataclass(frozen=True, slots=True)
class Machine:
    """The capacity of the machine: cores and bytes of the cgroup, and of the host."""

    cgroup_cores: float | None = None
    cgroup_memory: int | None = None
    host_cores: float | None = None
    host_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """The declared resources of one task, and the machine that it runs on."""

    machine: Machine
    declared: DeclaredResources = NOT_DECLARED

    @property
    def cpu(self) -> Denominator:
        """The cores that CPU usage is a share of."""
        return formulas.denominator(self.declared.limits.cpu, self.machine.cgroup_cores, self.machine.host_cores)

    @property
    def memory(self) -> Denominator:
        """The bytes that memory usage is a share of."""
        return formulas.denominator(self.declared.limits.memory, self.machine.cgroup_memory, self.machine.host_memory)
