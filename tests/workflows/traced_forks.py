"""Tasks that fork, and the same tasks without forks."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import contextlib
import logging
import multiprocessing
import os
import time

from flytekit import task
from opentelemetry import metrics, trace


@task
def return_twice(value: int) -> int:
    """Return in the parent and in the child, which continues like its parent by mistake."""
    child = os.fork()
    if child == 0:
        return value
    _, status = os.waitpid(child, 0)
    time.sleep(0.2)
    return value + os.waitstatus_to_exitcode(status)


@task
def raise_in_child(value: int) -> int:
    child = os.fork()
    if child == 0:
        raise ValueError("only in the child")
    os.waitpid(child, 0)
    return value


def _count(number: int) -> None:
    with trace.get_tracer("users.own").start_as_current_span(f"counting {number}"):
        metrics.get_meter("users.own").create_counter("rows").add(number)


@task
def count_in_children(value: int) -> int:
    _count(value)
    context = multiprocessing.get_context("fork")
    for number in (value + 1, value + 2):
        child = context.Process(target=_count, args=(number,))
        child.start()
        child.join()
    return value


@task
def leave_in_child(value: int) -> int:
    child = os.fork()
    if child == 0:
        _count(value + 1)
        os._exit(0)
    os.waitpid(child, 0)
    return value


@task
def count(value: int) -> int:
    _count(value)
    return value


@task
def tell_time(value: int) -> float:
    """Return the time of its end."""
    _count(value)
    return time.time()


@task
def call_in_child(value: int) -> int:
    """Run a task in a child, which prints nothing at its end, whether or not its telemetry arrives."""
    with contextlib.suppress(Exception):
        _count(value)
    child = os.fork()
    if child == 0:
        try:
            count(value=value)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return value


@task
def use_everything(value: int) -> int:
    """Use everything for which another thread may import modules."""
    logging.getLogger(__name__).warning("beginning")
    _count(value)
    time.sleep(6.5)
    logging.getLogger(__name__).warning("ending")
    return value
