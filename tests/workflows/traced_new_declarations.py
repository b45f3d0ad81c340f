"""Tasks with declarations that the oldest supported flytekit does not have."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import Resources, task
from flytekit.extras.accelerators import T4

LONG = "x" * 3000


@task(labels={"team": "vision"}, annotations={"owner/mail": "ada@example.com"})
def with_labels(value: int) -> int:
    return value


@task(
    labels={f"label-{number:02}": "one of many" for number in range(40)},
    annotations={"note": LONG, LONG: "a long key"},
)
def with_too_many_labels(value: int) -> int:
    return value


@task(resources=Resources(cpu=("1", "2"), mem="1Gi"), accelerator=T4, shared_memory=True)
def with_resource_ranges(value: int) -> int:
    return value
