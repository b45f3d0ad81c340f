"""Where the page and the API find executions: a protocol, and the embedded database as a source."""

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from otel_flyte.recording.model import Recording
from otel_flyte.server.store import reader, schema
from otel_flyte.server.store.reader import Filter, Line, Listed


class UnknownExecutionError(LookupError):
    """No execution has the key."""


class UnavailableError(Exception):
    """The source can't answer. The message is one line: what is wrong, then what to do.

    Attributes:
        status: 503 where a later question may be answered, else 502.
    """

    def __init__(self, message: str, status: int = 503) -> None:
        super().__init__(message)
        self.status = status


class Source(Protocol):
    """Answers from any thread. Keys are those of :class:`Listed`.

    :meth:`execution` and all that take a key raise :class:`UnknownExecutionError`. All may raise
    :class:`UnavailableError`, except :meth:`when_changed` and :meth:`watching`.

    Attributes:
        receives: whether records come as they are sent; else the time when one came does not tell how old it is.
    """

    receives: bool

    def executions(self, wanted: Filter, limit: int, offset: int = 0) -> list[Listed]:
        """Return executions, the newest first."""

    def count(self, wanted: Filter) -> int:
        """Return the number of executions."""

    def execution(self, key: str) -> Listed:
        """Return an execution."""

    def recording(self, key: str) -> Recording:
        """Return the records of an execution."""

    def outline(self, key: str) -> Recording:
        """Return at least the spans of an execution that are more than parts of an attempt: a first picture of it."""

    def remarks(self, key: str) -> tuple[str, ...]:
        """Return a line for each part of an execution that is missing; a recording has them, too."""

    def version(self, key: str) -> int:
        """Return a number that changes with the records of an execution."""

    def lines(self, key: str, after: tuple[int, str]) -> Iterator[Line]:
        """Return log records by time after one with this time and digest."""

    def requests(self, key: str) -> Generator[tuple[str, Any], None, None]:
        """Return the records of an execution as requests of OTLP, each with its signal."""

    def when_changed(self, function: Callable[[set[str]], object]) -> Callable[[], None]:
        """Call a function with the keys of executions that have new records; return a function that ends this."""

    def watching(self, key: str | None) -> AbstractContextManager[None]:
        """Return a context in which somebody waits for changes of an execution, ``None`` for those of any."""


class Database:
    """The embedded database as a source. Each thread has a connection of its own."""

    receives = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: weakref.WeakSet[schema.Reading] = weakref.WeakSet()
        self._functions: list[Callable[[set[str]], object]] = []

    def executions(self, wanted: Filter, limit: int, offset: int = 0) -> list[Listed]:
        """Return executions, the newest first."""
        return reader.executions(self._connection, wanted, limit, time.time_ns(), offset)

    def count(self, wanted: Filter) -> int:
        """Return the number of executions."""
        return reader.count(self._connection, wanted, time.time_ns())

    def execution(self, key: str) -> Listed:
        """Return an execution."""
        found = reader.execution(self._connection, key, time.time_ns())
        if found is None:
            raise UnknownExecutionError(key)
        return found

    def recording(self, key: str) -> Recording:
        """Return the records of an execution."""
        return reader.recording(self._connection, self.execution(key).id)

    def outline(self, key: str) -> Recording:
        """Return the spans of an execution that are more than parts of an attempt, or failed."""
        return reader.outline(self._connection, self.execution(key).id)

    def remarks(self, key: str) -> tuple[str, ...]:
        """Return nothing: what was received is here."""
        del key
        return ()

    def version(self, key: str) -> int:
        """Return a number that changes with the records of an execution."""
        return reader.version(self._connection, self.execution(key).id)

    def lines(self, key: str, after: tuple[int, str]) -> Iterator[Line]:
        """Return log records by time after one with this time and digest."""
        return reader.lines(self._connection, self.execution(key).id, after)

    def requests(self, key: str) -> Generator[tuple[str, Any], None, None]:
        """Return the records of an execution as requests of OTLP, each with its signal."""
        number = self.execution(key).id
        # A download outlives the thread's next question.
        connection = schema.readable(self._path)
        try:
            yield from reader.requests(connection, number)
        finally:
            connection.close()

    def when_changed(self, function: Callable[[set[str]], object]) -> Callable[[], None]:
        """Call a function with the keys of executions that have new records; return a function that ends this."""
        self._functions.append(function)
        return lambda: self._functions.remove(function)

    def watching(self, key: str | None) -> AbstractContextManager[None]:
        """Return an empty context: the writer reports each change."""
        del key
        return nullcontext()

    def changed(self, executions: set[int]) -> None:
        """Tell that executions have new records: the writer calls this."""
        if self._functions:
            keys = reader.keys(self._connection, executions)
            for function in tuple(self._functions):
                function(keys)

    def close(self) -> None:
        """Close the connections of all threads, of which none may ask any more: SQLite removes its files with the last.

        Threads end later than the server, or never.
        """
        self._functions.clear()
        for connection in tuple(self._connections):
            connection.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = schema.readable(self._path)
            self._connections.add(self._local.connection)
        connection: sqlite3.Connection = self._local.connection
        return connection
