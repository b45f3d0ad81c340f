"""Reads recordings into the database, and what is appended to them while the server runs.

Records are known by their ids, so a file that is read twice, or written anew, doubles nothing.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from otel_flyte.export import otlp_json
from otel_flyte.recording.compressed import DecompressionError, decompressed
from otel_flyte.recording.otlp_file import UnreadableError, unreadable
from otel_flyte.server.receivers import intake
from otel_flyte.server.store.schema import DatabaseError
from otel_flyte.server.store.writer import BusyError, Writer

SECONDS = 0.5
"""Between two looks at the files."""

_SUFFIXES = (".jsonl.gz", ".jsonl.zst")
_REJECTED = ".rejected.jsonl"
_CHUNK = 4 * 2**20
"""Bytes of a file that are read at a time, unless a line is longer."""


def check(source: Path) -> None:
    """Check that a file, unless nothing is in it yet, has a line of OTLP. A folder may have none.

    Raises:
        UnreadableError: it has none, or can't be read.
    """
    if not source.is_file():
        return
    try:
        problem = _problem(source)
    except OSError as error:
        raise unreadable(source, error) from None
    except DecompressionError as error:
        raise UnreadableError(f"{source} {error}", error.remedy) from None
    if problem:
        raise UnreadableError(f"{source} has no line of OTLP JSON ({problem})")


def _problem(path: Path) -> str:
    """Return what is wrong with the first line of a file, empty where any line is OTLP or is still written."""
    found = ""
    with path.open("rb") as file:
        for line in decompressed(file.read()).splitlines(True) if path.name.endswith(_SUFFIXES) else file:
            if line.isspace():
                continue
            if line.startswith(b"{") and not line.endswith(b"\n"):
                return ""
            try:
                otlp_json.request_of(line, [])
            except ValueError as error:
                found = found or f"the first one: {error!s:.200}"
            else:
                return ""
    return found


class Follower:
    """Reads the files of a source, which is a file or a folder, in a thread of its own.

    Args:
        source: the file or the folder.
        writer: takes the records.
        warn: prints a line about a part that can't be read.
    """

    def __init__(self, source: Path, writer: Writer, warn: Callable[[str], object]) -> None:
        self._source = source
        self._writer = writer
        self._warn = warn
        self._offsets: dict[Path, int] = {}
        self._lines: dict[Path, int] = {}
        self._unreadable: set[Path] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-flyte-follower", daemon=True)

    def start(self) -> None:
        """Read what there is, and go on in the background."""
        self.read()
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._done.set()
        self._thread.join()

    def read(self) -> None:
        """Read what is new."""
        try:
            files = sorted(self._files())
        except OSError as error:
            self._say_once(self._source, error)
            return
        for path in files:
            try:
                self._read(path)
            except OSError as error:
                self._say_once(path, error)
            else:
                self._unreadable.discard(path)

    def _say_once(self, path: Path, error: OSError) -> None:
        """Say that a path can't be read, and not again until it can."""
        if path not in self._unreadable:
            self._unreadable.add(path)
            self._warn(f"{path} can't be read ({error.strerror or error}): check its permissions")

    def _run(self) -> None:
        while not self._done.wait(SECONDS):
            self.read()

    def _files(self) -> Iterator[Path]:
        if not self._source.is_dir():
            yield self._source
            return
        for path in self._source.iterdir():
            is_recording = path.name.endswith((".jsonl", *_SUFFIXES)) and not path.name.endswith(_REJECTED)
            if is_recording and path.is_file():
                yield path

    def _read(self, path: Path) -> None:
        size, offset = path.stat().st_size, self._offsets.get(path, 0)
        if size == offset:
            return
        if size < offset:
            # It was written anew.
            offset = self._lines[path] = 0
        if path.name.endswith(_SUFFIXES):
            self._offsets[path] = size
            try:
                self._take(path, decompressed(path.read_bytes()).splitlines(keepends=True))
            except DecompressionError as error:
                self._warn(f"{path} {error}: {error.remedy}")
            return
        with path.open("rb") as file:
            file.seek(offset)
            while lines := file.readlines(_CHUNK):
                if not lines[-1].endswith(b"\n"):
                    # Its writer is at it.
                    lines.pop()
                self._take(path, lines)
                offset += sum(map(len, lines))
                self._offsets[path] = offset
                if not lines or self._done.is_set():
                    return

    def _take(self, path: Path, lines: list[bytes]) -> None:
        for line in lines:
            number = self._lines[path] = self._lines.get(path, 0) + 1
            if line.isspace():
                continue
            faults: list[str] = []
            try:
                signal, request = otlp_json.request_of(line, faults)
            except ValueError as error:
                self._warn(f"{path}, line {number} is not OTLP ({error!s:.200}): it is ignored")
                continue
            for fault in faults[:1]:
                self._warn(f"{path}, line {number} has {len(faults)} records that are not OTLP ({fault:.200})")
            self._put(signal, request, len(line))

    def _put(self, signal: str, request: object, size: int) -> None:
        while not self._done.is_set():
            try:
                intake.take(self._writer, signal, request, size)
            except BusyError:
                self._done.wait(0.05)
            except DatabaseError as error:
                self._warn(str(error))
                return
            else:
                return
