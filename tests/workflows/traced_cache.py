"""A workflow that calls the same cached task twice."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import task, workflow


@task(cache=True, cache_version="1")
def slow_square(value: int) -> int:
    return value * value


@workflow
def squares(value: int) -> tuple[int, int]:
    first = slow_square(value=value)
    again = slow_square(value=value)
    first >> again
    return first, again
