"""The pump: a process that copies the bytes of a task's stdout and stderr, and writes their lines to a journal.

It is started without ``site``, so that no package of a user runs in it. It has a session of its own, which no terminal
and no signal to the task's process group reaches, and no parent. It ends after the task's process and all other writers
of the same streams.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

from otel_flyte import semconv
from otel_flyte.stdio_capture import channel, lines
from otel_flyte.stdio_capture.control import ANSWER, BROKEN, CONTEXT, DONE, HERE, SAY, SENT, SYNC, Control
from otel_flyte.stdio_capture.journal import BODY, CUT, DROPPED, STREAM, TIME, Json, Position, Writer

_READ_BYTES = 2**16
_PENDING_BYTES = 2**16
"""A stream is not read while so many bytes wait for the reader of its original destination."""

_DRAINED_BYTES = 4 * 2**20
_TERMINAL_SECONDS = 0.005
"""Delay until bytes that were written to a terminal can be read."""

_LOOK_SECONDS = 0.25
"""Interval of checks of a terminal's size, and of the task's process where the kernel does not report its end."""

_STATE_SECONDS = 0.2
_AWAITED_SECONDS = 0.01
_WRITE_BYTES = getattr(select, "PIPE_BUF", 512)
"""A pipe or terminal that is ready accepts so many bytes without delay."""

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU)
_CODE = "import sys; sys.path.append(sys.argv[1]); from otel_flyte.stdio_capture.{module} import main; main()"


def command(module: str, *arguments: str) -> list[str]:
    """Return the arguments of an interpreter that runs a module of this package, independent of its location."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    return ["-c", _CODE.format(module=module), package, *arguments]


def main() -> None:
    """Run as a process; its argument is the descriptor of its end of the connection."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    control = Control(socket.socket(fileno=_lowered(int(sys.argv[2]))))
    messages: list[tuple[str, Any]] = []
    while not messages and not control.is_closed:
        messages = control.receive()
    if messages:
        (_, configuration), *rest = messages
        Pump(control, configuration).run(rest)


class _Stream:
    """A stream that is copied.

    Attributes:
        name: the name in its records.
        source: the descriptor that is read.
        target: the original destination.
        pending: bytes that wait to be written.
        is_over: whether all of its writers have ended.
        is_broken: whether its destination can't be written; it is still read, for the journal.
        assembler: makes its lines.
    """

    def __init__(self, name: str, source: int, target: int) -> None:
        self.name = name
        self.source = _lowered(source)
        self.target = _lowered(target)
        self.is_terminal = os.isatty(self.target)
        self.pending = b""
        self.is_over = False
        self.is_broken = False
        self.assembler = lines.Assembler()

    def read(self) -> bytes:
        """Read some bytes; reading a terminal that no process has open fails."""
        try:
            data = os.read(self.source, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.is_over = not data
        return data

    def write(self) -> bool:
        """Write pending bytes without waiting; return whether that has failed."""
        try:
            while self.pending and select.select((), (self.target,), (), 0)[1]:
                self.pending = self.pending[os.write(self.target, self.pending[:_WRITE_BYTES]) :]
        except BlockingIOError:
            return False
        except OSError:
            self.pending, self.is_broken = b"", True
            return True
        return False


class Pump:
    """The streams of one task's process."""

    def __init__(self, control: Control, configuration: Json) -> None:
        self._control = control
        self._task: int = configuration["task"]
        self._folder: str = configuration["folder"]
        self._recording: str = configuration["recording"]
        self._exit_timeout: float = configuration["exit_timeout"]
        self._streams = [_Stream(*each) for each in configuration["streams"]]
        self._journal = Writer(self._folder)
        self._quota = lines.Quota()
        self._has_reported_dropped = False
        self._is_recording = False
        self._sent: dict[str, Position] = {name: Position() for name in configuration["destinations"]}
        self._is_done = False
        self._waiting: list[int] = []
        self._end = _descriptor_of(self._task)
        self._is_alone = False
        self._looked_at = 0.0
        self._sender: Any = None
        self._is_awaited = semconv.EXEC_PIPE in os.environ
        self._control.send(HERE, os.getpid())
        self._begin(configuration["template"])

    def run(self, messages: list[tuple[str, Any]]) -> None:
        """Work until all writers have ended and all lines are sent, then clean up."""
        for kind, value in messages:
            self._receive(kind, value)
        while not (self._is_alone and all(stream.is_over and not stream.pending for stream in self._streams)):
            self._turn()
        for stream in self._streams:
            os.close(stream.target)  # A reader of the original destination sees its end.
        self._finish_sending()
        self._remove()

    def _turn(self) -> None:
        streams = [each for each in self._streams if not each.is_over and len(each.pending) < _PENDING_BYTES]
        news: list[Any] = [] if self._control.is_closed else [self._control]
        ends = [] if self._end is None or self._is_alone else [self._end]
        targets = [each.target for each in self._streams if each.pending]
        readable, _, _ = select.select([*(each.source for each in streams), *news, *ends], targets, (), self._pause())
        for stream in streams:
            if stream.source in readable:
                self._copy(stream)
        for stream in self._streams:
            self._write(stream)
        if self._control in readable:
            for kind, value in self._control.receive():
                self._receive(kind, value)
        self._look(self._end in readable)
        self._answer()

    def _pause(self) -> float | None:
        """Return the seconds until the next check; ``None`` for none, so that an idle pump costs nothing."""
        if self._is_recording and any(each.assembler.has_bar() for each in self._streams):
            return _STATE_SECONDS
        if self._is_alone and self._is_awaited:
            return _AWAITED_SECONDS
        is_blind = self._end is None and not self._is_alone
        return _LOOK_SECONDS if is_blind or any(each.is_terminal for each in self._streams) else None

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _copy(self, stream: _Stream) -> None:
        data = stream.read()
        if not stream.is_broken:
            stream.pending += data
            self._write(stream)
        if self._is_recording and data:
            self._record(stream, list(stream.assembler.feed(data)))

    def _write(self, stream: _Stream) -> None:
        if stream.pending and stream.write():
            self._control.send(BROKEN, stream.name)

    def _drain(self) -> None:
        """Read all bytes so far, within a bound for a writer that does not stop."""
        for stream in self._streams:
            # A slow reader of the original destination must not make this process grow.
            left = _DRAINED_BYTES - len(stream.pending)
            patience = _TERMINAL_SECONDS if stream.is_terminal else 0
            while left > 0 and not stream.is_over and select.select((stream.source,), (), (), patience)[0]:
                self._copy(stream)
                left -= _READ_BYTES

    # --- lines --------------------------------------------------------------------------------------------------------

    def _begin(self, template: str) -> None:
        """Record the next lines with a template, or not at all without one."""
        if self._is_recording:
            for stream in self._streams:
                self._record(stream, list(stream.assembler.end()))
        self._is_recording = bool(template)
        if template:
            with suppress(OSError):
                self._journal.begin(template)

    def _record(self, stream: _Stream, found: list[lines.Line]) -> None:
        now, clock = time.time_ns(), time.monotonic()
        entries = [_entry(stream.name, line, now) for line in found if self._quota.admits(line, clock)]
        if self._quota.dropped and not self._has_reported_dropped:
            self._has_reported_dropped = True
            entries += self._take_dropped()
        self._append(entries)

    def _append(self, entries: list[Json]) -> None:
        try:
            if entries:
                self._journal.append(entries)
        except OSError:
            self._quota.dropped["not written"] += sum(BODY in entry for entry in entries)

    def _take_dropped(self) -> list[Json]:
        """Return an entry with the number of dropped lines since the last one, and count from zero again."""
        dropped = dict(self._quota.dropped)
        self._quota.dropped.clear()
        return [{DROPPED: dropped, TIME: time.time_ns()}] if dropped else []

    # --- messages -----------------------------------------------------------------------------------------------------

    def _receive(self, kind: str, value: Any) -> None:
        self._drain()
        if kind == CONTEXT:
            template, ticket = value
            self._begin(template)
            self._control.send(ANSWER, ticket)
        elif kind == SAY:
            name, text = value
            stream = next((each for each in self._streams if each.name == name), self._streams[-1])
            stream.pending += text.encode(errors="surrogateescape")
            self._write(stream)
        elif kind == SYNC:
            self._append(self._take_dropped())
            self._waiting.append(value)
        elif kind == SENT:
            destination, *position = value
            self._sent[destination] = Position(*position)
            self._journal.remove_before(min(self._sent.values()).file)
        elif kind == DONE:
            self._is_done = True

    def _answer(self) -> None:
        if self._waiting and not any(stream.pending for stream in self._streams):
            for ticket in self._waiting:
                self._control.send(ANSWER, ticket)
            self._waiting.clear()

    # --- checks -------------------------------------------------------------------------------------------------------

    def _look(self, is_gone: bool) -> None:
        now = time.monotonic()
        for stream in self._streams:
            if self._is_recording:
                self._record(stream, list(stream.assembler.state(now)))
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            for stream in self._streams:
                if stream.is_terminal and channel.copy_window_size(stream.target, stream.source):
                    with suppress(OSError):
                        # The task got this signal of its terminal before this terminal had the size.
                        os.kill(self._task, signal.SIGWINCH)
            is_gone = is_gone or (self._end is None and not _is_alive(self._task))
        if self._is_alone and self._is_awaited:
            self._release_supervisor()
        # A program that closes descriptors that it does not know has not ended.
        if not self._is_alone and (is_gone or (self._control.is_closed and not _is_alive(self._task))):
            self._go_on_alone()

    def _go_on_alone(self) -> None:
        """Record the last lines of the task's process, which has ended, and send those that it has not sent."""
        self._is_alone = True
        self._drain()
        self._begin("")
        self._append(self._take_dropped())
        if not self._is_done and any(position < self._journal.position for position in self._sent.values()):
            self._send()

    def _release_supervisor(self) -> None:
        """Report to the supervisor, which waits for this process, that all is copied and sent."""
        is_sent = self._sender is None or self._sender.poll() is not None
        if is_sent and not any(stream.pending for stream in self._streams):
            from otel_flyte.supervisor import client

            self._is_awaited = False
            client.pump_ended(self._task)

    def _send(self) -> None:
        import json
        import subprocess

        given = {
            "folder": self._folder,
            "recording": self._recording,
            "sent": self._sent,
            "deadline": time.monotonic() + self._exit_timeout,
        }
        with suppress(OSError):
            self._sender = subprocess.Popen(  # noqa: S603  # this interpreter, with the arguments above
                [sys.executable, *command("handover", json.dumps(given))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._streams[-1].target if self._streams else subprocess.DEVNULL,
            )

    def _finish_sending(self) -> None:
        """Wait for the sender: the end of this process means that all is sent."""
        if self._sender is not None:
            try:
                self._sender.wait(self._exit_timeout + 5)
            except Exception:
                self._sender.kill()
                self._sender.wait()

    def _remove(self) -> None:
        with suppress(OSError):
            for name in os.listdir(self._folder):  # noqa: PTH208  # pathlib is more than half of a pump
                os.unlink(f"{self._folder}/{name}")  # noqa: PTH108  # as above
            os.rmdir(self._folder)  # noqa: PTH106  # as above


def _lowered(descriptor: int) -> int:
    """Return a descriptor under the lowest free number: ``select`` accepts none above 1,023."""
    lowered = os.dup(descriptor)
    os.close(descriptor)
    return lowered


def _entry(stream: str, line: lines.Line, now: int) -> Json:
    entry: Json = {TIME: now, STREAM: stream, BODY: line.body.decode(errors="backslashreplace")}
    return {**entry, CUT: line.cut} if line.cut else entry


def _descriptor_of(process: int) -> int | None:
    """Return a descriptor that is readable once a process has ended, ``None`` where the kernel has none."""
    with suppress(AttributeError, OSError):
        return os.pidfd_open(process)
    return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
