"""Errors with the exceptions that led to them, and messages without repeated prefixes, wherever they are shown."""

import os
import traceback
from collections.abc import Callable

import pytest
from flytekit import task, workflow
from flytekit.exceptions.user import FlyteRecoverableException

from otel_flyte import semconv
from otel_flyte.recording.failures import Error, without_prefix
from otel_flyte.recording.model import Event, Scope, Span
from otel_flyte.recording.tree import Analysis, ExecutionTree
from otel_flyte.report import data, static, text
from support import traces

pytestmark = pytest.mark.quick

GROUP = """\
Traceback (most recent call last):
  File "/code/load.py", line 3, in load
    open("gone")
FileNotFoundError: gone

During handling of the above exception, another exception occurred:

  + Exception Group Traceback (most recent call last):
  |   File "/code/all.py", line 9, in fit_all
  |     raise ExceptionGroup("two", errors)
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/code/fit.py", line 4, in fit
    |     1 / 0
    | ZeroDivisionError: division by zero
    |
    | The above exception was the direct cause of the following exception:
    |
    | Traceback (most recent call last):
    |   File "/code/fit.py", line 6, in fit
    |     raise FitError("no fit") from error
    | fit.FitError: no fit
    +---------------- 2 ----------------
    | Exception Group Traceback (most recent call last):
    |   File "/code/inner.py", line 2, in inner
    |     raise ExceptionGroup("one", errors)
    | ExceptionGroup: one (1 sub-exception)
    +-+---------------- 1 ----------------
      | ValueError: second
      |   line | of the message
      +------------------------------------

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/code/main.py", line 7, in main
    raise RuntimeError("lost") from group
RuntimeError: lost
"""


def from_() -> None:
    try:
        os.environ.pop("missing")
    except KeyError as error:
        raise ValueError("no data") from error


def implicitly() -> None:
    try:
        os.environ.pop("missing")
    except KeyError:
        int("x")


def from_none() -> None:
    try:
        os.environ.pop("missing")
    except KeyError:
        raise ValueError("no data") from None


def failed(function: Callable[[], object]) -> Error:
    try:
        function()
    except Exception as error:
        return Error(type(error).__name__, str(error), traceback.format_exc())
    raise AssertionError


@pytest.mark.parametrize(
    ("function", "cause"),
    [(from_, "caused by KeyError: 'missing'"), (implicitly, "while handling KeyError: 'missing'"), (from_none, None)],
)
def test_an_exception_names_the_one_before_it_with_the_line(function: Callable[[], object], cause: str | None) -> None:
    error = failed(function)
    first = function.__code__.co_firstlineno

    assert [each.summary for each in error.causes] == ([cause] if cause else [])
    assert [each.frame for each in error.causes] == [
        f"{__file__}:{first + 2} in {function.__name__}" for _ in error.causes
    ]
    assert error.frame == f"{__file__}:{first + 4} in {function.__name__}"


def test_groups_and_chains_nest() -> None:
    causes = Error("RuntimeError", "lost", GROUP).causes
    assert [(cause.depth, cause.summary, cause.frame) for cause in causes] == [
        (0, "caused by ExceptionGroup: two (2 sub-exceptions)", "/code/all.py:9 in fit_all"),
        (1, "in the group fit.FitError: no fit", "/code/fit.py:6 in fit"),
        (1, "caused by ZeroDivisionError: division by zero", "/code/fit.py:4 in fit"),
        (1, "in the group ExceptionGroup: one (1 sub-exception)", "/code/inner.py:2 in inner"),
        (2, "in the group ValueError: second", ""),
        (0, "while handling FileNotFoundError: gone", "/code/load.py:3 in load"),
    ]


@pytest.mark.parametrize("begin", range(0, len(GROUP), 97))
def test_a_stack_that_is_cut_at_its_start_can_be_read(begin: int) -> None:
    error = Error("RuntimeError", "lost", GROUP[begin:])
    assert len(error.causes) <= 7
    assert Error("E", "", "").causes == ()


def test_every_form_shows_the_causes() -> None:
    event = Event(
        semconv.EVENT_EXCEPTION,
        traces.BEGIN_NS,
        {
            semconv.EXCEPTION_TYPE: "RuntimeError",
            semconv.EXCEPTION_MESSAGE: "lost",
            semconv.EXCEPTION_STACKTRACE: GROUP,
        },
    )
    span = Span(
        "0" * 32,
        "1" * 16,
        None,
        "task t",
        traces.BEGIN_NS,
        traces.BEGIN_NS + 1,
        status_code="error",
        events=(event,),
        scope=Scope(semconv.SCOPE, ""),
    )
    tree = ExecutionTree.from_spans([span])
    page = data.as_script(data.page_data(Analysis(tree, (), ())))

    for shown in (text.render(tree), tree.explain(), static.picture(tree, ()), page, tree.dump()):
        assert "caused by" in shown
        assert "ExceptionGroup: two" in shown
        assert "/code/fit.py:4 in fit" in shown


def _recover() -> int:
    if not os.environ:
        return 1
    raise FlyteRecoverableException("try again")


recover = task(_recover)


def _recovering() -> int:
    number: int = recover()
    return number


recovering = workflow(_recovering)


@pytest.mark.parametrize("function", [recover, recovering])
def test_a_message_of_flytekits_own_exceptions_has_one_prefix(function: Callable[[], object]) -> None:
    error = failed(function)

    assert error.message.count("USER:Recoverable") > 1
    assert without_prefix(error.message) == "USER:Recoverable: error=try again"


def test_a_type_that_begins_its_message_is_not_repeated() -> None:
    assert Error("USER:Timeout", "USER:Timeout: error=too late").text == "USER:Timeout: error=too late"
    assert Error("ValueError", "ValueErrors: 2").text == "ValueError: ValueErrors: 2"
