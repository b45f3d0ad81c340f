"""The mounted folders of a process's control groups. It imports little, because it is needed at start-up."""

from collections.abc import Iterator
from contextlib import suppress
from os import F_OK, access, fsdecode, fsencode
from typing import NamedTuple

UNIFIED = ""
"""The name of version 2's hierarchy, which has all controllers that are not in one of version 1."""


class Folder(NamedTuple):
    """The folder of a process's group in one hierarchy."""

    path: str
    top: str
    """The mount point of the hierarchy: the topmost visible group."""
    name: str
    """The path of the group in the hierarchy, as far as visible: ``/kubepods/burstable/pod1/2``, or ``/``."""

    @property
    def and_above(self) -> Iterator[str]:
        """The folders of the group and of all visible groups above it."""
        path = self.path
        yield path
        while path != self.top:
            path = path.rpartition("/")[0]
            yield path


def find(root: str = "/", pid: int | str = "self") -> dict[str, Folder]:
    """Return the folder of each controller of version 1, joint ones by each name, and of version 2 (``UNIFIED``).

    ``/proc/PID/cgroup`` has the path of the process's group in the hierarchy, and ``/proc/PID/mountinfo`` the group at
    the mount point. Without a cgroup namespace a container sees the host's path while its own group is mounted.

    Args:
        root: the folder with ``/proc`` and the mount points, with a trailing slash.
        pid: the process.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#namespace, https://man7.org/linux/man-pages/man7/cgroups.7.html
    """
    found: dict[str, Folder] = {}
    with suppress(OSError, ValueError):
        mounts = list(_mounts(f"{root}proc/{pid}/mountinfo"))
        for line in lines(f"{root}proc/{pid}/cgroup"):
            _, names, group = (*line.split(":", 2), "", "")[:3]
            for controller in names.split(","):
                for top, mount_point, controllers in mounts:
                    if controller in controllers:
                        folder = _folder(f"{root}{mount_point.lstrip('/')}", top, group)
                        if folder and access(folder.path, F_OK):
                            found.setdefault(controller, folder)
    return found


def _folder(mount_point: str, top: str, group: str) -> Folder | None:
    if group.startswith("/..") or top.startswith("/.."):
        # It is outside the reader's namespace: the names on the way to it are unknown.
        return None
    above = "" if top == "/" else top
    # A single group that is mounted for a container is the container's.
    below = group[len(above) :] if f"{group}/".startswith(f"{above}/") else ""
    below = below.rstrip("/")
    return Folder(f"{mount_point}{below}", mount_point, f"{above}{below}" or "/")


def _mounts(path: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the root, the mount point and the controllers of each mounted hierarchy; other lines are left out."""
    for line in lines(path):
        mount, _, file_system = line.partition(" - ")
        if file_system.startswith("cgroup"):
            with suppress(ValueError):
                _, _, _, top, mount_point, *_ = mount.split(" ")
                kind, _, options = file_system.split(" ", 2)
                yield _unescaped(top), _unescaped(mount_point), [UNIFIED] if kind == "cgroup2" else options.split(",")


def _unescaped(text: str) -> str:
    r"""Undo the escapes of mountinfo for spaces, tabs, newlines and backslashes: ``\040`` for a space."""
    first, *others = fsencode(text).split(b"\\")
    return fsdecode(first + b"".join(bytes([int(other[:3], 8)]) + other[3:] for other in others))


def lines(path: str) -> list[str]:
    """Return the lines of a file.

    Raises:
        OSError: it can't be read.
    """
    with open(path, errors="surrogateescape") as file:  # noqa: PTH123  # pathlib would be most of what is imported
        return file.read().splitlines()
