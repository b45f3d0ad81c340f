"""The recommendations for real local runs: what a task found in its process is not its need."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from otel_flyte import ExecutionTree, quantity, semconv
from support import programs

pytestmark = [pytest.mark.newest_only, pytest.mark.skipif(sys.platform != "linux", reason="measured by /proc")]

MIB = 2**20
SCRIPTS = Path(sys.executable).parent

MEMORY = '''
import concurrent.futures, multiprocessing, time

from flytekit import Resources, map_task, task, workflow

KEPT = []


@task
def load() -> int:
    KEPT.append(b"x" * (300 * 2**20))
    time.sleep(1.2)
    return 1


@task(requests=Resources(mem="1Gi"), limits=Resources(mem="1Gi"))
def tiny(number: int) -> int:
    time.sleep(2.2)
    return number


@task
def grow(number: int) -> int:
    memory = b"x" * (100 * 2**20)
    time.sleep(1.2)
    return len(memory) * 0 + number


@task
def brief(number: int) -> int:
    memory = b"x" * (100 * 2**20)
    time.sleep(0.3)
    return len(memory) * 0 + number


@task
def item(number: int) -> int:
    time.sleep(0.6)
    return number


def keep() -> int:
    KEPT.append(b"x" * (150 * 2**20))
    return 1


@task
def work() -> int:
    """Leave idle workers, as joblib does."""
    pool = concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    KEPT.append(pool)
    return sum(each.result() for each in [pool.submit(keep), pool.submit(keep)]) - 1


@workflow
def kept() -> list[int]:
    number = load()
    return map_task(item)(number=[tiny(number=number), grow(number=number)])


@workflow
def briefly_kept() -> int:
    return brief(number=load_at_once())


@task
def load_at_once() -> int:
    KEPT.append(b"x" * (300 * 2**20))
    return 1


@workflow
def workers() -> int:
    return tiny(number=work())


@workflow
def light() -> int:
    return grow(number=grow(number=1))
'''

CPU = '''
import hashlib, os, time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool, Process

from flytekit import Resources, task, workflow

ASKED = Resources(cpu="2")
ONE = {min(os.sched_getaffinity(0))}


def burn(seconds: float) -> None:
    """Use CPU on the same core as all others."""
    os.sched_setaffinity(0, ONE)
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        # Without the lock of the interpreter.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)


@task(requests=ASKED, limits=ASKED)
def processes() -> int:
    with Pool(3) as pool:
        pool.map(burn, [0.9] * 3)
    return 1


@task(requests=ASKED, limits=ASKED)
def threads(number: int) -> int:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(burn, [0.9] * 3))
    return number


@task(requests=ASKED, limits=ASKED)
def idle(number: int) -> int:
    time.sleep(2.5)
    return number


@task(requests=ASKED, limits=ASKED)
def brief() -> int:
    others = [Process(target=burn, args=(0.3,)) for _ in range(3)]
    for other in others:
        other.start()
    allowed = os.sched_getaffinity(0)
    burn(0.15)
    os.sched_setaffinity(0, allowed)
    for other in others:
        other.kill()
    return 1


@workflow
def main() -> int:
    return idle(number=threads(number=processes()))
'''


class Recorded:
    """The recording of a local run: the attributes of its tasks, and their recommendations, by the task's name."""

    def __init__(self, folder: Path, source: str, workflow: str) -> None:
        programs.module(folder, "steps", source)
        self._folder = folder
        self._call("run", "--output", "run.jsonl", "steps.py", workflow)
        self.spans: dict[str, Mapping[str, Any]] = {}
        for span in ExecutionTree.from_file(str(folder / "run.jsonl")).walk():
            self.spans[span.span.name.rpartition(".")[2]] = span.span.attributes
        found = json.loads(self._call("rightsize", "run.jsonl", "--json"))["tasks"]
        self.advice: dict[str, dict[str, Any]] = {each["task"].rpartition(".")[2]: each for each in found}
        self.text = self._call("rightsize", "run.jsonl")
        self.shown = self._call("show", "run.jsonl")

    def _call(self, *arguments: str) -> str:
        # A child begins with the peak of the process that forks it: that of the shell is small.
        done = subprocess.run(
            ["sh", "-c", '"$@"; exit $?', "sh", SCRIPTS / "otel-flyte", *arguments],
            cwd=self._folder,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def memory(attributes: Mapping[str, Any], name: str) -> float:
    return float(attributes[name]) / MIB


class TestMemory:
    def test_memory_that_an_earlier_task_keeps_is_no_need_of_later_tasks(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, MEMORY, "kept")
        tiny, grow = run.spans["tiny"], run.spans["grow"]

        assert memory(tiny, semconv.USAGE_MEMORY_LEFT) == pytest.approx(300, rel=0.15)
        assert memory(tiny, semconv.USAGE_MEMORY_GROWTH) < 60
        assert memory(grow, semconv.USAGE_MEMORY_GROWTH) == pytest.approx(100, rel=0.3)
        assert run.advice["load"]["limits"]["mem"].endswith("Mi")
        assert semconv.USAGE_MEMORY_LEFT not in run.spans["load"]
        for name in ("tiny", "grow"):
            advice = run.advice[name]
            assert ("mem" in advice["limits"], advice["fits"]) == (False, False)
            assert advice["evidence"]["memory_left"] == 1
        assert "note: much of the memory of 1 attempt was in use before, no evidence" in run.text
        assert "MiB from before" in run.shown

    def test_idle_workers_of_an_earlier_task_are_no_need_of_a_later_one(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, MEMORY, "workers")
        assert memory(run.spans["tiny"], semconv.USAGE_MEMORY_LEFT) > 250
        assert "mem" not in run.advice["tiny"]["limits"]

    @pytest.mark.quick
    def test_a_task_of_less_than_a_second_is_not_judged_by_what_it_found(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, MEMORY, "briefly_kept")
        assert memory(run.spans["brief"], semconv.USAGE_MEMORY_LEFT) == pytest.approx(300, rel=0.15)
        assert memory(run.spans["brief"], semconv.USAGE_MEMORY_GROWTH) == pytest.approx(100, rel=0.3)
        assert "mem" not in run.advice["brief"]["limits"]

    def test_the_first_task_of_an_interactive_session_is_not_judged_by_what_it_found(self, tmp_path: Path) -> None:
        # What Python and IPython set at the start of a session.
        run = Recorded(tmp_path, f"import sys\n\nsys.ps1 = '>>> '\n{MEMORY}", "briefly_kept")
        assert semconv.USAGE_MEMORY_LEFT in run.spans["load_at_once"]
        assert [name for name, advice in run.advice.items() if "mem" in advice["limits"]] == []

    def test_a_task_after_one_that_left_little_keeps_its_recommendation(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, MEMORY, "light")
        assert run.advice["grow"]["evidence"]["measured"] == 2
        assert "mem" in run.advice["grow"]["limits"]


class TestCpu:
    def test_a_task_that_waited_for_a_cpu_is_not_advised_less_and_an_idle_one_is(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, CPU, "main")
        for name in ("processes", "threads"):
            span, advice = run.spans[name], run.advice[name]
            assert span[semconv.USAGE_CPU_DELAYED] > span[semconv.USAGE_CPU_TIME]
            assert (advice["requests"]["cpu"], advice["problems"], advice["fits"]) == ("2", ["starved"], False)
        assert run.shown.count(" for a CPU") >= 2
        idle = run.advice["idle"]
        assert run.spans["idle"][semconv.USAGE_CPU_DELAYED] < 0.25
        assert (quantity.cores(idle["limits"]["cpu"]) or 0) < 1
        assert idle["problems"] == []

    @pytest.mark.quick
    def test_a_task_of_less_than_a_second_tells_the_wait_of_its_own_thread(self, tmp_path: Path) -> None:
        run = Recorded(tmp_path, CPU, "brief")
        assert run.spans["brief"][semconv.USAGE_CPU_DELAYED] > 0.15
        assert run.advice["brief"]["problems"] == ["starved"]
