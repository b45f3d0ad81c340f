"""One task of each kind that succeeds."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import asyncio
import logging
import random
import sys
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import flytekit
from flytekit import dynamic, kwtypes, task
from flytekit.extras.tasks.shell import OutputLocation, ShellTask
from flytekit.interfaces.random import random as flytekit_random
from flytekit.types.file import FlyteFile

random.seed(0)
# The names of raw outputs depend on it.
flytekit_random.seed(0)


@dataclass
class Point:
    x: int
    y: float
    label: str


class Summary(NamedTuple):
    total: int
    mean: float
    name: str


@task
def increment(value: int) -> int:
    return value + 1


@task
async def increment_async(value: int) -> int:
    await asyncio.sleep(0.01)
    return value + 1


@task
def no_interface() -> None:
    pass


@task
def summarise(values: list[int], name: str) -> Summary:
    return Summary(total=sum(values), mean=sum(values) / len(values), name=name)


@task
def move(point: Point) -> Point:
    return Point(x=point.x + 1, y=point.y * 2, label=point.label.upper())


@dynamic
def fan_out(count: int) -> list[int]:
    return [increment(value=i) for i in range(count)]


@dynamic
def fan_out_to_nothing(count: int) -> int:
    return count


@flytekit.eager
async def orchestrate(value: int) -> int:
    await asyncio.sleep(0.01)
    return value + 1


greet = ShellTask(
    name="task_kinds.greet",
    script="echo hello {inputs.name} > greeting.txt; cat greeting.txt; env | grep ^FLYTE | sort",
    inputs=kwtypes(name=str),
    output_locs=[OutputLocation(var="greeting", var_type=FlyteFile, location="greeting.txt")],
)


@task
def talk(name: str) -> None:
    print(f"hello {name}")  # noqa: T201 - users do
    print("an error", file=sys.stderr)  # noqa: T201 - users do
    sys.stdout.write("no newline at the end of this")
    warnings.warn("a warning", UserWarning, stacklevel=1)
    logging.getLogger("users.own").warning("through the root logger")
    flytekit.current_context().logging.warning("through flytekit's logger")


@task
def draw_after_seeding(count: int) -> list[float]:
    random.seed(42)
    return [random.random() for _ in range(count)]


@task
def draw_after_seeding_the_module(count: int) -> list[float]:
    """Random numbers drawn since the import of the module count too."""
    return [random.random() for _ in range(count)]
