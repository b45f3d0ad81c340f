"""Tasks that start processes in which Flyte runs again."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import multiprocessing
import subprocess
import sys
from pathlib import Path

from flytekit import task


@task
def double(value: int) -> int:
    return value * 2


@task
def double_in_pyflyte_run(value: int) -> None:
    """Run a part of the work in `pyflyte run`, like a notebook or a script."""
    _call("pyflyte", "run", __file__, "double", "--value", str(value))


@task
def double_in_pyflyte_execute(value: int) -> None:
    """Run the same entrypoint with the same prefixes, like a task that wraps another one."""
    arguments = [argument.replace("double_in_pyflyte_execute", "double") for argument in sys.argv[1:]]
    _call("pyflyte-execute", *arguments)


@task
def double_in_spawned_process(value: int) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [result] = pool.map(_double, [value])
        pool.close()
        pool.join()
    return result


def _double(value: int) -> int:
    return double(value=value)


def _call(*command: str) -> None:
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)
