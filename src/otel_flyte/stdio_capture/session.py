"""The captured streams of this process, and the connection to their pump."""

import functools
import itertools
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.process import shutdown
from otel_flyte.runtime import ticker
from otel_flyte.runtime.guard import say_once, start_thread
from otel_flyte.stdio_capture import channel, handover, pump
from otel_flyte.stdio_capture.channel import Channel
from otel_flyte.stdio_capture.control import ANSWER, BROKEN, CONTEXT, DONE, HERE, SAY, SENT, START, SYNC, Control
from otel_flyte.stdio_capture.journal import Position
from otel_flyte.supervisor import client

_SYNC_SECONDS = 1.0
_STEP_SECONDS = 0.02
"""Interval in which a task that waits for the pump looks for the answer itself."""

_SHARE = 0.5
"""Of the exit bound, for the last lines: the rest of it is for delivery."""


class Session:
    """The captured streams of this process, and the connection to their pump.

    Attributes:
        is_redirected: whether the streams lead to the pump.
    """

    def __init__(self, template: str, recording: str, finish: Callable[[], object]) -> None:
        """Start a pump and redirect the streams to it.

        Args:
            template: of the next lines.
            recording: the file of a local run, empty without one.
            finish: called at the end of this process.

        Raises:
            OSError: too many files are open, or no process can be started.
        """
        self.is_redirected = False
        self._is_broken = False
        self._has_lost_pump = False
        self._process = os.getpid()
        self._tickets = itertools.count(1)
        self._answers: dict[int, threading.Event] = {}
        self._working = threading.Lock()
        self._listening = threading.RLock()
        self.shutdown = finish
        with ExitStack() as undo:
            self._channels = channel.open_all()
            undo.callback(self._close)
            self._folder = tempfile.mkdtemp(prefix="otel-flyte-stdio-")
            undo.callback(shutil.rmtree, self._folder, ignore_errors=True)
            ours, theirs = socket.socketpair()
            with theirs:
                self._control = Control(ours)
                self._handover = handover.Handover(self._folder, recording, self._acknowledge)
                self._control.send(START, self._configuration(template, recording))
                self._launcher = _launch(theirs, self._channels)
            undo.pop_all()
        if client.is_supervised():
            client.pump_started()
        ticker.when_readable(ours.fileno(), self._listen)
        ticker.every_second(self._work)
        shutdown.at_exit(self)
        shutdown.at_the_end(self._leave)
        self._redirect()

    def set_context(self, template: str, patience: float = 0) -> None:
        """Set the template of the next lines, none if it is empty; wait up to ``patience`` seconds for the pump."""
        if template and not self.is_redirected:
            self._redirect()
        self._ask(CONTEXT, lambda ticket: [template, ticket], patience)

    def say(self, stream: str, text: str) -> bool:
        """Write a text by way of the pump, which does not capture it; return whether there is a pump."""
        if not self._is_in_use:
            return False
        self._control.send(SAY, [stream, text])
        return not self._control.is_closed

    def finish(self) -> None:
        """Wait until all bytes are copied, send the lines, and restore the streams."""
        if not self._is_in_use:
            return
        self._ask(CONTEXT, lambda ticket: ["", ticket], 0)
        self._ask(SYNC, lambda ticket: ticket, _SYNC_SECONDS)
        self._restore()
        with self._working:
            self._handover.finish(settings.current().exit_timeout * _SHARE)

    def leave_to_parent(self) -> None:
        """In a forked child: close the connection; the child's streams still lead to the pump."""
        self.is_redirected = False
        self._control.close()
        self._close()

    @property
    def _is_in_use(self) -> bool:
        return self.is_redirected and os.getpid() == self._process

    def _configuration(self, template: str, recording: str) -> dict[str, Any]:
        return {
            "task": self._process,
            "folder": self._folder,
            "recording": recording,
            "exit_timeout": settings.current().exit_timeout,
            "destinations": handover.targets(recording),
            "streams": [(each.name, each.source.number, each.original.number) for each in self._channels],
            "template": template,
        }

    def _redirect(self) -> None:
        if self._control.is_closed or self._is_broken:
            return
        for each in self._channels:
            each.redirect()
        os.environ[semconv.CAPTURED_OUTPUT] = ",".join(each.mark for each in self._channels)
        self.is_redirected = True

    def _restore(self) -> None:
        if self.is_redirected:
            self.is_redirected = False
            os.environ.pop(semconv.CAPTURED_OUTPUT, None)
            for each in self._channels:
                each.restore()

    def _ask(self, kind: str, value: Callable[[int], Any], patience: float) -> None:
        ticket = next(self._tickets)
        answer = self._answers.setdefault(ticket, threading.Event())
        self._control.send(kind, value(ticket))
        until = time.monotonic() + patience
        while not self._control.is_closed and (left := until - time.monotonic()) > 0:
            if answer.wait(min(left, _STEP_SECONDS)):
                break
            # The thread that listens may wait for this one, as when a signal ends the process.
            self._listen()
        self._answers.pop(ticket, None)

    def _listen(self) -> None:
        with self._listening:
            if not self._has_lost_pump and (self._control.is_closed or self._control.has_news()):
                self._receive()

    def _receive(self) -> None:
        for kind, value in self._control.receive():
            if kind == ANSWER and value in self._answers:
                self._answers[value].set()
            elif kind == HERE:
                self._launcher.wait()
            elif kind == BROKEN:
                # The next task must get the same error.
                self._is_broken = True
                self._restore()
        if self._control.is_closed:
            self._replace_pump()

    def _replace_pump(self) -> None:
        """Copy the bytes that the dead pump has not read, and those that children go on to write."""
        self._has_lost_pump = True
        ticker.forget(self._control.fileno())
        self._launcher.poll()
        for answer in list(self._answers.values()):
            answer.set()
        for each in self._channels:
            _copy(each, is_waiting=False)
        self._restore()
        for each in self._channels:
            start_thread("otel-flyte-stdio", functools.partial(_copy, each, is_waiting=True))
        if client.is_supervised():
            client.pump_ended(self._process)
        say_once("the process of stdout capture has died: stdout and stderr are no longer recorded")

    def _acknowledge(self, destination: str, position: Position) -> None:
        self._control.send(SENT, [destination, *position])

    def _work(self) -> None:
        if os.getpid() == self._process:
            with self._working:
                self._handover.work()

    def _leave(self) -> None:
        if os.getpid() != self._process:
            return
        self._control.send(DONE)
        if self._control.is_closed:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _close(self) -> None:
        for each in self._channels:
            each.close()


def _launch(control: socket.socket, channels: list[Channel]) -> "subprocess.Popen[bytes]":
    ends = (end for each in channels for end in (each.source.number, each.original.number))
    return subprocess.Popen(  # noqa: S603  # this interpreter, with a module of this package
        # An isolated interpreter ignores the variable for -B.
        [sys.executable, "-I", "-S", *["-B"] * sys.dont_write_bytecode, *pump.command("pump", str(control.fileno()))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[control.fileno(), *ends],
        start_new_session=True,
    )


def _copy(source: Channel, *, is_waiting: bool) -> None:
    """Copy the bytes of a channel to its original destination: those so far, or until all writers have ended."""
    with suppress(OSError, ValueError):
        while source.is_readable:
            news = select.poll()
            news.register(source.source.number, select.POLLIN)
            if not news.poll(None if is_waiting else 0):
                return
            data = os.read(source.source.number, 65536)
            if not data:
                return
            while data:
                data = data[os.write(source.original.number, data) :]
