"""An hour's telemetry of a platform in half a minute: real pods, a demo, `otel-flyte exec`, statsd, Flyte's pages.

    with flyte_pages.serving() as pages, stack.running(tmp_path, feed.variables(pages)) as running:
        feed.send(running, tmp_path / "pods")

It has the data for every panel and rule: GPUs, one of which fails, NPUs, a map task, failures and retries, a container
that is throttled and OOM-killed, caches, user metrics and logs, dropped telemetry.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import requests

from otel_flyte import semconv
from support import fake_nvml, flyte_pages, pods, programs
from support.pods import Attempt, Pod
from support.receiver import Receiver, Reply
from support.stack import Stack

EXECUTION = "feed00c0ffee01234567"
"""The execution with data for every panel of the dashboard of a task."""

PROJECT, DOMAIN = Attempt().project, Attempt().domain
WORKFLOW = f"{PROJECT}:{DOMAIN}:{Attempt().workflow}"

OLD_LINE = "a line from long ago"
"""The body of the one log record that a log store rejects."""

_FIXTURES = Path(__file__).parents[1] / "fixtures"
_GROUPS = _FIXTURES / "cgroup"
_NPUS = _FIXTURES / "ascend"
_AT_ONCE = 5
"""Concurrent pods; they mostly sleep."""

_SECONDS = 4.0
_SOON = {
    "PATCHES": json.dumps(
        {
            "otel_flyte.usage.recorder.METRICS_AFTER_SECONDS": 1.0,
            "otel_flyte.export.pending_spans.FIRST_HEARTBEAT_SECONDS": 1.0,
        }
    ),
    semconv.METRIC_EXPORT_INTERVAL: "1000",
    semconv.OTEL_FLYTE_SAMPLE_INTERVAL: "0.5",
    # On a busy machine the default is too short for the end of a killed pod.
    semconv.OTEL_FLYTE_EXIT_TIMEOUT: "20",
    # The tests must not depend on whether this machine is a container.
    "GROUPS": str(_GROUPS / "none"),
}
"""Short intervals, so that a task of four seconds exports the same as one of an hour."""

_GPU: dict[str, Any] = fake_nvml.EQUAL
_TWO_GPUS = {"gpus": [{**_GPU, "uuid": "GPU-0"}, {**_GPU, "uuid": "GPU-1"}]}
_LOST_GPU = {"period": 1.0, "gpus": [{**_GPU, "uuid": "GPU-2", "frames": [*_GPU["frames"], {}, {"lost": True}]}]}

Change = Callable[[Pod], Pod]


@dataclass(frozen=True)
class _Planned:
    """A pod to run.

    Attributes:
        task: The name of a task in `tests/workflows`.
        changes: The differences from an ordinary pod.
        wave: Pods of a wave start when the previous wave has ended.
    """

    task: str
    inputs: Mapping[str, Any]
    attempt: Attempt
    changes: tuple[Change, ...] = ()
    entrypoint: pods.Entrypoint = "execute"
    wave: int = 0


def variables(pages: Mapping[str, str]) -> dict[str, str]:
    """Return the collector's variables: it scrapes the pages, and exports its own metrics every second.

    The kubelet's page is scraped with that of kube-state-metrics, as a cluster's Prometheus does.
    """
    often = {
        "FLYTE_SCRAPE_INTERVAL": "2s",
        "FLYTE_SCRAPE_TIMEOUT": "2s",
        "SPAN_METRICS_INTERVAL": "1s",
        "STATSD_INTERVAL": "1s",
    }
    kubernetes = f"[{pages['kube-state-metrics']}, {pages['cadvisor']}]"
    return {**flyte_pages.collector_variables(dict(pages)), **often, "KUBE_STATE_METRICS_TARGETS": kubernetes}


def send(stack: Stack, folder: Path) -> None:
    """Run everything against a stack; all telemetry has been sent on return.

    Args:
        stack: The running stack.
        folder: The folder for the pods' buckets; it must not exist yet.
    """
    folder.mkdir()
    # First, because rules are evaluated once a minute.
    _send_past_errors(stack)
    _send_old_log_record(stack)
    with _oom_killed(folder) as killed, Receiver(lambda _: Reply(status=400)) as refusing:
        planned = [*_of_the_execution(folder), killed, *_of_others(refusing.endpoint())]
        prepared = [(each.wave, _prepared(each, folder / str(number), stack)) for number, each in enumerate(planned)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            demo = pool.submit(stack.run, "demo", "--stack", cwd=folder)
            for wave in sorted({wave for wave, _ in prepared}):
                # Some pods fail on purpose.
                list(pool.map(lambda pod: pod.run(forked=True), [pod for number, pod in prepared if number == wave]))
            assert demo.result().returncode == 0, demo.result().stderr
    _send_call_between_services(stack)


# --- pods ------------------------------------------------------------------------------------------------------------


def _of_the_execution(folder: Path) -> Iterator[_Planned]:
    in_container, with_npus = _in_container, _with_npus(folder)

    def node(name: str, attempt: int = 0, **more: Any) -> Attempt:
        return Attempt(execution=EXECUTION, nodes=((name, attempt),), **more)

    def after(seconds: float) -> dict[str, float]:
        return {"seconds": seconds}

    yield _Planned("traced_usage.train", after(_SECONDS), node("n0"), (in_container, _with_gpus(_TWO_GPUS)))
    yield _Planned("traced_usage.train", after(_SECONDS), node("n1"), (_with_gpus(_LOST_GPU),))
    yield _Planned("traced_usage.train", after(_SECONDS), node("n2"), (with_npus,))
    yield _Planned("traced_usage.be_held_back", after(_SECONDS), node("n3"), (in_container,))
    for index in range(3):
        subtask = node("n4", array_index=index)
        changes = (in_container, _with_gpus(_TWO_GPUS))
        yield _Planned("traced_usage.train", {"seconds": [2.5] * 3}, subtask, changes, entrypoint="map")
    yield _Planned("traced_usage.work", {"cpu": 0.6, "mib": 50, "seconds": _SECONDS}, node("n5"), (in_container,))
    yield _Planned("traced_logs.log", {"value": 3}, node("n6"), (_with_captured_output,))
    yield _Planned("traced_usage.fail", after(0.2), node("n7"))
    yield _Planned("traced_usage.fail", after(0.0), node("n7", attempt=1), wave=1)


def _of_others(refusing: str) -> Iterator[_Planned]:
    """Yield the pods of other executions. A rate needs two events, so that some happen in both waves."""

    def node(name: str) -> Attempt:
        return Attempt(execution="feed00c0ffee89abcdef", nodes=((name, 0),))

    yield _Planned("traced_logs.count", {"value": 3}, node("n0"))
    yield _Planned("traced_logs.count", {"value": 3}, node("n1"), (_by_statsd_alone,))
    yield _Planned(
        "traced_usage.work", {"cpu": 0.1, "mib": 1, "seconds": 2.0}, node("n2"), (_with_spans_sent_to(refusing),)
    )
    yield _Planned("traced_usage.fail", {"seconds": 0.2}, node("n3"), wave=1)
    yield _Planned("traced_usage.work", {"cpu": 0.1, "mib": 1, "seconds": 0.2}, node("n4"), wave=1)


def _prepared(planned: _Planned, root: Path, stack: Stack) -> Pod:
    pod = pods.prepare(
        planned.entrypoint,
        root,
        planned.task,
        planned.inputs,
        attempt=planned.attempt,
        env={
            **stack.sender(),
            **_SOON,
            "STATSD_PORT": str(stack.settings.ports["statsd"]),
            # Every pod has the fake NVML, most of them without a GPU.
            "PYTHONPATH": programs.python_path(fake_nvml.PATH),
            fake_nvml.VARIABLE: "0",
        },
    )
    for change in planned.changes:
        pod = change(pod)
    return pod


def _with(pod: Pod, **more: str) -> Pod:
    return replace(pod, environment={**pod.environment, **more})


def _in_container(pod: Pod) -> Pod:
    """Give a pod a copy of a recorded cgroup."""
    groups = pod.directory / "groups"
    shutil.copytree(_GROUPS / "v2_pod", groups)
    return _with(pod, GROUPS=str(groups))


def _with_gpus(script: Mapping[str, Any]) -> Change:
    def change(pod: Pod) -> Pod:
        file = pod.directory / "gpus.json"
        file.write_text(json.dumps(script))
        return _with(pod, **{fake_nvml.VARIABLE: str(file)})

    return change


def _with_npus(folder: Path) -> Change:
    beside = folder / "npus"
    beside.mkdir()
    (beside / "npu-smi").symlink_to(_NPUS / "npu-smi")

    def change(pod: Pod) -> Pod:
        recorded = {"FAKE_NPU_SMI": str(_NPUS / "910b_pair"), "FAKE_NPU_SMI_LOG": str(pod.directory / "npu-smi.log")}
        return _with(pod, PATH=os.pathsep.join([str(beside), pod.environment["PATH"]]), **recorded)

    return change


def _with_captured_output(pod: Pod) -> Pod:
    return _with(pod, **{semconv.OTEL_FLYTE_CAPTURE_OUTPUT: "true"})


def _by_statsd_alone(pod: Pod) -> Pod:
    """Run a pod without this project: flytekit sends its metrics by statsd. It reads the address as "secrets"."""
    path = os.pathsep.join([str(pods.BARE), pod.environment["PYTHONPATH"]])
    port = pod.environment["STATSD_PORT"]
    return _with(pod, PYTHONPATH=path, FLYTE_SECRETS_HOST="127.0.0.1", FLYTE_SECRETS_PORT=port)


def _with_spans_sent_to(endpoint: str) -> Change:
    return lambda pod: _with(pod, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{endpoint}/v1/traces")


# --- a pod that is killed --------------------------------------------------------------------------------------------

_EXEC = """
import sys
from otel_flyte.supervisor import cgroup
counts = iter((0, 1))
cgroup.oom_kills = lambda: next(counts)
from otel_flyte.cli.entry import main
sys.exit(main())
"""
"""`otel-flyte exec` with a counter of OOM kills that has counted one."""


@contextmanager
def _oom_killed(folder: Path) -> Iterator[_Planned]:
    """Yield a pod under ``otel-flyte exec`` that exceeds the memory limit of its cgroup.

    Where no cgroup can be created, the pod kills itself with SIGKILL, and the counter of OOM kills is replaced.
    """
    attempt = Attempt(execution=EXECUTION, nodes=(("n8", 0),))
    arguments = ("exec", "--")
    group = _group(limit=500 * 2**20)
    if group is None:
        script = folder / "exec.py"
        script.write_text(_EXEC)
        command: tuple[str, ...] = (sys.executable, str(script), *arguments)
        yield _Planned("traced_deaths.be_killed", {"name": "SIGKILL"}, attempt, (_started_by(command),))
        return
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    command = ("sh", "-c", enter, "sh", str(pods.SCRIPTS / "otel-flyte"), *arguments)
    try:
        inputs = {"cpu": 0.1, "mib": 900, "seconds": 1.0}
        yield _Planned("traced_usage.work", inputs, attempt, (_started_by(command),))
    finally:
        group.rmdir()


def _group(limit: int) -> Path | None:
    """Create a cgroup with a memory limit in bytes; return ``None`` without the permission."""
    top, file = next(
        (top, file)
        for top, file in (
            (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            (Path("/sys/fs/cgroup"), "memory.max"),
        )
        if top.exists()
    )
    group = top / f"otel-flyte-feed-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / file).write_text(str(limit))
        with suppress(OSError):
            (group / "memory.swap.max").write_text("0")
    except OSError:
        group.rmdir()
        return None
    return group


def _started_by(command: tuple[str, ...]) -> Change:
    return lambda pod: replace(pod, arguments=(*command, *pod.arguments))


# --- telemetry of other programs -------------------------------------------------------------------------------------


def _send_call_between_services(stack: Stack) -> None:
    """Send the spans of a call from one service to another, as an instrumented client and server do."""
    now = time.time_ns()
    call: dict[str, Any] = {"traceId": os.urandom(16).hex(), "startTimeUnixNano": str(now - 10**8)}
    client = {**call, "spanId": os.urandom(8).hex(), "name": "GET /features", "kind": 3, "endTimeUnixNano": str(now)}
    server = {**client, "spanId": os.urandom(8).hex(), "parentSpanId": client["spanId"], "kind": 2}
    for service, span in (("training", client), ("features", server)):
        _post(stack, "traces", {"resourceSpans": [_of_service(service, "scopeSpans", {"spans": [span]})]})


def _send_past_errors(stack: Stack) -> None:
    """Send a counter of Flyte admin for the last minutes, for the panel that compares whole minutes."""
    now = time.time_ns()
    points = [{"timeUnixNano": str(now - minute * 60 * 10**9), "asInt": str(10 - minute)} for minute in range(10)]
    metric = {"name": "flyte:admin:admin:get_execution:codes:Internal", "gauge": {"dataPoints": points}}
    _post(stack, "metrics", {"resourceMetrics": [_of_service("flyteadmin", "scopeMetrics", {"metrics": [metric]})]})


def _send_old_log_record(stack: Stack) -> None:
    """Send a log record that is older than the retention, which a log store rejects."""
    record = {"timeUnixNano": str(time.time_ns() - 90 * 86_400 * 10**9), "body": {"stringValue": OLD_LINE}}
    _post(stack, "logs", {"resourceLogs": [_of_service("archive", "scopeLogs", {"logRecords": [record]})]})


def _of_service(name: str, scopes: str, records: Mapping[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]}
    return {"resource": resource, scopes: [{"scope": {"name": "of.others"}, **records}]}


def _post(stack: Stack, signal: str, message: Mapping[str, Any]) -> None:
    requests.post(stack.url("otlp_http", f"/v1/{signal}"), json=message, timeout=10).raise_for_status()
