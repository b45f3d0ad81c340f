"""The pump: a process that writes on what a task writes, and notes its lines.

It is started without ``site``, so that nothing that a user has installed runs in it, in a session of its own, which no
terminal and no signal to the task's process group reaches, and as nobody's child. It lives until the task's process and
all who write to the same streams are gone.
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
from otel_flyte.stdio_capture.journal import BODY, CUT, LEFT_OUT, STREAM, TIME, Json, Position, Writer

_READ_BYTES = 2**16
_PENDING_BYTES = 2**16
"""A stream is not read while so much of it waits for whoever reads the original."""

_DRAINED_BYTES = 4 * 2**20
_TERMINAL_SECONDS = 0.005
"""What was written to a terminal is there to be read a moment later."""

_LOOK_SECONDS = 0.25
"""How often a terminal's size is looked at, and whether the task lives where nothing else tells."""

_STATE_SECONDS = 0.2
_AWAITED_SECONDS = 0.01
_WRITE_BYTES = getattr(select, "PIPE_BUF", 512)
"""A pipe or terminal that is ready takes as much without making the writer wait."""

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU)
_CODE = "import sys; sys.path.append(sys.argv[1]); from otel_flyte.stdio_capture.{module} import main; main()"


def command(module: str, *arguments: str) -> list[str]:
    """Give what follows the name of an interpreter that runs a module of this package, wherever that lies."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    return ["-c", _CODE.format(module=module), package, *arguments]


def main() -> None:
    """Run as a process; its argument is the descriptor of its end of the line to the task."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    control = Control(socket.socket(fileno=_lowered(int(sys.argv[2]))))
    messages: list[tuple[str, Any]] = []
    while not messages and not control.is_closed:
        messages = control.receive()
    if messages:
        (_, told), *rest = messages
        Pump(control, told).run(rest)


class _Stream:
    """A stream that is written on.

    Attributes:
        name: as its records call it.
        source: where it comes from.
        target: where it goes.
        pending: what waits to be written on.
        is_over: whether all who wrote to it are gone.
        is_broken: whether it can't be written on; it is still read, and noted.
        assembler: makes lines of it.
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
        """Read what there is; a terminal that nobody has open any more can't be read."""
        try:
            data = os.read(self.source, _READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.is_over = not data
        return data

    def write(self) -> bool:
        """Write on what can be without waiting; say whether that has failed."""
        try:
            while self.pending and select.select((), (self.target,), (), 0)[1]:
                self.pending = self.pending[os.write(self.target, self.pending[:_WRITE_BYTES]) :]
        except BlockingIOError:
            return False
        except OSError:
            self.pending, self.is_broken = b"", True
            return True
        return False

    def close(self) -> None:
        """Let whoever reads the original see its end."""
        os.close(self.target)


class Pump:
    """One task's process and what it writes."""

    def __init__(self, control: Control, told: Json) -> None:
        self._control = control
        self._task: int = told["task"]
        self._folder: str = told["folder"]
        self._recording: str = told["recording"]
        self._exit_timeout: float = told["exit_timeout"]
        self._streams = [_Stream(*each) for each in told["streams"]]
        self._journal = Writer(self._folder)
        self._quota = lines.Quota()
        self._is_noting = False
        self._left_out: dict[str, int] = {}
        self._sent: dict[str, Position] = {name: Position() for name in told["destinations"]}
        self._is_done = False
        self._waiting: list[int] = []
        self._end = _descriptor_of(self._task)
        self._is_alone = False
        self._looked_at = 0.0
        self._sender: Any = None
        self._has_told = semconv.EXEC_PIPE not in os.environ
        self._control.send(HERE, os.getpid())
        self._begin(told["template"])

    def run(self, messages: list[tuple[str, Any]]) -> None:
        """Work until all is over, then clean up."""
        for kind, value in messages:
            self._take(kind, value)
        while not self._is_over():
            self._turn()
        for stream in self._streams:
            stream.close()
        self._finish_sending()
        self._remove()

    def _is_over(self) -> bool:
        return self._is_alone and all(stream.is_over and not stream.pending for stream in self._streams)

    def _turn(self) -> None:
        streams = [each for each in self._streams if not each.is_over and len(each.pending) < _PENDING_BYTES]
        news: list[Any] = [] if self._control.is_closed else [self._control]
        ends = [] if self._end is None or self._is_alone else [self._end]
        targets = [each.target for each in self._streams if each.pending]
        readable, _, _ = select.select([*(each.source for each in streams), *news, *ends], targets, (), self._pause())
        for stream in streams:
            if stream.source in readable:
                self._pass_on(stream)
        for stream in self._streams:
            self._write(stream)
        if self._control in readable:
            for kind, value in self._control.receive():
                self._take(kind, value)
        self._look(self._end in readable)
        self._answer()

    def _pause(self) -> float | None:
        """Say how long nothing needs to be looked at; where nothing ever does, a pump costs nothing."""
        if self._is_noting and any(each.assembler.has_bar() for each in self._streams):
            return _STATE_SECONDS
        is_blind = self._end is None and not self._is_alone
        is_awaited = self._is_alone and not self._has_told
        if is_awaited:
            return _AWAITED_SECONDS
        if is_blind or any(each.is_terminal for each in self._streams):
            return _LOOK_SECONDS
        return None

    # --- what the task writes -----------------------------------------------------------------------------------------

    def _pass_on(self, stream: _Stream) -> None:
        data = stream.read()
        if not stream.is_broken:
            stream.pending += data
            self._write(stream)
        if self._is_noting and data:
            self._note(stream, list(stream.assembler.feed(data)))

    def _write(self, stream: _Stream) -> None:
        if stream.pending and stream.write():
            self._control.send(BROKEN, stream.name)

    def _drain(self) -> None:
        """Read what has been written until now; whoever goes on writing is not waited for."""
        for stream in self._streams:
            # A reader of the original that is slow is not to make this process grow.
            left = _DRAINED_BYTES - len(stream.pending)
            patience = _TERMINAL_SECONDS if stream.is_terminal else 0
            while left > 0 and not stream.is_over and select.select((stream.source,), (), (), patience)[0]:
                self._pass_on(stream)
                left -= _READ_BYTES

    # --- what is noted ------------------------------------------------------------------------------------------------

    def _note(self, stream: _Stream, found: list[lines.Line]) -> None:
        now, clock = time.time_ns(), time.monotonic()
        admitted = [line for line in found if self._quota.admits(line, clock)]
        entries = [_entry(stream.name, line, now) for line in admitted]
        if self._quota.left_out and not self._left_out:
            self._left_out = dict(self._quota.left_out)
            entries.append({LEFT_OUT: self._left_out, TIME: now})
        if entries:
            self._append(entries)

    def _append(self, entries: list[Json]) -> None:
        try:
            self._journal.append(entries)
        except OSError:
            self._quota.left_out["not written"] += sum(BODY in entry for entry in entries)

    def _begin(self, template: str) -> None:
        """Note what follows as the task's that a template stands for, or note nothing where there is none."""
        for stream in self._streams:
            self._note(stream, list(stream.assembler.end())) if self._is_noting else None
        self._is_noting = bool(template)
        if template:
            with suppress(OSError):
                self._journal.begin(template)

    def _say_what_is_left_out(self) -> None:
        news = {reason: number - self._left_out.get(reason, 0) for reason, number in self._quota.left_out.items()}
        if any(news.values()):
            self._left_out = dict(self._quota.left_out)
            self._append([{LEFT_OUT: news, TIME: time.time_ns()}])

    # --- what the task tells ------------------------------------------------------------------------------------------

    def _take(self, kind: str, value: Any) -> None:
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
            self._say_what_is_left_out()
            self._waiting.append(value)
        elif kind == SENT:
            destination, *place = value
            self._sent[destination] = Position(*place)
            self._journal.remove_before(min(self._sent.values()).file)
        elif kind == DONE:
            self._is_done = True

    def _answer(self) -> None:
        if self._waiting and not any(stream.pending for stream in self._streams):
            for ticket in self._waiting:
                self._control.send(ANSWER, ticket)
            self._waiting.clear()

    # --- what is looked at --------------------------------------------------------------------------------------------

    def _look(self, is_gone: bool) -> None:
        now = time.monotonic()
        for stream in self._streams:
            if self._is_noting:
                self._note(stream, list(stream.assembler.state(now)))
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            for stream in self._streams:
                if stream.is_terminal and channel.copy_window_size(stream.target, stream.source):
                    _tell_of_window_size(self._task)
            is_gone = is_gone or (self._end is None and not _is_alive(self._task))
        if self._is_alone and not self._has_told:
            self._tell_supervisor()
        # Some programs close descriptors that they do not know: that is not their end.
        if not self._is_alone and (is_gone or (self._control.is_closed and not _is_alive(self._task))):
            self._go_on_alone()

    def _go_on_alone(self) -> None:
        """The task's process is gone: note its last words and have sent what it has not."""
        self._is_alone = True
        self._drain()
        self._begin("")
        self._say_what_is_left_out()
        if not self._is_done and any(place < self._journal.position for place in self._sent.values()):
            self._send()

    def _tell_supervisor(self) -> None:
        """Say that whoever waits for this process need not wait any longer."""
        is_sent = self._sender is None or self._sender.poll() is not None
        if is_sent and not any(stream.pending for stream in self._streams):
            from otel_flyte.supervisor import client

            self._has_told = True
            client.pumped(self._task)

    def _send(self) -> None:
        import json
        import subprocess

        told = {
            "folder": self._folder,
            "recording": self._recording,
            "sent": self._sent,
            "deadline": time.monotonic() + self._exit_timeout,
        }
        with suppress(OSError):
            self._sender = subprocess.Popen(  # noqa: S603  # this interpreter, with what stands above
                [sys.executable, *command("last_words", json.dumps(told))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._streams[-1].target if self._streams else subprocess.DEVNULL,
            )

    def _finish_sending(self) -> None:
        """Wait for what sends; then whoever waits for this process sees that it is gone."""
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
    """Give a descriptor the lowest number that is free: ``select`` takes none beyond 1,023."""
    lowered = os.dup(descriptor)
    os.close(descriptor)
    return lowered


def _entry(stream: str, line: lines.Line, now: int) -> Json:
    entry: Json = {TIME: now, STREAM: stream, BODY: line.body.decode(errors="backslashreplace")}
    return {**entry, CUT: line.cut} if line.cut else entry


def _descriptor_of(process: int) -> int | None:
    """Give a descriptor that is readable once a process has ended, ``None`` where the kernel has none."""
    with suppress(AttributeError, OSError):
        return os.pidfd_open(process)
    return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def _tell_of_window_size(process: int) -> None:
    """Tell the task again: its terminal has, before this one had the size."""
    with suppress(OSError):
        os.kill(process, signal.SIGWINCH)
