"""The connection between a task's process and its pump: messages of a kind and a value, as lines of JSON."""

import json
import select
import socket
import threading
from typing import Any

from otel_flyte.runtime.descriptors import Owned

START = "start"
"""To the pump: its configuration, as the first message."""
CONTEXT = "context"
"""To the pump: ``[TEMPLATE, TICKET]``: the next lines belong to this task, or to none if the template is empty."""
SYNC = "sync"
"""To the pump: ``TICKET``: answer once all bytes so far are copied."""
SAY = "say"
"""To the pump: ``[STREAM, TEXT]``: write a text that is not the task's, after all bytes so far."""
SENT = "sent"
"""To the pump: ``[DESTINATION, FILE, OFFSET]``: the journal up to this position is acknowledged."""
DONE = "done"
"""To the pump: this process sends nothing more; lines that are not acknowledged are dropped and counted."""
HERE = "here"
"""From the pump: ``PID``: it runs."""
ANSWER = "answer"
"""From the pump: ``TICKET``."""
BROKEN = "broken"
"""From the pump: ``STREAM`` can't be written."""

_PATIENCE_SECONDS = 0.5


class Control:
    """One end of the connection. Nothing here raises.

    Attributes:
        is_closed: whether the other end is closed.
    """

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(_PATIENCE_SECONDS)
        self._end = end
        self._descriptor = Owned(end.fileno())
        self._tail = b""
        self._lock = threading.Lock()
        self.is_closed = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._end.fileno()

    def send(self, kind: str, value: Any = None) -> None:
        """Send a message; the connection is closed if there is no room in time."""
        with self._lock:
            if not self._descriptor.is_ours:
                self.is_closed = True
            if self.is_closed:
                return
            try:
                self._end.sendall(json.dumps([kind, value]).encode() + b"\n")
            except OSError:
                self.is_closed = True

    def has_news(self) -> bool:
        """Return whether there is a message, or the other end is closed."""
        news = select.poll()
        news.register(self._end, select.POLLIN)
        return bool(news.poll(0))

    def receive(self) -> list[tuple[str, Any]]:
        """Wait for messages, and return them."""
        try:
            data = self._end.recv(65536) if self._descriptor.is_ours else b""
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
        if self._descriptor.is_ours:
            self._end.close()
        else:
            # Python would close the number later, which may be that of a file of the program.
            self._end.detach()
