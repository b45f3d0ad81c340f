"""A forked process ends like a started one, with the same telemetry and the same files."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flytekit.types.file import FlyteFile

from support import pods, receiver, runs
from support.receiver import Receiver
from support.trees import Forest

pytestmark = pytest.mark.slow

VALUE = {"value": 3}
PATIENT = {"OTEL_FLYTE_EXIT_TIMEOUT": "60"}
CHANGING = re.compile(
    r'(?<="asctime": ")[^"]+'  # times of log lines
    r"|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"  # random ids
    r"|(?<=/)(?:flyte-?|tmp)[a-z0-9_]{8}(?=/|\b)"  # temporary folders
    r"|(?<=127\.0\.0\.1:)\d+"  # ports
    r"|(?<=<td>)\d+\.\d{6}(?=</td>)"  # times in a deck
    r"| at 0x[0-9a-f]+"
    r'|  File "[^"]*fork_server_program\.py", line .*\n    .*\n'  # frames above the console script
)
WITH_TIMES = ("error.pb", "deck.html")
OF_ONE_PROCESS = ("process.pid", "process.parent_pid", "process.creation.time", "service.instance.id")

a_map = partial(runs.pod, entrypoint="map", attempt=pods.Attempt(array_index=1))
SCENARIOS: dict[str, Callable[..., runs.Scenario]] = {
    "sync": partial(runs.pod, "traced_kinds.double", VALUE),
    "map": partial(a_map, "traced_kinds.double", {"value": [5, 6]}),
    "async over gRPC": partial(runs.pod, "traced_kinds.double_async", VALUE, protocol="grpc"),
    "eager": partial(runs.pod, "task_kinds.orchestrate", VALUE),
    "dynamic": partial(runs.pod, "task_kinds.fan_out", {"count": 2}),
    "file": partial(runs.pod, "task_data.copy_file", lambda: {"source": FlyteFile(__file__)}),
    "logs": partial(runs.pod, "traced_logs.log_of_all_kinds", VALUE),
    "metrics": partial(runs.pod, "traced_logs.count", VALUE),
    "error": partial(runs.pod, "task_failures.value_error", VALUE),
    "exit": partial(runs.pod, "task_failures.leave", {"code": 3}),
    "signal": partial(runs.pod, "task_processes.signal_itself", {"number": 15}),
    "surroundings": partial(runs.pod, "task_processes.surroundings"),
    "environment": partial(runs.pod, "task_processes.environment"),
    **{
        f"modules of {package}": partial(runs.pod, "task_processes.modules_of", {"package": package})
        for package in ("otel_flyte", "opentelemetry", "flytekit")
    },
    "pyflyte run": partial(runs.local, "traced_kinds.py", "outer", value=3),
}
DEPENDS_ON_VERSIONS = (
    "sync",
    "eager",
    "error",
    "environment",
    "modules of opentelemetry",
    "modules of flytekit",
    "pyflyte run",
)


@pytest.mark.parametrize(
    "name",
    [name if name in DEPENDS_ON_VERSIONS else pytest.param(name, marks=pytest.mark.newest_only) for name in SCENARIOS],
)
def test_forked_process_leaves_the_same_as_a_started_one(name: str, tmp_path: Path) -> None:
    forked, started = (
        left_by(SCENARIOS[name](forked=forked, env=PATIENT), tmp_path / f"{forked:d}") for forked in (True, False)
    )

    assert forked == started
    assert forked["tree"]


def left_by(scenario: runs.Scenario, root: Path) -> dict[str, Any]:
    """Return everything that a process leaves, but for parts that differ between any two."""
    with Receiver() as collector:
        result = scenario(root, collector)
        logs = [(record.severity, record.body, sorted(record.attributes)) for record in collector.logs()]
        metrics = {(point.name, point.kind, tuple(sorted(point.attributes))) for point in collector.metrics()}
        return {
            "returncode": result.returncode,
            "stdout": normalised(result.stdout, root),
            "stderr": normalised(result.stderr, root),
            "files": files(result, root),
            "tree": normalised(Forest(collector.spans(), root=root, full=True), root),
            "resources": resources(collector, root),
            "logs": [normalised(record, root) for record in logs],
            "metrics": sorted(metrics),
        }


def files(result: runs.Result, root: Path) -> dict[str, str]:
    found = {**result.files, **result.raw_files} if isinstance(result, pods.Result) else {}
    return {name: normalised(content, root) for name, content in found.items() if name not in WITH_TIMES}


def resources(collector: Receiver, root: Path) -> list[str]:
    found = [
        receiver._attributes(of_resource.resource.attributes)
        for request in collector.requests()
        for _, of_resources in request.message.ListFields()
        for of_resource in of_resources
    ]
    shown = ({name: value for name, value in each.items() if name not in OF_ONE_PROCESS} for each in found)
    return sorted({normalised(sorted(each.items()), root) for each in shown})


def normalised(value: object, root: Path) -> str:
    return CHANGING.sub("", str(value).replace(str(root), "(root)"))
