"""Tempo, Loki and Prometheus as a source: lists are searched for, executions are brought into a database.

The database answers all questions about an execution that is there, so that the answers are those of telemetry that
the server had received itself.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from otel_flyte.recording.model import Recording
from otel_flyte.server.remote import found
from otel_flyte.server.remote.executions import Executions
from otel_flyte.server.remote.fetcher import Backends, Fetcher
from otel_flyte.server.remote.polling import Key, Poller
from otel_flyte.server.remote.shared import Shared
from otel_flyte.server.source import Database, UnknownExecutionError
from otel_flyte.server.store.reader import Filter, Line, Listed
from otel_flyte.server.store.writer import Writer

MOST_COUNTED = 1000
"""Executions of a project that are counted."""

_WATCHED = 100
"""Executions of the list in which changes are looked for."""
_SHARED_SECONDS = 1.0
"""In which those who ask for the same list share the answer."""


class Remote:
    """Backends as a source.

    Args:
        backends: the backends.
        database: keeps what was fetched.
        writer: writes to it.
    """

    receives = False

    def __init__(self, backends: Backends, database: Database, writer: Writer) -> None:
        self._list = Executions(backends.tempo)
        self._database = database
        self._fetcher = Fetcher(backends, database, writer, lambda key: self._tell({key}))
        self._functions: list[Callable[[set[str]], object]] = []
        self._shared: Shared[list[Listed]] = Shared(_SHARED_SECONDS)
        self._seen: dict[str, Listed] = {}
        self._poller = Poller(self._look)

    def close(self) -> None:
        """End."""
        self._poller.close()

    def executions(self, wanted: Filter, limit: int, offset: int = 0) -> list[Listed]:
        """Return executions, the newest first."""
        number = limit + offset
        return self._shared.get((repr(wanted), number), lambda: self._list.page(wanted, number))[offset:]

    def count(self, wanted: Filter) -> int:
        """Return the number of executions, up to a bound."""
        return len(self.executions(wanted, MOST_COUNTED))

    def execution(self, key: str) -> Listed:
        """Return an execution."""
        self._fetch(key)
        return self._database.execution(key)

    def recording(self, key: str) -> Recording:
        """Return the records of an execution."""
        self._fetch(key)
        return replace(self._database.recording(key), remarks=self._fetcher.remarks(key))

    def outline(self, key: str) -> Recording:
        """Return the spans of an execution that are more than parts of an attempt, or failed."""
        self._fetch(key)
        return replace(self._database.outline(key), remarks=self._fetcher.remarks(key))

    def remarks(self, key: str) -> tuple[str, ...]:
        """Return a line for each part of an execution that is missing."""
        self._fetch(key)
        return self._fetcher.remarks(key)

    def version(self, key: str) -> int:
        """Return a number that changes with the records of an execution, and its remarks."""
        self._fetch(key)
        return self._version(key)

    def lines(self, key: str, after: tuple[int, str]) -> Iterator[Line]:
        """Return log records by time after one with this time and digest."""
        self._fetch(key)
        return self._database.lines(key, after)

    def requests(self, key: str) -> Generator[tuple[str, Any], None, None]:
        """Return the records of an execution as requests of OTLP, each with its signal."""
        self._fetch(key)
        yield from self._database.requests(key)

    def when_changed(self, function: Callable[[set[str]], object]) -> Callable[[], None]:
        """Call a function with the keys of executions that have new records; return a function that ends this."""
        of_database = self._database.when_changed(function)
        self._functions.append(function)

        def end() -> None:
            of_database()
            self._functions.remove(function)

        return end

    def watching(self, key: str | None) -> AbstractContextManager[None]:
        """Return a context in which the backends are asked for changes of an execution, ``None`` for those of any."""
        return self._poller.watching(key)

    def _fetch(self, key: str) -> None:
        owner = found.owner_of(key)
        if owner is None:
            raise UnknownExecutionError(key)
        self._fetcher.fetch(owner)

    def _look(self, key: Key) -> bool:
        if key is not None:
            before = self._version_or_none(key)
            self._fetch(key)
            return self._version_or_none(key) != before
        now = {each.key: each for each in self.executions(Filter(), _WATCHED)}
        changed = {each for each in now if now[each] != self._seen.get(each)}
        self._seen, is_first = now, not self._seen
        if changed and not is_first:
            self._tell(changed)
        return bool(changed)

    def _tell(self, keys: set[str]) -> None:
        for function in tuple(self._functions):
            function(keys)

    def _version(self, key: str) -> int:
        return self._database.version(key) + self._fetcher.changes(key)

    def _version_or_none(self, key: str) -> int | None:
        try:
            return self._version(key)
        except UnknownExecutionError:
            return None
