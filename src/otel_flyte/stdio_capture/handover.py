"""Hands lines from the journal over to where a task's log records go, and tells which are settled."""

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from google.protobuf.message import Message

from otel_flyte.config import settings
from otel_flyte.export import destinations, dropped
from otel_flyte.export.otlp_json import line_of
from otel_flyte.stdio_capture import records
from otel_flyte.stdio_capture.journal import Entry, Position, Reader

SENT = "sent"
RECORDED = "recorded"
"""The two destinations: where the environment says, and the file of a local run."""

_UNDER_WAY = 32
"""Requests, of some hundred lines each, that wait in memory."""

Settled = Callable[[str, Position], object]


def targets(recording: str) -> list[str]:
    """Name the destinations that there are; ``recording`` is the file of a local run, empty without one."""
    sent = [SENT] if settings.plan("logs", os.environ).exporters and destinations.of("logs").queues else []
    return [*sent, RECORDED] if recording else sent


class Handover:
    """Reads a journal to its end, again and again.

    Args:
        folder: of the journal.
        recording: the file of a local run, empty without one.
        settled: told of each destination and the place up to which all is settled there.
    """

    def __init__(self, folder: str, recording: str, settled: Settled) -> None:
        self._reader = Reader(folder)
        self._recording = recording
        self._settled = settled
        self._destinations = targets(recording)
        self._room = threading.Semaphore(_UNDER_WAY)

    def work(self) -> None:
        """Hand over what has been written since, as much of it as is settled as fast: the rest waits in the journal."""
        while self._room.acquire(blocking=False):
            entries: Sequence[Entry] = ()
            is_under_way = False
            try:
                entries = self._reader.read()
                is_under_way = bool(entries) and self._hand_over(entries)
            finally:
                if not is_under_way:
                    self._room.release()
            if not entries:
                return

    def finish(self, seconds: float) -> None:
        """Hand over all that is left, for so many seconds at most; count what is left then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and (entries := self._reader.read()):
            self._hand_over(entries)
        if SENT in self._destinations:
            dropped.count("logs", dropped.LATE, self._reader.skip(), "in the task's output")

    def _hand_over(self, entries: Sequence[Entry]) -> bool:
        """Hand entries over, and say whether there is somebody to settle them later."""
        place = self._reader.position
        found = list(records.requests(entries))
        for reason, number in records.left_out(entries):
            dropped.count("logs", reason, number, "in the task's output")
        if RECORDED in self._destinations:
            record(self._recording, found)
            self._settled(RECORDED, place)
        if SENT in self._destinations:
            send(found, functools.partial(self._sent, place))
        return SENT in self._destinations

    def _sent(self, place: Position) -> None:
        self._room.release()
        self._settled(SENT, place)


def send(requests: Sequence[Message], settled: Callable[[], object] | None = None) -> None:
    """Queue requests where log records go, and be told once the last queue has settled them."""
    queues = destinations.of("logs").queues
    for queue in queues:
        for request in requests:
            queue.put_request(request)
        if settled is not None and queue is queues[-1]:
            queue.when_done(settled)


def record(path: str, requests: Sequence[Message]) -> None:
    """Append requests to the file of a local run; a disk that is full is told by the spans' own writer."""
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for request in requests:
                os.write(file, line_of(request))
        finally:
            os.close(file)


def rest(folder: str, after: Position) -> list[Entry]:
    """Read what stands in a journal after a place."""
    reader = Reader(folder)
    reader.position = Position(after.file, 0)
    found: list[Entry] = []
    while entries := reader.read():
        found += [entry for entry in entries if entry.end > after]
    return found
