"""Changes of executions as server-sent events. A client costs a coroutine, and no thread."""

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

from otel_flyte.server.source import Source

MOST_CLIENTS = 1000

_PAUSE, _HEARTBEAT = 0.5, 15.0
"""Seconds between two events at least, and after which a comment shows that the connection stands."""


class Events:
    """Tells clients of the loop in which they listen what the thread of the writer says."""

    def __init__(self, source: Source) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False
        source.when_changed(self._changed)

    @property
    def is_full(self) -> bool:
        """Whether there are so many clients that another one is refused."""
        return sum(map(len, self._listeners.values())) >= MOST_CLIENTS

    async def stream(self, key: str) -> AsyncIterator[str]:
        """Return an event now, and one after each change; several at once are one."""
        with self._listening(key) as event:
            while not self._is_over:
                yield _event()
                await asyncio.sleep(_PAUSE)
                while not await _is_set(event) and not self._is_over:
                    yield ":\n\n"
                event.clear()

    def close(self) -> None:
        """End all streams: the server ends. Called in the loop."""
        self._is_over = True
        self._wake(set(self._listeners))

    @contextlib.contextmanager
    def _listening(self, key: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._listeners[key].add(event)
        try:
            yield event
        finally:
            self._listeners[key].discard(event)
            if not self._listeners[key]:
                del self._listeners[key]

    def _changed(self, keys: set[str]) -> None:
        loop = self._loop
        if loop is not None and self._listeners:
            # A loop that has ended has no clients.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake, keys)

    def _wake(self, keys: set[str]) -> None:
        for key in keys & self._listeners.keys():
            for event in self._listeners[key]:
                event.set()


async def _is_set(event: asyncio.Event) -> bool:
    """Return whether an event is set before the next heartbeat."""
    try:
        await asyncio.wait_for(event.wait(), _HEARTBEAT)
    except asyncio.TimeoutError:
        return False
    return True


def _event() -> str:
    """Return an event; its version is the time in milliseconds, which grows after a restart of the server, too."""
    version = time.time_ns() // 10**6
    return f"id: {version}\nevent: changed\ndata: {json.dumps({'version': version})}\n\n"
