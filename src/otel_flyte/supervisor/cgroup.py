"""How many processes of this container the kernel has killed for want of memory."""

from collections.abc import Iterator
from contextlib import suppress

_COUNT = "oom_kill"


def oom_kills(root: str = "/") -> int | None:
    """Read the count of out-of-memory kills in this process's cgroup, ``None`` where no kernel or cgroup counts them.

    Version 1 is looked at first: where it has the memory controller, version 2 has not. ``root`` is where ``/proc`` and
    the mount points are found.
    """
    with suppress(OSError, ValueError):
        for path in _candidates(root):
            with suppress(FileNotFoundError):
                for line in _lines(path):
                    name, _, value = line.partition(" ")
                    if name == _COUNT:
                        return int(value)
    return None


def _candidates(root: str) -> Iterator[str]:
    mounts = list(_mounts(root))
    groups = [line.rstrip("\n").split(":", 2) for line in _lines(f"{root}proc/self/cgroup")]
    for controller, file_system, file in (("memory", "cgroup", "memory.oom_control"), ("", "cgroup2", "memory.events")):
        for _, controllers, group in groups:
            if controller not in controllers.split(","):
                continue
            for top, mount_point, kind, options in mounts:
                if kind == file_system and (not controller or controller in options):
                    yield f"{root}{mount_point.lstrip('/')}{_below(top, group)}/{file}"


def _mounts(root: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Give each mount's own root, mount point, file system type and options of the file system."""
    for line in _lines(f"{root}proc/self/mountinfo"):
        mount, _, file_system = line.partition(" - ")
        _, _, _, top, mount_point, *_ = mount.split(" ")
        kind, _, options = file_system.rstrip("\n").split(" ", 2)
        yield top, mount_point, kind, options.split(",")


def _below(top: str, group: str) -> str:
    """Give the path of a group below its mount; a container that sees the host's paths has its own group mounted."""
    if top == "/":
        below = group
    elif group == top or group.startswith(f"{top}/"):
        below = group[len(top) :]
    else:
        below = ""
    return "" if below == "/" or below.startswith("/..") else below


def _lines(path: str) -> list[str]:
    with open(path) as file:  # noqa: PTH123  # pathlib would be half of what the supervisor loads
        return file.readlines()
