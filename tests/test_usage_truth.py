"""Measured usage of real processes and real cgroups, compared with known usage: within 5 %."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import pytest

from otel_flyte.runtime import cgroups
from otel_flyte.runtime.cgroups import UNIFIED
from otel_flyte.usage.readers import cgroup
from otel_flyte.usage.readers.cgroup import Cgroup, CgroupSample
from otel_flyte.usage.readers.processes import ProcessTree, TreeSample

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(sys.platform != "linux", reason="the known values come from Linux's /proc"),
    pytest.mark.newest_only,
]

MIB = 2**20
TRUE = 0.05

PROGRAM = """
import json, mmap, os, signal, subprocess, sys, time

def say(value=None):
    os.write(1, json.dumps(value).encode() + b"\\n")  # whole, whoever else writes

def wait():
    sys.stdin.readline()

def burn(seconds):
    "Use CPU until the process has used that much more, and print its total."
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return time.process_time()

def have(mib):
    memory = mmap.mmap(-1, mib << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, mib << 20, mmap.PAGESIZE):
        memory[page] = 1
    return memory

def fork(work):
    pid = os.fork()
    if not pid:
        work()
        signal.pause()
    return pid

def end(pids):
    for pid in pids: os.kill(pid, signal.SIGKILL)

def child(seconds):
    "A process that uses CPU, prints its total, and ends."
    source = f"import time\\nwhile time.process_time() < {seconds}: pass\\nprint(time.process_time())"
    return subprocess.Popen([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE)
"""


class Program:
    """A real process that reports each of its steps and then waits for a command to continue."""

    def __init__(self, source: str, group: "Group | None" = None) -> None:
        enter = "".join(
            f"echo $$ > '{folder}/cgroup.procs' && " for folder in (group.folders.values() if group else ())
        )
        command = ["sh", "-c", f'{enter}exec "$@"', "sh", sys.executable, "-c", PROGRAM + source]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid = self._process.pid

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.communicate()

    def report(self) -> Any:
        line = self.stdout.readline()
        assert line, f"the program has ended with {self._process.wait()}"
        return json.loads(line)

    @property
    def stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def go(self) -> Any:
        """Let it continue, and return its next report."""
        self.go_on()
        return self.report()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ended(self) -> int:
        return self._process.wait(30)


# --- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def tree_of(program: Program) -> Iterator[ProcessTree]:
    tree = ProcessTree(pid=program.pid)
    yield tree
    tree.close()


def seconds(sample: TreeSample) -> float:
    assert sample.cpu_seconds is not None
    return sample.cpu_seconds


def resident(sample: TreeSample) -> int:
    assert sample.rss is not None
    return sample.rss


def test_memory_of_a_process_is_measured() -> None:
    with Program("say(); wait(); memory = have(200); say(); wait()") as program, tree_of(program) as tree:
        program.report()
        before = resident(tree.read())
        program.go()

        assert resident(tree.read()) - before == pytest.approx(200 * MIB, rel=TRUE)


def test_memory_of_child_processes_is_measured() -> None:
    source = """
def take():
    global memory
    memory = have(60)
    say()
say(); wait()
pids = [fork(take) for _ in range(3)]
wait(); end(pids)
"""
    with Program(source) as program, tree_of(program) as tree:
        program.report()
        before = resident(tree.read())
        program.go()
        program.report()
        program.report()
        sample = tree.read()
        program.go_on()
        program.ended()

    assert sample.count == 4
    assert resident(sample) - before == pytest.approx(3 * 60 * MIB, rel=TRUE)


def test_memory_shared_by_forked_workers_is_counted_once_like_pss() -> None:
    source = """
memory = have(200)
def take():
    global own
    own = have(20)
pids = [fork(take) for _ in range(4)]
say([os.getpid(), *pids]); wait(); end(pids)
"""
    with Program(source) as program, tree_of(program) as tree:
        tree.read()
        pids = program.report()
        settled = -1
        while settled != (settled := sum(map(_pss, pids))):
            time.sleep(0.2)
        sample = tree.read()
        program.go_on()
        program.ended()

    assert sample.count == 5
    assert resident(sample) == pytest.approx(settled, rel=TRUE)
    assert resident(sample) == pytest.approx((200 + 4 * 20) * MIB, rel=2 * TRUE)


def _pss(pid: int) -> int:
    """Return the bytes of a process, with each page divided by the number of processes that share it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, size = line.partition(":")
        if name == "Pss":
            return int(size.removesuffix("kB")) * 1024
    return pytest.skip("the kernel has no PSS")


def test_cpu_time_of_running_processes_is_added() -> None:
    source = """
pids = [fork(lambda: say(burn(1))) for _ in range(3)]
wait(); end(pids)
"""
    with Program(source) as program, tree_of(program) as tree:
        used = sum(program.report() for _ in range(3))
        sample = tree.read()
        program.go_on()
        program.ended()

    assert seconds(sample) - (sample.user_seconds or 0) - (sample.system_seconds or 0) == pytest.approx(used, rel=TRUE)


def test_ended_children_are_counted_once_with_or_without_earlier_samples() -> None:
    source = """
say(); wait()
seen = child(0.4)
time.sleep(0.2)
say(); wait()
used = float(seen.communicate()[0])
say(used); wait()
unseen = [child(0.3) for _ in range(2)]
say(sum(float(process.communicate()[0]) for process in unseen)); wait()
"""
    with Program(source) as program, tree_of(program) as tree:
        program.report()
        start = seconds(tree.read())
        program.go()
        assert tree.read().count == 2
        seen = program.go()
        after_seen = seconds(tree.read())
        unseen = program.go()
        after_all = seconds(tree.read())

    own = 0.05
    """Seconds that the program itself needs to start them."""
    assert seen * (1 - TRUE) <= after_seen - start <= seen * (1 + TRUE) + own
    assert unseen * (1 - TRUE) <= after_all - after_seen <= unseen * (1 + TRUE) + own


def test_children_that_no_process_waits_for_are_counted_once() -> None:
    source = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
pids = [fork(lambda: say(burn(0.9))) for _ in range(2)]
wait(); end(pids)
while any(os.path.exists(f"/proc/{pid}") for pid in pids): time.sleep(0.01)
say(time.process_time()); wait()
"""
    with Program(source) as program, tree_of(program) as tree:
        used = program.report() + program.report()
        tree.read()
        used += program.go()
        sample = tree.read()

    assert sample.count == 1
    assert seconds(sample) == pytest.approx(used, rel=TRUE)


def test_a_child_is_counted_after_the_end_of_its_parent_and_after_its_own() -> None:
    source = """
say(); wait()
def orphan():
    parent = os.getppid()
    while os.getppid() == parent: time.sleep(0.01)
    say([os.getpid(), burn(1.2)])
def middle():
    fork(orphan)
    say(burn(0.6))
parent = fork(middle)
wait()
end([parent]); os.waitpid(parent, 0)
wait()
say(time.process_time()); wait()
"""
    with Program(source) as program, tree_of(program) as tree:
        program.report()
        tree.read()
        used = program.go()
        assert tree.read().count == 3
        program.go_on()
        orphan, orphans = program.report()
        used += orphans
        assert tree.read().count == 2
        os.kill(orphan, 9)
        while Path(f"/proc/{orphan}").exists():
            time.sleep(0.01)
        used += program.go()
        sample = tree.read()

    assert sample.count == 1
    assert seconds(sample) == pytest.approx(used, rel=TRUE)


def test_processes_that_start_and_end_during_a_read_are_counted_once() -> None:
    source = """
import resource
def branch():
    for _ in range(4):
        pid = os.fork()
        if not pid:
            burn(0.015)
            os._exit(0)
        os.waitpid(pid, 0)
    os._exit(0)
say(); wait()
for _ in range(20): fork(branch)
for _ in range(20): os.wait()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
say(sum(one.ru_utime + one.ru_stime for one in used)); wait()
"""
    with Program(source) as program, tree_of(program) as tree:
        program.report()
        before = seconds(tree.read())
        program.go_on()
        readings = [before]
        while not select.select([program.stdout], [], [], 0)[0]:
            readings.append(seconds(tree.read()))
        used = program.report()
        readings.append(seconds(tree.read()))

    assert len(readings) > 50
    assert readings == sorted(readings)
    assert readings[-1] == pytest.approx(used, rel=TRUE)


def test_bytes_written_to_storage_include_those_of_ended_children(tmp_path: Path) -> None:
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("the folder for temporary files is on no block device")
    source = f"""
say(); wait()
if not os.fork():
    with open({str(tmp_path / "file")!r}, "wb") as file:
        for _ in range(20): file.write(bytes(1 << 20))
        file.flush(); os.fsync(file.fileno())
    os._exit(0)
os.wait()
say(); wait()
"""
    with Program(source) as program, tree_of(program) as tree:
        program.report()
        before = tree.read().io_write
        program.go()
        after = tree.read().io_write

    if before is None or after is None:
        pytest.skip("the kernel does not count the bytes of processes")
    assert after - before == pytest.approx(20 * MIB, rel=TRUE)


# --- cgroups ---------------------------------------------------------------------------------------------------------


class Group:
    """A cgroup of this test, in each hierarchy with CPU or memory."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders

    def limit_memory(self, limit: int) -> None:
        self._write(("memory", "memory.limit_in_bytes", str(limit)), ("memory.max", str(limit)))
        for folder in self.folders.values():
            with suppress(OSError):
                (folder / "memory.swap.max").write_text("0")

    def limit_cpu(self, quota_us: int) -> None:
        self._write(("cpu", "cpu.cfs_quota_us", str(quota_us)), ("cpu.max", f"{quota_us} 100000"))

    def _write(self, first: tuple[str, str, str], second: tuple[str, str]) -> None:
        controller, name, value = first if first[0] in self.folders else (UNIFIED, *second)
        try:
            (self.folders[controller] / name).write_text(value)
        except OSError as error:
            pytest.skip(f"cgroups cannot have limits here: {error}")


@contextmanager
def made(tops: dict[str, Path]) -> Iterator[Group]:
    if not tops:
        pytest.skip("this machine has no such cgroups")
    folders = {controller: top / f"otel-flyte-usage-{os.getpid()}" for controller, top in tops.items()}
    try:
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
    except OSError as error:
        pytest.skip(f"no cgroup can be created here: {error}")
    yield Group(folders)
    for folder in set(folders.values()):
        _remove(folder)


@pytest.fixture
def visible() -> dict[str, Path]:
    """The root of each hierarchy, by controller."""
    return {controller: Path(folder.top) for controller, folder in cgroups.find().items()}


@pytest.fixture
def group(visible: dict[str, Path]) -> Iterator[Group]:
    """A cgroup with CPU and memory, of the version that this machine has."""
    tops = {controller: top for controller, top in visible.items() if controller in {"memory", "cpu", "cpuacct"}}
    if not tops and UNIFIED in visible:
        tops = {UNIFIED: visible[UNIFIED]}
        try:
            (tops[UNIFIED] / "cgroup.subtree_control").write_text("+cpu +memory")
        except OSError as error:
            pytest.skip(f"cgroups cannot have CPU and memory here: {error}")
    with made(tops) as group:
        yield group


@pytest.fixture(params=[("cpu", "cpuacct"), (UNIFIED,)], ids=["version 1", "version 2"])
def cpu_group(request: pytest.FixtureRequest, visible: dict[str, Path]) -> Iterator[Group]:
    """A cgroup that counts CPU time. Version 2 needs no controller for this, even beside version 1."""
    with made({controller: visible[controller] for controller in request.param if controller in visible}) as group:
        yield group


def _remove(folder: Path) -> None:
    """Remove a cgroup as soon as its processes have ended."""
    for _ in range(100):
        try:
            return folder.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    return folder.rmdir()


def found(program: Program) -> Cgroup:
    found = cgroup.find(pid=program.pid)
    assert found is not None
    return found


def test_memory_of_a_cgroup_is_in_its_resident_memory_and_its_working_set(group: Group) -> None:
    with Program("say(); wait(); memory = have(200); say(); wait()", group) as program:
        program.report()
        reader = found(program)
        before = reader.read()
        program.go()
        after = reader.read()

    assert _more(before.rss, after.rss) == pytest.approx(200 * MIB, rel=TRUE)
    assert _more(before.working_set, after.working_set) == pytest.approx(200 * MIB, rel=TRUE)
    assert _more(before.memory_current, after.memory_current) == pytest.approx(200 * MIB, rel=TRUE)


def test_a_read_file_is_in_the_memory_of_a_cgroup_but_not_in_its_working_set(group: Group, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(bytes(MIB))
        file.flush()
        os.fsync(file.fileno())
        # The page cache is counted for the cgroup that has read the file first.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    source = f"""
say(); wait()
with open({str(path)!r}, "rb", buffering=0) as file:
    while file.read(1 << 20): pass
say(); wait()
"""
    with Program(source, group) as program:
        program.report()
        reader = found(program)
        before = reader.read()
        program.go()
        after = reader.read()
        peak = reader.memory_peak()

    if _more(before.memory_current, after.memory_current) < 50 * MIB:
        pytest.skip("the folder for temporary files has no page cache of its own")
    assert _more(before.memory_current, after.memory_current) == pytest.approx(100 * MIB, rel=TRUE)
    assert abs(_more(before.working_set, after.working_set)) < 100 * MIB * TRUE
    assert peak is None or peak >= 100 * MIB


def test_the_cpu_time_of_a_cgroup_includes_ended_processes(cpu_group: Group) -> None:
    source = "say(); wait(); say(burn(0.4) + sum(float(child(0.4).communicate()[0]) for _ in range(2))); wait()"
    with Program(source, cpu_group) as program:
        program.report()
        reader = found(program)
        before = reader.read().cpu_seconds
        used = program.go()
        after = reader.read().cpu_seconds

    assert before is not None
    assert after is not None
    assert after == pytest.approx(used, abs=used * TRUE + 0.05)
    assert after > before


def test_a_cgroup_with_a_quota_has_its_cores_and_its_throttled_time(group: Group) -> None:
    group.limit_cpu(20_000)
    with Program("say(); burn(60)", group) as program:
        program.report()
        reader = found(program)
        assert reader.limits().cpu == 0.2
        time.sleep(0.3)
        begun, before = time.monotonic(), reader.read()
        time.sleep(3)
        ended, after = time.monotonic(), reader.read()

    assert before.cpu_seconds is not None
    assert after.cpu_seconds is not None
    assert before.throttled_seconds is not None
    assert after.throttled_seconds is not None
    assert (after.cpu_seconds - before.cpu_seconds) / (ended - begun) == pytest.approx(0.2, rel=TRUE)
    assert after.throttled_seconds > before.throttled_seconds


def test_an_oom_killed_process_is_counted(group: Group) -> None:
    group.limit_memory(64 * MIB)
    with Program("say(); wait(); have(256)", group) as program:
        program.report()
        reader = found(program)
        assert reader.limits().memory == 64 * MIB
        assert reader.read().oom_kills == 0
        program.go_on()
        assert program.ended() == -9

        assert reader.read().oom_kills == 1


def test_a_removed_cgroup_has_missing_values_and_no_error(group: Group) -> None:
    with Program("say(); wait()", group) as program:
        program.report()
        reader = found(program)
        assert reader.read().memory_current is not None
        program.go_on()
        program.ended()
    for folder in set(group.folders.values()):
        _remove(folder)

    assert reader.read() == CgroupSample()


def _more(before: int | None, after: int | None) -> int:
    assert before is not None
    assert after is not None
    return after - before
