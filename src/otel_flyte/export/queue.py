"""The way out for the records of one signal: a bounded queue, and a thread that sends what is in it.

The thread that made a record pays for an append. Everything else (batching, encoding, sending, waiting for a receiver
that is away) happens in a daemon thread, which nobody waits for longer than they said. With a spool every batch is
written there before it is sent, and settled once it is acknowledged: what a dead collector or a sudden end leaves over
can be replayed.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from otel_flyte import semconv
from otel_flyte.export import dropped, otlp_requests, relay
from otel_flyte.export.otlp_json import line_of, request_of
from otel_flyte.export.sender import Sender
from otel_flyte.export.spool.files import SpoolFile
from otel_flyte.export.transport import Transport
from otel_flyte.runtime.guard import guarded, report, say_once, start_thread

SPOOL_BYTES = 2**30
"""A spool file that has grown to this is no longer written to: a full disk costs a pod its task."""

ROTATED_BYTES = 4 * 2**20
"""A spool file that is wholly settled and larger than this is removed, and another one begun."""

QUEUE_BYTES = 64 * 2**20
"""What the records that wait may come to, as OTLP JSON, where there are more than a few of them."""

FEW = 2048
_WEIGHED = 256
"""One record in so many is weighed, while there are more than a few."""

_COUNTING_SECONDS = 0.2

SOON_SECONDS = 0.1
"""What may wait for a moment may be all that there is to send, or go with what comes next."""

_IN_MEMORY = 4
"""Batches that are kept in memory while they also lie in the spool."""


class Codec(NamedTuple):
    """How the records of a signal become OTLP, and how many a sequence of them, or of lines, counts for."""

    encode: Callable[[Sequence[Any]], Message]
    line: Callable[[Sequence[Any]], bytes]
    count: Callable[[Sequence[Any]], int] = len
    count_lines: Callable[[Sequence[bytes]], int] = len


class Limits(NamedTuple):
    """How much is held and sent at once.

    Attributes:
        queue: records that wait; the oldest are given up beyond that.
        batch: records that are sent at once.
        delay: seconds after which a batch that is not full is sent.
    """

    queue: int
    batch: int
    delay: float


class _Ready(NamedTuple):
    """A request that somebody has made already."""

    request: Message


class _Lines(NamedTuple):
    """What a forked child has written."""

    lines: list[bytes]


class _Told(threading.Event):
    """A mark that tells somebody that it is reached."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self._function = function

    def set(self) -> None:
        """Tell it."""
        super().set()
        guarded(self._function)()


class _Batch:
    """What is sent at once.

    Attributes:
        count: how many records it began with.
        records: the records; none where they are lines, or to be read back from the spool.
        lines: what forked children have written.
        parts: the requests that are yet to be taken, once they are made.
        start: offset in the spool.
        end: offset in the spool, 0 where it is not there.
        reached: who waits for everything up to here.
    """

    __slots__ = ("count", "end", "lines", "parts", "reached", "records", "start")

    def __init__(
        self,
        count: int = 0,
        records: Sequence[Any] = (),
        lines: Sequence[bytes] = (),
        parts: deque[Message] | None = None,
        reached: threading.Event | None = None,
    ) -> None:
        self.count = count
        self.records = records
        self.lines = lines
        self.parts = parts
        self.start = self.end = 0
        self.reached = reached


class Outlet:
    """The queue, and the thread that empties it.

    Args:
        signal: ``traces``, ``metrics`` or ``logs``.
        codec: how its records become OTLP.
        transport: where they go.
        limits: how much is held and sent at once.
        spool: a file that holds what is not acknowledged.
        on_settled: told of the records that were acknowledged, or are safe in the spool.
    """

    def __init__(
        self,
        signal: str,
        codec: Codec,
        transport: Transport,
        limits: Limits,
        *,
        spool: SpoolFile | None = None,
        on_settled: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        self.signal = signal
        self._codec = codec
        self._sender = Sender(signal, transport)
        self._limits = limits
        self._limit = limits.queue
        self._spool = spool
        self._writes_ahead = spool is not None
        self._on_settled = on_settled
        self._queue: deque[Any] = deque()
        self._pending: deque[_Batch] = deque()
        self._taking = threading.Lock()
        self._wake = threading.Event()
        self._grace = 0.0
        self._done = threading.Event()
        self._deadline: float | None = None
        self._is_away = False
        self._gave_up = False
        self._is_closed = False
        self._in_child = relay.is_child()
        relay.outlets.append(self)
        if not self._in_child:
            start_thread(f"otel-flyte-{signal}", self._run)

    @property
    def last_answer(self) -> float:
        """When the receiver has answered last (``time.monotonic``), 0 where it never has."""
        return self._sender.last_answer

    def put(self, record: Any) -> None:
        """Queue a record; where the queue is full, the oldest is given up, because what ends last says most."""
        if self._in_child:
            self._write_for_parent(record)
            return
        queue = self._queue
        if len(queue) > FEW and len(queue) % _WEIGHED == 0:
            self._weigh(record)
        while len(queue) >= self._limit:
            self._give_up_oldest()
        queue.append(record)
        if len(queue) >= self._limits.batch and not self._is_away and not self._wake.is_set():
            self._wake.set()
        if self._is_closed:
            say_once(f"{self.signal} that ended after the end of their delivery are lost.")

    def put_request(self, request: Message) -> None:
        """Queue a request that is made already, and have it sent at once."""
        self.put(_Ready(request))
        self.kick()

    def kick(self, grace: float = 0.0) -> None:
        """Send what there is now rather than later, or in a moment if nobody else asks until then."""
        # In a forked child the event's lock may be held by a thread that is not there any more.
        if not self._in_child:
            # Who has asked for it now must not wait for who can.
            self._grace = 0.0 if self._wake.is_set() else grace
            self._wake.set()

    def mark(self) -> threading.Event:
        """Return an event that is set once all that is queued now is settled, and have that begin.

        It is set already where delivery has come to its end: Python's ``logging`` flushes its handlers last of all.
        """
        reached = threading.Event()
        if self._in_child or self._is_closed or self._done.is_set():
            reached.set()
            return reached
        self._queue.append(reached)
        self._sender.not_before = 0.0
        self._wake.set()
        return reached

    def when_settled(self, function: Callable[[], object]) -> None:
        """Have a function called, by the thread that sends, once all that is queued now is settled."""
        if not self._in_child:
            self._queue.append(_Told(function))

    def hurry(self, deadline: float) -> None:
        """Send all that is left before a deadline (by ``time.monotonic``); it is safe in the spool on return."""
        if self._in_child:
            return
        guarded(self._take_from_children)()
        if self._writes_ahead:
            guarded(self._take_all)()
        self._sender.not_before = 0.0
        self._deadline = deadline
        self._wake.set()

    def finish(self) -> None:
        """Wait for the deadline at most; count what was not delivered by then."""
        if self._in_child or self._deadline is None:
            return
        self._done.wait(max(0.0, self._deadline - time.monotonic()))
        if self._writes_ahead:
            guarded(self._take_all)()
        self._is_closed = True
        with self._taking:
            self._sender.is_counting = False
            left = [*self._pending, *(_Batch(self._count(item)) for item in list(self._queue))]
        if self._spool is not None and self._spool.path is not None:
            dropped.keep(self.signal, str(self._spool.path.parent), sum(_left_of(batch) for batch in left if batch.end))
        lost = sum(_left_of(batch) for batch in left if not batch.end) + self._codec.count_lines(self._unread())
        dropped.count(self.signal, self._sender.reason, lost, f"at {self._sender.destination}")
        if self._done.is_set():
            self._close()

    def become_childs(self) -> None:
        """In a forked child: forget what is the parent's to send; what comes is written to a file that it reads."""
        self._in_child = True
        self._queue, self._pending = deque(), deque()

    @guarded
    def _write_for_parent(self, item: Any) -> None:
        line = line_of(item.request) if isinstance(item, _Ready) else self._codec.line([item])
        try:
            relay.append(self.signal, line)
        except OSError as error:
            dropped.count(self.signal, dropped.UNWRITTEN, self._count(item), f"by a forked child: {error.strerror}")

    def _weigh(self, record: Any) -> None:
        """Hold fewer records where they are large: the memory is the task's."""
        with_size = guarded(self._codec.line)([record]) if not isinstance(record, (_Ready, _Lines)) else None
        if with_size:
            self._limit = min(self._limits.queue, max(FEW, QUEUE_BYTES // len(with_size)))

    def _give_up_oldest(self) -> None:
        try:
            oldest = self._queue.popleft()
        except IndexError:
            return
        if isinstance(oldest, threading.Event):
            oldest.set()
        dropped.count(self.signal, dropped.QUEUE_FULL, self._count(oldest))

    def _count(self, item: Any) -> int:
        match item:
            case threading.Event():
                return 0
            case _Ready(request):
                return otlp_requests.count(request)
            case _Lines(lines):
                return self._codec.count_lines(lines)
            case _:
                return self._codec.count([item])

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._is_over():
            self._wake.wait(self._pause())
            self._wake.clear()
            grace, self._grace = self._grace, 0.0
            if grace and self._deadline is None:
                self._wake.wait(grace)
                self._wake.clear()
            try:
                self._cycle()
            except Exception as fault:
                report("Outlet", fault)
        self._done.set()

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        return self._gave_up or time.monotonic() >= self._deadline or not (self._queue or self._pending)

    def _pause(self) -> float:
        now, not_before = time.monotonic(), self._sender.not_before
        if self._deadline is not None:
            return max(0.0, min(not_before, self._deadline) - now)
        if self._pending and not_before > now:
            return min(self._limits.delay, not_before - now)
        return self._limits.delay

    def _cycle(self) -> None:
        """Send what was there when it began, and full batches beyond that; everything, once the end is near."""
        self._take_from_children()
        due = len(self._queue)
        while due > 0 or self._pending:
            while due > 0 and (self._writes_ahead or not self._pending):
                due -= self._take() or due
            if not self._pending or time.monotonic() < self._sender.not_before or not self._deliver(self._pending[0]):
                break
            if len(self._queue) >= self._limits.batch or self._deadline is not None:
                due = len(self._queue)
        self._is_away = bool(self._pending)
        dropped.publish()

    def _take_all(self) -> None:
        while self._writes_ahead and self._take():
            pass

    def _take(self) -> int:
        """Move a batch from the queue to what is pending, by way of the spool; say how many items it was."""
        with self._taking:
            items: list[Any] = []
            reached: threading.Event | None = None
            while self._queue and len(items) < self._limits.batch and reached is None:
                first = self._queue[0]
                alone = isinstance(first, (_Ready, _Lines))
                if alone and items:
                    break
                reached = self._queue.popleft() if isinstance(first, threading.Event) else None
                if reached is None:
                    items.append(self._queue.popleft())
                if alone:
                    break
            if items or reached is not None:
                self._pending.append(self._batch(items, reached))
            return len(items) + (reached is not None)

    def _batch(self, items: list[Any], reached: threading.Event | None) -> _Batch:
        match items:
            case [_Ready(request)]:
                batch = _Batch(otlp_requests.count(request), parts=deque([request]), reached=reached)
            case [_Lines(lines)]:
                batch = _Batch(self._codec.count_lines(lines), lines=lines, reached=reached)
            case _:
                batch = _Batch(self._codec.count(items), items, reached=reached)
        if self._writes_ahead and self._spool is not None and items:
            self._write_ahead(self._spool, batch)
        return batch

    def _write_ahead(self, spool: SpoolFile, batch: _Batch) -> None:
        if spool.size > SPOOL_BYTES:
            self._do_without(f"the spool has come to {SPOOL_BYTES >> 20} MiB")
            return
        try:
            written = self._written(batch)
            batch.end = spool.append(written)
        except OSError as error:
            self._do_without(f"{semconv.OTEL_FLYTE_SPOOL} can't be written ({error})")
            return
        batch.start = batch.end - len(written)
        self._tell(batch.records)
        if len(self._pending) >= _IN_MEMORY:
            batch.records, batch.lines, batch.parts = (), (), None

    def _written(self, batch: _Batch) -> bytes:
        if batch.parts:
            return line_of(batch.parts[0])
        if batch.lines:
            return b"".join(line + b"\n" for line in batch.lines)
        try:
            return self._codec.line(batch.records)
        except Exception:
            # What can't be encoded is given up alone, and the rest written by way of its requests.
            batch.parts = self._encoded(batch.records)
            batch.count = sum(map(otlp_requests.count, batch.parts))
            return b"".join(map(line_of, batch.parts))

    def _do_without(self, reason: str) -> None:
        say_once(f"{reason}: it is done without.")
        self._writes_ahead = False

    @guarded
    def _take_from_children(self) -> None:
        waiting = sum(len(item.lines) for item in list(self._queue) if isinstance(item, _Lines))
        with self._taking:
            while waiting < self._limit:
                lines = relay.read(self.signal)
                if not lines:
                    break
                self._queue.append(_Lines(lines))
                waiting += len(lines)

    def _unread(self) -> list[bytes]:
        """Return what children have written and nobody will send; one that goes on writing is not waited for."""
        unread: list[bytes] = []
        until = time.monotonic() + _COUNTING_SECONDS
        with self._taking:
            while time.monotonic() < until and (lines := relay.read(self.signal)):
                unread += lines
        return unread

    def _deliver(self, batch: _Batch) -> bool:
        """Send what is left of the first pending batch; say whether all of it is settled."""
        if batch.parts is None:
            batch.parts = self._requests(batch)
        if self._sender.deliver(batch.parts, self._deadline, is_kept=batch.end > 0):
            self._settle(batch)
            return True
        if self._deadline is not None:
            # What is safe in the spool is not worth the wait, and what comes too late is none.
            self._gave_up = batch.end > 0 or self._sender.not_before >= self._deadline
        return False

    def _requests(self, batch: _Batch) -> deque[Message]:
        lines = batch.lines
        if not lines and not batch.records and batch.end and self._spool is not None:
            lines = self._spool.read(batch.start, batch.end).splitlines()
        if not lines:
            return self._encoded(batch.records) if batch.records else deque()
        request = otlp_requests.request(self.signal)
        for line in lines:
            try:
                request.MergeFrom(request_of(line)[1])
            except ValueError:
                dropped.count(self.signal, dropped.UNENCODABLE, self._codec.count_lines([line]))
        return deque([request])

    def _encoded(self, records: Sequence[Any]) -> deque[Message]:
        """Encode records; one that can't be is given up alone."""
        try:
            return deque([self._codec.encode(records)])
        except Exception as error:
            if len(records) == 1:
                report("Outlet", error)
                dropped.count(self.signal, dropped.UNENCODABLE, self._codec.count(records))
                return deque()
        middle = len(records) // 2
        return self._encoded(records[:middle]) + self._encoded(records[middle:])

    def _settle(self, batch: _Batch) -> None:
        if not batch.end:
            self._tell(batch.records)
        with self._taking:
            self._pending.popleft()
            if self._spool is not None and batch.end:
                self._settle_in(self._spool, batch.end)
        if batch.reached is not None:
            batch.reached.set()

    def _settle_in(self, spool: SpoolFile, end: int) -> None:
        try:
            spool.settle(end)
            if end > ROTATED_BYTES and not self._pending:
                spool.close()
                self._writes_ahead = True
        except OSError as error:
            say_once(f"{semconv.OTEL_FLYTE_SPOOL} can't be written ({error}): a replay sends again what was delivered.")

    def _tell(self, records: Sequence[Any]) -> None:
        if self._on_settled is not None and records:
            self._on_settled(records)

    @guarded
    def _close(self) -> None:
        if self._spool is not None:
            self._spool.close()
        self._sender.close()


def _left_of(batch: _Batch) -> int:
    return batch.count if batch.parts is None else sum(map(otlp_requests.count, batch.parts))
