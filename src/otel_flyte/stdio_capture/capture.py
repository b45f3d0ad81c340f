"""The task's end: leads what it writes to a pump, says which task it is of, and takes it back if the pump dies."""

import functools
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from otel_flyte import semconv
from otel_flyte.config import settings
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded, say_once, start_thread
from otel_flyte.stdio_capture import channel, pump
from otel_flyte.stdio_capture.control import ANSWER, BROKEN, CONTEXT, DONE, HERE, SAY, SENT, START, SYNC, Control

if TYPE_CHECKING:
    from otel_flyte.stdio_capture.handover import Handover
    from otel_flyte.stdio_capture.journal import Position
    from otel_flyte.tasks.open_task import OpenTask

_CONTEXT_SECONDS = 1.0
_SYNC_SECONDS = 1.0
_STEP_SECONDS = 0.02
"""A task that waits for a pump waits no longer: whoever reads the original may be slow."""

_SHARE = 0.5
"""Of the exit bound, for handing over what is left: the rest is for sending it."""

_recording = ""
"""The file of a local run."""

_capture: "Capture | None" = None
_is_impossible = False
_open: "list[tuple[OpenTask, str]]" = []
"""The tasks that are open, each with the request that its records are like."""

_beginning = threading.RLock()


def record_to(path: str) -> None:
    """Have lines written to the file of a local run too, and be captured unless a variable says no."""
    global _recording
    _recording = path


@guarded
def begin(scope: "OpenTask") -> None:
    """Have what is written from now on be of a task."""
    if not _is_wanted():
        return
    from otel_flyte.stdio_capture import records

    with _beginning:
        _open.append((scope, records.template(scope.span)))
        _flush()
        if _capture is None:
            _start(_open[-1][1])
        else:
            _capture.tell(_open[-1][1], _CONTEXT_SECONDS)


@guarded
def end(scope: "OpenTask") -> None:
    """Have what is written from now on be of the task that was open before."""
    if _capture is None:
        return
    with _beginning:
        _flush()
        _open[:] = [each for each in _open if each[0] is not scope]
        # Until the pump knows, what flytekit prints next would be taken for the task's.
        _capture.tell(_open[-1][1] if _open else "", _CONTEXT_SECONDS)


@guarded
def finish() -> None:
    """Have all that was written go on to where it goes, and its lines to be sent; then lead streams there directly."""
    if _capture is not None:
        _flush()
        _capture.finish()


def beside(stream: TextIO) -> TextIO:
    """Give a stream for what is not the task's: it comes in the order in which it was written, and is not captured."""
    return cast("TextIO", _Beside(stream))


class _Beside:
    """Writes by way of the pump where there is one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = semconv.STDOUT if stream is sys.stdout else semconv.STDERR

    def write(self, text: str) -> None:
        """Write a text."""
        if _capture is None or not _capture.say(self._name, text):
            self._stream.write(text)

    def flush(self) -> None:
        """Have it be seen."""
        if _capture is None or not _capture.is_leading:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Capture:
    """The streams of this process, and its pump.

    Attributes:
        is_leading: whether the streams lead to the pump.
    """

    def __init__(self, template: str) -> None:
        """Start a pump and lead the streams to it.

        Raises:
            OSError: too few files may be open, or no process can be started.
        """
        from otel_flyte.process import shutdown
        from otel_flyte.runtime import ticker
        from otel_flyte.stdio_capture import handover
        from otel_flyte.supervisor import client

        self.is_leading = False
        self._is_broken = False
        self._is_without = False
        self._process = os.getpid()
        self._pump = 0
        self._tickets = itertools.count(1)
        self._answers: dict[int, threading.Event] = {}
        self._working = threading.Lock()
        self._listening = threading.RLock()
        self._channels = channel.open_all()
        try:
            self._folder = tempfile.mkdtemp(prefix="otel-flyte-output-")
            ours, theirs = socket.socketpair()
        except OSError:
            self._close()
            raise
        self._control = Control(ours)
        self._handover: Handover = handover.Handover(self._folder, _recording, self._settled)
        self._control.send(
            START,
            {
                "task": self._process,
                "folder": self._folder,
                "recording": _recording,
                "exit_timeout": settings.current().exit_timeout,
                "destinations": handover.targets(_recording),
                "streams": [(each.name, each.source, each.original) for each in self._channels],
                "template": template,
            },
        )
        try:
            self._launcher = _launch(theirs, self._channels)
        except OSError:
            self._close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            theirs.close()
        if client.is_supervised():
            client.pumping()
        ticker.when_readable(ours.fileno(), self._listen)
        ticker.every_second(self._work)
        shutdown.at_exit(self)
        shutdown.at_the_end(self._leave)
        self._lead()

    def tell(self, template: str, patience: float = 0) -> None:
        """Say whose it is what is written from now on; wait so many seconds until the pump knows."""
        if template and not self.is_leading:
            self._lead()
        self._ask(CONTEXT, lambda ticket: [template, ticket], patience)

    def say(self, stream: str, text: str) -> bool:
        """Have the pump write a text that is not captured; say whether it is there to do so."""
        if not self.is_leading or os.getpid() != self._process:
            return False
        self._control.send(SAY, [stream, text])
        return not self._control.is_closed

    def finish(self) -> None:
        """Wait until all is written on and noted, hand it over, and lead the streams where they led."""
        if not self.is_leading or os.getpid() != self._process:
            return
        self._ask(CONTEXT, lambda ticket: ["", ticket], 0)
        self._ask(SYNC, lambda ticket: ticket, _SYNC_SECONDS)
        self._give_back()
        with self._working:
            self._handover.finish(settings.current().exit_timeout * _SHARE)

    def shutdown(self) -> None:
        """Do the same at the end of the process."""
        guarded(finish)()

    def become_childs(self) -> None:
        """In a forked child: leave the pump to the parent; what the child writes leads there."""
        self.is_leading = False
        self._control.close()
        self._close()

    def _lead(self) -> None:
        if self._control.is_closed or self._is_broken:
            return
        for each in self._channels:
            each.lead()
        os.environ[semconv.CAPTURED_OUTPUT] = ",".join(each.mark for each in self._channels)
        self.is_leading = True

    def _give_back(self) -> None:
        if self.is_leading:
            self.is_leading = False
            os.environ.pop(semconv.CAPTURED_OUTPUT, None)
            for each in self._channels:
                each.give_back()

    def _ask(self, kind: str, value: Any, patience: float) -> None:
        ticket = next(self._tickets)
        answer = self._answers.setdefault(ticket, threading.Event())
        self._control.send(kind, value(ticket))
        until = time.monotonic() + patience
        while not self._control.is_closed and (left := until - time.monotonic()) > 0:
            if answer.wait(min(left, _STEP_SECONDS)):
                break
            # Who listens may be waiting for who asks, as where a signal ends the process.
            self._listen()
        self._answers.pop(ticket, None)

    def _listen(self) -> None:
        with self._listening:
            if not self._is_without and (self._control.is_closed or self._control.has_news()):
                self._hear()

    def _hear(self) -> None:
        for kind, value in self._control.receive():
            if kind == ANSWER and value in self._answers:
                self._answers[value].set()
            elif kind == HERE:
                self._pump = value
                self._launcher.wait()
            elif kind == BROKEN:
                # The next task is to meet with the same error, too.
                self._is_broken = True
                self._give_back()
        if self._control.is_closed:
            self._do_without()

    def _do_without(self) -> None:
        """The pump is gone: write on what it has not read, and what children go on to write."""
        from otel_flyte.runtime import ticker
        from otel_flyte.supervisor import client

        self._is_without = True
        ticker.forget(self._control.fileno())
        self._launcher.poll()
        for answer in list(self._answers.values()):
            answer.set()
        for each in self._channels:
            _pass_on(each, is_waiting=False)
        self._give_back()
        for each in self._channels:
            start_thread("otel-flyte-output", functools.partial(_pass_on, each, is_waiting=True))
        if client.is_supervised():
            client.pumped(self._process)
        say_once("the process that reads what the task writes is gone: from here on it is not recorded.")

    def _settled(self, destination: str, place: "Position") -> None:
        self._control.send(SENT, [destination, *place])

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


def _is_wanted() -> bool:
    """Whether what is written is to be captured, which is found out once where it is not."""
    global _is_impossible
    if _is_impossible:
        return False
    if _capture is None:
        chosen = settings.current().capture_output
        _is_impossible = not (bool(_recording) if chosen is None else chosen) or not _is_possible()
    return not _is_impossible


def _is_possible() -> bool:
    from otel_flyte.stdio_capture import handover

    if not handover.targets(_recording):
        return False
    if os.getpid() == 1:
        # All processes of a container die with its first one: what it has just written would be lost in the pipe.
        say_once(
            f"{semconv.OTEL_FLYTE_CAPTURE_OUTPUT} needs a process that outlives the task's, such as `otel-flyte exec`"
            " as the image's entrypoint: the output is not captured."
        )
        return False
    return not _is_captured_already()


def _is_captured_already() -> bool:
    """Whether a process that this one descends from captures what is written here."""
    marks = os.environ.get(semconv.CAPTURED_OUTPUT, "").split(",")
    found = (channel.identity(descriptor) for descriptor in (1, 2))
    return any(":".join(map(str, each)) in marks for each in found if each)


def _start(template: str) -> None:
    global _capture, _is_impossible
    # Until it is known to be possible: each task would try again, whatever went wrong.
    _is_impossible = True
    try:
        _capture = Capture(template)
        _is_impossible = False
    except OSError as error:
        say_once(f"what the task writes can't be captured ({error}).")


def _launch(control: socket.socket, channels: list[channel.Channel]) -> "subprocess.Popen[bytes]":
    descriptors = [control.fileno(), *(number for each in channels for number in (each.source, each.original))]
    return subprocess.Popen(  # noqa: S603  # this interpreter, with a module of this package
        # An isolated interpreter hears nothing of the variable that says the same.
        [sys.executable, "-I", "-S", *["-B"] * sys.dont_write_bytecode, *pump.command("pump", str(control.fileno()))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
    )


def _pass_on(source: channel.Channel, *, is_waiting: bool) -> None:
    """Write on what is in a channel, until nobody writes to it any more, or as long as there is something."""
    import select

    with suppress(OSError, ValueError):
        while source.is_readable:
            news = select.poll()
            news.register(source.source, select.POLLIN)
            if not news.poll(None if is_waiting else 0):
                return
            data = os.read(source.source, 65536)
            if not data:
                return
            while data:
                data = data[os.write(source.original, data) :]


def _flush() -> None:
    """Have what was written before be written, and not later: by Python, and by C's own buffers."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(Exception):
        _flush_c()


def _flush_c() -> None:
    """Flush C's standard output alone: another stream may be locked by a thread that waits for input."""
    import ctypes

    libc = ctypes.CDLL(None)
    name = "__stdoutp" if sys.platform == "darwin" else "stdout"
    libc.fflush(ctypes.c_void_p.in_dll(libc, name))


def _begin_child() -> None:
    global _beginning, _capture, _is_impossible
    _beginning = threading.RLock()
    if _capture is not None:
        _is_impossible = True
        _open.clear()
        _capture.become_childs()
        # A task that ends in the child would speak to the pump, by a lock that nobody may give up.
        _capture = None


forks.register(after_in_child=_begin_child)
