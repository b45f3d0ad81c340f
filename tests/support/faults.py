"""Runs of users' tasks while one of our functions is broken.

As a program it breaks one function after the other, each in a forked child. The child runs local workflows and a pod's
entrypoint and writes their ends to a file. Children have no other differences.
"""

import contextlib
import faulthandler
import functools
import gc
import importlib
import inspect
import json
import logging
import os
import pkgutil
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import otel_flyte
from otel_flyte import semconv
from otel_flyte.adapters import switch
from otel_flyte.config import settings
from otel_flyte.runtime import guard

Function = Callable[..., Any]
Scenario = Callable[[Path], Any]
"""A function that runs in a folder and returns its outcome."""

LONGEST_SECONDS = 100
"""A child that takes longer hangs: its stack is printed on stderr, and the next one starts."""

OUT_OF_REACH = (
    # Code that runs outside of tasks, or needs a cluster or torch.
    *("cli", "cli.doctor", "cli.entry", "examples", "instrumentor", "local", "recording", "report", "sdk.probe"),
    *("export.file_exporter", "export.spool.remote", "export.spool.replay"),
    *("supervisor.cgroup", "supervisor.command", "supervisor.ending", "supervisor.listener", "supervisor.process"),
    *("run.pyflyte_run", "adapters.flytekit_v1.submission_spans", "adapters.flytekit_v1.rank_spans"),
    # The guard, and the hooks themselves: they call user code, and call our functions in guards.
    *("runtime.guard", "runtime.interrupts", "autoload", "adapters.flytekit_v1.wrappers"),
)
PARTS_OF_HOOKS = (
    *("adapters.switch.is_on", "adapters.switch.records", "providers.tracer_provider_is_set"),
    *("adapters.around.Around.__init__", "adapters.around.Around.__enter__", "adapters.around.Around.__exit__"),
    *("adapters.flytekit_v1.span_modules.if_recording", "adapters.flytekit_v1.pod_attempt.in_step"),
    *(
        "adapters.flytekit_v1.task_spans.ObservedTask.execute",
        "adapters.flytekit_v1.task_spans.ObservedTask.__getattr__",
    ),
    # Locks of the guard and of forks: a lock that cannot be released blocks everything.
    *(f"runtime.forks.ForkLock.{name}" for name in ("__init__", "__enter__", "__exit__", "hold", "give_up")),
    *("runtime.forks.ForkLock.for_a_moment", "runtime.forks.ForkLock.begin_child", "runtime.forks.Imports.give_up"),
    # Each has a guard; the functions that they call are broken below.
    *("tasks.open_task.OpenTask.open_phase", "tasks.open_task.OpenTask.close_phase"),
)
OF_OPENTELEMETRY = {
    "opentelemetry.context": ("attach", "detach", "get_current", "get_value"),
    "opentelemetry.trace": ("get_tracer_provider",),
    "opentelemetry.sdk.trace.Tracer": ("start_span",),
    "opentelemetry.sdk.trace.Span": (
        *("add_event", "add_link", "end", "get_span_context", "set_attribute", "set_attributes"),
        *("set_status", "update_name"),
    ),
}
"""Functions that ours call, which may raise in a later version or in a foreign provider."""


class FaultError(Exception):
    """The injected error, which must never reach a task."""


class Target(NamedTuple):
    """A function in its module or class."""

    owner: Any
    name: str
    function: Function
    full_name: str


def targets() -> Iterator[Target]:
    """Return all functions and methods of ours that a task may use, and those of OpenTelemetry that ours call."""
    for found in pkgutil.walk_packages(otel_flyte.__path__, "otel_flyte."):
        if not found.name.removeprefix("otel_flyte.").startswith(OUT_OF_REACH):
            module = importlib.import_module(found.name)
            yield from (target for target in _functions(module, module) if target.full_name not in PARTS_OF_HOOKS)
    for path, names in OF_OPENTELEMETRY.items():
        owner = pkgutil.resolve_name(path)
        yield from (Target(owner, name, getattr(owner, name), f"{path}.{name}") for name in names)


def _functions(owner: Any, module: Any) -> Iterator[Target]:
    for name, value in list(vars(owner).items()):
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not _is_generated(value):
            yield Target(owner, name, value, f"{module.__name__.removeprefix('otel_flyte.')}.{value.__qualname__}")
        elif inspect.isclass(value) and value.__module__ == module.__name__:
            yield from _functions(value, module)


def _is_generated(function: Function) -> bool:
    """Return whether a dataclass has generated it."""
    return function.__code__.co_filename == "<string>" or function.__name__ == "__repr__"


def _broken(function: Function, calls: list[str]) -> Function:
    """Return a function that raises, with a guard if the original has one."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        calls.append(function.__qualname__)
        raise FaultError(function.__qualname__)

    is_guarded = function.__code__ is _GUARD
    named: Any = functools.update_wrapper(fail, function)
    del named.__wrapped__
    return guard.guarded(named) if is_guarded else named


_GUARD = guard.guarded(_broken).__code__


# --- the program -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Print the outcomes with every second reached target broken, or with each of the others, and with none."""
    folder, part = Path(sys.argv[1]), int(sys.argv[2])
    _prepare(folder)
    reached = _in_child(lambda: _reached(folder / "reached"))
    # By their places among all, because threads make the reached ones differ from run to run.
    mine = [target for target in list(targets())[part::2] if target.full_name in reached]
    found = {
        target.full_name: _in_child(functools.partial(_run, target, reached[target.full_name], folder))
        for target in mine
    }
    found[""] = _in_child(functools.partial(_run, None, list(SCENARIOS), folder))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def _prepare(folder: Path) -> None:
    """Do the common work of all children once, without recording anything yet."""
    for name in (
        *("flytekit.bin.entrypoint", "flytekit.deck", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        *("support.pods", "task_kinds", "task_data", "traced_cache", "traced_data", "traced_kinds"),
        *("task_processes", "traced_forks", "otel_flyte.sdk.metrics", "otel_flyte.supervisor.client"),
        *("opentelemetry.propagate", "opentelemetry.sdk._logs.export", "opentelemetry.instrumentation.logging.handler"),
        *(f"opentelemetry.exporter.otlp.proto.common.{name}" for name in ("_log_encoder", "metrics_encoder")),
    ):
        importlib.import_module(name)
    logging.getLogger("otel_flyte").propagate = False
    configured = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OTEL_")}
    _ended(SCENARIOS, folder / "without telemetry")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(configured)
    switch._ready = settings._current = None
    # Children share the memory of objects that they do not collect.
    gc.freeze()


def _in_child(work: Callable[[], Any]) -> Any:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        # What it starts may hang, and must not keep the pipe open.
        os.setpgrp()
        os.register_at_fork(after_in_child=functools.partial(os.close, writing))
        faulthandler.dump_traceback_later(LONGEST_SECONDS, exit=True)
        try:
            answer = json.dumps(work())
        except BaseException:
            answer = json.dumps({"crash": traceback.format_exc()})
        with os.fdopen(writing, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else {"crash": "it hung, stderr says where"}


def _reached(folder: Path) -> dict[str, list[str]]:
    """Return the targets that are called if none is broken, each with the scenarios in which it may have an effect.

    These are the scenarios that call it, and the next one after each, which has the state that the first has left.
    Targets called by threads of otel-flyte can run in any scenario: they are broken in those that stop threads.
    """
    callers: dict[CodeType, set[str]] = {}
    current = ["pod"]

    def note(frame: FrameType, event: str, argument: object) -> None:
        # A starting thread has no name yet.
        thread: Any = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
        is_own = thread is None or "otel" in thread.name.lower()
        callers.setdefault(frame.f_code, set()).update(WITH_THREADS if is_own else current)

    threading.setprofile(note)
    sys.setprofile(note)
    _live(SCENARIOS, folder, current)
    sys.setprofile(None)
    found = ((target.full_name, callers.get(_code(target.function))) for target in targets())
    return {name: list(_with_the_next(scenarios)) for name, scenarios in found if scenarios}


def _with_the_next(names: Collection[str]) -> Iterator[str]:
    previous = ""
    for name in SCENARIOS:
        if name in names or previous in names:
            yield name
        previous = name


def _code(function: Function) -> CodeType:
    code: CodeType = inspect.unwrap(function).__code__
    return code


def _run(target: Target | None, names: Collection[str], folder: Path) -> dict[str, Any]:
    calls: list[str] = []
    places = [] if target is None else list(_names_of(target))
    for owner, name in places:
        setattr(owner, name, _broken(target.function, calls))  # type: ignore[union-attr]
    ended = _live(names, folder / f"{os.getpid()}")
    for owner, name in places:
        setattr(owner, name, target.function)  # type: ignore[union-attr]
    return {"calls": len(calls), "ended": ended, "left": _left_behind()}


def _live(names: Iterable[str], folder: Path, current: list[str] | None = None) -> dict[str, Any]:
    """Run scenarios and the end of the process, with a supervisor's pipe and short intervals."""
    from otel_flyte.export import pending_spans
    from otel_flyte.process import shutdown
    from otel_flyte.runtime import ticker
    from otel_flyte.usage import recorder, sample, task_usage

    reading, writing = os.pipe()
    os.environ[semconv.EXEC_PIPE] = f"{os.getpid()}:{writing}:{os.fstat(writing).st_ino}"
    ticker.INTERVAL_SECONDS = 0.05
    pending_spans.PATIENCE_SECONDS = pending_spans.FIRST_HEARTBEAT_SECONDS = 0.0
    recorder.PATIENCE_SECONDS = recorder.METRICS_AFTER_SECONDS = 0.0
    for module in (task_usage, sample):
        vars(module)["WORTH_SECONDS"] = 0.0
    ended = _ended(names, folder, current)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Python prints exceptions of this phase, and they do not prevent the end.
    with contextlib.suppress(FaultError):
        shutdown.end()
    os.close(reading)
    return ended


def _names_of(target: Target) -> Iterator[tuple[Any, str]]:
    """Yield the places of a function: other modules of ours may have imported it by name."""
    yield target.owner, target.name
    for module in [module for name, module in sys.modules.items() if name.startswith("otel_flyte.")]:
        yield from ((module, name) for name, value in list(vars(module).items()) if value is target.function)


def _left_behind() -> list[str]:
    from opentelemetry import trace

    from otel_flyte.tasks import state

    left = []
    if state.current.get() is not None:
        left.append("an open scope")
    if trace.get_current_span().get_span_context().is_valid:
        left.append("a current span")
    if "TRACEPARENT" in os.environ:
        left.append("TRACEPARENT")
    return left


def _ended(names: Iterable[str], folder: Path, current: list[str] | None = None) -> dict[str, Any]:
    """Run scenarios in the order of the table, and return the outcome of each; ``current`` is the running one."""
    importlib.import_module("flytekit.core.local_cache").LocalTaskCache.clear()
    folder.mkdir(exist_ok=True)
    ended = {}
    for name, run in SCENARIOS.items():
        if name in names:
            if current is not None:
                current[:] = [name]
            ended[name] = run(folder)
    if current is not None:
        current[:] = ["pod"]
    return ended


def _local(module: str, name: str, **inputs: Any) -> Scenario:
    def run(folder: Path) -> str:
        try:
            result = getattr(importlib.import_module(module), name)(**inputs)
            return repr(tuple(result) if isinstance(result, tuple) else result)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    return run


def _pod(task: str, inputs: Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]) -> Scenario:
    def run(folder: Path) -> dict[str, Any]:
        from flytekit.bin import entrypoint

        from support import pods

        given = inputs(folder) if callable(inputs) else inputs
        prepared = pods.prepare("execute", folder / task, task, given)
        mine = dict(os.environ)
        os.environ.update(pods.Attempt().environment(task))
        os.chdir(prepared.directory)
        try:
            entrypoint.execute_task_cmd.main(args=list(prepared.arguments[1:]), standalone_mode=False)
            code: object = 0
        except SystemExit as exit_:
            code = exit_.code
        except Exception as error:
            code = f"{type(error).__name__}: {error}"
        finally:
            parent = os.environ.get("TRACEPARENT")
            os.environ.clear()
            os.environ.update(mine | ({"TRACEPARENT": parent} if parent else {}))
        files = pods.Result(0, "", "", pods._files(prepared.output_prefix), {})
        return {"exit code": code, "files": sorted(files.files), "outcome": _outcome(files)}

    return run


def _outcome(files: Any) -> str:
    if files.error is not None:
        error = files.error.error
        # The traceback above it may show a frame of otel-flyte, if the function that removes it is broken.
        return f"{error.code} {error.kind} {error.origin} {error.message.strip().splitlines()[-1]}"
    return re.sub(r"uri: \"[^\"]+\"", "uri", str(files.outputs))


def _file(folder: Path) -> dict[str, Any]:
    from flytekit.types.file import FlyteFile

    path = folder / "source.txt"
    path.write_text("spam")
    return {"source": FlyteFile(str(path))}


SCENARIOS: dict[str, Scenario] = {
    # In a pod providers are created later than elsewhere.
    "pod": _pod("task_kinds.increment", {"value": 1}),
    "nested workflows": _local("traced_kinds", "outer", value=3),
    "cached": _local("traced_cache", "squares", value=3),
    "map": _local("traced_kinds", "mapped", values=[1, 2]),
    "map with a failure": _local("traced_kinds", "mapped_in_vain", values=[1, 0]),
    "dynamic": _local("traced_kinds", "spread", count=2),
    "failing": _local("traced_kinds", "failing", value=0),
    "pod with a file": _pod("task_data.copy_file", _file),
    "pod with metadata": _pod("traced_data.measure", {"value": 1}),
    "pod that fails": _pod("task_failures.value_error", {"value": 5}),
    "pod that forks": _pod("traced_forks.call_in_child", {"value": 1}),
    "pod with a signal": _pod("task_processes.handle_own_signal", {"number": int(signal.SIGTERM)}),
    "pod that exits": _pod("task_failures.leave", {"code": 3}),
}

WITH_THREADS = ("pod", "nested workflows", "pod that forks", "pod with a signal", "pod that exits")
"""A fork, a signal and an exit stop threads, in a pod and elsewhere."""

if __name__ == "__main__":
    main()
