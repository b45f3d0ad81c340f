"""The resources that a task declares, as values: cores, bytes and devices."""

from typing import Any, NamedTuple

from otel_flyte import quantity


class Amounts(NamedTuple):
    """Amounts of each resource; ``None`` for those that are not declared.

    Attributes:
        cpu: cores.
        memory: bytes.
        ephemeral_storage: bytes.
        accelerators: devices, of the kind that :attr:`DeclaredResources.accelerator` names.
    """

    cpu: float | None = None
    memory: int | None = None
    ephemeral_storage: int | None = None
    accelerators: float | None = None

    @classmethod
    def parse(
        cls, cpu: Any = None, memory: Any = None, ephemeral_storage: Any = None, accelerators: Any = None
    ) -> "Amounts":
        """Return the amounts of Kubernetes quantities. A value that is no quantity counts as not declared."""
        return cls(
            quantity.cores(cpu), quantity.size(memory), quantity.size(ephemeral_storage), quantity.cores(accelerators)
        )


class DeclaredResources(NamedTuple):
    """The resources that a task requests, and the limits that it declares.

    Attributes:
        requests: amounts that the scheduler reserves.
        limits: amounts that the container may not exceed.
        accelerator: name of the kind of accelerator, such as ``nvidia-tesla-a100``; empty where none is declared.
    """

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()
    accelerator: str = ""

    @property
    def accelerators(self) -> float | None:
        """The number of devices: Kubernetes takes the limit for the request where only that is declared."""
        requested = self.requests.accelerators
        return self.limits.accelerators if requested is None else requested


NOT_DECLARED = DeclaredResources()
