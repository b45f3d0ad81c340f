"""A task that torch elastic runs in several worker processes."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import os

from flytekit import task
from flytekitplugins.kfpytorch import Elastic


@task(task_config=Elastic(nnodes=1, nproc_per_node=2, start_method="spawn"))
def train_spawned(value: int) -> int:
    return value + int(os.environ["RANK"])


@task(task_config=Elastic(nnodes=1, nproc_per_node=2, start_method="fork"))
def train_forked(value: int) -> int:
    return value + int(os.environ["RANK"])


@task(task_config=Elastic(nnodes=1, nproc_per_node=2, start_method="spawn", max_restarts=0))
def fail_on_one_rank(value: int) -> int:
    if os.environ["RANK"] == "1":
        raise ValueError(f"rank 1 cannot take {value}")
    return value
