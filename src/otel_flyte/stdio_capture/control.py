"""The line between a task's process and its pump: messages of a kind and a value, both ways, as lines of JSON."""

import json
import select
import socket
import threading
from typing import Any

from otel_flyte.stdio_capture.channel import identity

START = "start"
"""To the pump: what it needs to know, first of all."""
CONTEXT = "context"
"""To the pump: ``[TEMPLATE, TICKET]``: what is written from now on is of that task, or of none where it is empty."""
SYNC = "sync"
"""To the pump: ``TICKET``: answer once all that was written before has gone on."""
SAY = "say"
"""To the pump: ``[STREAM, TEXT]``: write a text that is not the task's, after what was written before."""
SENT = "sent"
"""To the pump: ``[DESTINATION, FILE, OFFSET]``: all before this place in the journal is settled."""
DONE = "done"
"""To the pump: nothing is left to be sent; what is not settled is counted as lost."""
HERE = "here"
"""From the pump: ``PID``: it runs."""
ANSWER = "answer"
"""From the pump: ``TICKET``."""
BROKEN = "broken"
"""From the pump: ``STREAM`` can't be written to."""

_PATIENCE_SECONDS = 0.5


class Control:
    """One end of the line. Nothing here raises: an end that is gone is told by :attr:`is_closed`.

    Attributes:
        is_closed: whether the other end is gone.
    """

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(_PATIENCE_SECONDS)
        self._end = end
        self._identity = identity(end.fileno())
        self._tail = b""
        self._lock = threading.Lock()
        self.is_closed = False

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._end.fileno()

    def send(self, kind: str, value: Any = None) -> None:
        """Send a message; one that finds no room in time is dropped, and so are those after it."""
        with self._lock:
            if not self._is_ours():
                self.is_closed = True
            if self.is_closed:
                return
            try:
                self._end.sendall(json.dumps([kind, value]).encode() + b"\n")
            except OSError:
                self.is_closed = True

    def has_news(self) -> bool:
        """Whether there is something to receive, be it that the other end is gone."""
        news = select.poll()
        news.register(self._end, select.POLLIN)
        return bool(news.poll(0))

    def receive(self) -> list[tuple[str, Any]]:
        """Wait for messages, and give those that have come."""
        try:
            data = self._end.recv(65536) if self._is_ours() else b""
        except TimeoutError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        *lines, self._tail = (self._tail + data).split(b"\n")
        return [(kind, value) for kind, value in map(json.loads, lines)]

    def close(self) -> None:
        """Close this end."""
        self.is_closed = True
        if self._is_ours():
            self._end.close()

    def _is_ours(self) -> bool:
        """Whether the descriptor is still what it was: others get the numbers of what users close."""
        return identity(self._end.fileno()) == self._identity
