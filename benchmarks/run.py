"""Every figure of the README's table, in one run: `python benchmarks/run.py [ROUNDS]`.

Ratios, not times: each round runs all variants one after the other, each in a process of its own, and the figure is the
median of the rounds' ratios. Telemetry is delivered over HTTP to a receiver on this machine. "Bare" is an environment
with flytekit alone; everything else runs in one with otel-flyte and all that it requires.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "workflows")]

import environments  # noqa: E402  # found beside this file, as the next
import turns  # noqa: E402
from turns import NOTHING, Variant  # noqa: E402

from support import pods  # noqa: E402  # found in the tests
from support.receiver import Receiver  # noqa: E402

Figures = dict[str, float]
WORKFLOWS = {"PYTHONPATH": str(HERE / "workflows")}
TURNS = 20
"""Turns of each variant of a dispatch in a round."""


def main(rounds: int) -> None:
    """Print the table as Markdown."""
    with Receiver() as receiver, tempfile.TemporaryDirectory() as folder:
        sample = _Samples(Path(folder), receiver)
        # The first round fills caches, and is left out.
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
            "CPU of the sending thread for the spans of a dispatch, over the SDK's",
            ratio(lambda each: each["ours, sending"] / each["by hand, sending"]),
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

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self._folder = folder
        self._bare, self._ours = environments.create(folder)
        self._endpoint = receiver.environment("http/protobuf")

    def round(self, number: int) -> Figures:
        """Return the figures of all variants, by name."""
        found = self._dispatches()
        for side, name in (("ours", "many"), ("stock", "many, stock")):
            found[name] = json.loads(turns.started(self._ours, "many_spans.py", side, self._endpoint).communicate()[0])
        for name, python, env in (
            ("bare pod", self._bare, NOTHING),
            ("pod", self._ours, NOTHING),
            ("pod, HTTP", self._ours, self._endpoint),
        ):
            root = self._folder / f"{number}-{name}"
            found[name], _ = _pod(root / "cpu", python, "measured.increment", env)
            found[f"MiB, {name}"] = _pod(root / "memory", python, "measured.unique_kib", env)[1] / 1024
        return found

    def _dispatches(self) -> Figures:
        """Return the times of a dispatch by variant, and those of the sending threads."""
        variants = {
            "bare": Variant("bare", self._bare),
            "unconfigured": Variant("unconfigured", self._ours),
            "by hand": Variant("by hand", self._ours, self._endpoint),
            "ours": Variant("ours", self._ours, self._endpoint),
            "their provider": Variant("their provider", self._ours, self._endpoint),
        }
        times = turns.take(variants, TURNS)
        calling = {name: each.calling for name, each in times.items()}
        return calling | {f"{name}, sending": each.sending for name, each in times.items()}


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
