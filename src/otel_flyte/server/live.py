"""Versions of executions, and server-sent events for each new version.

A client costs a coroutine, and no thread.
"""

import asyncio
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from fastapi.concurrency import run_in_threadpool

from otel_flyte.server.problems import BusyError
from otel_flyte.server.source import Source, UnavailableError, UnknownExecutionError
from otel_flyte.server.store.reader import RUNNING

MOST_CLIENTS = 1000

ENDED_AFTER = 300.0
"""Seconds without a record after which an execution without an open attempt has ended: a node may wait that long."""

_AT_ONCE = 5.0
_REMEMBERED = 10_000
_COALESCED = 0.25
"""Seconds in which further records share an event."""

_LONGEST_SILENCE = 10.0
"""Seconds after which an event is sent without a change: a state changes by time too, and proxies end silence."""


class Sign(NamedTuple):
    """What is known of an execution.

    Attributes:
        version: differs wherever its records or its state do.
        age: seconds since the last record came, or since its own time where the source has it from somewhere else.
        is_over: whether no more records are expected.
    """

    version: str
    state: str
    age: float
    is_over: bool


class Changes:
    """Counts the changes of executions, and wakes those who wait for them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # Versions of another run of the server are others.
        self._run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._number = 0
        self._last: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._oldest = 0
        self._is_closed = False
        self._waiting: dict[object, tuple[str | None, asyncio.AbstractEventLoop, asyncio.Event]] = {}
        source.when_changed(self._changed)

    def sign(self, key: str) -> Sign:
        """Return the sign of an execution.

        Raises:
            UnknownExecutionError: it is not kept.
        """
        with self._lock:
            last = self._last.get(key)
            number = self._oldest if last is None else last[0]
        found = self._source.execution(key)
        old = max(0.0, time.time() - found.end_ns / 1e9)
        age = time.monotonic() - last[1] if last is not None and self._source.receives else old
        # The records of an old recording all come at once.
        is_over = found.state != RUNNING and (age > ENDED_AFTER or (old > ENDED_AFTER and age > _AT_ONCE))
        return Sign(f"{self._run}-{number}-{found.state}", found.state, round(age, 1), is_over)

    def check_room(self) -> None:
        """Check that another client may wait for changes.

        Raises:
            BusyError: too many of them do.
        """
        if len(self._waiting) >= MOST_CLIENTS:
            raise BusyError("too many clients wait for changes: close some, or ask again later")

    def close(self) -> None:
        """End all events: the server stops. Only its loop calls this."""
        self._is_closed = True
        for _, _, event in self._waiting.values():
            event.set()

    async def of_execution(self, key: str) -> AsyncIterator[str]:
        """Return events for an execution: ``changed`` with its sign, and ``ended`` or ``unavailable`` at last."""
        with self._waiter(key) as event:
            while not self._is_closed:
                event.clear()
                try:
                    sign = await run_in_threadpool(self.sign, key)
                except UnknownExecutionError:
                    return
                except UnavailableError as error:
                    yield _event("unavailable", {"reason": str(error)})
                    return
                yield _event("changed", sign._asdict())
                if sign.is_over:
                    yield _event("ended", {})
                    return
                await _wait(event)

    async def of_all(self) -> AsyncIterator[str]:
        """Return a ``changed`` event for each change of any execution."""
        with self._waiter(None) as event:
            while not self._is_closed:
                event.clear()
                yield _event("changed", {"version": f"{self._run}-{self._number}"})
                while not await _wait(event):
                    yield ":\n\n"

    @contextmanager
    def _waiter(self, key: str | None) -> Iterator[asyncio.Event]:
        event, own = asyncio.Event(), object()
        self._waiting[own] = (key, asyncio.get_running_loop(), event)
        try:
            with self._source.watching(key):
                yield event
        finally:
            del self._waiting[own]

    def _changed(self, keys: set[str]) -> None:
        with self._lock:
            self._number += 1
            for key in keys:
                self._last[key] = (self._number, time.monotonic())
                self._last.move_to_end(key)
            while len(self._last) > _REMEMBERED:
                _, (self._oldest, _) = self._last.popitem(last=False)
        for wanted, loop, event in tuple(self._waiting.values()):
            if wanted is None or wanted in keys:
                # The loop ends with the server, while the last records are written.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(event.set)


async def _wait(event: asyncio.Event) -> bool:
    """Wait for a change, and for those that follow at once; return whether there was one."""
    try:
        await asyncio.wait_for(event.wait(), _LONGEST_SILENCE)
    except asyncio.TimeoutError:
        return False
    await asyncio.sleep(_COALESCED)
    return True


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
