"""The work in the user code of a task, which is enough to have our providers."""
# mypy: allow-untyped-decorators

from collections.abc import Callable

from flytekit import current_context, task

import otel_flyte
from faults.programs import workload
from otel_flyte.metrics import outcomes

# The suite counts single records, and the points of each task have no names that distinguish them.
outcomes.task_ended = lambda task: None

_function: Callable[[], None] = workload.run


@task
def work() -> None:
    _function()


def call(function: Callable[[], None]) -> None:
    global _function
    _function = function
    work()


def measure() -> None:
    current_context().stats.gauge("level", 1)


def flush() -> None:
    otel_flyte.flush()


if __name__ == "__main__":
    call(workload.run)
