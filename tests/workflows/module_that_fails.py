"""A module that can't be imported."""

from flytekit import task


@task
def unreachable(value: int) -> int:
    return value


raise ImportError("a dependency is missing")
