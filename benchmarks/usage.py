"""The cost of measuring the usage of a task: `python benchmarks/usage.py [ROUNDS] [--others FOLDER]`.

Prints the tables of docs/accuracy.md. Each sampler has a process with ten children of its own and is measured in pairs
with raw reads of ``/proc``, by CPU time, pinned to one CPU. Other libraries are installed into an environment in
FOLDER, unless they are there; without the option they are left out.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import run
import turns
from turns import Variant

from support.receiver import Receiver  # `run` makes it importable

FAKE_NVML = run.ROOT / "tests" / "support" / "fake_nvml_path"
OTHERS = ("psutil", "opentelemetry-sdk", "opentelemetry-instrumentation-system-metrics", "mlflow-skinny", "codecarbon")

OURS = (
    ("otel-flyte, process tree", "tree", 0, 1),
    ("otel-flyte, cgroup", "cgroup", 0, 1),
    ("otel-flyte, both (not used in practice)", "both", 0, 1),
    ("otel-flyte, process tree and 8 GPUs (simulated NVML)", "tree", 8, 1),
    ("otel-flyte, both and 8 GPUs (simulated NVML)", "both", 8, 1),
    ("raw reads of `stat` without parsing", "raw", 0, None),
    ("psutil: CPU, memory, IO of each process", "psutil", 0, None),
)
THEIRS = (
    ("opentelemetry-instrumentation-system-metrics", "system metrics", 0, 60),
    ("mlflow, system metrics", "mlflow", 0, 10),
    ("codecarbon, offline tracker", "codecarbon", 0, 15),
)


def main(rounds: int, folder: Path | None) -> None:
    """Print the tables as Markdown."""
    _pin()
    others = None if folder is None else _environment(folder)
    print("| sample | CPU | in a row | share of a core at 1 Hz | at 10 Hz | default | relative to raw reads |")
    print("|---|---|---|---|---|---|---|")
    for label, name, gpus, every in OURS:
        print(_row(label, _measured(sys.executable, name, rounds, gpus), every))
    for label, name, gpus, every in THEIRS:
        print(_row(label, _measured(others, name, rounds, gpus) if others else {"left out": "no --others"}, every))

    loops = 4 * rounds
    print("\n| measured | ratio | goal |")
    print("|---|---|---|")
    loop = "upper bound for the duration of a Python loop with the sampler at 10 Hz"
    for gpus, label in (
        (0, f"{loop}, relative to the loop without a sampler"),
        (8, "the same with 8 GPUs (simulated NVML)"),
    ):
        print(f"| {label} | {_measured(sys.executable, 'loop', loops, gpus)['ratio']:.3f} | ≤ 1.01 |")
    added, bare = _added_without_sampling(max(3, rounds // 4))
    label = "time that otel-flyte adds to a short task with `OTEL_FLYTE_SAMPLE_INTERVAL=0`"
    print(f"| {label}, relative to the time with sampling | {added:.2f} | |")
    print(f"\n{rounds} rounds; dispatch without an exporter: {bare:.0f} µs; {_processes()} processes on the machine")


def _added_without_sampling(rounds: int) -> tuple[float, float]:
    """Return the time added to a dispatch without sampling over that with it, and the µs without an exporter."""
    here = Path(sys.executable)
    with Receiver() as receiver:
        endpoint = receiver.environment()
        variants = {
            "idle": Variant("unconfigured", here),
            "with": Variant("ours", here, endpoint),
            "without": Variant("ours", here, {**endpoint, "OTEL_FLYTE_SAMPLE_INTERVAL": "0"}),
        }
        times = turns.take(variants, run.TURNS * rounds)
    idle = times["idle"].calling
    return (times["without"].calling - idle) / (times["with"].calling - idle), idle


def _pin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _row(label: str, figures: dict[str, Any], every: int | None) -> str:
    if "left out" in figures:
        return f"| {label} | left out: {figures['left out']} | | | | | |"
    cost = figures["microseconds"]
    usual = f"{_percent(cost / every)}, every {every} s" if every else ""
    ratio = figures["ratio"]
    row = figures["in a row"]
    return (
        f"| {label} | {cost:.0f} µs | {row:.0f} µs | {_percent(cost)} | {_percent(10 * cost)} | {usual} | {ratio:.1f} |"
    )


def _percent(microseconds_a_second: float) -> str:
    return f"{microseconds_a_second / 1e4:.3f} %"


def _measured(python: str, name: str, rounds: int, gpus: int) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "FLYTE_"))}
    if gpus:
        environment |= {"FAKE_NVML": str(gpus), "PYTHONPATH": str(FAKE_NVML)}
    command = [python, str(run.ROOT / "benchmarks" / "sampling.py"), name, str(rounds)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if process.returncode:
        return {"left out": (process.stderr.strip().splitlines() or ["no output"])[-1][:100]}
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures


def _environment(folder: Path) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *OTHERS], check=False)
    return str(python)


def _processes() -> int:
    return sum(entry.name.isdigit() for entry in Path("/proc").iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=40)
    parser.add_argument("--others", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    main(arguments.rounds, arguments.others)
