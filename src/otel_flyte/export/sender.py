"""Get requests to a receiver: in parts that it takes, again when it asks for that, and with an account of the rest."""

import random
import time
from collections import deque

from google.protobuf.message import Message

from otel_flyte.export import dropped, otlp_requests
from otel_flyte.export.transport import Outcome, Transport, Verdict
from otel_flyte.runtime.guard import say_once

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
REFUSED_PAUSE_SECONDS = 60.0
"""Before a receiver that has refused what the spool holds is asked again."""

PATIENCE_SECONDS = 10.0
"""A receiver that is away for longer is mentioned."""

_SHORTEST_ATTEMPT_SECONDS = 0.05


class Sender:
    """What is known of a receiver, and how it is treated.

    Attributes:
        destination: the endpoint as it may be shown.
        not_before: when to try again (``time.monotonic``), 0 where nothing speaks against now.
        last_answer: when the receiver has answered last (``time.monotonic``), 0 where it never has.
        reason: why what is left could not be delivered, in the words of the last failure.
        is_counting: whether what the receiver does not take is counted; at the end of the process all that is left is.
    """

    def __init__(self, signal: str, transport: Transport) -> None:
        self.destination = transport.destination
        self.not_before = 0.0
        self.last_answer = 0.0
        self.reason = dropped.LATE
        self.is_counting = True
        self._signal = signal
        self._transport = transport
        self._failures = 0
        self._away_since = 0.0

    def deliver(self, parts: deque[Message], deadline: float | None, *, is_kept: bool) -> bool:
        """Send parts until none is left; say whether that came about.

        Args:
            parts: those that are taken, or given up and counted, are removed.
            deadline: for the attempts (``time.monotonic``), ``None`` where only the time-out of each counts.
            is_kept: whether they lie in the spool, where another receiver, or this one some time, may have them.
        """
        while parts:
            part = parts[0]
            halves = otlp_requests.split(part) if part.ByteSize() > self._transport.request_limit else None
            outcome = Outcome(Verdict.TOO_LARGE) if halves else self._attempt(part, deadline)
            if outcome.verdict is Verdict.RETRY or (is_kept and outcome.verdict is Verdict.REFUSED):
                self._back_off(outcome)
                return False
            parts.popleft()
            if outcome.verdict is Verdict.TOO_LARGE:
                halves = halves or otlp_requests.split(part)
            if halves:
                parts.extendleft(reversed(halves))
            else:
                self._failures, self._away_since, self.last_answer = 0, 0.0, time.monotonic()
                self._account(part, outcome)
        return True

    def close(self) -> None:
        """Give up the connection."""
        self._transport.close()

    def _attempt(self, part: Message, deadline: float | None) -> Outcome:
        timeout = self._transport.timeout
        if deadline is not None:
            timeout = min(timeout, max(_SHORTEST_ATTEMPT_SECONDS, deadline - time.monotonic()))
        return self._transport.send(part, timeout)

    def _back_off(self, outcome: Outcome) -> None:
        now = time.monotonic()
        self.reason = outcome.reason
        if outcome.verdict is Verdict.REFUSED:
            say_once(f"{self._signal} are refused by {self.destination}: {outcome.reason}. They stay in the spool.")
            self.not_before = now + REFUSED_PAUSE_SECONDS
            return
        self._away_since = self._away_since or now
        if now - self._away_since > PATIENCE_SECONDS:
            say_once(f"{self._signal} have not arrived at {self.destination} for {PATIENCE_SECONDS:g} s: trying on.")
        pause = outcome.retry_after
        if pause is None:
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
            pause = longest * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, no secret
            self._failures += 1
        self.not_before = now + pause

    def _account(self, part: Message, outcome: Outcome) -> None:
        """Count what a receiver did not take and will not take."""
        number = otlp_requests.count(part)
        about = f"by {self.destination}: {outcome.reason}"
        match outcome.verdict:
            case Verdict.ACCEPTED if outcome.rejected:
                self._lose(dropped.REJECTED, outcome.rejected, about)
            case Verdict.ACCEPTED if outcome.reason:
                say_once(f"{self._signal} are accepted {about}.")
            case Verdict.REJECTED:
                self._lose(dropped.REJECTED, number, about)
            case Verdict.TOO_LARGE:
                what = f"{otlp_requests.name_of_only(part)}, {part.ByteSize():,} bytes"
                self._lose(dropped.TOO_LARGE, number, f"for {self.destination}: {what}")
            case Verdict.REFUSED:
                say_once(f"{self._signal} are refused {about}.")
                self._lose(dropped.REFUSED, number, about)
            case _:
                pass

    def _lose(self, reason: str, number: int, about: str) -> None:
        if self.is_counting:
            dropped.count(self._signal, reason, number, about)
