"""Replay of spool files: each line is sent once, as far as its receiver acknowledges it.

A file is locked while it is replayed, and acknowledged line by line: several replays can share a folder, and each can
continue where another one stopped. Records that no receiver accepts are moved to ``NAME.rejected.jsonl``.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from google.protobuf.message import Message
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from otel_flyte import semconv
from otel_flyte.config import endpoints
from otel_flyte.config.urls import without_password
from otel_flyte.export import otlp_requests
from otel_flyte.export.connection import connect
from otel_flyte.export.otlp_json import count_records, line_of, request_of
from otel_flyte.export.spool import files as spool
from otel_flyte.export.transport import Outcome, Transport, Verdict

PATIENCE_SECONDS = 30.0
"""A replay stops when its receiver has accepted nothing for this time."""

_SHORTEST_ATTEMPT_SECONDS = 1.0
_SCHEMES = ("http", "https", "grpc", "grpcs")
_EMPTY = (b"", b"{}")


class NoEndpointError(Exception):
    """No endpoint is configured. The message is one line for the user."""


class _Stopped(Exception):  # noqa: N818  # it ends the replay and is no error
    """The receiver accepts nothing more for now, for the reason in the message."""


class _Skipped(Exception):  # noqa: N818  # it ends the work on one file and is no error
    """The rest of a file can't be sent, for the reason in the message, while other files can."""


@dataclass(slots=True)
class Progress:
    """Progress of one file.

    Attributes:
        path: the file.
        size: bytes in the file.
        acknowledged: the acknowledged offset in bytes.
        sent: number of acknowledged records by signal.
        problems: one line for each thing that could not be sent.
        remarks: one line for each other thing that the user should know.
    """

    path: Path
    size: int = 0
    acknowledged: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Bytes that are not acknowledged."""
        return max(0, self.size - self.acknowledged)


@dataclass(slots=True)
class Summary:
    """Result of a replay.

    Attributes:
        files: the files that had something to send.
        stopped: why the replay stopped early, empty if it did not.
        rejected: number of records in ``*.rejected.jsonl`` files, from this replay or earlier ones.
    """

    files: list[Progress] = field(default_factory=list)
    stopped: str = ""
    rejected: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every record was accepted."""
        return not (self.stopped or self.rejected or any(file.left or file.problems for file in self.files))


def environ_with(endpoint: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that sends every signal to an endpoint, or the same environment without one.

    Raises:
        NoEndpointError: the endpoint is no URL for OTLP.
    """
    changed = dict(environ)
    if endpoint is not None:
        scheme, separator, _ = endpoint.lower().partition("://")
        is_known = bool(separator) and scheme in _SCHEMES
        if not is_known or not endpoints.plan("traces", {semconv.ENDPOINT: endpoint}).exporters:
            raise NoEndpointError(
                f"--endpoint {without_password(endpoint)} is no URL: use one such as http://host:4318"
            )
        for signal in map(str.upper, endpoints.SIGNALS):
            changed.pop(semconv.SIGNAL_ENDPOINT.format(signal=signal), None)
            exporter = semconv.EXPORTER.format(signal=signal)
            if changed.get(exporter) not in endpoints.OTLP_PROTOCOLS:
                changed.pop(exporter, None)
        changed[semconv.ENDPOINT] = endpoint
    return changed


class Replay:
    """Sends files to the receivers that an environment names.

    Args:
        environ: the standard variables.
        on_progress: called after each acknowledged line.
        patience: seconds for which the receiver may accept nothing.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        on_progress: Callable[[Progress], None] = lambda _: None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Plan the receiver of each signal. Nothing is sent yet.

        Raises:
            NoEndpointError: no signal is exported by OTLP.
        """
        self._environ = environ
        self._on_progress = on_progress
        self._patience = patience
        plans = [endpoints.plan(signal, environ) for signal in endpoints.SIGNALS]
        self._plans = {
            plan.signal: plan for plan in plans if not endpoints.OTLP_PROTOCOLS.keys().isdisjoint(plan.exporters)
        }
        self._transports: dict[str, Transport] = {}
        self._accepted_at = 0.0
        if not self._plans:
            problems = dict.fromkeys(problem for plan in plans for problem in plan.problems)
            advice = f"no endpoint is configured: give --endpoint URL, or set {semconv.ENDPOINT}"
            raise NoEndpointError("; ".join([*problems, advice]))

    def run(self, paths: Iterable[Path]) -> Summary:
        """Send the rest of each file in order. Requests that had to be split follow the file that they come from."""
        summary = Summary()
        waiting = deque(paths)
        self._accepted_at = time.monotonic()
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            while waiting:
                waiting.extendleft(self._file(waiting.popleft(), summary))
        except _Stopped as stopped:
            summary.stopped = str(stopped)
            summary.files += [progress for progress in map(untouched, waiting) if progress.left]
        finally:
            detach(token)
            for transport in self._transports.values():
                transport.close()
            self._transports.clear()
        return summary

    def _file(self, path: Path, summary: Summary) -> list[Path]:
        """Send the rest of a file, and return the file with its split requests, if there are any."""
        progress = Progress(path)
        summary.files.append(progress)
        try:
            with spool.Held(path) as held:
                progress.size, progress.acknowledged = held.size, held.acknowledged
                if progress.left:
                    return self._held_file(held, progress)
                _remove_spool(path)
                summary.files.remove(progress)
        except FileNotFoundError:
            # Another replay has sent all of it.
            summary.files.remove(progress)
        except (spool.LockedError, _Skipped) as reason:
            progress.problems.append(str(reason))
        except OSError as error:
            progress.problems.append(problem_with(path, error))
        return []

    def _held_file(self, held: spool.Held, progress: Progress) -> list[Path]:
        if spool.has_foreign_offset(held.path):
            progress.remarks.append(f"{spool.sent_path(held.path).name} belongs to another file: all of it is sent")
        if not progress.acknowledged and not spool.is_spool(held.path):
            # Nothing is written beside a file that is not OTLP.
            _request(*next(_lines(held.descriptor, 0))[:2], Progress(held.path))
        # Without a note of the acknowledged offset, the next replay would send all of it again.
        held.acknowledge(progress.acknowledged)
        rest = spool.SpoolFile(held.path.parent, "rest")
        try:
            for number, content, end in _lines(held.descriptor, progress.acknowledged):
                request = _request(number, content, progress)
                for part in self._send(*request, progress) if request else ():
                    rest.append(line_of(part))
                progress.acknowledged = end
                held.acknowledge(end)
                self._on_progress(progress)
            _remove_spool(held.path)
            return [rest.path] if rest.path else []
        except (_Stopped, _Skipped):
            if rest.path:
                progress.problems.append(f"its split requests are not sent: they are in {rest.path.name}")
            raise
        finally:
            rest.close()

    def _send(self, signal: str, request: Message, progress: Progress) -> list[Message]:
        """Send a request, and return the parts that must be sent in its place."""
        transport = self._transport(signal)
        parts = list(_fitting(request, transport.request_limit))
        if len(parts) > 1:
            return parts
        outcome = self._answer(signal, request, transport)
        count = otlp_requests.count(request)
        destination = transport.destination
        match outcome.verdict:
            case Verdict.ACCEPTED:
                progress.sent[signal] += count - outcome.rejected
                if outcome.rejected:
                    reason = f": {outcome.reason}" if outcome.reason else ""
                    progress.problems.append(
                        f"{otlp_requests.were({signal: outcome.rejected})} rejected by {destination}{reason}"
                    )
            case Verdict.TOO_LARGE:
                if halves := otlp_requests.split(request):
                    return list(halves)
                record = f"{otlp_requests.name_of_only(request)} with {request.ByteSize():,} bytes"
                kept = _keep_rejected(progress.path, line_of(request))
                progress.problems.append(f"{record} is too large for {destination}: {kept}")
            case Verdict.REJECTED:
                kept = _keep_rejected(progress.path, line_of(request))
                progress.problems.append(
                    f"{otlp_requests.were({signal: count})} rejected by {destination} ({outcome.reason}): {kept}"
                )
            case _:
                raise _Stopped(f"{signal} are refused by {destination}: {outcome.reason}")
        return []

    def _answer(self, signal: str, request: Message, transport: Transport) -> Outcome:
        """Send a request, and retry as long as the receiver asks for that.

        Raises:
            _Stopped: the receiver has accepted nothing for too long.
        """
        pause = 1.0
        while True:
            give_up_at = self._accepted_at + self._patience
            timeout = min(transport.timeout, give_up_at - time.monotonic())
            outcome = transport.send(request, max(_SHORTEST_ATTEMPT_SECONDS, timeout))
            now = time.monotonic()
            if outcome.verdict is not Verdict.RETRY:
                self._accepted_at = now
                return outcome
            retry_after = outcome.retry_after or 0.0
            if now + retry_after >= give_up_at:
                asks = f", and asks to wait {retry_after:g} s" if retry_after else ""
                waited = f"{signal} were not accepted for {now - self._accepted_at:.0f} s by {transport.destination}"
                raise _Stopped(f"{waited} ({outcome.reason}{asks})")
            time.sleep(retry_after or min(pause, give_up_at - now))
            pause *= 2

    def _transport(self, signal: str) -> Transport:
        if signal not in self._plans:
            raise _Skipped(f"it holds {signal}, for which no endpoint is configured: set {semconv.ENDPOINT}")
        if signal not in self._transports:
            try:
                self._transports[signal] = connect(self._plans[signal], self._environ)
            except Exception as error:
                raise _Stopped(f"{signal} can't be sent ({error})") from error
        return self._transports[signal]


def rejected_records(folder: Path) -> int:
    """Return the number of rejected records in a folder that were not replayed. An unreadable file counts as one.

    Raises:
        OSError: the folder can't be read.
    """
    count = 0
    for path in spool.files(folder, rejected=True):
        try:
            with path.open("rb") as file:
                file.seek(spool.acknowledged_offset(path))
                count += count_records(file)
        except OSError:
            count += 1
    return count


def problem_with(path: Path, error: OSError) -> str:
    """Return a line for the user about a file that can't be read, or whose offset can't be noted beside it."""
    reason = error.strerror or error
    if not os.access(path, os.R_OK):
        return f"it can't be read ({reason}): check its permissions"
    return f"its acknowledged offset can't be written ({reason}): make the file and its folder writable"


def untouched(path: Path) -> Progress:
    """Return the progress of a file that was not replayed yet."""
    try:
        return Progress(path, path.stat().st_size, spool.acknowledged_offset(path))
    except OSError:
        return Progress(path)


def _lines(descriptor: int, start: int) -> Iterator[tuple[int, bytes, int]]:
    """Return the number, content and end of each line after an offset."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        end = 0
        for number, content in enumerate(file, 1):
            end += len(content)
            if end > start:
                yield number, content, end


def _request(number: int, line: bytes, progress: Progress) -> tuple[str, Message] | None:
    """Return the signal and request of a line, or ``None`` without one. A broken line is noted as a problem.

    Raises:
        _Skipped: the file is no spool file, and this is its first line, or one that its writer may not have completed.
    """
    content = line.strip()
    if content in _EMPTY:
        return None
    # A spool file keeps the whole line: its records must not be lost.
    faults: list[str] | None = None if spool.is_spool(progress.path) else []
    try:
        request = request_of(content, faults)
        if faults:
            others = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            progress.problems.append(
                f"line {number} has a record that is not OTLP ({faults[0]}): it is not sent{others}"
            )
        return request if otlp_requests.count(request[1]) or not faults else None
    except ValueError as error:
        is_cut = not line.endswith(b"\n")
        problem = f"line {number} is " + ("incomplete" if is_cut else f"not OTLP ({error})")
    if spool.is_spool(progress.path):
        problem = f"{problem}: {_keep_rejected(progress.path, line)}"
    elif is_cut or number == 1:
        raise _Skipped(f"{problem}: {'it' if is_cut else 'the file'} is not sent")
    else:
        problem = f"{problem}: it is not sent"
    progress.problems.append(problem)
    return None


def _fitting(request: Message, limit: int) -> Iterator[Message]:
    """Return parts of a request that are small enough, or hold a single record."""
    halves = otlp_requests.split(request) if request.ByteSize() > limit else None
    if halves is None:
        yield request
    else:
        for half in halves:
            yield from _fitting(half, limit)


def _keep_rejected(path: Path, line: bytes) -> str:
    """Keep a line that can't be sent, and return where it is kept."""
    rejected = spool.rejected_path(path)
    # `Path.open` knows no opener.
    with open(rejected, "ab", opener=partial(os.open, mode=spool.mode(path))) as file:
        file.write(line.rstrip(b"\n") + b"\n")
    return f"kept in {rejected.name}"


def _remove_spool(path: Path) -> None:
    if spool.is_spool(path):
        spool.remove(path)
