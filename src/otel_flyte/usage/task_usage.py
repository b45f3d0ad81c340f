"""The usage of one open task, as far as it is known."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from otel_flyte.usage.sample import WORTH_SECONDS, Sample

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from otel_flyte.tasks.open_task import OpenTask
    from otel_flyte.usage.windows import Windows


class TaskRecorder(Protocol):
    """Samples the open tasks of this process.

    Attributes:
        open: the open tasks, by identity.
    """

    open: "dict[int, TaskUsage]"

    def is_current(self) -> bool:
        """Return whether it belongs to this process, and not to the process that forked this one."""

    def sample(self) -> Sample:
        """Return a sample, or the last one where that is recent."""

    def end_phase(self, usage: "TaskUsage", first: Sample) -> "Mapping[str, AttributeValue]":
        """Return the usage in the phase that began with a sample."""

    def end_task(self, usage: "TaskUsage") -> "Mapping[str, AttributeValue]":
        """Return the usage of a task that ends."""

    def until_now(self, usage: "TaskUsage") -> "Mapping[str, AttributeValue]":
        """Return the usage of a task that goes on."""

    def so_far(self, usage: "TaskUsage") -> Mapping[str, float]:
        """Return the usage of a task by its last sample."""


class TaskUsage:
    """The usage of one open task.

    Attributes:
        task: the open task.
        outer: the usage of the task that began it, in this process.
        first: the first sample.
        usual: bytes that every task of this process has; ``None`` where that is all that it found.
        age: seconds for which the task had run by then.
        phase_first: the sample with which the open phase began.
        shared: whether another task has run in this process meanwhile.
        windows: the samples since, once the task has run for a while.
    """

    __slots__ = ("_recorder", "age", "first", "outer", "phase_first", "shared", "task", "usual", "windows")

    def __init__(
        self,
        recorder: TaskRecorder,
        task: "OpenTask",
        first: Sample,
        age: float,
        outer: "TaskUsage | None",
        *,
        usual: int | None,
    ) -> None:
        self.task = task
        self.outer = outer
        self.usual = usual
        self.first = first
        self.age = age
        self.phase_first: Sample | None = None
        self.shared = False
        self.windows: Windows | None = None
        self._recorder = recorder

    def begin_phase(self) -> None:
        """Begin a phase."""
        self.phase_first = self._recorder.sample()

    def end_phase(self, span: "Span") -> None:
        """End a phase, with its usage as attributes of its span."""
        first, self.phase_first = self.phase_first, None
        if first is not None and time.monotonic() - first.at >= WORTH_SECONDS and self._recorder.is_current():
            span.set_attributes(self._recorder.end_phase(self, first))

    def end(self) -> None:
        """End the task, with its usage as attributes of its span."""
        self._recorder.open.pop(id(self), None)
        if time.monotonic() - self.first.at >= WORTH_SECONDS and self._recorder.is_current():
            self.task.span.set_attributes(self._recorder.end_task(self))

    def so_far(self) -> Mapping[str, float]:
        """Return the usage by the last sample, for heartbeats, by attribute."""
        return self._recorder.so_far(self) if self._recorder.is_current() else {}

    def until_now(self) -> "Mapping[str, AttributeValue]":
        """Return the attributes that the task's span would get if it ended now."""
        return self._recorder.until_now(self) if self._recorder.is_current() else {}

    def is_inside(self, other: "TaskUsage") -> bool:
        """Return whether another task began this one."""
        outer = self.outer
        while outer is not None and outer is not other:
            outer = outer.outer
        return outer is other
