"""Tasks with many declarations."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import datetime as dt

from flytekit import Cache, Resources, task
from flytekit.extras.accelerators import A100

LONG = "x" * 3000


@task(
    cache=Cache(version="7", serialize=True, ignored_inputs=("note",)),
    retries=3,
    timeout=90,
    interruptible=True,
    deprecated="use fit_all",
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


@task(deprecated=LONG)
def with_too_long_a_text(value: int) -> int:
    raise ValueError(LONG + str(value))
