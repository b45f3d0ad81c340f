"""Tasks of plugins: one with ``pre_execute``, like those of Spark and Ray, and one without."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from collections.abc import Callable
from typing import Any

from flytekit import task
from flytekit.core.context_manager import ExecutionParameters
from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.extend import TaskPlugins


class Cluster:
    """The configuration of a task that needs a cluster."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken


class ClusterTask(PythonFunctionTask[Cluster]):
    def __init__(self, task_config: Cluster, task_function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(task_config, task_function, task_type="cluster", **kwargs)

    def pre_execute(self, user_params: ExecutionParameters | None) -> ExecutionParameters | None:
        if self.task_config.broken:
            raise ConnectionError("the cluster does not answer")
        return user_params


class Queue:
    """The configuration of a task that runs in a queue."""


class QueuedTask(PythonFunctionTask[Queue]):
    def __init__(self, task_config: Queue, task_function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(task_config, task_function, task_type="queued", **kwargs)


TaskPlugins.register_pythontask_plugin(Cluster, ClusterTask)
TaskPlugins.register_pythontask_plugin(Queue, QueuedTask)


@task(task_config=Cluster())
def compute(value: int) -> int:
    return value + 1


@task(task_config=Cluster(broken=True))
def compute_in_vain(value: int) -> int:
    return value + 1


@task(task_config=Queue())
def compute_later(value: int) -> int:
    return value + 1
