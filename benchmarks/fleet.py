"""Task processes by the thousand, each with a dispatch and a delivery of its own, forked from one that has all loaded.

    python benchmarks/fleet.py FOLDER COUNT (map|executions)

Subtasks of one map task, or as many executions of a task. Each counts what it hands over for delivery, in the file
`counts` of the folder: a line for each process.
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

from support import pods  # noqa: E402  # it stands beside this folder
from support.pods import Attempt, Pod  # noqa: E402

TASK = "task_kinds.increment"
MAP_EXECUTION = "map00c0ffee012345678"
AT_ONCE = 16
"""Processes that are there at once: more would wait for the same cores."""

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
    """Start them, and wait for all."""
    for name in PRELOADED:
        import_module(name)
    _count_what_is_delivered()
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
    """Return who a subtask is."""
    return Attempt(execution=MAP_EXECUTION, array_index=index)


def of_executions(index: int) -> Attempt:
    """Return who the only pod of an execution is."""
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
        sys.exit(f"a task process ended with {os.waitstatus_to_exitcode(status)}")
    return 1


def _become(pod: Pod, counts: Path) -> NoReturn:
    """Go on as a pod, to its end and that of the process."""
    os.environ.clear()
    os.environ.update(pod.environment)
    os.chdir(pod.directory)
    sys.argv = list(pod.arguments)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(os.open(counts.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    # What is registered first is called last: what is delivered at the end counts.
    atexit.register(_say, counts)
    from flytekit.bin import entrypoint

    name = Path(pod.arguments[0]).name
    command: Any = entrypoint.map_execute_task_cmd if name == "pyflyte-map-execute" else entrypoint.execute_task_cmd
    code: int | str | None = 0
    try:
        command(list(pod.arguments[1:]))
    except SystemExit as ended:
        code = ended.code
    # As Python ends, but for giving back each object: that would copy all that is shared with the parent.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else int(code is not None))


_handed_over: Counter[str] = Counter()


def _count_what_is_delivered() -> None:
    from otel_flyte.export.queue import ExportQueue

    put: Callable[[ExportQueue, Any], None] = ExportQueue.put

    def counting(self: ExportQueue, record: Any) -> None:
        _handed_over[self.signal] += self._count(record)
        put(self, record)

    ExportQueue.put = counting  # type: ignore[method-assign]


def _say(counts: Path) -> None:
    with contextlib.suppress(OSError), counts.open("a") as file:
        file.write(json.dumps(_handed_over) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
