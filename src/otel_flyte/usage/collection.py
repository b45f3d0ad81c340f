"""The usage that one collection of metrics reports: since the collection before."""

from typing import TYPE_CHECKING, NamedTuple

from otel_flyte.usage.quota import Machine, Quota
from otel_flyte.usage.readers.cgroup import CgroupSample
from otel_flyte.usage.statistics import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_flyte.usage.task_usage import TaskUsage


class OwnProcess(NamedTuple):
    """This process alone: CPU seconds so far, shares of all visible cores since the last collection, and bytes."""

    user_seconds: float | None
    system_seconds: float | None
    user_share: float | None
    system_share: float | None
    rss: int | None
    virtual: int | None
    io_read: int | None
    io_write: int | None


class Collection(NamedTuple):
    """The usage of one collection.

    Attributes:
        window: of the process, since the previous collection.
        tasks: the tasks that were open in it, each with its window.
        own: this process.
        container: the container, ``None`` where there is none.
        machine: the capacity of the machine.
        quota: returns the quota of a task.
    """

    window: Window
    tasks: "list[tuple[TaskUsage, Window]]"
    own: OwnProcess
    container: CgroupSample | None
    machine: Machine
    quota: "Callable[[TaskUsage], Quota]"
