"""The queue of one signal: bounded, and emptied by a daemon thread that batches, encodes, sends and retries.

A thread that ends a span or emits a log record only appends to it. With a spool, each batch is written to disk before
it is sent and acknowledged there afterwards, so that ``otel-flyte replay`` sends the rest after an outage or a kill.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from otel_flyte.export import dropped, otlp_requests, relay
from otel_flyte.export.batch import MADE, Batch, Callback, Lines
from otel_flyte.export.codecs import Codec
from otel_flyte.export.otlp_json import count_records, line_of
from otel_flyte.export.sender import Sender
from otel_flyte.export.spool.files import SpoolFile
from otel_flyte.export.spool.write_ahead import WriteAhead
from otel_flyte.export.transport import Transport
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded, report, say_once, start_thread
from otel_flyte.runtime.wakeup import Wakeup

QUEUE_BYTES = 64 * 2**20
"""Bytes that queued records may have as OTLP JSON if there are more than ``FEW``."""

FEW = 2048
_WEIGHED = 256
"""Beyond ``FEW``, the size of one record in this number is measured."""

SOON_SECONDS = 0.1
"""A delay in which more records may come that share the request."""

_COUNTING_SECONDS = 0.2
_RESERVE_SECONDS = 0.1
"""Time before the deadline for the rest of a batch in the spool to be written there again."""

_IN_MEMORY = 4
"""Batches that stay in memory although the spool holds them."""


class Limits(NamedTuple):
    """Limits of a queue.

    Attributes:
        queue: number of records that wait. The oldest are dropped beyond it.
        batch: number of records that are sent at once.
        delay: seconds after which a batch is sent although it is not full.
    """

    queue: int
    batch: int
    delay: float


class ExportQueue:
    """The queue of one signal and the thread that empties it.

    A record is done when it is acknowledged, or dropped and counted.

    Args:
        codec: converts the records of the signal to OTLP.
        transport: connects to the receiver.
        limits: limits of the queue.
        spool: file for batches that are not done.
        on_acknowledged: called with records that are done or in the spool.
    """

    def __init__(
        self,
        codec: Codec,
        transport: Transport,
        limits: Limits,
        *,
        spool: SpoolFile | None = None,
        on_acknowledged: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        self.signal = codec.signal
        self._codec = codec
        self._sender = Sender(codec.signal, transport)
        self._limits = limits
        self._limit = limits.queue
        self._spool = WriteAhead(spool)
        self._on_acknowledged = on_acknowledged
        self._queue: deque[Any] = deque()
        self._pending: deque[Batch] = deque()
        self._taking = threading.RLock()
        self._wake = Wakeup()
        self._grace = 0.0
        self._done = threading.Event()
        self._deadline: float | None = None
        self._gave_up = False
        self._is_closed = False
        relay.prepare()
        self._in_child = relay.is_child()
        self._append_below = 0 if self._in_child else min(limits.batch - 1, limits.queue, FEW)
        forks.register(after_in_child=self._begin_child)
        if not self._in_child:
            start_thread(f"otel-flyte-{self.signal}", self._run)

    @property
    def last_answer(self) -> float:
        """Time of the receiver's last answer (``time.monotonic``), 0 if there was none."""
        return self._sender.last_answer

    def put(self, record: Any) -> None:
        """Queue a record. A full queue drops its oldest one, because a task's own span ends last."""
        # Nearly every record comes this way, in the thread of the task.
        if len(self._queue) < self._append_below:
            self._queue.append(record)
        elif self._in_child:
            self._write_for_parent(record)
        else:
            self._put_in_order(record)

    def _put_in_order(self, record: Any) -> None:
        """Queue a record where a batch is full, the queue may be, or delivery has ended."""
        queue = self._queue
        if len(queue) > FEW and len(queue) % _WEIGHED == 0:
            self._adapt_limit(record)
        while len(queue) >= self._limit:
            self._drop_oldest()
        queue.append(record)
        if len(queue) >= self._limits.batch and not self._pending and not self._wake.is_set():
            self._wake.set()
        if self._is_closed:
            say_once(f"{self.signal} that end after the last flush are dropped: end them before the process exits")

    def put_request(self, request: Message) -> None:
        """Queue an encoded request and send it at once."""
        self.put(request)
        self.kick()

    def kick(self, grace: float = 0.0) -> None:
        """Send now instead of after the delay, or after ``grace`` seconds if no other call comes before."""
        # In a forked child, a thread that does not exist any more may hold the lock of the event.
        if not self._in_child:
            self._grace = 0.0 if self._wake.is_set() else grace
            self._wake.set()

    def mark(self) -> Wakeup:
        """Start sending, and return an event that is set when all records that are queued now are done.

        After the end of delivery it is set already: ``logging`` flushes its handlers later than that.
        """
        mark = Wakeup()
        if self._in_child or self._is_closed or self._done.is_set():
            mark.set()
            return mark
        self._queue.append(mark)
        self._send_now()
        return mark

    def when_done(self, function: Callable[[], object]) -> None:
        """Call a function, in the sending thread, when all records that are queued now are done."""
        if not self._in_child:
            self._queue.append(Callback(function))

    def hurry(self, deadline: float) -> None:
        """Send everything before a deadline (``time.monotonic``). On return, the spool has all of it."""
        if self._in_child:
            return
        self._take_from_children()
        self._take_all()
        self._deadline = deadline
        self._send_now()

    def finish(self) -> None:
        """Wait until the deadline at most, and count the records that are not done by then."""
        if self._in_child or self._deadline is None:
            return
        self._done.wait(max(0.0, self._deadline - time.monotonic()))
        self._take_all()
        self._is_closed = True
        self._append_below = 0
        with self._taking:
            self._sender.is_counting = False
            pending = list(self._pending)
        dropped.keep(self.signal, self._spool.folder, sum(batch.left for batch in pending if batch.end))
        left = sum(batch.left for batch in pending if not batch.end) + self._count_unread()
        dropped.count(self.signal, self._sender.reason, left, f"at {self._sender.destination}")
        if self._done.is_set():
            self._spool.close()
            guarded(self._sender.close)()

    def _send_now(self) -> None:
        self._sender.not_before = 0.0
        self._wake.set()

    def _begin_child(self) -> None:
        """In a forked child: leave the records to the parent, and write new ones to a file that it reads."""
        self._in_child = True
        self._append_below = 0
        self._queue, self._pending = deque(), deque()

    @guarded
    def _write_for_parent(self, item: Any) -> None:
        line = line_of(item) if isinstance(item, Message) else self._codec.line([item])
        try:
            relay.append(self.signal, line)
        except OSError as error:
            dropped.count(self.signal, dropped.UNWRITTEN, self._count(item), f"by a forked child: {error.strerror}")

    def _adapt_limit(self, record: Any) -> None:
        """Lower the limit if records are large: their memory is the task's."""
        line = guarded(self._codec.line)([record]) if not isinstance(record, MADE) else None
        if line:
            self._limit = min(self._limits.queue, max(FEW, QUEUE_BYTES // len(line)))

    def _drop_oldest(self) -> None:
        oldest = self._pop()
        if isinstance(oldest, Wakeup):
            oldest.set()
        if oldest is not None:
            dropped.count(self.signal, dropped.QUEUE_FULL, self._count(oldest))

    def _pop(self) -> Any:
        """Remove and return the oldest item, or ``None`` if other threads have removed all of them."""
        try:
            return self._queue.popleft()
        except IndexError:
            return None

    def _count(self, item: Any) -> int:
        match item:
            case Wakeup():
                return 0
            case Message():
                return otlp_requests.count(item)
            case Lines():
                # A line holds a span, a log record, or all metrics of a child.
                return count_records(item) if self.signal == "metrics" else len(item)
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
                report("ExportQueue", fault)
        self._spool_rest()
        self._done.set()

    def _is_over(self) -> bool:
        is_over = self._gave_up or not (self._queue or self._pending)
        return self._deadline is not None and (is_over or time.monotonic() >= self._deadline)

    def _pause(self) -> float:
        now, not_before = time.monotonic(), self._sender.not_before
        if self._deadline is not None:
            return max(0.0, min(not_before, self._deadline) - now)
        is_waiting = bool(self._pending) and not_before > now
        return min(self._limits.delay, not_before - now) if is_waiting else self._limits.delay

    def _cycle(self) -> None:
        """Send the items that are queued now, and full batches after them; at the end of the process, everything."""
        self._take_from_children()
        due = len(self._queue)
        while due > 0 or self._pending:
            while due > 0 and (self._spool.is_used or not self._pending):
                due -= self._take() or due
            if not self._pending or time.monotonic() < self._sender.not_before or not self._deliver(self._pending[0]):
                break
            if len(self._queue) >= self._limits.batch or self._deadline is not None:
                due = len(self._queue)
        dropped.publish()

    @guarded
    def _take_from_children(self) -> None:
        waiting = sum(len(item) for item in list(self._queue) if isinstance(item, Lines))
        with self._taking:
            while waiting < self._limit and (lines := relay.read(self.signal)):
                self._queue.append(Lines(lines))
                waiting += len(lines)

    def _count_unread(self) -> int:
        """Count records that forked children have written too late. One that goes on writing is not waited for."""
        count, until = 0, time.monotonic() + _COUNTING_SECONDS
        with self._taking:
            while time.monotonic() < until and (lines := relay.read(self.signal)):
                count += self._count(Lines(lines))
        return count

    @guarded
    def _take_all(self) -> None:
        while self._take():
            pass

    def _take(self) -> int:
        """Move a batch from the queue to the pending ones, by way of the spool, and return its number of items."""
        with self._taking:
            records: list[Any] = []
            while len(records) < self._limits.batch and (item := self._pop()) is not None:
                if not isinstance(item, MADE):
                    records.append(item)
                elif records:
                    self._queue.appendleft(item)
                    break
                else:
                    self._append(Batch(item, self._count(item)))
                    return 1
            if records:
                self._append(Batch(records, self._codec.count(records)))
            return len(records)

    def _append(self, batch: Batch) -> None:
        if self._spool.is_used and batch.mark is None:
            written = self._written(batch)
            batch.end = self._spool.write(written)
            if batch.end:
                batch.start = batch.end - len(written)
                self._acknowledge(batch.records)
                if len(self._pending) >= _IN_MEMORY:
                    batch.records, batch.lines, batch.parts = (), (), None
        self._pending.append(batch)

    def _written(self, batch: Batch) -> bytes:
        if batch.lines:
            return b"".join(line + b"\n" for line in batch.lines)
        if batch.parts is None:
            try:
                return self._codec.line(batch.records)
            except Exception:
                # The records that can't be encoded are dropped. The others are written by way of their requests.
                batch.parts = self._codec.requests(batch.records)
                batch.count = batch.left
        return b"".join(map(line_of, batch.parts))

    def _deliver(self, batch: Batch) -> bool:
        """Send the rest of the first pending batch, and return whether all of it is done."""
        if batch.parts is None:
            lines = batch.lines
            if batch.end and not batch.records and not lines:
                lines = self._spool.read(batch.start, batch.end).splitlines()
            batch.parts = deque([self._codec.parsed(lines)]) if lines else self._codec.requests(batch.records)
        deadline = self._deadline
        if deadline is not None and batch.end:
            deadline -= _RESERVE_SECONDS
        left = batch.left
        if self._sender.deliver(batch.parts, deadline, is_kept=batch.end > 0):
            self._finish(batch)
            return True
        batch.is_partly_done = batch.is_partly_done or batch.left < left
        if self._deadline is not None:
            # Records in the spool are not worth the wait, and no attempt after the deadline is.
            self._gave_up = batch.end > 0 or self._sender.not_before >= self._deadline
        return False

    @guarded
    def _spool_rest(self) -> None:
        """Replace a batch of which a part is done by its rest in the spool: no replay repeats that part."""
        with self._taking:
            batch = self._pending[0] if self._pending else None
            if batch is None or not batch.end or not batch.is_partly_done:
                return
            if self._spool.write(b"".join(map(line_of, batch.parts or ()))):
                self._spool.acknowledge(batch.end, is_last=False)

    def _finish(self, batch: Batch) -> None:
        if not batch.end:
            self._acknowledge(batch.records)
        with self._taking:
            self._pending.popleft()
            if batch.end:
                self._spool.acknowledge(batch.end, is_last=not self._pending)
        if batch.mark is not None:
            batch.mark.set()

    def _acknowledge(self, records: Sequence[Any]) -> None:
        if self._on_acknowledged is not None and records:
            self._on_acknowledged(records)
