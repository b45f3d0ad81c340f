"""The usage of a process tree, from a recorded ``/proc`` with exact values, and from real processes."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_flyte.usage.readers import processes, run_queue
from otel_flyte.usage.readers.files import KernelFile
from otel_flyte.usage.readers.processes import ProcessTree, TreeSample
from otel_flyte.usage.sample import peak_mark

pytestmark = pytest.mark.quick

RECORDED = Path(__file__).parent / "fixtures" / "proc"
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

ROOT, WORKER, PROGRAM, GRANDCHILD, ZOMBIE, NEIGHBOUR = 100, 101, 102, 103, 104, 900
OWN = {ROOT: 1500, WORKER: 420, PROGRAM: 15, GRANDCHILD: 2, ZOMBIE: 7}
WAITED = {ROOT: 60, WORKER: 0, PROGRAM: 5, GRANDCHILD: 0, ZOMBIE: 0}
ALL = sum(OWN.values()) + sum(WAITED.values())

USER, SYSTEM, WAITED_USER, PARENT, THREADS, BORN, RESIDENT, CODE = 14, 15, 16, 4, 20, 22, 24, 26
"""Fields of ``/proc/PID/stat``, counted from 1."""


class Table:
    """A process table that a test can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = shutil.copytree(RECORDED, folder / "proc")

    def set(self, pid: int, fields: dict[int, int]) -> None:
        path = self.folder / str(pid) / "stat"
        name, _, rest = path.read_text().rpartition(") ")
        values = rest.split()
        for field, value in fields.items():
            values[field - 3] = str(value)
        path.write_text(f"{name}) {' '.join(values)}\n")

    def memory(self, pid: int, resident: int, shared: int) -> None:
        self.set(pid, {RESIDENT: resident})
        (self.folder / str(pid) / "statm").write_text(f"200000 {resident} {shared} 0 0 0 0\n")

    def end(self, *pids: int) -> None:
        for pid in pids:
            shutil.rmtree(self.folder / str(pid))

    def fork(self, pid: int, parent: int, user: int = 0, anonymous: int = 0) -> None:
        shutil.copytree(RECORDED / str(WORKER), self.folder / str(pid))
        self.set(pid, {PARENT: parent, BORN: 8000 + pid, USER: user, SYSTEM: 0})
        self.memory(pid, anonymous, 0)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


@pytest.fixture
def tree(table: Table) -> Iterator[ProcessTree]:
    tree = ProcessTree(table.folder, ROOT)
    yield tree
    tree.close()


def ticks(sample: TreeSample) -> int:
    assert sample.cpu_seconds is not None
    return round(sample.cpu_seconds / TICK)


def resident(sample: TreeSample) -> int:
    assert sample.rss is not None
    return sample.rss


# --- reading ---------------------------------------------------------------------------------------------------------


def test_reads_of_kernel_files_do_not_release_the_gil() -> None:
    file = KernelFile("/proc/self/stat" if Path("/proc/self/stat").exists() else __file__, at_once=True)
    assert file.read()
    turns, ended = 0, threading.Event()

    def turn() -> None:
        nonlocal turns
        while not ended.is_set():
            turns += 1
            time.sleep(0)

    thread = threading.Thread(target=turn)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        thread.start()
        before = turns
        for _ in range(20_000):
            file.read()
        after = turns
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        thread.join()
        file.close()

    assert after == before


def test_a_descriptor_closed_by_other_code_is_opened_again() -> None:
    file = KernelFile("/dev/null", at_once=True)
    assert file.read() == b""
    assert file._descriptor is not None
    os.close(file._descriptor)

    assert file.read() is None
    assert file.read() == b""
    file.close()


# --- CPU time --------------------------------------------------------------------------------------------------------


def test_a_tree_has_the_values_of_exactly_its_processes(tree: ProcessTree) -> None:
    sample = tree.read()

    assert ticks(sample) == ALL
    # The worker is a fork: it shares all of its 75,000 anonymous pages with the root, which has 80,000.
    assert sample == TreeSample(
        cpu_seconds=sample.cpu_seconds,
        user_seconds=1200 * TICK,
        system_seconds=300 * TICK,
        rss=(100000 + 500 + 100) * PAGE,
        own_rss=100000 * PAGE,
        own_virtual=200000 * PAGE,
        count=4,
        io_read=4096000 + 1024,
        io_write=8192 + 4096,
    )


def test_a_tree_lists_its_process_ids(tree: ProcessTree) -> None:
    tree.read()
    assert set(tree.pids()) == {ROOT, WORKER, PROGRAM, GRANDCHILD, ZOMBIE}


def test_the_time_of_an_awaited_child_is_counted_once(table: Table, tree: ProcessTree) -> None:
    tree.read()
    # It had used 3 more ticks after its last sample.
    table.end(WORKER)
    table.set(ROOT, {WAITED_USER: 50 + 420 + 3})

    assert ticks(tree.read()) == ALL + 3
    assert ticks(tree.read()) == ALL + 3


def test_the_time_of_a_child_without_a_wait_is_kept(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(WORKER)
    table.set(ROOT, {USER: 1200 + 100})

    assert ticks(tree.read()) == ALL + 100


def test_one_of_two_ended_children_is_awaited(table: Table, tree: ProcessTree) -> None:
    table.fork(110, ROOT, user=50)
    tree.read()
    table.end(WORKER, 110)
    table.set(ROOT, {WAITED_USER: 50 + 420})

    assert ticks(tree.read()) == ALL + 50


def test_children_never_sampled_are_counted_once_they_are_awaited(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.set(ROOT, {WAITED_USER: 50 + 1000})

    assert ticks(tree.read()) == ALL + 1000


def test_a_branch_that_ends_at_once_and_is_awaited_is_counted_once(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(PROGRAM, GRANDCHILD, ZOMBIE)
    branch = OWN[PROGRAM] + WAITED[PROGRAM] + OWN[GRANDCHILD] + OWN[ZOMBIE]
    table.set(ROOT, {WAITED_USER: 50 + branch})

    assert ticks(tree.read()) == ALL


def test_children_that_their_ended_parent_did_not_await_are_kept(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(PROGRAM, GRANDCHILD, ZOMBIE)
    # The program was awaited, but it had not awaited its own children.
    table.set(ROOT, {WAITED_USER: 50 + OWN[PROGRAM] + WAITED[PROGRAM]})

    assert ticks(tree.read()) == ALL


def test_a_child_whose_parent_ended_first_is_kept_with_its_descendants(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(PROGRAM, ZOMBIE)
    table.set(GRANDCHILD, {PARENT: 1, USER: 1 + 200})
    table.fork(110, GRANDCHILD, user=30)
    table.set(ROOT, {WAITED_USER: 50 + OWN[PROGRAM] + WAITED[PROGRAM] + OWN[ZOMBIE]})
    assert ticks(tree.read()) == ALL + 200 + 30

    # Process 1 awaits it.
    table.end(GRANDCHILD, 110)
    assert ticks(tree.read()) == ALL + 200 + 30


def test_a_child_adopted_and_awaited_by_the_root_process_is_counted_once(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(PROGRAM, ZOMBIE)
    table.set(GRANDCHILD, {PARENT: ROOT})
    table.set(ROOT, {WAITED_USER: 50 + OWN[PROGRAM] + WAITED[PROGRAM] + OWN[ZOMBIE]})
    assert ticks(tree.read()) == ALL

    table.end(GRANDCHILD)
    table.set(ROOT, {WAITED_USER: 50 + OWN[PROGRAM] + WAITED[PROGRAM] + OWN[ZOMBIE] + OWN[GRANDCHILD]})
    assert ticks(tree.read()) == ALL


def wait_for_cpu(table: Table, pid: int, user: int, **threads: float) -> None:
    """Set the CPU time of a process, and the seconds for which each of its threads has waited for a CPU."""
    table.set(pid, {USER: user, THREADS: len(threads)})
    tasks = table.folder / str(pid) / "task"
    for ended in set(tasks.glob("*")) - {tasks / thread for thread in threads}:
        shutil.rmtree(ended)
    for thread, seconds in threads.items():
        (tasks / thread).mkdir(parents=True, exist_ok=True)
        (tasks / thread / "schedstat").write_text(f"114113 {round(seconds * 1e9)} 2\n")


def test_the_time_without_a_cpu_is_that_of_all_threads(table: Table, tree: ProcessTree) -> None:
    wait_for_cpu(table, ROOT, 1, t1=1.0, t2=2.0)
    assert tree.read().delayed_seconds == pytest.approx(3)

    wait_for_cpu(table, ROOT, 2, t1=1.5, t2=2.0, t3=4.0)
    assert tree.read().delayed_seconds == pytest.approx(7.5)


def test_the_time_without_a_cpu_of_an_ended_thread_is_kept(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of an ended thread can't be read again; one that is removed here could, if it stayed open.
    monkeypatch.setattr(run_queue, "_HELD", 0)
    tree = ProcessTree(table.folder, ROOT)
    wait_for_cpu(table, ROOT, 1, t1=1.0, t2=2.0)
    tree.read()
    wait_for_cpu(table, ROOT, 2, t1=1.5)
    assert tree.read().delayed_seconds == pytest.approx(3.5)

    # As many as before, but another one.
    wait_for_cpu(table, ROOT, 3, t3=0.25)
    assert tree.read().delayed_seconds == pytest.approx(3.75)
    tree.close()


def test_the_time_without_a_cpu_of_an_ended_process_is_kept(table: Table, tree: ProcessTree) -> None:
    wait_for_cpu(table, ROOT, 1, t1=1.0)
    wait_for_cpu(table, WORKER, 1, t1=5.0)
    assert tree.read().delayed_seconds == pytest.approx(6)

    table.end(WORKER)
    assert tree.read().delayed_seconds == pytest.approx(6)
    assert tree.read().delayed_seconds == pytest.approx(6)


def test_the_time_without_a_cpu_is_unknown_to_some_kernels(table: Table, tree: ProcessTree) -> None:
    assert tree.read().delayed_seconds is None
    wait_for_cpu(table, ROOT, 1, t1=1.0)
    (table.folder / str(ROOT) / "task" / "t1" / "schedstat").write_text("0 x 0")
    assert tree.read().delayed_seconds is None


def test_a_reused_process_id_is_another_process(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.set(WORKER, {BORN: 9999, USER: 2, SYSTEM: 0})
    table.set(ROOT, {WAITED_USER: 50 + 420})

    assert ticks(tree.read()) == ALL + 2


def test_a_process_that_ends_during_the_read_is_counted_once(
    table: Table, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_HELD", 0)
    tree.read()
    # It is listed but cannot be read, and its parent's time of awaited children includes it.
    (table.folder / str(WORKER) / "stat").unlink()
    table.set(ROOT, {WAITED_USER: 50 + 420})
    assert ticks(tree.read()) == ALL

    table.end(WORKER)
    assert ticks(tree.read()) == ALL


def test_bytes_of_an_ended_process_are_counted_once(table: Table, tree: ProcessTree) -> None:
    before = tree.read()
    table.end(WORKER)
    table.set(ROOT, {WAITED_USER: 50 + 420})
    io = table.folder / str(ROOT) / "io"
    io.write_text(io.read_text().replace("write_bytes: 8192\nc", "write_bytes: 12288\nc"))
    assert tree.read().io_write == before.io_write == 12288

    table.end(PROGRAM, GRANDCHILD, ZOMBIE)
    assert tree.read().io_read == before.io_read


def test_unreadable_byte_counts_are_missing_values(table: Table) -> None:
    (table.folder / str(ROOT) / "io").unlink()
    tree = ProcessTree(table.folder, ROOT)

    assert (tree.read().io_read, tree.read().io_write) == (None, None)


# --- lists of processes ----------------------------------------------------------------------------------------------


def test_processes_are_listed_again_only_after_a_new_process(table: Table) -> None:
    news = table.folder / "loadavg"
    news.write_text("0.20 0.18 0.12 1/80 5000\n")
    tree = ProcessTree(table.folder, ROOT)
    before = tree.read().count
    assert before

    table.fork(5001, ROOT)
    assert tree.read().count == before
    news.write_text("0.20 0.18 0.12 1/80 5001\n")
    assert tree.read().count == before + 1


def test_processes_are_found_without_the_kernels_last_process_id(table: Table) -> None:
    # The format of gVisor.
    (table.folder / "loadavg").write_text("0.00 0.00 0.00 0/0 0\n")
    tree = ProcessTree(table.folder, ROOT)
    before = tree.read().count
    assert before

    table.fork(5001, ROOT)
    assert tree.read().count == before + 1


# --- memory ----------------------------------------------------------------------------------------------------------


def test_shared_memory_of_forks_is_counted_once_and_private_memory_is_added(table: Table, tree: ProcessTree) -> None:
    for worker in range(110, 118):
        table.fork(worker, ROOT, anonymous=80000)
    before = resident(tree.read())
    assert before == (100000 + 500 + 100) * PAGE

    for worker in range(110, 118):
        table.memory(worker, 80000 + 10, 0)
    assert resident(tree.read()) == before + 8 * 10 * PAGE


def test_memory_freed_by_the_parent_and_kept_by_forks_is_counted_once(table: Table, tree: ProcessTree) -> None:
    for worker in (110, 111):
        table.fork(worker, ROOT, anonymous=80000)
    before = resident(tree.read())
    table.memory(ROOT, 100000 - 50000, 20000)
    table.end(110)
    assert resident(tree.read()) == before - 50000 * PAGE + 50000 * PAGE

    table.end(111, WORKER)
    assert resident(tree.read()) == before - 50000 * PAGE


def test_a_fork_that_becomes_another_program_shares_nothing(table: Table, tree: ProcessTree) -> None:
    before = resident(tree.read())
    table.set(WORKER, {CODE: 12345})
    table.memory(WORKER, 3000, 1000)

    assert resident(tree.read()) == before + 2000 * PAGE


# --- gaps ------------------------------------------------------------------------------------------------------------


def test_an_ended_process_has_only_its_cpu_time(table: Table, tree: ProcessTree) -> None:
    tree.read()
    table.end(ROOT, WORKER, PROGRAM, GRANDCHILD, ZOMBIE)

    sample = tree.read()
    assert ticks(sample) == ALL
    assert sample == TreeSample(cpu_seconds=sample.cpu_seconds, rss=0, count=0)


def test_a_process_that_never_existed_has_no_values(table: Table) -> None:
    assert ProcessTree(table.folder, 4_000_000).read() == TreeSample()


def test_a_missing_process_table_has_no_values(table: Table, tree: ProcessTree) -> None:
    shutil.rmtree(table.folder)

    assert tree.read() == TreeSample()


def test_invalid_lines_are_missing_values(table: Table) -> None:
    (table.folder / str(WORKER) / "stat").write_bytes(b"\xff) S x")
    (table.folder / str(PROGRAM) / "statm").write_bytes(b"x")
    (table.folder / str(ROOT) / "io").write_bytes(b"read_bytes: x")
    sample = ProcessTree(table.folder, ROOT).read()

    assert (sample.count, sample.own_rss, sample.io_read) == (1, 100000 * PAGE, None)


# --- processes of this machine ---------------------------------------------------------------------------------------


def test_the_number_of_descriptors_is_bounded_for_many_processes() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the descriptors of a process cannot be listed here")
    others = ProcessTree().read().count or 0
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(40)]
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        tree = ProcessTree()
        assert tree.read().count == others + 40
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 4 * 16 + 8
        tree.close()
        assert len(list(Path("/proc/self/fd").iterdir())) == before
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_a_program_that_closes_all_descriptors_is_still_read() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the descriptors of a process cannot be listed here")
    closing = """
import os
from otel_flyte.usage.readers.processes import ProcessTree
tree = ProcessTree()
tree.read()
os.closerange(3, 100)
sample = tree.read()
print(sample.count, sample.cpu_seconds > 0, sample.own_rss > 0)
"""
    ended = subprocess.run([sys.executable, "-c", closing], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["1", "True", "True"]


def test_an_exhausted_descriptor_limit_causes_only_temporary_missing_values(
    table: Table, tree: ProcessTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_HELD", 0)
    tree.read()
    stats = [table.folder / str(pid) / "stat" for pid in (WORKER, PROGRAM)]
    for stat in stats:
        stat.rename(stat.with_name("stat that can't be opened"))
    assert tree.read().count == 2
    for stat in stats:
        stat.with_name("stat that can't be opened").rename(stat)

    sample = tree.read()
    assert sample.count == 4
    assert ticks(sample) == ALL


def test_psutil_has_the_same_values_without_proc(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    tree = ProcessTree(tmp_path / "not there")
    first = tree.read()
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    second = tree.read()
    child.communicate(b"\n")
    third = tree.read()

    assert first.cpu_seconds is not None
    assert second.cpu_seconds is not None
    assert third.cpu_seconds is not None
    assert first.count is not None
    assert (second.count, third.count) == (first.count + 1, first.count)
    assert second.cpu_seconds - first.cpu_seconds >= 0.3 - 3 * TICK
    assert third.cpu_seconds >= second.cpu_seconds
    assert third.own_rss is not None
    assert third.own_rss > 2**20


def test_the_peak_is_in_bytes() -> None:
    sample = ProcessTree().read()
    assert sample.own_rss is not None

    assert (peak_mark() or 0) >= sample.own_rss * 0.95
