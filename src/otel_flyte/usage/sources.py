"""The sources of samples: the container's cgroup in a pod, else this process and all its descendants.

Some runtimes count only a part in a cgroup: gVisor has no ``memory.stat``, and a kubelet may leave out IO. Each figure
that the cgroup lacks is that of the processes.
"""

import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.tasks import identity
from otel_flyte.usage.devices.accelerators import DeviceSample
from otel_flyte.usage.quota import Machine
from otel_flyte.usage.readers import cgroup, host, processes
from otel_flyte.usage.sample import Sample, peak_mark


class Child(NamedTuple):
    """A descendant of this process: its start by ``time.monotonic``, seconds and bytes."""

    start: float
    cpu_seconds: float
    delayed: float
    memory: float


class Sources:
    """The readers of this process.

    In a pod Flyte assigns resources to the container, and its limits apply to it. Elsewhere a cgroup contains a whole
    session, so that the process tree has more meaning.

    Attributes:
        cgroup: this process's control group, ``None`` where there is none.
        tree: this process and its descendants.
        container: that control group where Flyte assigns resources to it.
        kind: the subject of samples, ``container`` or ``processes``.

    Args:
        group: the control group, that of this process by default.
    """

    def __init__(self, group: cgroup.Cgroup | None = None) -> None:
        self.cgroup = group or cgroup.find()
        self.tree = processes.ProcessTree()
        in_a_pod = identity.execution_from_environment(os.environ) is not None
        self.container = self.cgroup if in_a_pod and self.cgroup is not None and self.cgroup.is_container else None
        self.kind = semconv.USAGE_OF_CONTAINER if self.container is not None else semconv.USAGE_OF_PROCESSES
        # Once for all samples: the counters of both sources differ, so that a change would look like usage.
        self._lacking = _lacking(self.container.read()) if self.container is not None else frozenset()

    def described(self) -> dict[str, str]:
        """Return the source of all figures, and the source of each figure that has another, by attribute."""
        return {semconv.USAGE_SOURCE: self.kind, **dict.fromkeys(sorted(self._lacking), semconv.USAGE_OF_PROCESSES)}

    @cached_property
    def machine(self) -> Machine:
        """The capacity of the machine."""
        limits = self.cgroup.limits() if self.cgroup is not None else cgroup.CgroupLimits()
        return Machine(limits.cpu, limits.memory, host.visible_cores(), host.memory_total())

    def read(self, devices: Sequence[DeviceSample] | None = None) -> Sample:
        """Take a sample; accelerators, which may take long, are read before."""
        container = self.container
        if container is not None:
            found = container.read()
            sample = Sample(
                at=time.monotonic(),
                cpu_seconds=found.cpu_seconds,
                throttled_seconds=found.throttled_seconds,
                pressure_seconds=found.pressure_seconds,
                memory=found.working_set,
                mark=peak_mark(),
                io_read=found.io_read,
                io_write=found.io_write,
                oom_kills=found.oom_kills,
                devices=devices,
            )
            return self._completed(sample) if self._lacking else sample
        return self._of_tree(devices)

    def _of_tree(self, devices: Sequence[DeviceSample] | None) -> Sample:
        tree = self.tree.read()
        return Sample(
            at=time.monotonic(),
            cpu_seconds=_precise(tree),
            delayed_seconds=tree.delayed_seconds,
            memory=tree.rss,
            mark=peak_mark(),
            io_read=tree.io_read,
            io_write=tree.io_write,
            devices=devices,
        )

    def _completed(self, sample: Sample) -> Sample:
        """Return a container's sample with the figures of the processes that the cgroup lacks."""
        tree = self._of_tree(sample.devices)
        if semconv.USAGE_CPU_SOURCE in self._lacking:
            sample = sample._replace(cpu_seconds=tree.cpu_seconds, delayed_seconds=tree.delayed_seconds)
        if semconv.USAGE_MEMORY_SOURCE in self._lacking:
            sample = sample._replace(memory=tree.memory)
        if semconv.USAGE_IO_SOURCE in self._lacking:
            sample = sample._replace(io_read=tree.io_read, io_write=tree.io_write)
        return sample

    @property
    def is_memory_of_processes(self) -> bool:
        """Whether the memory of samples is that of the processes."""
        return self.container is None or semconv.USAGE_MEMORY_SOURCE in self._lacking

    def descendants(self) -> list[Child]:
        """Return the descendants; memory that they share with others counts once among all of them."""
        tree = self.tree.read()
        now = time.monotonic()
        found = self.tree.descendants()
        memory = 0 if tree.rss is None or tree.own_rss is None else max(0, tree.rss - tree.own_rss)
        part = memory / (sum(each.anonymous for each in found) or 1)
        return [Child(now - each.age, each.cpu_seconds, each.delayed, part * each.anonymous) for each in found]

    def peak_with_page_cache(self) -> int | None:
        """Return the container's high-water mark, which includes page cache."""
        return self.container.memory_peak() if self.container is not None else None


def _lacking(found: cgroup.CgroupSample) -> frozenset[str]:
    """Return the attributes that name the sources of the figures that a cgroup does not have."""
    figures = {
        semconv.USAGE_CPU_SOURCE: found.cpu_seconds,
        semconv.USAGE_MEMORY_SOURCE: found.working_set,
        semconv.USAGE_IO_SOURCE: found.io_read,
    }
    return frozenset(name for name, value in figures.items() if value is None)


def _precise(tree: processes.TreeSample) -> float | None:
    """Return the tree's CPU time, with this process's own part by a precise clock."""
    if tree.cpu_seconds is None or tree.user_seconds is None or tree.system_seconds is None:
        return tree.cpu_seconds
    return tree.cpu_seconds - tree.user_seconds - tree.system_seconds + time.process_time()
