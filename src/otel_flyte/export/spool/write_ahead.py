"""The spool file that a queue writes batches to before it sends them; delivery continues without it after a fault."""

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.config.urls import without_password
from otel_flyte.export.spool.files import SpoolFile
from otel_flyte.runtime.guard import guarded, say_once

SPOOL_BYTES = 2**30
"""Size from which a spool file is not written any more, because a full disk ends tasks."""

ROTATED_BYTES = 4 * 2**20
"""Size from which a spool file is replaced once all of it is acknowledged."""


class WriteAhead:
    """Writes batches to a spool file.

    Attributes:
        is_used: whether batches are written. It is false without a file and after a fault.
    """

    def __init__(self, file: SpoolFile | None) -> None:
        self._file = file
        self.is_used = file is not None

    @property
    def folder(self) -> str:
        """The folder of the file, empty as long as there is no file."""
        return str(self._file.path.parent) if self._file and self._file.path else ""

    def write(self, lines: bytes) -> int:
        """Append lines and return the offset of their end, or 0 if they are not written."""
        problem = f"has reached {SPOOL_BYTES >> 20} MiB"
        try:
            if self._file and self._file.size <= SPOOL_BYTES:
                return self._file.append(lines)
        except OSError as error:
            problem = f"can't be written ({error.strerror or error})"
        chosen = without_password(settings.current().spool)
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}={chosen} {problem}: continuing without a spool")
        self.is_used = False
        return 0

    def read(self, start: int, end: int) -> bytes:
        """Read back lines by their offsets."""
        return self._file.read(start, end) if self._file else b""

    def acknowledge(self, end: int, *, is_last: bool) -> None:
        """Note that the lines before an offset are done, and replace a large file if no batch of it is left."""
        if not self._file:
            return
        try:
            self._file.acknowledge(end)
            if end > ROTATED_BYTES and is_last:
                self._file.close()
                self.is_used = True
        except OSError as error:
            say_once(
                f"{semconv.OTEL_FLYTE_SPOOL} can't be written ({error.strerror or error}): "
                "expect duplicates, a replay sends acknowledged records again"
            )

    @guarded
    def close(self) -> None:
        """Unlock the file, and remove it if it is acknowledged."""
        if self._file:
            self._file.close()
