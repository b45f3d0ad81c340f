"""Sends the lines of the journal to the destinations of log records, and reports the acknowledged positions."""

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from google.protobuf.message import Message

from otel_flyte.config import endpoints
from otel_flyte.export import destinations, dropped
from otel_flyte.export.otlp_json import line_of
from otel_flyte.process import shutdown
from otel_flyte.runtime.guard import guarded
from otel_flyte.stdio_capture import records
from otel_flyte.stdio_capture.journal import Entry, Position, Reader

SENT = "sent"
RECORDED = "recorded"
"""The two destinations: those of the environment, and the file of a local run."""

_SOURCE = "in stdout capture"
_UNDER_WAY = 32
"""Requests, of some hundred lines each, that wait in memory."""


def targets(recording: str) -> list[str]:
    """Return the names of the destinations in use; ``recording`` is the file of a local run, empty without one."""
    sent = [SENT] if endpoints.plan("logs", os.environ).exporters and destinations.of("logs").queues else []
    return [*sent, RECORDED] if recording else sent


def main() -> None:
    """Send the lines that a dead task's process has not sent, or spool them; the pump starts this as a process.

    Its argument in JSON: the folder of the journal, the acknowledged positions by destination, the file of a local run,
    and the deadline.
    """
    given = json.loads(sys.argv[2])
    for destination, position in given["sent"].items():
        _send_rest(destination, given["folder"], Position(*position), given["recording"])
    if SENT in given["sent"]:
        shutdown.end(given["deadline"])


class Handover:
    """Reads a journal and sends its entries.

    Args:
        folder: of the journal.
        recording: the file of a local run, empty without one.
        acknowledge: called with a destination and the position up to which its entries are acknowledged.
    """

    def __init__(self, folder: str, recording: str, acknowledge: Callable[[str, Position], object]) -> None:
        self._reader = Reader(folder)
        self._recording = recording
        self._acknowledge = acknowledge
        self._destinations = targets(recording)
        self._room = threading.Semaphore(_UNDER_WAY)

    def work(self) -> None:
        """Send new entries, as many as are acknowledged at the same rate: the others wait in the journal."""
        while self._room.acquire(blocking=False):
            entries: Sequence[Entry] = ()
            is_under_way = False
            try:
                entries = self._reader.read()
                is_under_way = bool(entries) and self._send(entries)
            finally:
                if not is_under_way:
                    self._room.release()
            if not entries:
                return

    def finish(self, seconds: float) -> None:
        """Send all entries that are left, within some seconds; entries that are left then are dropped and counted."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and (entries := self._reader.read()):
            self._send(entries)
        if SENT in self._destinations:
            dropped.count("logs", dropped.LATE, self._reader.skip(), _SOURCE)

    def _send(self, entries: Sequence[Entry]) -> bool:
        """Send entries, and return whether they are acknowledged later."""
        position = self._reader.position
        requests = list(records.requests(entries))
        _count_dropped(entries)
        if RECORDED in self._destinations:
            _record(self._recording, requests)
            self._acknowledge(RECORDED, position)
        if SENT in self._destinations:
            _queue(requests, functools.partial(self._acknowledge_sent, position))
        return SENT in self._destinations

    def _acknowledge_sent(self, position: Position) -> None:
        self._room.release()
        self._acknowledge(SENT, position)


def _queue(requests: Sequence[Message], acknowledge: Callable[[], object] | None = None) -> None:
    """Queue requests; ``acknowledge`` is called once they are done in the last queue."""
    queues = destinations.of("logs").queues
    for queue in queues:
        for request in requests:
            queue.put_request(request)
        if acknowledge is not None and queue is queues[-1]:
            queue.when_done(acknowledge)


def _record(path: str, requests: Sequence[Message]) -> None:
    """Append requests to the file of a local run. The writer of its spans reports a full disk."""
    with suppress(OSError):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            for request in requests:
                os.write(file, line_of(request))
        finally:
            os.close(file)


def _count_dropped(entries: Sequence[Entry]) -> None:
    for reason, number in records.dropped(entries):
        dropped.count("logs", reason, number, _SOURCE)


@guarded
def _send_rest(destination: str, folder: str, after: Position, recording: str) -> None:
    reader = Reader(folder)
    reader.position = Position(after.file, 0)
    entries: list[Entry] = []
    while more := reader.read():
        entries += [entry for entry in more if entry.end > after]
    requests = list(records.requests(entries))
    if destination == RECORDED:
        _record(recording, requests)
    else:
        _count_dropped(entries)
        _queue(requests)
