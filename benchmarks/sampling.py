"""The cost of one sample of one sampler, in CPU time of this process, which has ten children.

Prints a line of JSON: microseconds for a sample, its ratio to raw reads of ``/proc``, both as medians over pairs of
samples 100 ms apart, with cold caches as in a sampler, and microseconds for one of many samples in a row. Started by
`benchmarks/usage.py`, pinned to one CPU; foreign samplers can run in their own environment.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

CHILDREN = 10
PAUSE_SECONDS = 0.1
ROOT = Path(__file__).resolve().parent.parent

Take = Callable[[], object]


def main(name: str, rounds: int) -> None:
    """Print the measurements of one of `MEASURED`."""
    with ExitStack() as stack:
        pids = stack.enter_context(_children())
        try:
            figures = MEASURED[name](stack, pids, rounds)
        except ImportError as error:
            figures = {"left out": str(error)}
    print(json.dumps(figures), flush=True)
    # Background processes of other libraries are not awaited.
    os._exit(0)


@contextmanager
def _children() -> Iterator[list[int]]:
    """Yield the ids of this process and of ten children that wait."""
    command = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(CHILDREN)
    ]
    for child in children:
        assert child.stdout
        child.stdout.readline()
    yield [os.getpid(), *(child.pid for child in children)]
    for child in children:
        child.kill()


def _of(prepare: Callable[[ExitStack, list[int]], Take]) -> Callable[[ExitStack, list[int], int], dict[str, float]]:
    def measured(stack: ExitStack, pids: list[int], rounds: int) -> dict[str, float]:
        raw, take = _raw(stack, pids), prepare(stack, pids)
        _seconds(raw), _seconds(take)
        pairs = [(_seconds(raw), _seconds(take)) for _ in range(rounds)]
        return {
            "microseconds": statistics.median(seconds for _, seconds in pairs) * 1e6,
            "in a row": _seconds(lambda: [take() for _ in range(rounds)]) / rounds * 1e6,
            "ratio": statistics.median(seconds / least for least, seconds in pairs),
        }

    return measured


def _seconds(take: Take) -> float:
    time.sleep(PAUSE_SECONDS)
    start = time.process_time()
    take()
    return time.process_time() - start


# --- ours ------------------------------------------------------------------------------------------------------------


def _recording(interval: float = 1.0) -> Any:
    """Return a recorder with a task in a phase, as during user code."""
    from opentelemetry.context import Context

    from otel_flyte.tasks.open_task import OpenTask
    from otel_flyte.usage import recorder
    from otel_flyte.usage.sampling import Sampling

    recorder._recorder = active = recorder.Recorder(interval)
    active.begin(OpenTask("task", Context(), None), None, 0.0, None).begin_phase()
    active.sampling = Sampling(interval)
    return active


def _tree(*_: object) -> Take:
    active = _recording()
    take: Take = active.take
    return take


def _cgroup(stack: ExitStack, _: object) -> Take:
    """Read a cgroup with CPU, memory and devices if one can be created, else the existing one."""
    active = _recording()
    active.sampling.sources.container = _group(stack) or active.sampling.sources.cgroup
    if active.sampling.sources.container is None:
        raise ImportError("this machine has no cgroup")
    take: Take = active.take
    return take


def _both(stack: ExitStack, _: object) -> Take:
    """Take a sample of the tree and read a cgroup too, which no product code does."""
    active = _recording()
    group = _group(stack) or active.sampling.sources.cgroup

    def take() -> None:
        active.take()
        if group is not None:
            group.read()

    return take


def _group(stack: ExitStack) -> Any:
    sys.path.insert(0, str(ROOT / "tests"))
    import pytest

    import test_usage_truth as truth
    from otel_flyte.runtime import cgroups

    wanted = {"memory", "cpu", "cpuacct", "blkio"}
    tops = {name: Path(folder.top) for name, folder in cgroups.find().items() if name in wanted}
    try:
        group = stack.enter_context(truth.made(tops))
    except pytest.skip.Exception:
        return None
    program = stack.enter_context(truth.Program("say(); wait()", group))
    program.report()
    return truth.found(program)


def _loop(_: ExitStack, __: object, rounds: int) -> dict[str, float]:
    """Return the maximum ratio of a loop's duration with the sampler at 10 Hz to that without.

    A sample delays the loop at most by its own duration. Comparing real loops is less exact: the noise of the machine
    is ten times as large.
    """
    active = _recording()
    took: list[float] = []

    def sample() -> None:
        for _round in range(rounds):
            time.sleep(PAUSE_SECONDS)
            start = time.monotonic()
            active.take()
            took.append(time.monotonic() - start)

    beside = threading.Thread(target=sample)
    beside.start()
    total = 0
    while beside.is_alive():
        total += 1 & 7
    return {"ratio": 1 + statistics.median(took) / PAUSE_SECONDS}


# --- foreign samplers ------------------------------------------------------------------------------------------------


def _raw(_: ExitStack, pids: list[int]) -> Take:
    """Read the ``stat`` of each process from open files, without parsing."""
    files = [os.open(f"/proc/{pid}/stat", os.O_RDONLY) for pid in pids]

    def take() -> None:
        for file in files:
            os.pread(file, 4096, 0)

    return take


def _psutil(*_: object) -> Take:
    import psutil

    root = psutil.Process()

    def take() -> None:
        for process in [root, *root.children(recursive=True)]:
            with process.oneshot():
                process.cpu_times(), process.memory_info(), process.io_counters()

    return take


def _system_metrics(*_: object) -> Take:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    module = import_module("opentelemetry.instrumentation.system_metrics")
    module.SystemMetricsInstrumentor().instrument(meter_provider=MeterProvider([reader]))
    return reader.collect


def _mlflow(*_: object) -> Take:
    module = import_module("mlflow.system_metrics.system_metrics_monitor")
    # Nothing is sent, but it requires an address.
    take: Take = module.SystemMetricsMonitor("run", tracking_uri="http://127.0.0.1:9").collect_metrics
    return take


def _codecarbon(*_: object) -> Take:
    logging.disable(logging.CRITICAL)
    tracker = import_module("codecarbon").OfflineEmissionsTracker(
        country_iso_code="DEU", log_level="critical", save_to_file=False, measure_power_secs=3600
    )
    tracker.start()
    take: Take = tracker._measure_power_and_energy
    return take


MEASURED: dict[str, Callable[[ExitStack, list[int], int], dict[str, Any]]] = {
    "tree": _of(_tree),
    "cgroup": _of(_cgroup),
    "both": _of(_both),
    "loop": _loop,
    "raw": _of(_raw),
    "psutil": _of(_psutil),
    "system metrics": _of(_system_metrics),
    "mlflow": _of(_mlflow),
    "codecarbon": _of(_codecarbon),
}

if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
