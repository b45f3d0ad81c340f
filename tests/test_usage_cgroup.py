"""The usage and limits of a cgroup, read from recorded trees of files with exact values."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from otel_flyte import semconv
from otel_flyte.usage.readers import cgroup, host
from otel_flyte.usage.readers.cgroup import Cgroup, CgroupLimits, CgroupSample
from otel_flyte.usage.readers.files import KernelFile
from otel_flyte.usage.sources import Sources

pytestmark = pytest.mark.quick

RECORDED = Path(__file__).parent / "fixtures" / "cgroup"


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def find(name: str) -> Cgroup:
    found = cgroup.find(RECORDED / name)
    assert found is not None
    return found


SAMPLES = {
    "v2_pod": CgroupSample(
        cpu_seconds=12.345678,
        throttled_seconds=2.5,
        pressure_seconds=4.0,
        memory_current=367001600,
        working_set=367001600 - 157286400,
        rss=104861696,
        oom_kills=1,
        io_read=1048576 + 4096,
        io_write=2097152,
    ),
    "v2_session": CgroupSample(cpu_seconds=4.0, memory_current=1000000, working_set=0, rss=500000, oom_kills=0),
    "v1_pod": CgroupSample(
        cpu_seconds=73.123456789,
        throttled_seconds=1.23456789,
        memory_current=314576896,
        working_set=314576896 - 115343360,
        rss=104857600,
        oom_kills=3,
        io_read=8192 + 100,
        io_write=4096,
    ),
    "hybrid": CgroupSample(
        cpu_seconds=2.5, throttled_seconds=0.0, memory_current=1000, working_set=300, rss=600, oom_kills=0
    ),
    "nested": CgroupSample(cpu_seconds=1.5, throttled_seconds=0.0, memory_current=5000, working_set=4000, rss=3000),
}
SAMPLES["v1_docker"] = SAMPLES["v1_pod"]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_usage_of_a_cgroup_is_that_of_the_kernel(name: str) -> None:
    assert find(name).read() == SAMPLES[name]


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("v2_pod", CgroupLimits(cpu=1.5, memory=2147483648)),
        ("v2_session", CgroupLimits(cpu=3.0, memory=8589934592)),
        ("v1_pod", CgroupLimits(cpu=None, memory=1073741824)),
        ("v1_docker", CgroupLimits(cpu=0.25, memory=536870912)),
        ("hybrid", CgroupLimits(cpu=None, memory=2000)),
        ("nested", CgroupLimits(cpu=2.0, memory=700000000)),
    ],
)
def test_the_limit_is_the_minimum_of_the_cgroup_and_its_ancestors(name: str, limits: CgroupLimits) -> None:
    assert find(name).limits() == limits


def test_a_memory_limit_above_that_of_the_machine_is_ignored(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{16384000 * 1024}\n")
    found = cgroup.find(tmp_path)

    assert found is not None
    assert found.limits() == CgroupLimits(cpu=1.5, memory=None)


@pytest.mark.parametrize(
    ("name", "is_container"),
    [
        ("v2_pod", True),
        ("v1_pod", True),
        ("v1_docker", True),
        ("hybrid", True),
        ("v2_session", False),
        ("nested", False),
    ],
)
def test_a_container_is_distinguished_from_a_session_and_from_a_part_of_a_container(
    name: str, is_container: bool
) -> None:
    assert find(name).is_container is is_container


CONTAINERS = [
    "/kubepods/besteffort/pod7f0/" + "9c" * 32,
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-" + "9c" * 32 + ".scope",
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/crio-" + "9c" * 32 + ".scope",
    "/docker/" + "9c" * 32,
    "/system.slice/docker-" + "9c" * 32 + ".scope",
    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + "9c" * 32 + ".scope/container",
    "/machine.slice/libpod-" + "9c" * 32 + ".scope",
    "/ecs/0123456789abcdef/9c",
    "/lxc/worker",
    "/lxc.payload.worker",
    "/default/" + "9c" * 32,
]
NO_CONTAINERS = [
    "/user.slice/user-1000.slice/session-2.scope",
    "/system.slice/docker.service",
    "/system.slice/containerd.service",
    "/system.slice/kubelet.service",
    "/machine.slice/libpod-conmon-" + "9c" * 32 + ".scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-docker-desktop.scope",
    "/system.slice/slurmstepd.scope/job_12/step_0/user/task_0",
]


@pytest.mark.parametrize(
    ("group", "is_container"),
    [*((group, True) for group in CONTAINERS), *((group, False) for group in NO_CONTAINERS)],
)
def test_a_container_is_recognised_by_its_path_if_the_hosts_cgroups_are_visible(
    group: str, is_container: bool, tmp_path: Path
) -> None:
    shutil.copytree(RECORDED / "v2_root", tmp_path, dirs_exist_ok=True)
    (tmp_path / "proc/self/cgroup").write_text(f"0::{group}\n")
    folder = tmp_path / f"sys/fs/cgroup{group}"
    folder.mkdir(parents=True)
    for name in ("cgroup.events", "memory.current"):
        (folder / name).write_text("1\n")
    found = cgroup.find(tmp_path)

    assert found is not None
    assert found.is_container is is_container


def test_a_cgroup_without_memory_accounting_is_not_a_container(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    (tmp_path / "sys/fs/cgroup/memory.current").unlink()
    found = cgroup.find(tmp_path)

    assert found is not None
    assert not found.is_container
    assert found.read().cpu_seconds == 12.345678
    assert found.read().memory_current is None


@pytest.mark.parametrize("name", ["none", "v2_root", "not there"])
def test_the_root_cgroup_of_the_machine_is_ignored(name: str) -> None:
    assert cgroup.find(RECORDED / name) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_an_ended_process_has_no_cgroup() -> None:
    assert cgroup.find(pid=2**22 + 1) is None


def test_the_peak_of_memory_is_the_mark_of_the_kernel() -> None:
    assert find("v2_pod").memory_peak() == 524288000
    assert find("v1_pod").memory_peak() == 400000000
    assert find("hybrid").memory_peak() is None


def test_a_path_outside_of_the_namespace_is_ignored(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    mounts = tmp_path / "proc/self/mountinfo"
    mounts.write_text(mounts.read_text().replace(" / /sys/fs/cgroup ", " /../.. /sys/fs/cgroup "))

    assert cgroup.find(tmp_path) is None


def test_a_cgroup_without_files_has_missing_values_and_no_error(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v1_docker", tmp_path, dirs_exist_ok=True)
    found = cgroup.find(tmp_path)
    assert found is not None
    shutil.rmtree(tmp_path / "sys")

    assert found.read() == CgroupSample()
    assert found.memory_peak() is None
    assert found.limits() == CgroupLimits()


def test_files_are_held_open_until_they_are_closed() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the descriptors of a process cannot be listed here")
    before = open_files()
    found = find("v2_pod")
    found.read()
    found.memory_peak()
    held = open_files()
    found.read()
    found.memory_peak()
    assert open_files() == held != before

    found.close()
    assert open_files() == before


def test_a_reused_descriptor_is_not_closed() -> None:
    file = KernelFile(str(RECORDED / "none/proc/meminfo"))
    file.read()
    reader, writer = os.pipe()
    stolen = file._descriptor
    assert stolen is not None
    os.dup2(reader, stolen)

    assert file.read() is None
    assert file.field(b"MemFree:") is None
    assert os.fstat(stolen)
    for descriptor in (reader, writer, stolen):
        os.close(descriptor)
    assert (file.read() or b"").startswith(b"MemTotal:")
    file.close()


@pytest.mark.parametrize("text", [None, "", "some avg10=0.00", "full total=1\n", "some avg10=0.00 total=many\n"])
def test_a_cgroup_without_cpu_pressure_has_none(text: str | None, tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "sys/fs/cgroup/cpu.pressure"
    path.unlink() if text is None else path.write_text(text)
    found = cgroup.find(tmp_path)
    assert found is not None
    assert found.read().pressure_seconds is None


@pytest.mark.parametrize("name", ["v1_pod", "v2_pod"])
def test_values_that_are_not_numbers_are_ignored(name: str, tmp_path: Path) -> None:
    shutil.copytree(RECORDED / name, tmp_path, dirs_exist_ok=True)
    for file in (tmp_path / "sys/fs/cgroup").rglob("*"):
        if file.is_file() and file.name not in {"cgroup.events", "tasks"}:
            file.write_bytes(b"\xff\n\n= none usage_usec some=x full")
    found = cgroup.find(tmp_path)

    assert found is not None
    assert found.read() == CgroupSample()
    assert found.memory_peak() is None
    assert found.limits() == CgroupLimits()


def test_a_machine_has_cores_and_memory() -> None:
    assert 1 <= host.visible_cores() <= (os.cpu_count() or 1)
    assert host.memory_total(RECORDED / "none") == 16384000 * 1024


def test_psutil_has_the_memory_of_the_machine_without_proc() -> None:
    psutil = pytest.importorskip("psutil")

    assert host.memory_total(RECORDED / "not there") == psutil.virtual_memory().total


# --- a container whose cgroup lacks figures ---

BALLAST = 64 * 2**20


def sources_of_a_pod(root: Path, monkeypatch: pytest.MonkeyPatch, *lacking: str) -> Sources:
    shutil.copytree(RECORDED / "v2_pod", root, dirs_exist_ok=True)
    for name in lacking:
        (root / "sys/fs/cgroup" / name).unlink()
    monkeypatch.setenv(semconv.FLYTE_EXECUTION_NAME[0], "x")
    sources = Sources(cgroup.find(root))
    assert sources.kind == semconv.USAGE_OF_CONTAINER
    return sources


def test_a_container_with_all_figures_has_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of_a_pod(tmp_path, monkeypatch)
    sample = sources.read()
    assert sources.described() == {semconv.USAGE_SOURCE: semconv.USAGE_OF_CONTAINER}
    assert (sample.cpu_seconds, sample.memory, sample.io_write) == (12.345678, 209715200, 2097152)


def test_memory_without_memory_stat_is_that_of_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of_a_pod(tmp_path, monkeypatch, "memory.stat")
    before = sources.read()
    ballast = bytearray(BALLAST)
    ballast[::4096] = b"x" * len(ballast[::4096])
    after = sources.read()
    assert before.memory is not None
    assert after.memory is not None
    assert after.memory - before.memory > BALLAST / 2
    assert (after.cpu_seconds, after.io_write, after.oom_kills) == (12.345678, 2097152, 1)
    assert sources.described() == {
        semconv.USAGE_SOURCE: semconv.USAGE_OF_CONTAINER,
        semconv.USAGE_MEMORY_SOURCE: semconv.USAGE_OF_PROCESSES,
    }


def test_cpu_time_without_cpu_stat_is_that_of_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of_a_pod(tmp_path, monkeypatch, "cpu.stat")
    own = time.process_time()
    before = sources.read().cpu_seconds
    while time.process_time() - own < 0.1:
        pass
    sample = sources.read()
    assert before is not None
    assert sample.cpu_seconds is not None
    assert before >= own - 0.1
    assert sample.cpu_seconds - before >= 0.05
    assert sample.memory == 209715200
    assert sources.described()[semconv.USAGE_CPU_SOURCE] == semconv.USAGE_OF_PROCESSES


def test_io_without_io_stat_is_that_of_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of_a_pod(tmp_path, monkeypatch, "io.stat")
    sample = sources.read()
    tree = sources.tree.read()
    assert (sample.io_read is None) is (tree.io_read is None)
    assert sample.memory == 209715200
    assert sources.described()[semconv.USAGE_IO_SOURCE] == semconv.USAGE_OF_PROCESSES


def test_a_figure_keeps_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = sources_of_a_pod(tmp_path, monkeypatch)
    (tmp_path / "sys/fs/cgroup/memory.stat").write_text("")
    assert sources.read().memory is None
    assert sources.described() == {semconv.USAGE_SOURCE: semconv.USAGE_OF_CONTAINER}


# --- IO of broken files ---


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("7:1 7:0 rbytes=5 wbytes=6 rios=1\n", 5, 6),
        ("7:1 7:2 7:0 rbytes=5 wbytes=6\n8:0 rbytes=1 wbytes=2\n", 6, 8),
        ("7:1 rbytes=1 wbytes=2 7:0 rbytes=5 wbytes=6\n", 6, 8),
        ("8:0 rbytes=5 wbytes=6 cost.vrate=100.00 cost.wait=x future\n", 5, 6),
        ("8:0 rbytes wbytes=6 =7 rios=\n", 0, 6),
        ("8:0 rbytes=-5 wbytes=6\n", 0, 6),
        (f"8:0 rbytes={2**70} wbytes=6\n8:1 rbytes=1\n", 1, 6),
        (f"8:0 rbytes={'9' * 5000} wbytes=6\n", 0, 6),
        ("\n\nnone\n8:0 rbytes=5 wbytes=6", 5, 6),
        ("", 0, 0),
        ("7:0 \n", 0, 0),
        ("none of it\n", None, None),
    ],
)
def test_io_of_version_2_is_that_of_the_words_that_can_be_read(
    text: str, read: int | None, written: int | None, tmp_path: Path
) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    (tmp_path / "sys/fs/cgroup/io.stat").write_text(text)
    found = cgroup.find(tmp_path)
    assert found is not None
    sample = found.read()
    assert (sample.io_read, sample.io_write) == (read, written)


@pytest.mark.parametrize(
    ("text", "read", "written"),
    [
        ("8:0 Read 5\n8:0 Write 6\n8:0 Sync 9\n8:0\n8:0 Read\nTotal 20\n", 5, 6),
        ("8:0 Read x\n8:0 Write 6\n", 0, 6),
        (f"8:0 Read {2**70}\n8:0 Read 5 6\n\n", 5, 0),
        ("8:0 Read -5\nTotal 0\n", None, None),
    ],
)
def test_io_of_version_1_is_that_of_the_lines_that_can_be_read(
    text: str, read: int | None, written: int | None, tmp_path: Path
) -> None:
    shutil.copytree(RECORDED / "v1_pod", tmp_path, dirs_exist_ok=True)
    (file,) = tmp_path.rglob("blkio.throttle.io_service_bytes_recursive")
    file.write_text(text)
    found = cgroup.find(tmp_path)
    assert found is not None
    sample = found.read()
    assert (sample.io_read, sample.io_write) == (read, written)


def test_a_number_of_more_than_64_bits_is_unknown(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    (tmp_path / "sys/fs/cgroup/cpu.stat").write_text(f"usage_usec {'9' * 400}\n")
    found = cgroup.find(tmp_path)
    assert found is not None
    assert found.read().cpu_seconds is None
    assert found.read().io_write == 2097152


@pytest.mark.parametrize("line", ["1 - cgroup2\n", "1 2 3 \\999 /x - cgroup2 a b\n", "1 2 3 / /x - cgroup\n"])
def test_a_broken_mount_hides_no_other(line: str, tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "v2_pod", tmp_path, dirs_exist_ok=True)
    mounts = tmp_path / "proc/self/mountinfo"
    mounts.write_text(line + mounts.read_text())
    found = cgroup.find(tmp_path)
    assert found is not None
    assert found.read() == SAMPLES["v2_pod"]
