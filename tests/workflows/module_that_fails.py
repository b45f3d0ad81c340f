"""A module that cannot be imported."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import task


@task
def unreachable(value: int) -> int:
    return value


raise ImportError("a dependency is missing")
