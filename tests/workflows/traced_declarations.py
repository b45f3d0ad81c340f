"""Tasks that declare much about themselves."""

import datetime as dt

from flytekit import Cache, Resources, task
from flytekit.extras.accelerators import A100, T4

LONG = "x" * 3000


@task(
    cache=Cache(version="7", serialize=True, ignored_inputs=("note",)),
    retries=3,
    timeout=90,
    interruptible=True,
    deprecated="use fit_all",
    labels={"team": "vision"},
    annotations={"owner/mail": "ada@example.com"},
    pod_template_name="gpu-pods",
)
def with_metadata(value: int, note: str) -> int:
    return value


@task(timeout=dt.timedelta(minutes=2, milliseconds=500))
def with_timedelta(value: int) -> int:
    return value


@task(
    requests=Resources(cpu="500m", mem="1Gi", ephemeral_storage="2Gi"),
    limits=Resources(cpu=2, mem="2Gi", gpu="1"),
    accelerator=A100.partition_2g_10gb,
    shared_memory="1Gi",
    environment={"MODE": "fast"},
)
def with_resources(value: int) -> int:
    return value


@task(resources=Resources(cpu=("1", "2"), mem="1Gi"), accelerator=T4, shared_memory=True)
def with_resource_ranges(value: int) -> int:
    return value


@task(
    labels={f"label-{number:02}": "one of many" for number in range(40)},
    annotations={"note": LONG, LONG: "a long key"},
    deprecated=LONG,
)
def with_too_much(value: int) -> int:
    raise ValueError(LONG + str(value))
