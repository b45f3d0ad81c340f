"""What the start of a pod costs, step by step: `python benchmarks/startup.py [ROUNDS]` prints `benchmarks/startup.md`.

Times of imports are those of `python -X importtime`, which makes each import slower: compare them with each other. A
module counts for the step that imports it first, with its own time alone.
"""

import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import environments
import run
from turns import NOTHING

from support import pods
from support.receiver import Receiver

Times = dict[str, float]
"""The time of each module in ms, without the modules that it imports."""

STEPS = (
    ("OpenTelemetry's API of traces", ("opentelemetry.trace", "opentelemetry.context", "opentelemetry.propagators")),
    ("the SDK's resource", ("opentelemetry.sdk", "opentelemetry.semconv", "opentelemetry.attributes")),
    ("messages of OTLP", ("opentelemetry.proto",)),
    ("OpenTelemetry, the rest", ("opentelemetry",)),
    ("otel-flyte, to record", tuple(f"otel_flyte.{name}" for name in ("adapters", "tasks", "tracing", "usage"))),
    ("otel-flyte, to deliver", ("otel_flyte",)),
    ("Python's own modules and others", ("",)),
)
LATER = (
    ("the SDK of traces: a user's tracer, a deck", "opentelemetry.sdk.trace"),
    ("the API of metrics: a metric of the user's", "opentelemetry.metrics"),
    ("the SDK of metrics: a task of more than 5 s", "opentelemetry.sdk.metrics"),
    ("the API of logs: a record of `logging` in a task", "opentelemetry._logs"),
    ("the SDK of logs: likewise", "opentelemetry.sdk._logs"),
)
SCAN = """
import sys, time
from importlib.metadata import distributions, entry_points
entry_points(group="flytekit.plugins")
times = []
for _ in range(9):
    begin = time.perf_counter()
    entry_points(group="flytekit.plugins")
    times.append(time.perf_counter() - begin)
print(len(list(distributions())), min(times) * 1000)
"""


def main(rounds: int) -> None:
    """Print the tables as Markdown."""
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        here = environments.create(Path(folder))
        endpoint = receiver.environment("http/protobuf")
        bare = _imports(here.bare, NOTHING, Path(folder) / "bare pods", rounds)
        idle = _imports(here.ours, NOTHING, Path(folder) / "idle pods", rounds)
        delivering = _imports(here.ours, endpoint, Path(folder) / "delivering pods", rounds)
        print("| step of a pod | modules | ms | over flytekit alone |")
        print("|---|---|---|---|")
        whole = sum(bare.values())
        _print("flytekit alone", bare.values(), whole)
        _print("otel-flyte without an exporter", (idle[name] for name in idle.keys() - bare.keys()), whole)
        left = {name: delivering[name] for name in delivering.keys() - bare.keys() - idle.keys()}
        for label, prefixes in STEPS:
            names = [name for name in left if name.startswith(prefixes)]
            _print(label, [left.pop(name) for name in names], whole)

        print("\n| imported only if it is needed | modules | ms | over flytekit alone |")
        print("|---|---|---|---|")
        for label, module in LATER:
            found = _of_program([str(here.ours), "-X", "importtime", "-c", f"import {module}"], {}, Path(folder))
            _print(label, [found[name] for name in found.keys() - delivering.keys()], whole)

        print("\n| flytekit reads the entry points of all distributions twice | distributions | ms each |")
        print("|---|---|---|")
        for label, python in (("flytekit alone", here.bare), ("with otel-flyte", here.ours)):
            number, milliseconds = subprocess.check_output([str(python), "-c", SCAN], text=True).split()
            print(f"| {label} | {number} | {float(milliseconds):.1f} |")


def _print(label: str, times: Iterable[float], whole: float) -> None:
    times = list(times)
    print(f"| {label} | {len(times)} | {sum(times):.0f} | {100 * sum(times) / whole:.1f} % |")


def _imports(python: Path, env: Mapping[str, str], root: Path, rounds: int) -> Times:
    """Return the times of all modules that a pod imports, the median of some rounds."""
    found = []
    for number in range(rounds):
        pod = pods.prepare(
            "execute", root / str(number), "measured.increment", {"value": 0}, env={**env, **run.WORKFLOWS}
        )
        command = [str(python), "-X", "importtime", str(python.with_name("pyflyte-execute")), *pod.arguments[1:]]
        found.append(_of_program(command, pod.environment, pod.directory))
    # A module that only some of the rounds import, such as one of a thread, counts as well.
    names = {name for times in found for name in times}
    return {name: statistics.median(times[name] for times in found if name in times) for name in names}


def _of_program(command: list[str], environment: Mapping[str, str], folder: Path) -> Times:
    ended = subprocess.run(command, env=environment or None, cwd=folder, capture_output=True, text=True, check=True)
    lines = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", ended.stderr)
    return {name: int(microseconds) / 1000 for microseconds, name in lines}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
