"""The journal: lines that wait to be sent, in files of a folder, as lines of JSON.

The pump alone writes, whoever sends reads. A file that has grown large is followed by another, which begins with what
holds for its lines, so that files that are sent can be removed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

FILE_BYTES = 4 * 2**20
READ_BYTES = 2**16

TEMPLATE = "template"
"""``{"template": TEXT}``: the lines that follow are records like this one, a request in OTLP JSON."""
_NO_RECORD = f'{{"{TEMPLATE}"'.encode()
BODY, STREAM, TIME, CUT = "body", "stream", "time", "cut"
"""``{"time": NS, "stream": NAME, "body": TEXT}``: a line; ``cut``: bytes that are missing at its end."""
LEFT_OUT = "left_out"
"""``{"left_out": {REASON: N}, "time": NS}``: lines that are not here, since the last that was said of it."""

Json = dict[str, Any]


class Position(NamedTuple):
    """A place in a journal: the number of a file, and an offset in bytes."""

    file: int = 1
    offset: int = 0


class Entry(NamedTuple):
    """What stands in a journal: a line, or lines that were left out.

    Attributes:
        template: the request that it is to be like.
        content: as it was written.
        end: where it ends.
    """

    template: str
    content: Json
    end: Position


class Writer:
    """The pump's end.

    Attributes:
        position: where the next entry will begin.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._template = ""
        self._descriptor = -1
        self.position = Position(0, FILE_BYTES + 1)

    def begin(self, template: str) -> None:
        """Have the lines that follow be records like this one."""
        if template != self._template:
            self._write([{TEMPLATE: template}])
            self._template = template

    def append(self, entries: list[Json]) -> None:
        """Write entries, at once.

        Raises:
            OSError: they can't be written.
        """
        if self.position.offset > FILE_BYTES:
            self._open_next()
        self._write(entries)

    def remove_before(self, number: int) -> None:
        """Remove the files before one, which are sent."""
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
            # Half a line would spoil the next one.
            os.ftruncate(self._descriptor, self.position.offset)
            raise
        self.position = self.position._replace(offset=self.position.offset + written)


class Reader:
    """A sender's end; it begins at the beginning.

    Attributes:
        position: up to where it has read.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._template = ""
        self.position = Position()

    def read(self) -> list[Entry]:
        """Give entries that have been written since, some of them; none where there are none."""
        while True:
            # Looked for first: what was written before the next file began is there by then.
            is_over = os.path.exists(_path(self._folder, self.position.file + 1))  # noqa: PTH110  # as above
            lines = self._lines()
            entries = list(self._entries(lines))
            if entries or not (lines or is_over):
                return entries
            if not lines:
                self.position = Position(self.position.file + 1, 0)

    def skip(self) -> int:
        """Count the records that have been written since, without a look at them; they are read then."""
        number = 0
        while True:
            is_over = os.path.exists(_path(self._folder, self.position.file + 1))  # noqa: PTH110  # as above
            lines = self._lines()
            number += sum(not line.startswith(_NO_RECORD) for line in lines)
            self.position = self.position._replace(offset=self.position.offset + sum(map(len, lines)))
            if not lines and not is_over:
                return number
            if not lines:
                self.position = Position(self.position.file + 1, 0)

    def _lines(self) -> list[bytes]:
        with suppress(OSError), open(_path(self._folder, self.position.file), "rb") as file:  # noqa: PTH123  # as above
            file.seek(self.position.offset)
            lines = file.readlines(READ_BYTES)
            return [line for line in lines if line.endswith(b"\n")]
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
