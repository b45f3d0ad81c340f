"""Thousands of task processes, each with a dispatch and exports of its own, forked from one with all imports.

    python benchmarks/fleet.py FOLDER COUNT (map|executions)

They are subtasks of one map task, or executions of one task. Each process appends a line with the number of exported
records to the file `counts` in the folder.
"""

import atexit
import contextlib
import json
import os
import sys
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "workflows")]

from support import pods  # noqa: E402  # found in the folder beside this one
from support.pods import Attempt, Pod  # noqa: E402

TASK = "task_kinds.increment"
MAP_EXECUTION = "map00c0ffee012345678"
AT_ONCE = 16
"""Concurrent processes: more would wait for the same cores."""

PRELOADED = (
    "task_kinds",
    "flytekit.bin.entrypoint",
    "opentelemetry.sdk.metrics.export",
    "otel_flyte.adapters.flytekit_v1.task_spans",
    "otel_flyte.export.destinations",
    "otel_flyte.export.http_transport",
    "otel_flyte.sdk.logs",
    "otel_flyte.sdk.metrics",
    "otel_flyte.sdk.traces",
)


def main(folder: Path, count: int, kind: str) -> None:
    """Start the processes, and wait for all."""
    for name in PRELOADED:
        import_module(name)
    _count_exported_records()
    prepare = {"map": _subtask, "executions": _execution}[kind]
    inputs = pods.inputs_pb({"value": [1] * count if kind == "map" else 1})
    running = 0
    for index in range(count):
        pod = prepare(folder / str(index), inputs, index)
        if running == AT_ONCE:
            running -= _one_has_ended()
        if os.fork() == 0:
            _become(pod, folder / "counts")
        running += 1
    while running:
        running -= _one_has_ended()


def of_map(index: int) -> Attempt:
    """Return the identity of a subtask."""
    return Attempt(execution=MAP_EXECUTION, array_index=index)


def of_executions(index: int) -> Attempt:
    """Return the identity of the only pod of an execution."""
    return Attempt(execution=f"burst{index:015}")


def _subtask(root: Path, inputs: bytes, index: int) -> Pod:
    return pods.prepare("map", root, TASK, inputs, attempt=of_map(index), env=_sender())


def _execution(root: Path, inputs: bytes, index: int) -> Pod:
    return pods.prepare("execute", root, TASK, inputs, attempt=of_executions(index), env=_sender())


def _sender() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}


def _one_has_ended() -> int:
    _, status = os.wait()
    if status:
        sys.exit(f"benchmarks/fleet.py: a task process exited with {os.waitstatus_to_exitcode(status)}")
    return 1


def _become(pod: Pod, counts: Path) -> NoReturn:
    """Continue as a pod until its end, which ends the process."""
    os.environ.clear()
    os.environ.update(pod.environment)
    os.chdir(pod.directory)
    sys.argv = list(pod.arguments)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(os.open(counts.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    # Registered first and so called last, to count the records that are exported at exit.
    atexit.register(_write_counts, counts)
    from flytekit.bin import entrypoint

    name = Path(pod.arguments[0]).name
    command: Any = entrypoint.map_execute_task_cmd if name == "pyflyte-map-execute" else entrypoint.execute_task_cmd
    code: int | str | None = 0
    try:
        command(list(pod.arguments[1:]))
    except SystemExit as ended:
        code = ended.code
    # Like Python's exit, but without freeing objects, which would copy the memory shared with the parent.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else int(code is not None))


_exported: Counter[str] = Counter()


def _count_exported_records() -> None:
    from otel_flyte.export.queue import ExportQueue

    put: Callable[[ExportQueue, Any], None] = ExportQueue.put

    def counting(self: ExportQueue, record: Any) -> None:
        _exported[self.signal] += self._count(record)
        put(self, record)

    ExportQueue.put = counting  # type: ignore[method-assign]


def _write_counts(counts: Path) -> None:
    with contextlib.suppress(OSError), counts.open("a") as file:
        file.write(json.dumps(_exported) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
