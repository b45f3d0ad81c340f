"""The pods whose end is compared, and how flytekit alone ends them."""

import importlib.util
import signal
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import task_kinds
import task_templates
from flytekit.types.file import FlyteFile

from support import pods

OUTPUTS = {"outputs.pb"}
ERROR = {"error.pb"}
NOTHING: set[str] = set()


@dataclass(frozen=True)
class Case:
    """A pod, and how flytekit alone ends it: two runs that are broken in the same way must not pass."""

    task: str | Callable[[Path], pods.Template]
    inputs: pods.Inputs | Callable[[Path], Mapping[str, Any]] = field(default_factory=dict)
    """Values, or a function that writes files into a folder and returns values."""
    leaves: set[str] = field(default_factory=lambda: OUTPUTS)
    exit_code: int = 0
    error: str = ""
    """The end of the message in ``error.pb``."""
    entrypoint: pods.Entrypoint = "execute"
    index: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""
    """A module that need not be installed."""
    traced: bool = True
    """Whether the process can export before it ends."""
    forked: bool = True
    """Whether the pod may be forked; its traceback on stderr would then begin with the frames of the fork server."""

    @property
    def can_run(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


# --- inputs and tasks that depend on files ----------------------------------------------------------------------------


def a_text_file(folder: Path) -> dict[str, Any]:
    source = folder / "source.txt"
    source.write_text("spam")
    return {"source": FlyteFile(str(source))}


def a_frame(folder: Path) -> dict[str, Any]:
    import pandas as pd

    return {"frame": pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})}


def the_square_task(folder: Path) -> pods.Template:
    return pods.template(task_templates.square)


def a_query_task(folder: Path) -> pods.Template:
    database = folder / "tracks.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table tracks (name text)")
        connection.execute("insert into tracks values ('Solveig')")
    connection.close()
    query = pods.template(task_templates.query(str(database)))
    return replace(query, executor="task_templates.QueryExecutor")


# --- the cases -------------------------------------------------------------------------------------------------------

SUCCESSES = {
    "sync": Case("task_kinds.increment", {"value": 5}),
    "async": Case("task_kinds.increment_async", {"value": 5}),
    "no interface": Case("task_kinds.no_interface"),
    "several outputs": Case("task_kinds.summarise", {"values": [1, 2, 3], "name": "some"}),
    "dataclass": Case("task_kinds.move", {"point": task_kinds.Point(1, 2.5, "here")}),
    "dynamic": Case("task_kinds.fan_out", {"count": 3}, leaves={"futures.pb"}),
    "dynamic without children": Case("task_kinds.fan_out_to_nothing", {"count": 3}),
    "eager": Case("task_kinds.orchestrate", {"value": 3}, leaves=OUTPUTS | {"deck.html"}),
    "shell": Case("task_kinds.greet", {"name": "Ada"}),
    "shim": Case(the_square_task, {"base": 3}),
    "sqlite": Case(a_query_task, {"limit": 1}, needs="pandas"),
    "output and logs": Case("task_kinds.talk", {"name": "Ada"}),
    "seeded random numbers": Case("task_kinds.draw_after_seeding", {"count": 5}),
    "random numbers seeded in the module": Case("task_kinds.draw_after_seeding_the_module", {"count": 5}),
    "file": Case("task_data.copy_file", a_text_file),
    "directory": Case("task_data.write_directory", {"count": 2}),
    "list of files": Case("task_data.write_files", {"count": 3}),
    "pickle": Case("task_data.pickle_one", {"value": 2}),
    "artifact": Case("task_data.measure", {"region": "eu"}),
    "output metadata": Case("task_data.annotate", {"value": 2}),
    "checkpoint": Case("task_data.save_checkpoint", {"value": 2}),
    "offloaded literal": Case(
        "task_data.long_text",
        {"length": 2000},
        leaves=OUTPUTS | {"o0_offloaded_metadata.pb"},
        env={"_F_L_MIN_SIZE_MB": "0"},
    ),
    "frame": Case("task_dataframes.double_frame", a_frame, needs="pandas"),
    "frame in a deck": Case(
        "task_dataframes.double_frame_with_deck", a_frame, leaves=OUTPUTS | {"deck.html"}, needs="pandas"
    ),
    "deck": Case("task_decks.report", {"value": 5}, leaves=OUTPUTS | {"deck.html"}),
    "deck published early": Case("task_decks.report_early", {"value": 5}, leaves=OUTPUTS | {"deck.html"}),
    "surroundings": Case("task_processes.surroundings"),
    "fork": Case("task_processes.fork_pool", {"value": 3}),
    "fork that leaves": Case("task_processes.fork_and_leave", {"code": 3}),
    "spawn": Case("task_processes.spawn_pool", {"value": 3}),
    "subprocess": Case("task_processes.call_python", {"code": "import flytekit, sys; print(sys.argv)"}),
    "thread that outlives the task": Case("task_processes.outlive", {"value": 1}),
    "own signal handler": Case("task_processes.handle_own_signal", {"number": int(signal.SIGTERM)}),
}

FAILURES = {
    "value error": Case("task_failures.value_error", {"value": 5}, ERROR, error="ValueError: bad value 5"),
    "value error that fails the pod": Case(
        "task_failures.value_error",
        {"value": 5},
        ERROR,
        exit_code=1,
        error="ValueError: bad value 5",
        env={"FLYTE_FAIL_ON_ERROR": "true"},
    ),
    "value error in async": Case(
        "task_failures.value_error_async", {"value": 5}, ERROR, error="ValueError: bad value 5"
    ),
    "value error in dynamic": Case(
        "task_failures.value_error_dynamic", {"value": 5}, ERROR, error="ValueError: bad value 5"
    ),
    "value error in eager": Case(
        "task_failures.value_error_eager", {"value": 5}, ERROR | {"deck.html"}, error="ValueError: bad value 5"
    ),
    "value error in shim": Case(the_square_task, {"base": -3}, ERROR, error="ValueError: a negative base"),
    "value error with a deck": Case(
        "task_decks.report_failure", {"value": 5}, ERROR | {"deck.html"}, error="ValueError: no result"
    ),
    "recoverable": Case("task_failures.recoverable", {"value": 5}, ERROR, error="error=try again 5"),
    "ignored outputs": Case("task_failures.ignore_outputs", {"value": 5}, NOTHING),
    "wrong output type": Case(
        "task_failures.wrong_output_type", {"value": 5}, ERROR, error="got 'text 5' of type <class 'str'>."
    ),
    "missing output file": Case(
        "task_failures.missing_output_file", {"value": 5}, ERROR, error="File no-such-5.txt does not exist."
    ),
    "chained error": Case("task_failures.chained", {"value": 5}, ERROR, error="RuntimeError: the computation failed"),
    "error while handling another": Case(
        "task_failures.while_handling", {"value": 5}, ERROR, error="KeyError: 'missing'"
    ),
    "error with a code": Case("task_failures.coded", {"value": 5}, ERROR, error="CodedError: code 5"),
    "error that can't be printed": Case(
        "task_failures.unprintable", {"value": 5}, ERROR, error="RuntimeError: no words for it"
    ),
    "error without a message": Case("task_failures.without_message", {"value": 5}, ERROR, error="AssertionError: "),
    "out of memory": Case("task_failures.out_of_memory", {"value": 5}, ERROR, error="MemoryError: "),
    "exit": Case("task_failures.leave", {"code": 3}, NOTHING, exit_code=3),
    "exit that claims success": Case("task_failures.leave", {"code": 0}, NOTHING),
    "exit at once": Case("task_failures.leave_at_once", {"code": 4}, NOTHING, exit_code=4, traced=False),
    "keyboard interrupt": Case("task_failures.keyboard_interrupt", {"value": 5}, NOTHING, exit_code=1),
    "cancelled": Case("task_failures.cancelled", {"value": 5}, NOTHING, exit_code=1, forked=False),
    "cancelled in async": Case("task_failures.cancelled_async", {"value": 5}, ERROR, error="CancelledError: "),
    "terminated": Case(
        "task_processes.signal_itself", {"number": int(signal.SIGTERM)}, NOTHING, exit_code=-15, traced=False
    ),
    "interrupted": Case("task_processes.signal_itself", {"number": int(signal.SIGINT)}, NOTHING, exit_code=1),
    "killed": Case(
        "task_processes.signal_itself", {"number": int(signal.SIGKILL)}, NOTHING, exit_code=-9, traced=False
    ),
    "input of a wrong type": Case("task_kinds.increment", {"value": "text"}, ERROR, error="string_value: text to int"),
    "inputs that can't be decoded": Case("task_kinds.increment", b"\xff", ERROR, error="DecodeError: "),
    "inputs that are not there": Case("task_kinds.increment", None, ERROR, error="inputs.pb. File not found"),
    "no such task": Case("task_kinds.nope", {"value": 1}, ERROR, error="has no attribute 'nope'"),
    "no such module": Case("no_such_module.nope", {"value": 1}, ERROR, error="No module named 'no_such_module'"),
    "module that can't be imported": Case(
        "module_that_fails.unreachable", {"value": 1}, ERROR, error="ImportError: a dependency is missing"
    ),
}

OTHER_ENTRYPOINTS = {
    "map: sync": Case("task_kinds.increment", {"value": [1, 2, 3]}, entrypoint="map", index=2),
    "map: async": Case("task_kinds.increment_async", {"value": [1, 2, 3]}, entrypoint="map", index=0),
    "map: pickle": Case("task_data.pickle_one", {"value": [1, 2, 3]}, entrypoint="map", index=1),
    "map: value error": Case(
        "task_failures.value_error",
        {"value": [1, 2, 3]},
        ERROR,
        error="ValueError: bad value 3",
        entrypoint="map",
        index=2,
    ),
    "map: index out of range": Case(
        "task_kinds.increment",
        {"value": [1, 2, 3]},
        ERROR,
        error="IndexError: list index out of range",
        entrypoint="map",
        index=3,
    ),
    "map: exit": Case("task_failures.leave", {"code": [1, 2, 3]}, NOTHING, exit_code=3, entrypoint="map", index=2),
    "fast: sync": Case("task_kinds.increment", {"value": 5}, entrypoint="fast"),
    "fast: dynamic": Case("task_kinds.fan_out", {"count": 3}, leaves={"futures.pb"}, entrypoint="fast"),
    "fast: value error that fails the pod": replace(FAILURES["value error that fails the pod"], entrypoint="fast"),
    "fast: exit": replace(FAILURES["exit"], entrypoint="fast"),
    "fast: module that can't be imported": replace(FAILURES["module that can't be imported"], entrypoint="fast"),
    "fast: child terminated": replace(FAILURES["terminated"], entrypoint="fast", exit_code=241),
    "fast: parent terminated": Case(
        "task_processes.signal_parent",
        {"number": int(signal.SIGTERM)},
        NOTHING,
        exit_code=241,
        entrypoint="fast",
        traced=False,
    ),
    "script: sync": Case("task_kinds.increment", {"value": 5}, entrypoint="script"),
    "script: async": Case("task_kinds.increment_async", {"value": 5}, entrypoint="script"),
    "script: shim": Case(the_square_task, {"base": 3}, entrypoint="script"),
    "script: deck": Case("task_decks.report", {"value": 5}, leaves=OUTPUTS | {"deck.html"}, entrypoint="script"),
    "script: value error": replace(FAILURES["value error"], entrypoint="script"),
    "script: exit": replace(FAILURES["exit"], entrypoint="script"),
    "script: module that can't be imported": replace(FAILURES["module that can't be imported"], entrypoint="script"),
}

CASES = {**SUCCESSES, **FAILURES, **OTHER_ENTRYPOINTS}


def parameters(cases: Mapping[str, Case]) -> "pytest.MarkDecorator":
    """Run a test with each of these cases; one that lacks a module is skipped."""
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.skipif(not case.can_run, reason=f"needs {case.needs}"))
            for name, case in cases.items()
        ],
    )
