"""The items of a queue, and the batches that are made of them."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message

from otel_flyte.export import otlp_requests
from otel_flyte.runtime.guard import guarded
from otel_flyte.runtime.wakeup import Wakeup


class Lines(tuple[bytes, ...]):  # noqa: SLOT001  # there are few of them
    """Lines of OTLP JSON from forked children."""


MADE = (Message, Lines, Wakeup)
"""Queued items that are not records of the SDK. Each is a batch of its own."""


class Callback(Wakeup):
    """An event that calls a function when it is set."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self._function = function

    def set(self) -> None:
        """Set the event and call the function."""
        super().set()
        guarded(self._function)()


class Batch:
    """Records that are sent at once.

    Attributes:
        count: number of records before any of them was sent.
        records: records of the SDK.
        lines: lines from forked children.
        parts: the requests that are not done, once there are any.
        mark: an event to set when everything before it is done.
        is_partly_done: whether some of its requests are done.
        start, end: offsets in the spool; ``end`` is 0 if the batch is not there.
    """

    __slots__ = ("count", "end", "is_partly_done", "lines", "mark", "parts", "records", "start")

    def __init__(self, content: Any, count: int) -> None:
        self.count = count
        self.records: Sequence[Any] = content if isinstance(content, list) else ()
        self.lines: Sequence[bytes] = content if isinstance(content, Lines) else ()
        self.parts = deque([content]) if isinstance(content, Message) else None
        self.mark = content if isinstance(content, Wakeup) else None
        self.start = self.end = 0
        self.is_partly_done = False

    @property
    def left(self) -> int:
        """Number of records that are not done; the sending thread may remove parts meanwhile."""
        return self.count if self.parts is None else sum(map(otlp_requests.count, list(self.parts)))
