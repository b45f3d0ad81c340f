"""A task that returns the memory that only its process has."""
# mypy: allow-untyped-decorators

import re
from pathlib import Path

from flytekit import task


@task
def increment(value: int) -> int:
    return value + 1


@task
def unique_kib(value: int) -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    sizes = re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", rollup, re.MULTILINE)
    return value + sum(map(int, sizes))
