"""Tasks that fail in different ways."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import asyncio
import os
import sys

import flytekit
from flytekit import dynamic, task
from flytekit.core.base_task import IgnoreOutputs
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.types.file import FlyteFile

PRICES = {"spam": 1}


class CodedError(Exception):
    error_code = "USER:OutOfSpice"


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words for it")


def _validate(value: int) -> int:
    if value != 0:
        raise ValueError(f"bad value {value}")
    return value


@task
def value_error(value: int) -> int:
    return _validate(value)


@task
async def value_error_async(value: int) -> int:
    await asyncio.sleep(0.01)
    return _validate(value)


@dynamic
def value_error_dynamic(value: int) -> int:
    return _validate(value)


@flytekit.eager
async def value_error_eager(value: int) -> int:
    await asyncio.sleep(0.01)
    return _validate(value)


@task
def recoverable(value: int) -> int:
    raise FlyteRecoverableException(f"try again {value}")


@task
def ignore_outputs(value: int) -> int:
    raise IgnoreOutputs(f"not rank zero {value}")


@task
def wrong_output_type(value: int) -> int:
    return f"text {value}"  # type: ignore[return-value]


@task
def missing_output_file(value: int) -> FlyteFile:
    return FlyteFile(f"no-such-{value}.txt")


@task
def chained(value: int) -> int:
    try:
        return _validate(value)
    except ValueError as error:
        raise RuntimeError("the computation failed") from error


@task
def while_handling(value: int) -> int:
    try:
        return _validate(value)
    except ValueError:
        return PRICES["missing"]


@task
def coded(value: int) -> int:
    raise CodedError(f"code {value}")


@task
def unprintable(value: int) -> int:
    raise UnprintableError(value)


@task
def without_message(value: int) -> int:
    assert value == 0
    return value


@task
def leave(code: int) -> int:
    sys.exit(code)


@task
def leave_at_once(code: int) -> int:
    os._exit(code)


@task
def keyboard_interrupt(value: int) -> int:
    raise KeyboardInterrupt


@task
def cancelled(value: int) -> int:
    raise asyncio.CancelledError(f"cancelled {value}")


@task
async def cancelled_async(value: int) -> int:
    await asyncio.sleep(0.01)
    raise asyncio.CancelledError(f"cancelled {value}")


@task
def out_of_memory(value: int) -> int:
    raise MemoryError
