"""Every figure of the README's table, in one run: `python benchmarks/run.py [ROUNDS]`.

Ratios, not times: each round runs all variants one after the other, each in a process of its own, and the figure is the
median of the rounds' ratios. Telemetry is delivered over HTTP to a receiver on this machine. "Bare" is an environment
with flytekit alone, without the SDK of OpenTelemetry.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "workflows")]

import bare_environment  # noqa: E402  # found beside this file

from support import pods  # noqa: E402  # found in the tests
from support.receiver import Receiver  # noqa: E402

Figures = dict[str, float]
WORKFLOWS = {"PYTHONPATH": str(HERE / "workflows")}


def main(rounds: int) -> None:
    """Print the table as Markdown."""
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        bare = bare_environment.create(Path(folder) / "bare")
        sample = _Samples(Path(folder), bare, receiver)
        # The first round compiles modules, and is left out.
        samples = [sample.round(number) for number in range(rounds + 1)][1:]

    def ratio(of: Callable[[Figures], float]) -> str:
        return f"{statistics.median(of(each) for each in samples):.2f}"

    def added(name: str) -> Callable[[Figures], float]:
        return lambda each: (each[name] - each["bare"]) / (each["by hand"] - each["bare"])

    rows = (
        ("time added to a dispatch, over four spans by hand", ratio(added("ours")), "≤ 0.35"),
        ("the same with a tracer provider of the user's", ratio(added("their provider")), "≤ 1.0"),
        (
            "a dispatch without an exporter, over bare",
            ratio(lambda each: each["unconfigured"] / each["bare"]),
            "≤ 1.02",
        ),
        ("CPU of a pod without an exporter, over bare", ratio(lambda each: each["pod"] / each["bare pod"]), "≤ 1.03"),
        ("CPU of a pod that delivers, over bare", ratio(lambda each: each["pod, HTTP"] / each["bare pod"]), "≤ 1.06"),
        (
            "CPU for 20,000 spans of a user's tracer, over the SDK's batch processor and exporter",
            ratio(lambda each: each["many"] / each["many, stock"]),
            "≤ 1.0",
        ),
        (
            "CPU of the other threads for the spans of a dispatch, over the SDK's",
            ratio(lambda each: each["ours, others"] / each["by hand, others"]),
            "≤ 0.7",
        ),
        (
            "MiB that a delivering pod has beyond bare",
            ratio(lambda each: each["MiB, pod, HTTP"] - each["MiB, bare pod"]),
            "≤ 5",
        ),
    )
    print("| measured | figure | goal |")
    print("|---|---|---|")
    for label, figure, goal in rows:
        print(f"| {label} | {figure} | {goal} |")
    middle = {name: statistics.median(each[name] for each in samples) for name in samples[0]}
    by_hand = middle["by hand"] - middle["bare"]
    print(f"\nbare: {middle['bare']:.0f} µs a dispatch, {middle['bare pod']:.2f} s CPU and", end=" ")
    print(f"{middle['MiB, bare pod']:.1f} MiB a pod; four spans by hand add {by_hand:.0f} µs; {rounds} rounds")


class _Samples:
    """Measures all variants once."""

    def __init__(self, folder: Path, bare: Path, receiver: Receiver) -> None:
        self._folder = folder
        self._bare = bare
        self._endpoint = receiver.environment("http/protobuf")

    def round(self, number: int) -> Figures:
        """Return the figures of all variants, by name."""
        found: Figures = {}
        here = Path(sys.executable)
        nothing: Mapping[str, str] = {}
        for variant, python, env in (
            ("bare", self._bare, nothing),
            ("unconfigured", here, nothing),
            ("by hand", here, self._endpoint),
            ("ours", here, self._endpoint),
            ("their provider", here, self._endpoint),
        ):
            figures = printed(python, "dispatch.py", variant, env)
            found |= {variant: figures["calling"], f"{variant}, others": figures["others"]}
        for side, name in (("ours", "many"), ("stock", "many, stock")):
            found[name] = printed(here, "many_spans.py", side, self._endpoint)
        for name, python, env in (
            ("bare pod", self._bare, nothing),
            ("pod", here, nothing),
            ("pod, HTTP", here, self._endpoint),
        ):
            root = self._folder / f"{number}-{name}"
            found[name], _ = _pod(root / "cpu", python, "measured.increment", env)
            found[f"MiB, {name}"] = _pod(root / "memory", python, "measured.unique_kib", env)[1] / 1024
        return found


def printed(python: Path | str, program: str, variant: str, env: Mapping[str, str]) -> Any:
    """Run a variant of a program beside this file; return the JSON value that it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = {**kept, "FLYTE_SDK_LOGGING_LEVEL": "50", **env}
    command = [str(python), str(HERE / program), variant]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(ended.stdout.splitlines()[-1])


def _pod(root: Path, python: Path, task: str, env: Mapping[str, str]) -> tuple[float, int]:
    """Run a pod; return its CPU seconds, user and system, and the integer that its task returns."""
    pod = pods.prepare("execute", root, task, {"value": 0}, env={**env, **WORKFLOWS})
    arguments = [str(python), str(python.with_name("pyflyte-execute")), *pod.arguments[1:]]
    process = subprocess.Popen(
        arguments, env=pod.environment, cwd=pod.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"the pod of {python} exited with {process.returncode}")
    content = (pod.output_prefix / "outputs.pb").read_bytes()
    outputs = pods.Result(0, "", "", {"outputs.pb": content}, {}).outputs
    assert outputs is not None
    return usage.ru_utime + usage.ru_stime, outputs.literals["o0"].scalar.primitive.integer


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
