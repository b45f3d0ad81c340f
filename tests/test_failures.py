"""Failures as values, from exceptions and from Flyte's error messages, and the declared resources of a task."""

import asyncio
import concurrent.futures
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from flyteidl.core.errors_pb2 import ContainerError
from flyteidl.core.execution_pb2 import ExecutionError
from flytekit import Resources, task
from flytekit.core.base_task import IgnoreOutputs
from flytekit.exceptions.user import FlyteUserRuntimeException

from otel_flyte.adapters.flytekit_v1.adapter import FlytekitV1
from otel_flyte.tasks import failures, state
from otel_flyte.tasks.failures import Failure
from otel_flyte.tasks.resources import NOT_DECLARED, Amounts, DeclaredResources

pytestmark = pytest.mark.quick

ADAPTER = FlytekitV1()
GIB = 2**30


@pytest.fixture(autouse=True, scope="module")
def rules() -> None:
    failures.add_rules(ADAPTER.failure_rules())


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


# --- from exceptions -------------------------------------------------------------------------------------------------


def test_a_failure_of_an_exception_has_its_type_its_message_and_its_stack() -> None:
    failure = Failure.of_exception(raised(ValueError("loss is not finite")))

    assert (failure.type, failure.message) == ("ValueError", "loss is not finite")
    assert failure.stack.startswith("Traceback (most recent call last):")
    assert failure.stack.endswith("ValueError: loss is not finite\n")
    assert failure.decision() == {}


def test_the_exception_is_that_of_user_code_instead_of_its_wrapper() -> None:
    origin = raised(KeyError("label"))
    failure = Failure.of_exception(raised(FlyteUserRuntimeException(origin)))

    assert (failure.type, failure.message) == ("KeyError", "'label'")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), asyncio.CancelledError(), concurrent.futures.CancelledError()], ids=repr
)
def test_an_interrupt_is_a_cancellation(error: BaseException) -> None:
    assert Failure.of_exception(error).result == failures.result(error) == "cancellation"


def leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)


class Handler:
    def leave(self, number: int, frame: FrameType | None) -> None:
        leave(number, frame)


def leave_with(*_arguments: Any) -> None:
    sys.exit(1)


def wait_for(number: int, handler: Callable[[int, FrameType | None], None]) -> BaseException:
    before = signal.signal(number, handler)
    try:
        os.kill(os.getpid(), number)
        return AssertionError("no signal")
    except SystemExit as error:
        return error
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("handler", [leave, Handler().leave, leave_with])
def test_an_exit_in_a_handler_of_sigint_is_an_interrupt_where_it_arrived(handler: Any) -> None:
    error = wait_for(signal.SIGINT, handler)
    failure = failures.of_exception_once(error)

    assert failure is not None
    assert (failure.type, failure.result, failures.result(error)) == (
        "KeyboardInterrupt",
        "cancellation",
        "cancellation",
    )
    assert "in wait_for" in failure.stack
    assert "leave" not in failure.stack
    assert "leave" in "".join(traceback.format_exception(error))
    assert failures.of_exception_once(error) == failure._replace(stack="")


def test_other_exits_are_failures_as_they_are() -> None:
    for error in (wait_for(signal.SIGUSR1, leave), raised(SystemExit(2))):
        failure = Failure.of_exception(error)
        assert (failure.type, failure.result) == ("SystemExit", "failure")


def test_an_exception_with_a_broken_text_has_no_message() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert Failure.of_exception(BrokenError()).message == ""


def test_an_exception_has_its_stack_once() -> None:
    error = raised(ValueError("first"))
    outer = raised(RuntimeError("second"))
    outer.__cause__ = error

    stacks = [failures.of_exception_once(each) for each in (error, error, outer)]

    assert [bool(failure and failure.stack) for failure in stacks] == [True, False, False]


@pytest.fixture
def signalled() -> Iterator[None]:
    state.signalled = "SIGTERM"
    yield
    state.signalled = ""


def test_missing_outputs_are_not_a_failure() -> None:
    assert failures.of_exception_once(IgnoreOutputs()) is None
    assert failures.result(IgnoreOutputs()) == "skip"


@pytest.mark.usefixtures("signalled")
def test_missing_outputs_after_a_signal_are_an_error() -> None:
    assert failures.of_exception_once(IgnoreOutputs()) is not None
    assert failures.result(IgnoreOutputs()) == "failure"


# --- from error messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "origin", "decision"),
    [
        ("RECOVERABLE", "USER", {"flyte.error.kind": "RECOVERABLE", "flyte.error.origin": "USER"}),
        ("NON_RECOVERABLE", "SYSTEM", {"flyte.error.kind": "NON_RECOVERABLE", "flyte.error.origin": "SYSTEM"}),
    ],
)
def test_a_failure_of_an_error_message_has_the_decision_of_flyte(
    kind: str, origin: str, decision: dict[str, str]
) -> None:
    message = ContainerError(
        code="USER:RuntimeError",
        message="no luck",
        kind=ContainerError.Kind.Value(kind),
        origin=ExecutionError.ErrorKind.Value(origin),
    )

    failure = ADAPTER.failure(message)

    assert (failure.type, failure.message, failure.stack) == ("USER:RuntimeError", "no luck", "")
    assert failure.decision() == {"flyte.error.code": "USER:RuntimeError", **decision}


# --- declared resources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "resources"),
    [
        ({}, NOT_DECLARED),
        (
            {"requests": Resources(cpu="500m", mem="2Gi"), "limits": Resources(cpu="2", mem="4Gi", gpu="1")},
            DeclaredResources(Amounts(cpu=0.5, memory=2 * GIB), Amounts(cpu=2.0, memory=4 * GIB, accelerators=1.0)),
        ),
        (
            {"requests": Resources(ephemeral_storage="10Gi")},
            DeclaredResources(Amounts(ephemeral_storage=10 * GIB)),
        ),
    ],
    ids=["none", "requests and limits", "storage"],
)
def test_declared_resources_are_a_typed_value(options: dict[str, Any], resources: DeclaredResources) -> None:
    def work() -> None: ...

    assert ADAPTER.describe(task(work, **options)).resources == resources


@pytest.mark.parametrize(
    ("request_", "limit", "devices"), [(None, None, None), (None, 2.0, 2.0), (1.0, 2.0, 1.0), (0.0, 2.0, 0.0)]
)
def test_the_limit_of_devices_is_used_only_without_a_request(
    request_: float | None, limit: float | None, devices: float | None
) -> None:
    declared = DeclaredResources(Amounts(accelerators=request_), Amounts(accelerators=limit))

    assert declared.accelerators == devices
