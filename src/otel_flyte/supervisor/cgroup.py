"""The number of OOM-killed processes in this container."""

from contextlib import suppress

from otel_flyte.runtime import cgroups

_FILES = (("memory", "memory.oom_control"), (cgroups.UNIFIED, "memory.events"))
"""By hierarchy. Version 1 is first: version 2 has no memory controller where version 1 has it."""

_COUNT = "oom_kill"


def oom_kills(root: str = "/") -> int | None:
    """Return the number of OOM kills in this process's cgroup, ``None`` where no kernel or cgroup counts them.

    Args:
        root: the folder with ``/proc`` and the mount points, with a trailing slash.
    """
    folders = cgroups.find(root)
    for controller, file in _FILES:
        if controller in folders:
            with suppress(OSError, ValueError):
                for line in cgroups.lines(f"{folders[controller].path}/{file}"):
                    name, _, value = line.partition(" ")
                    if name == _COUNT:
                        return int(value)
    return None
