"""The control group of this process: the usage that the kernel counts for a container, and its limits.

Fields of version 2: https://docs.kernel.org/admin-guide/cgroup-v2.html; of version 1:
https://docs.kernel.org/admin-guide/cgroup-v1/.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import F_OK, access, scandir
from pathlib import Path
from typing import NamedTuple

from otel_flyte.runtime import cgroups
from otel_flyte.runtime.cgroups import UNIFIED, Folder
from otel_flyte.usage.readers import files, host
from otel_flyte.usage.readers.files import KernelFile

_MICROSECONDS = 10**6
_NANOSECONDS = 10**9

_TELLING = ("release_agent", "cgroup.events", "tasks")
"""Files of a root in version 1, of every other group in version 2, and of every other group in version 1."""

_DEVICE = re.compile(rb"[0-9]{1,10}:[0-9]{1,10}")
"""Major and minor number of a block device."""

_SOME = re.compile(rb"some .*\btotal=([0-9]{1,19})$", re.MULTILINE)

_CONTAINER = re.compile(
    r"/[^/]*kubepods[^/]*/"  # both drivers of the kubelet, and its own folder above (kubelet-kubepods.slice)
    r"|/(?:docker|ecs|lxc|garden|actions_job|libpod_parent)/"
    r"|/lxc\.payload[./]"
    r"|/(?:docker|cri-containerd|containerd|nerdctl|crio|libpod|buildkit)-[0-9a-f]{12,}(?:\.scope)?(?:/|$)"
    r"|/[0-9a-f]{64}(?:/|$)"
)
"""Paths of containers, and not of the engines' own services (``docker.service``)."""


@dataclass(frozen=True)
class CgroupSample:
    """The usage of a group: counters since its creation, and its memory now; ``None`` where nothing is counted."""

    cpu_seconds: float | None = None
    throttled_seconds: float | None = None
    """The time for which its threads have waited for a new period of the CPU quota."""
    pressure_seconds: float | None = None
    """The time for which any of its threads has waited for a CPU, or for a new period of the quota; version 2 only.

    https://docs.kernel.org/accounting/psi.html
    """
    memory_current: int | None = None
    """Bytes, page cache included: it grows to the limit when files are read."""
    working_set: int | None = None
    """Bytes without inactive page cache: the value that Kubernetes evicts by and ``kubectl top`` shows.

    https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#eviction-signals
    """
    rss: int | None = None
    """Bytes of anonymous memory, each page counted once however many processes share it."""
    oom_kills: int | None = None
    """OOM-killed processes; version 1 does not count those of groups below."""
    io_read: int | None = None
    """Bytes read from block devices, not from the page cache or the network."""
    io_write: int | None = None


@dataclass(frozen=True)
class CgroupLimits:
    """The tightest limits of a group and of the groups above it, ``None`` where there is none."""

    cpu: float | None = None
    """Cores."""
    memory: int | None = None
    """Bytes; a limit of at least the machine's memory does not count."""


def find(root: Path = Path("/"), pid: int | str = "self") -> "Cgroup | None":
    """Return the group of a process, ``None`` where that is the machine's own.

    The true root of a hierarchy counts the whole machine, so such a hierarchy is left out.

    Args:
        root: the folder with ``/proc``, ``/sys`` and the mount points.
        pid: the process.
    """
    folders = cgroups.find(f"{str(root).rstrip('/')}/", pid)
    folders = {controller: folder for controller, folder in folders.items() if not _is_machine(folder.path)}
    return Cgroup(folders, root) if {"memory", "cpu", "cpuacct", "blkio", UNIFIED} & folders.keys() else None


class Cgroup:
    """The group of a process, in version 1, in version 2, or in both: a controller is in one of them only.

    Its files stay open until ``close()``. They belong to the group, so a forked child may use its parent's object. A
    removed group has no values.
    """

    def __init__(self, folders: dict[str, Folder], root: Path = Path("/")) -> None:
        self._root = root
        unified = folders.get(UNIFIED)
        self._memory = folders.get("memory", unified)
        self._cpu = folders.get("cpu", unified)
        self._cpu_time = folders.get("cpuacct", unified)
        self._quota = _quota_v1 if "cpu" in folders else _quota_v2

        self._names = names = _MEMORY_V1 if "memory" in folders else _MEMORY_V2
        self._current = _file(self._memory, names.current)
        self._peak = _file(self._memory, names.peak)
        self._events = _file(self._memory, names.events)
        self._stat = _file(self._memory, "memory.stat")
        if "cpuacct" in folders:
            self._time = _Seconds(_file(self._cpu_time, "cpuacct.usage"), None, _NANOSECONDS)
        else:
            self._time = _Seconds(_file(unified, "cpu.stat"), b"usage_usec", _MICROSECONDS)
        if "cpu" in folders:
            self._throttled = _Seconds(_file(self._cpu, "cpu.stat"), b"throttled_time", _NANOSECONDS)
        else:
            self._throttled = _Seconds(_file(unified, "cpu.stat"), b"throttled_usec", _MICROSECONDS)
        self._pressure = _file(unified if "cpu" not in folders else None, "cpu.pressure")
        self._io = _Io(folders, root)

    @property
    def is_container(self) -> bool:
        """Return whether CPU and memory are those of one container.

        Where the topmost visible group is not the machine's (a cgroup namespace, or a container's own group mounted for
        it), it is the container, and a group below it is only a part. Where it is the machine's, the path must look
        like that of a container engine. A session or a service of systemd is neither.
        """
        return self._current.integer() is not None and _is_container(self._memory) and _is_container(self._cpu_time)

    def read(self) -> CgroupSample:
        """Read the current usage."""
        current = self._current.integer()
        stat = self._stat.read()
        inactive = files.field(stat, self._names.inactive_file)
        io_read, io_write = self._io.read()
        return CgroupSample(
            cpu_seconds=self._time.read(),
            throttled_seconds=self._throttled.read(),
            pressure_seconds=_some(self._pressure.read()),
            memory_current=current,
            working_set=None if current is None or inactive is None else max(current - inactive, 0),
            rss=files.field(stat, self._names.anonymous),
            oom_kills=self._events.field(b"oom_kill"),
            io_read=io_read,
            io_write=io_write,
        )

    def memory_peak(self) -> int | None:
        """Read the largest number of bytes since the group was created, page cache included."""
        return self._peak.integer()

    def limits(self) -> CgroupLimits:
        """Read the limits, which may be changed while the group lives."""
        memory = min(self._memory_limits(), default=None)
        machine = host.memory_total(self._root)
        return CgroupLimits(
            cpu=min((quota for quota in map(self._quota, _and_above(self._cpu)) if quota is not None), default=None),
            memory=None if memory is None or (machine is not None and memory >= machine) else memory,
        )

    def close(self) -> None:
        """Close the files."""
        of_time = self._time.file, self._throttled.file
        for file in (self._current, self._peak, self._events, self._stat, *of_time, self._pressure, self._io.file):
            file.close()

    def _memory_limits(self) -> Iterator[int]:
        for folder in _and_above(self._memory):
            limit = files.integer(_once(f"{folder}/{self._names.limit}"))
            if limit is not None:
                yield limit
        # Version 1 also reports the limit of invisible groups above; version 2 does not.
        above = self._stat.field(b"hierarchical_memory_limit")
        if above is not None:
            yield above


class _MemoryNames(NamedTuple):
    """Names of the memory controller's files, and of lines of ``memory.stat``."""

    current: str
    peak: str
    limit: str
    events: str
    anonymous: bytes
    inactive_file: bytes


_MEMORY_V1 = _MemoryNames(
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.oom_control",
    b"total_rss",
    b"total_inactive_file",
)
_MEMORY_V2 = _MemoryNames("memory.current", "memory.peak", "memory.max", "memory.events", b"anon", b"inactive_file")


class _Seconds(NamedTuple):
    """A counter of time: a line of a file, or all of it."""

    file: KernelFile
    name: bytes | None
    per_second: int

    def read(self) -> float | None:
        count = self.file.field(self.name) if self.name else self.file.integer()
        return None if count is None else count / self.per_second


def _some(pressure: bytes | None) -> float | None:
    """Return the total of a line such as ``some avg10=0.00 avg60=0.00 avg300=0.00 total=1500``, in seconds."""
    found = _SOME.match(pressure or b"")
    return None if found is None else int(found[1]) / _MICROSECONDS


class _Io:
    """Bytes that were read from and written to block devices.

    A device on top of others (LVM, an encrypted disk) is left out: the devices below count the same bytes.
    """

    def __init__(self, folders: dict[str, Folder], root: Path) -> None:
        self._devices = root / "sys/dev/block"
        self._stacked: dict[bytes, bool] = {}
        self._counts = _counts_v1 if "blkio" in folders else _counts_v2
        if "blkio" not in folders:
            self.file = _file(folders.get(UNIFIED), "io.stat")
            return
        self.file = _file(folders["blkio"], "blkio.throttle.io_service_bytes_recursive")
        if self.file.read() is None:
            # On an older kernel groups count only their own processes, in this file.
            self.file = _file(folders["blkio"], "blkio.throttle.io_service_bytes")

    def read(self) -> tuple[int | None, int | None]:
        text = self.file.read()
        if text is None:
            return None, None
        found = list(self._counts(text))
        # Newer kernels with version 1 count only where a limit of blkio is set; otherwise no device has a line.
        if not found and (self._counts is _counts_v1 or text.strip()):
            return None, None
        counts = [count for count in found if not self._is_stacked(count.device)]
        return sum(count.read for count in counts), sum(count.written for count in counts)

    def _is_stacked(self, device: bytes) -> bool:
        if device not in self._stacked:
            try:
                with scandir(self._devices / device.decode() / "slaves") as slaves:
                    self._stacked[device] = any(slaves)
            except OSError:
                self._stacked[device] = False
        return self._stacked[device]


class _Count(NamedTuple):
    device: bytes
    read: int
    written: int


def _counts_v1(text: bytes) -> Iterator[_Count]:
    """Parse lines such as ``8:0 Read 4096``; the last one, ``Total 4096``, has no device."""
    for line in text.splitlines():
        device, kind, count = (*line.split(), b"", b"", b"")[:3]
        number = _count(count)
        if _DEVICE.fullmatch(device) and number is not None:
            yield _Count(device, number * (kind == b"Read"), number * (kind == b"Write"))


def _counts_v2(text: bytes) -> Iterator[_Count]:
    """Parse lines such as ``8:0 rbytes=4096 wbytes=0 rios=1``.

    Some kernels end the line of a device without pairs with no newline: ``7:1 7:0 rbytes=5``.
    """
    device, counts = b"", dict[bytes, int]()
    for word in text.split():
        if _DEVICE.fullmatch(word):
            if device:
                yield _Count(device, counts.get(b"rbytes", 0), counts.get(b"wbytes", 0))
            device, counts = word, {}
            continue
        name, _, value = word.partition(b"=")
        number = _count(value)
        if number is not None:
            counts[name] = number
    if device:
        yield _Count(device, counts.get(b"rbytes", 0), counts.get(b"wbytes", 0))


def _count(text: bytes) -> int | None:
    number = files.integer(text)
    return number if number is not None and number >= 0 else None


def _is_machine(folder: str) -> bool:
    """Return whether a folder is the true root of its hierarchy, which no namespace hides."""
    has_root_file, *has_group_file = (access(f"{folder}/{name}", F_OK) for name in _TELLING)
    return has_root_file or not any(has_group_file)


def _is_container(folder: Folder | None) -> bool:
    if folder is None:
        return False
    if not _is_machine(folder.top):
        return folder.path == folder.top
    return _CONTAINER.search(folder.name) is not None


def _quota_v1(folder: str) -> float | None:
    """Return the quota of a group in cores, ``None`` for ``-1``."""
    quota = files.integer(_once(f"{folder}/cpu.cfs_quota_us"))
    period = files.integer(_once(f"{folder}/cpu.cfs_period_us"))
    return quota / period if quota and period and quota > 0 else None


def _quota_v2(folder: str) -> float | None:
    """Return the cores of ``cpu.max``, such as ``50000 100000``; ``None`` for ``max 100000``."""
    first, _, second = (_once(f"{folder}/cpu.max") or b"").partition(b" ")
    quota, period = files.integer(first), files.integer(second)
    return quota / period if quota and period else None


def _file(folder: Folder | None, name: str) -> KernelFile:
    return KernelFile(f"{folder.path}/{name}" if folder else "")


def _once(path: str) -> bytes | None:
    return KernelFile(path, held=False).read()


def _and_above(folder: Folder | None) -> Iterable[str]:
    return folder.and_above if folder else ()
