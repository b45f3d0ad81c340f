"""The part that processors and exporters of all signals have in common."""

import math
from typing import Any

from otel_flyte.export.queue import ExportQueue
from otel_flyte.process import shutdown


class Queued:
    """A processor or exporter of any signal that puts records into a queue, which another thread sends."""

    def __init__(self, queue: ExportQueue) -> None:
        self._queue = queue

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Wait until the records so far are delivered, never longer than the exit bound."""
        return shutdown.wait_for(self._queue, timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = math.inf, **_: Any) -> None:
        """Wait likewise, but not at the end of the process, which waits for all queues itself."""
        shutdown.wait_for(self._queue, timeout_millis / 1000)
