"""One task of each kind that runs locally, and workflows around them."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import functools
import sqlite3
from typing import Any

import flytekit
from flytekit import Deck, LaunchPlan, dynamic, kwtypes, map_task, task, workflow
from flytekit.core.base_sql_task import SQLTask
from flytekit.core.legacy_map_task import map_task as legacy_map_task
from flytekit.extras.tasks.shell import ShellTask


@task
def double(value: int) -> int:
    return value * 2


@task
async def double_async(value: int) -> int:
    return value * 2


@task
def add(value: int, summand: int) -> int:
    return value + summand


@task
def invert(value: int) -> float:
    return _inverse(value)


def _inverse(value: int) -> float:
    return 1 / value


@task
def total(values: list[int]) -> int:
    return sum(values)


@dynamic
def double_each(count: int) -> list[int]:
    return [double(value=number) for number in range(count)]


@flytekit.eager
async def orchestrate(value: int) -> int:
    doubled = double(value=value)
    return await double_async(value=doubled)


@task(enable_deck=True)
def report(value: int) -> int:
    Deck("Findings", f"<p>{value}</p>")
    return round(_inverse(value))


@task(enable_deck=True)
def report_on_something_else(value: int) -> int:
    Deck("Findings", f"<p>{value}</p>")
    return "no number"  # type: ignore[return-value]


greet = ShellTask(
    name="traced_kinds.greet", script="echo hello {inputs.name}", inputs=kwtypes(name=str), output_locs=[]
)


class MemoryTask(SQLTask[None]):
    """A query in a database in memory."""

    def execute(self, **kwargs: Any) -> int:
        with sqlite3.connect(":memory:") as connection:
            [number] = connection.execute(self.get_query(**kwargs)).fetchone()
        return int(number)


query = MemoryTask(
    name="traced_kinds.query",
    query_template="select {{ .inputs.limit }} + 1",
    inputs=kwtypes(limit=int),
    outputs=kwtypes(result=int),
)


@workflow
def inner(value: int) -> int:
    return double(value=value)


inner_plan = LaunchPlan.get_or_create(inner, name="traced_kinds.inner_plan", default_inputs={"value": 3})


@workflow
def outer(value: int) -> int:
    doubled = inner(value=value)
    planned = inner_plan(value=doubled)
    return double(value=planned)


@workflow
def sync(value: int) -> int:
    return double(value=value)


@workflow
def mapped(values: list[int]) -> list[int]:
    return map_task(double)(value=values)


@workflow
def mapped_with_bound_input(values: list[int]) -> list[int]:
    return map_task(functools.partial(add, summand=10))(value=values)


@workflow
def mapped_with_a_failure(values: list[int]) -> list[float | None]:
    return map_task(invert, min_success_ratio=0.5)(value=values)


@workflow
def mapped_in_vain(values: list[int]) -> list[float | None]:
    return map_task(invert)(value=values)


@workflow
def mapped_by_older_code(values: list[int]) -> list[int]:
    return legacy_map_task(double)(value=values)


@workflow
def spread(count: int) -> int:
    return total(values=double_each(count=count))


@workflow
def shell(name: str) -> None:
    greet(name=name)


@workflow
def sql(limit: int) -> int:
    return query(limit=limit)


@workflow
def failing(value: int) -> float:
    return invert(value=value)
