"""Every figure of the README's table, in one run: `python benchmarks/run.py [ROUNDS]`.

Ratios, not times: each round runs all variants one after the other, pinned to one CPU where the system can, and the
figure is the median of the rounds' pairwise ratios.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "workflows")]

from support import pods  # noqa: E402  # found beside this folder
from support.receiver import Receiver  # noqa: E402


def main(rounds: int) -> None:
    """Print the table as Markdown."""
    _pin()
    print("| measured | ratio | goal |")
    print("|---|---|---|")
    dispatch, processes = _dispatch(rounds), _processes(rounds)
    alone = "relative to flytekit alone"
    by_hand = "relative to the time added by four hand-written spans"
    for label, ratio, goal in (
        (
            f"run of a task (`dispatch_execute`) without an exporter, {alone}",
            f"{dispatch['unconfigured']:.2f}",
            "≤ 1.05",
        ),
        (f"run of a task with four hand-written spans, {alone}", f"{dispatch['by hand']:.2f}", ""),
        (f"run of a task with otel-flyte, {alone}", f"{dispatch['delivering']:.2f}", ""),
        (f"time added by otel-flyte, {by_hand}", f"{dispatch['share']:.2f}", "≤ 0.8"),
        (f"CPU time of `pyflyte-execute` without an exporter, {alone}", f"{processes['unconfigured']:.3f}", "≤ 1.03"),
        ("the same, delivering over HTTP", f"{processes['HTTP']:.3f}", "≤ 1.08"),
        ("the same, delivering over gRPC", f"{processes['gRPC']:.3f}", ""),
        ("the same under `opentelemetry-instrument`, over HTTP", f"{processes['launcher']:.3f}", ""),
    ):
        print(f"| {label} | {ratio} | {goal} |")
    print(
        f"\nbare: {dispatch['bare'] * 1e6:.0f} µs a dispatch, {processes['bare']:.2f} s CPU a process; {rounds} rounds"
    )


def _dispatch(rounds: int) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "benchmarks" / "dispatch.py"), str(rounds)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment["FLYTE_SDK_LOGGING_LEVEL"] = "50"
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def _processes(rounds: int) -> dict[str, float]:
    """Return the CPU seconds, user and system, of complete `pyflyte-execute` processes."""
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        http = receiver.environment("http/protobuf")
        variants: dict[str, pods.Options] = {
            "bare": {"bare": True},
            "unconfigured": {},
            "HTTP": {"env": http},
            "gRPC": {"env": receiver.environment("grpc")},
            "launcher": {"env": {**http, "OTEL_TRACES_EXPORTER": "otlp"}},
        }
        samples = [
            {name: _cpu(Path(folder) / f"{number}-{name}", name, options) for name, options in variants.items()}
            for number in range(rounds)
        ]
    ratios = {name: statistics.median(sample[name] / sample["bare"] for sample in samples) for name in variants}
    return ratios | {"bare": statistics.median(sample["bare"] for sample in samples)}


def _cpu(root: Path, variant: str, options: pods.Options) -> float:
    pod = pods.prepare("execute", root, "task_kinds.increment", {"value": 3}, **options)
    arguments = list(pod.arguments)
    if variant == "launcher":
        arguments.insert(0, str(Path(sys.executable).with_name("opentelemetry-instrument")))
    process = subprocess.Popen(
        arguments,
        env=pod.environment,
        cwd=pod.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{variant}: the pod exited with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
