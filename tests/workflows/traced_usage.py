"""Tasks that use given amounts, and write them as measured by other means to ``used.json`` in their folder.

The tests have two variables: ``PATCHES`` sets constants of modules, and ``GROUPS`` is the folder of the cgroups of this
process.
"""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import atexit
import functools
import importlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from flytekit import Resources, task, workflow

from otel_flyte.tasks import state
from otel_flyte.usage import recorder
from otel_flyte.usage.readers import cgroup

MIB = 2**20
SAMPLING_THREAD = "otel-flyte-usage"

for _target, _value in json.loads(os.environ.get("PATCHES", "{}")).items():
    setattr(importlib.import_module(_target.rpartition(".")[0]), _target.rpartition(".")[2], _value)
if "GROUPS" in os.environ:
    cgroup.find = functools.partial(cgroup.find, Path(os.environ["GROUPS"]))
with suppress(ImportError):
    # Used by the instrumentation of system metrics, if it is installed.
    importlib.import_module("opentelemetry.instrumentation.system_metrics")


def burn(seconds: float) -> None:
    """Use CPU until this thread has used that many more seconds."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its awaited children, as counted by the kernel."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def resident() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def have(mib: int) -> bytearray:
    return bytearray(b"x") * (mib * MIB)


def say(**known: object) -> None:
    with _saying:
        path = Path("used.json")
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**before, **known}))


_saying = threading.Lock()


def measured(work: Callable[[], None]) -> None:
    """Run a function, and write its duration and its usage."""
    began, used = time.monotonic(), cpu_seconds()
    work()
    say(seconds=time.monotonic() - began, cpu=cpu_seconds() - used)


if "BURN_WHEN_LOADED" in os.environ:
    _used = cpu_seconds()
    burn(float(os.environ["BURN_WHEN_LOADED"]))
    say(loaded=cpu_seconds() - _used)


@task(requests=Resources(cpu="50m", mem="100Mi"), limits=Resources(cpu="2", mem="1Gi"))
def work(cpu: float, mib: int, seconds: float) -> int:
    """Use CPU and memory, then wait until the task has run that long."""

    def use() -> None:
        until = time.monotonic() + seconds
        memory = have(mib)
        burn(cpu)
        say(resident=resident(), done_ns=time.time_ns())
        time.sleep(max(0.0, until - time.monotonic()))
        del memory

    measured(use)
    return 1


@task
def be_busy_then_idle(busy: float, idle: float) -> int:
    """Keep a CPU busy for so many seconds, then wait."""
    until = time.monotonic() + busy
    while time.monotonic() < until:
        pass
    say(done_ns=time.time_ns())
    time.sleep(idle)
    return 1


@task(requests=Resources(cpu="1", mem="1Gi", gpu="2"), limits=Resources(cpu="1", mem="1Gi", gpu="2"))
def train(seconds: float) -> int:
    time.sleep(seconds)
    return 1


@task
def tell_modules(seconds: float) -> int:
    """Write the imported modules when the process ends."""
    atexit.register(lambda: say(modules=sorted(name for name in sys.modules if name.startswith("opentelemetry."))))
    time.sleep(seconds)
    return 1


@task
def fail(seconds: float) -> int:
    time.sleep(seconds)
    if seconds:
        raise ValueError("as told")
    return 1


@task
def linger(seconds: float) -> int:
    Path("ready").touch()
    time.sleep(seconds)
    return 1


def _work_in_child(memory: bytearray, seconds: float) -> None:
    burn(0.6)
    time.sleep(seconds)
    memory[0] = 1


@task
def work_in_children(seconds: float) -> int:
    """Run two forked workers that share the task's memory, another program, and one that ends before any sample."""

    def use() -> None:
        memory = have(200)
        subprocess.run([sys.executable, "-S", "-c", "while __import__('time').process_time() < 0.3: pass"], check=True)
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_work_in_child, args=(memory, seconds)) for _ in range(2)]
        for worker in workers:
            worker.start()
        program = f"import time\nwhile time.process_time() < 0.4: pass\ntime.sleep({seconds})"
        spawned = subprocess.Popen([sys.executable, "-S", "-c", program])
        for worker in workers:
            worker.join()
        spawned.wait()
        say(resident=resident())

    measured(use)
    return 1


@task
def be_held_back(seconds: float) -> int:
    """Simulate the kernel in the cgroup of ``GROUPS``: 2 CPU seconds, half a second of throttling, one OOM kill."""
    group = Path(os.environ["GROUPS"]) / "sys/fs/cgroup"
    time.sleep(seconds / 2)
    (group / "memory.current").write_text("667001600\n")
    (group / "memory.peak").write_text("900000000\n")
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\n")
    (group / "cpu.stat").write_text("usage_usec 14345678\nthrottled_usec 3000000\n")
    (group / "cpu.pressure").write_text("some avg10=9.00 avg60=1.00 avg300=0.05 total=5250000\n")
    time.sleep(seconds / 2)
    return 1


@workflow
def work_locally(cpu: float, mib: int, seconds: float) -> int:
    return work(cpu=cpu, mib=mib, seconds=seconds)


@task
def call_inside(seconds: float) -> int:
    """Call a task in the code of another one."""
    work(cpu=0.2, mib=1, seconds=seconds)
    return 1


def overlap(seconds: float) -> None:
    """Run two tasks in two threads at the same time."""
    used = cpu_seconds()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(work, cpu=cpu, mib=1, seconds=seconds) for cpu in (0.2, 0.1)]
    for each in running:
        each.result()
    say(**{f"overlapping for {seconds}": cpu_seconds() - used})


@task
def tell_threads(seconds: float) -> list[str]:
    time.sleep(seconds)
    return thread_names()


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@task
def fork_while_a_sample_is_taken(seconds: float) -> int:
    """End the parent's open spans in a child, with a lock that is never released; return 0 if the child ends."""
    time.sleep(seconds)
    sampling = recorder._recorder
    scope = state.current.get()
    assert sampling is not None
    assert scope is not None
    with sampling.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            scope.close_phase()
            scope.close()
            os._exit(SAMPLING_THREAD in thread_names())
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
