"""Sending what was spooled: each line once, as far as its receiver acknowledges it.

A file is held by its lock while it is worked on, and settled line by line, so that several replays share a folder and
any of them goes on where another one stopped. What no receiver takes is set aside in ``NAME.rejected.jsonl``, for the
rest to go on.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import Message
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.config.urls import without_password
from otel_flyte.export import otlp_requests
from otel_flyte.export.otlp_json import line_of, request_of
from otel_flyte.export.spool import files as spool
from otel_flyte.export.transport import Outcome, Transport, Verdict, connect

PATIENCE_SECONDS = 30.0
"""How long a receiver may take nothing before a replay stops."""

_SHORTEST_ATTEMPT_SECONDS = 1.0
_SCHEMES = ("http", "https", "grpc", "grpcs")


class NoEndpointError(Exception):
    """Nothing says where to send; the message is one line that says what to do."""


class _Stopped(Exception):  # noqa: N818  # it ends the work, which is no error of anybody's
    """The receiver takes nothing more for now; the message says why."""


class _Left(Exception):  # noqa: N818  # the same, for one file
    """The rest of a file can't be sent, while others can; the message says why."""


@dataclass(slots=True)
class Progress:
    """How far the work on one file is.

    Attributes:
        path: the file.
        size: its bytes.
        settled: the bytes that are done with.
        sent: records that were acknowledged, by signal.
        problems: one line for each thing that could not be sent.
        remarks: one line for each thing that is worth knowing, though nothing is left because of it.
    """

    path: Path
    size: int = 0
    settled: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Bytes that are yet to be sent."""
        return max(0, self.size - self.settled)


@dataclass(slots=True)
class Summary:
    """What became of all files.

    Attributes:
        files: those on which there was something to do.
        stopped: why the work stopped before the last of them; empty where it did not.
        set_aside: records that lie beside them, because no receiver took them in this replay or a former one.
    """

    files: list[Progress] = field(default_factory=list)
    stopped: str = ""
    set_aside: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every record was taken."""
        return not (self.stopped or self.set_aside or any(file.left or file.problems for file in self.files))


class _Line(NamedTuple):
    number: int
    end: int
    content: bytes


def environ_with(endpoint: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which every signal goes to an endpoint, unchanged where none is given.

    Raises:
        NoEndpointError: the endpoint is no URL that OTLP can be sent to.
    """
    changed = dict(environ)
    if endpoint is not None:
        scheme, separator, _ = endpoint.lower().partition("://")
        is_known = not separator or scheme in _SCHEMES
        if not is_known or not endpoints.plan("traces", {semconv.ENDPOINT: endpoint}).exporters:
            raise NoEndpointError(f"--endpoint {without_password(endpoint)} is no URL such as http://host:4318.")
        for signal in endpoints.SIGNALS:
            changed.pop(semconv.SIGNAL_ENDPOINT.format(signal=signal.upper()), None)
            exporter = semconv.EXPORTER.format(signal=signal.upper())
            if changed.get(exporter) not in endpoints.OTLP_PROTOCOLS:
                changed.pop(exporter, None)
        changed[semconv.ENDPOINT] = endpoint
    return changed


class Replay:
    """Sends files to where an environment says.

    Args:
        environ: the standard variables.
        on_progress: told of each line that is settled.
        patience: seconds for which a receiver may take nothing.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        on_progress: Callable[[Progress], None] = lambda _: None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Plan where each signal goes; nothing is sent yet.

        Raises:
            NoEndpointError: no signal goes anywhere by OTLP.
        """
        self._environ = environ
        self._on_progress = on_progress
        self._patience = patience
        self._plans = {signal: endpoints.plan(signal, environ) for signal in endpoints.SIGNALS}
        self._transports: dict[str, Transport] = {}
        self._taken_at = 0.0
        problems = dict.fromkeys(problem for plan in self._plans.values() for problem in plan.problems)
        if not any(map(self._is_planned, self._plans)):
            raise NoEndpointError(" ".join([*problems, f"Give --endpoint URL, or set {semconv.ENDPOINT}."]))

    def run(self, paths: Iterable[Path]) -> Summary:
        """Send what is left of files, in order; what had to be split is sent after the file that it is from."""
        summary = Summary()
        waiting = deque(paths)
        self._taken_at = time.monotonic()
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            while waiting:
                waiting.extendleft(self._file(waiting.popleft(), summary))
        except _Stopped as stopped:
            summary.stopped = str(stopped)
            summary.files += [progress for progress in map(_untouched, waiting) if progress.left]
        finally:
            detach(token)
            for transport in self._transports.values():
                transport.close()
            self._transports.clear()
        return summary

    def _file(self, path: Path, summary: Summary) -> list[Path]:
        """Send what is left of one file; give the file, if any, that holds what had to be split."""
        progress = Progress(path)
        try:
            with spool.Held(path) as held:
                progress.size, progress.settled = held.size, held.settled()
                if not progress.left:
                    _clean_up(path)
                    return []
                summary.files.append(progress)
                if spool.is_marked_for_another(path):
                    progress.remarks.append(
                        f"{spool.sent_path(path).name} is of another file: it is sent from its start"
                    )
                return self._held_file(held, progress)
        except FileNotFoundError:
            return []  # Somebody else has sent all of it.
        except spool.LockedError:
            problem = "in use: it is being written, or replayed by another process"
        except _Left as left:
            problem = str(left)
        except OSError as error:
            problem = why_not(path, error)
        progress.problems.append(problem)
        if progress not in summary.files:
            summary.files.append(progress)
        return []

    def _held_file(self, held: spool.Held, progress: Progress) -> list[Path]:
        rest = spool.SpoolFile(held.path.parent, "rest")
        _check_beginning(held, progress)
        # A folder that can't be written would be sent again the next time: better to learn of it now.
        held.settle(progress.settled)
        try:
            for line in _lines(held.descriptor, progress.settled):
                self._line(line, progress, rest)
                progress.settled = line.end
                held.settle(line.end)
                self._on_progress(progress)
            _clean_up(held.path)
            return [rest.path] if rest.path else []
        except (_Stopped, _Left):
            if rest.path:
                progress.problems.append(f"what it had to be split into is yet to be sent, from {rest.path.name}")
            raise
        finally:
            rest.close()

    def _line(self, line: _Line, progress: Progress, rest: spool.SpoolFile) -> None:
        content = line.content.strip()
        if content in (b"", b"{}"):
            return
        try:
            signal, request = request_of(content)
        except ValueError as error:
            _unreadable(line, progress, error)
            return
        transport = self._transport(signal)
        parts = list(_fitting(request, transport.request_limit))
        if len(parts) == 1:
            parts = self._deliver(signal, request, transport, progress)
        for part in parts:
            rest.append(line_of(part))

    def _deliver(self, signal: str, request: Message, transport: Transport, progress: Progress) -> list[Message]:
        """Send a request until the receiver has made up its mind; give the parts that it is to be sent in instead."""
        outcome = self._answer(signal, request, transport)
        count = otlp_requests.count(request)
        noun = otlp_requests.SHAPES[signal].noun
        destination = transport.destination
        match outcome.verdict:
            case Verdict.ACCEPTED:
                progress.sent[signal] += count - outcome.rejected
                if outcome.rejected:
                    reason = f": {outcome.reason}" if outcome.reason else ""
                    progress.problems.append(f"{outcome.rejected} {noun} were rejected by {destination}{reason}")
            case Verdict.TOO_LARGE:
                halves = otlp_requests.split(request)
                if halves:
                    return list(halves)
                what = f"{otlp_requests.name_of_only(request)} with {request.ByteSize():,} bytes"
                progress.problems.append(
                    f"{what} is too large for {destination}: kept in {_set_aside(progress.path, line_of(request))}"
                )
            case Verdict.REJECTED:
                kept = _set_aside(progress.path, line_of(request))
                progress.problems.append(
                    f"{count} {noun} were rejected by {destination} ({outcome.reason}): kept in {kept}"
                )
            case _:
                raise _Stopped(f"{signal} are refused by {destination}: {outcome.reason}")
        return []

    def _answer(self, signal: str, request: Message, transport: Transport) -> Outcome:
        """Send a request, again and again while the receiver asks for patience.

        Raises:
            _Stopped: it has taken nothing for too long.
        """
        pause = 1.0
        while True:
            give_up_at = self._taken_at + self._patience
            timeout = min(transport.timeout, give_up_at - time.monotonic())
            outcome = transport.send(request, max(_SHORTEST_ATTEMPT_SECONDS, timeout))
            now = time.monotonic()
            if outcome.verdict is not Verdict.RETRY:
                self._taken_at = now
                return outcome
            asks = outcome.retry_after or 0.0
            if now + asks >= give_up_at:
                told = f", and asks to wait {asks:g} s" if asks else ""
                waited = f"{signal} were not taken for {now - self._taken_at:.0f} s by {transport.destination}"
                raise _Stopped(f"{waited} ({outcome.reason}{told})")
            time.sleep(asks or min(pause, give_up_at - now))
            pause *= 2

    def _transport(self, signal: str) -> Transport:
        if signal not in self._transports:
            if not self._is_planned(signal):
                raise _Left(f"it holds {signal}, for which no endpoint is configured")
            try:
                self._transports[signal] = connect(self._plans[signal], self._environ)
            except Exception as error:
                raise _Stopped(f"{signal} can't be sent ({error})") from error
        return self._transports[signal]

    def _is_planned(self, signal: str) -> bool:
        return any(name in endpoints.OTLP_PROTOCOLS for name in self._plans[signal].exporters)


def records_in(lines: Iterable[bytes]) -> int:
    """Count the records in lines of OTLP; a line that is not OTLP counts as one."""
    return sum(_records(content) for content in map(bytes.strip, lines) if content)


def records_set_aside(folder: Path) -> int:
    """Count the records in a folder that receivers did not take, and that were not replayed since.

    A file that can't be read counts as one.

    Raises:
        OSError: the folder can't be read.
    """
    count = 0
    for path in spool.set_aside(folder):
        try:
            with path.open("rb") as file:
                file.seek(spool.settled(path))
                count += records_in(file)
        except OSError:
            count += 1
    return count


def why_not(path: Path, error: OSError) -> str:
    """Say why a file can't be worked on: that it can't be read, or that nothing can be noted beside it."""
    reason = error.strerror or error
    if not os.access(path, os.R_OK):
        return f"it can't be read: {reason}"
    return f"what was sent is noted beside it, for which it and its folder must be writable ({reason})"


def _records(content: bytes) -> int:
    try:
        return otlp_requests.count(request_of(content)[1])
    except ValueError:
        return 1


def _untouched(path: Path) -> Progress:
    try:
        return Progress(path, path.stat().st_size, spool.settled(path))
    except OSError:
        return Progress(path)


def _lines(descriptor: int, start: int) -> Iterator[_Line]:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        end = 0
        for number, content in enumerate(file, 1):
            end += len(content)
            if end > start:
                yield _Line(number, end, content)


def _check_beginning(held: spool.Held, progress: Progress) -> None:
    """See to it that nothing is written beside a file that is none of OTLP.

    Raises:
        _Left: it is none.
    """
    if progress.settled or spool.is_spool(held.path):
        return
    first = next(_lines(held.descriptor, 0))
    content = first.content.strip()
    if content not in (b"", b"{}"):
        try:
            request_of(content)
        except ValueError as error:
            _unreadable(first, progress, error)


def _unreadable(line: _Line, progress: Progress, error: ValueError) -> None:
    """Name a line that can't be sent; keep it where the file is to be removed.

    Raises:
        _Left: it is the end of a file that somebody may be writing, or its beginning: then it is no file of OTLP.
    """
    is_cut = not line.content.endswith(b"\n")
    what = f"line {line.number} is " + ("cut off" if is_cut else f"not OTLP ({error})")
    if spool.is_spool(progress.path):
        kept = _set_aside(progress.path, line.content.rstrip(b"\n") + b"\n")
        progress.problems.append(f"{what}: kept in {kept}")
    elif is_cut or line.number == 1:
        raise _Left(what)
    else:
        progress.problems.append(f"{what}: left where it is")


def _fitting(request: Message, limit: int) -> Iterator[Message]:
    """Split a request by its records until each part fits, or holds but one."""
    halves = otlp_requests.split(request) if request.ByteSize() > limit else None
    if halves is None:
        yield request
    else:
        for half in halves:
            yield from _fitting(half, limit)


def _set_aside(path: Path, line: bytes) -> str:
    """Keep what can't be sent; give the name of the file that has it."""
    rejected = spool.rejected_path(path)
    # `Path.open` knows no opener.
    with open(rejected, "ab", opener=partial(os.open, mode=spool.mode(path))) as file:
        file.write(line)
    return rejected.name


def _clean_up(path: Path) -> None:
    if spool.is_spool(path):
        spool.remove(path)
