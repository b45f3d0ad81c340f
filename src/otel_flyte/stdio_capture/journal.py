"""The journal: lines that wait to be sent, in files of a folder, as lines of JSON.

Only the pump writes, and one sender reads. A file of a certain size is followed by another one, which begins with the
template of its lines, so that acknowledged files can be removed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

FILE_BYTES = 4 * 2**20
READ_BYTES = 2**16

TEMPLATE = "template"
"""``{"template": TEXT}``: the next lines become records like this one, a request in OTLP JSON."""
_TEMPLATE_PREFIX = f'{{"{TEMPLATE}"'.encode()
BODY, STREAM, TIME, CUT = "body", "stream", "time", "cut"
"""``{"time": NS, "stream": NAME, "body": TEXT}``: a line; ``cut``: bytes that are missing at its end."""
DROPPED = "dropped"
"""``{"dropped": {REASON: N}, "time": NS}``: the number of lines that were dropped since the last such entry."""

Json = dict[str, Any]


class Position(NamedTuple):
    """A place in a journal: the number of a file, and an offset in bytes."""

    file: int = 1
    offset: int = 0


class Entry(NamedTuple):
    """A line, or the number of dropped lines.

    Attributes:
        template: the request that its record is made from.
        content: the entry in JSON.
        end: its end in the journal.
    """

    template: str
    content: Json
    end: Position


class Writer:
    """The pump's end.

    Attributes:
        position: the end of the journal.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._template = ""
        self._descriptor = -1
        self.position = Position(0, FILE_BYTES + 1)

    def begin(self, template: str) -> None:
        """Set the template of the next lines."""
        if template != self._template:
            self._write([{TEMPLATE: template}])
            self._template = template

    def append(self, entries: list[Json]) -> None:
        """Write entries at once.

        Raises:
            OSError: they can't be written.
        """
        if self.position.offset > FILE_BYTES:
            self._open_next()
        self._write(entries)

    def remove_before(self, number: int) -> None:
        """Remove the files before one, which are acknowledged."""
        while number > 1 and number <= self.position.file:
            number -= 1
            try:
                os.unlink(_path(self._folder, number))  # noqa: PTH108  # pathlib is more than half of a pump
            except FileNotFoundError:
                return

    def _open_next(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        number = self.position.file + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(_path(self._folder, number), flags, 0o600)
        self.position = Position(number, 0)
        self._write([{TEMPLATE: self._template}])

    def _write(self, entries: list[Json]) -> None:
        if self._descriptor < 0:
            return
        data = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            # An incomplete line would break the next one.
            os.ftruncate(self._descriptor, self.position.offset)
            raise
        self.position = self.position._replace(offset=self.position.offset + written)


class Reader:
    """A sender's end, which starts at the beginning.

    Attributes:
        position: the end of the entries that were read.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._template = ""
        self.position = Position()

    def read(self) -> list[Entry]:
        """Return some of the entries that were written since; none at the end of the journal."""
        while lines := self._next_lines():
            if entries := list(self._entries(lines)):
                return entries
        return []

    def skip(self) -> int:
        """Skip all entries that were written since, and return their number."""
        number = 0
        while lines := self._next_lines():
            number += sum(not line.startswith(_TEMPLATE_PREFIX) for line in lines)
            self.position = self.position._replace(offset=self.position.offset + sum(map(len, lines)))
        return number

    def _next_lines(self) -> list[bytes]:
        """Return lines at the position, which moves to the next file at the end of one; none at the end of the last."""
        while True:
            # Checked first: a file is complete before the next one exists.
            is_complete = os.path.exists(_path(self._folder, self.position.file + 1))  # noqa: PTH110  # as above
            lines = self._lines()
            if lines or not is_complete:
                return lines
            self.position = Position(self.position.file + 1, 0)

    def _lines(self) -> list[bytes]:
        with suppress(OSError), open(_path(self._folder, self.position.file), "rb") as file:  # noqa: PTH123  # as above
            file.seek(self.position.offset)
            return [line for line in file.readlines(READ_BYTES) if line.endswith(b"\n")]
        return []

    def _entries(self, lines: list[bytes]) -> Iterator[Entry]:
        for line in lines:
            self.position = self.position._replace(offset=self.position.offset + len(line))
            content = json.loads(line)
            if TEMPLATE in content:
                self._template = content[TEMPLATE]
            else:
                yield Entry(self._template, content, self.position)


def _path(folder: str, number: int) -> str:
    return f"{folder}/lines-{number}.jsonl"
