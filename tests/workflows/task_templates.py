"""Tasks that are defined by their template."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from typing import Any

from flytekit import kwtypes
from flytekit.configuration import SerializationSettings
from flytekit.core.interface import Interface
from flytekit.core.python_customized_container_task import PythonCustomizedContainerTask
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.extras.sqlite3.task import SQLite3Config, SQLite3Task, SQLite3TaskExecutor
from flytekit.interfaces.random import random as flytekit_random
from flytekit.models.task import TaskTemplate

# The names of raw outputs depend on it.
flytekit_random.seed(0)


class PowerExecutor(ShimTaskExecutor["PowerTask"]):
    def execute_from_model(self, tt: TaskTemplate, **kwargs: Any) -> int:
        if kwargs["base"] < 0:
            raise ValueError("a negative base")
        return int(kwargs["base"] ** tt.custom["exponent"])


class PowerTask(PythonCustomizedContainerTask[None]):
    def __init__(self, name: str, exponent: int) -> None:
        self._exponent = exponent
        super().__init__(
            name=name,
            task_config=None,
            container_image="registry.example/tasks:v1",
            executor_type=PowerExecutor,
            interface=Interface(inputs=kwtypes(base=int), outputs=kwtypes(result=int)),
        )

    def get_custom(self, settings: SerializationSettings) -> dict[str, int]:
        return {"exponent": self._exponent}


square = PowerTask("task_templates.square", exponent=2)


def query(database: str) -> SQLite3Task:
    return SQLite3Task(
        name="task_templates.query",
        query_template="select name from tracks limit {{.inputs.limit}}",
        inputs=kwtypes(limit=int),
        task_config=SQLite3Config(uri=database),
    )


class QueryExecutor(SQLite3TaskExecutor):
    """flytekit's own executor, from a module that has seeded the names."""
