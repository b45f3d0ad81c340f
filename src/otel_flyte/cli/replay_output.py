"""The progress and the result of a replay: on a terminal a live line, else a line for each file.

`rich.progress` has bars in place of this line.
"""

import time
from typing import TextIO

from rich.filesize import decimal

from otel_flyte.export.otlp_requests import SHAPES
from otel_flyte.export.spool.files import REJECTED_SUFFIX
from otel_flyte.export.spool.replay import Progress, Summary
from otel_flyte.recording.cells import counted, printable

_PAUSE_SECONDS = 0.1


class ReplayOutput:
    """Writes the progress and the result of a replay to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_live = stream.isatty()
        self._written: list[Progress] = []
        self._live_at = 0.0

    def update(self, file: Progress) -> None:
        """Write the line of a file that is finished, and on a terminal that of a file in progress."""
        if not file.left:
            self._write_file(file)
        elif self._is_live and time.monotonic() - self._live_at > _PAUSE_SECONDS:
            self._live_at = time.monotonic()
            self._write(f"\r\x1b[K{printable(file.path.name)}: {_sent(file)}, {file.acknowledged / file.size:.0%}")

    def finish(self, summary: Summary) -> None:
        """Write the lines of the other files, and of records that are left."""
        for file in summary.files:
            if file not in self._written:
                self._write_file(file)
        if not summary.files and not summary.rejected:
            self._write("otel-flyte: there is nothing left to send\n")
        if summary.stopped:
            left = [file for file in summary.files if file.left]
            amount = f"{decimal(sum(file.left for file in left))} in {counted(len(left), 'file')}"
            reason = printable(summary.stopped)
            self._write(f"otel-flyte: {reason}, {amount} remain: run the same command again\n")
        if summary.rejected:
            records = f"{summary.rejected:,} record{'s are' if summary.rejected != 1 else ' is'} set aside"
            self._write(f"otel-flyte: {records} in *{REJECTED_SUFFIX}: replay such a file by its name, or remove it\n")

    def _write_file(self, file: Progress) -> None:
        self._written.append(file)
        start, name = "\r\x1b[K" if self._is_live else "", printable(file.path.name)
        if file.sent or not file.problems:
            done, size = decimal(file.size - file.left), decimal(file.size)
            self._write(f"{start}{name}: {_sent(file)} sent, {done} of {size}\n")
        for problem in (*file.remarks, *file.problems):
            self._write(f"{start}otel-flyte: {name}: {printable(problem)}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _sent(file: Progress) -> str:
    sent = [(number, SHAPES[signal].noun) for signal, number in file.sent.items() if number]
    return ", ".join(f"{number:,} {noun if number != 1 else noun[:-1]}" for number, noun in sent) or "nothing"
