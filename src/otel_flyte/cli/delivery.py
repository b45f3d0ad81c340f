"""What is sent from a spool right now, and what was: on a terminal as it goes on, elsewhere a line for each file."""

import time
from typing import TextIO

from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.export.spool.files import REJECTED_SUFFIX
from otel_flyte.export.spool.replay import Progress, Summary
from otel_flyte.recording.cells import printable

_PAUSE_SECONDS = 0.1


class Teller:
    """Tells of a replay on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_live = stream.isatty()
        self._told: list[Progress] = []
        self._live_at = 0.0

    def progress(self, file: Progress) -> None:
        """Tell of a file that is worked on, on a terminal, and of one that is done."""
        if not file.left:
            self._tell(file)
        elif self._is_live and time.monotonic() - self._live_at > _PAUSE_SECONDS:
            self._live_at = time.monotonic()
            self._write(f"\r\x1b[K{printable(file.path.name)}: {_sent(file)}, {file.acknowledged / file.size:.0%}")

    def end(self, summary: Summary) -> None:
        """Tell of what was not told yet, and of what is left."""
        for file in summary.files:
            if file not in self._told:
                self._tell(file)
        if not summary.files and not summary.rejected:
            self._write("otel-flyte: there is nothing left to send\n")
        if summary.stopped:
            left = [file for file in summary.files if file.left]
            what = f"{size(sum(file.left for file in left))} in {len(left)} file{'s' * (len(left) != 1)}"
            reason = printable(summary.stopped)
            self._write(f"otel-flyte: {reason}: {what} left, the same command goes on from there\n")
        if summary.rejected:
            what = f"{summary.rejected:,} record{'s are' if summary.rejected != 1 else ' is'} set aside"
            self._write(f"otel-flyte: {what} in *{REJECTED_SUFFIX}: replay such a file by its name, or remove it\n")

    def _tell(self, file: Progress) -> None:
        self._told.append(file)
        clear = "\r\x1b[K" if self._is_live else ""
        name = printable(file.path.name)
        if file.sent or not file.problems:
            self._write(f"{clear}{name}: {_sent(file)} sent, {size(file.size - file.left)} of {size(file.size)}\n")
        for problem in (*file.remarks, *file.problems):
            self._write(f"{clear}{name}: {printable(problem)}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def size(number: int) -> str:
    """Say a number of bytes in the unit that suits it."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def _sent(file: Progress) -> str:
    counted = [(number, SHAPES[signal].noun) for signal, number in file.sent.items() if number]
    return ", ".join(f"{number:,} {noun if number != 1 else noun[:-1]}" for number, noun in counted) or "nothing"
