"""Sends requests to a receiver: splits them, retries them, and counts the records that are dropped."""

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
"""Pause after a receiver has refused records that the spool holds."""

PATIENCE_SECONDS = 10.0
"""A receiver that accepts nothing for this time is reported."""

_SHORTEST_ATTEMPT_SECONDS = 0.05


class Sender:
    """The state of a receiver and the retries to it.

    Attributes:
        destination: the endpoint without credentials.
        not_before: earliest time of the next attempt (``time.monotonic``), 0 for now.
        last_answer: time of the receiver's last answer (``time.monotonic``), 0 if there was none.
        reason: reason of the last failure.
        is_counting: whether dropped records are counted here. At the end of the process, the queue counts the rest.
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
        self._refused_since = 0.0

    def deliver(self, parts: deque[Message], deadline: float | None, *, is_kept: bool) -> bool:
        """Send parts of a batch and return whether all of them are done.

        Args:
            parts: the requests. Those that are acknowledged, or dropped and counted, are removed.
            deadline: time for the attempts (``time.monotonic``), ``None`` for the time-out of each.
            is_kept: whether the spool holds them, so that a replay can send them.
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
        """Close the connection."""
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
            say_once(f"{self._signal} are refused by {self.destination} ({outcome.reason}): they stay in the spool")
            self.not_before = now + REFUSED_PAUSE_SECONDS
            return
        self._away_since = self._away_since or now
        if now - self._away_since > PATIENCE_SECONDS:
            waited = f"for {PATIENCE_SECONDS:g} s ({outcome.reason})"
            say_once(
                f"{self.destination} has not accepted {self._signal} {waited}: check the endpoint, retries continue"
            )
        pause = outcome.retry_after
        if pause is None:
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
            pause = longest * random.uniform(0.8, 1.2)  # noqa: S311  # jitter, no secret
            self._failures += 1
        self.not_before = now + pause

    def _account(self, part: Message, outcome: Outcome) -> None:
        """Count the records of a request that the receiver does not accept."""
        answer = f"by {self.destination}: {outcome.reason}"
        number, reason, details = otlp_requests.count(part), dropped.REJECTED, answer
        match outcome.verdict:
            case Verdict.ACCEPTED:
                number = outcome.rejected
                if outcome.reason and not number:
                    say_once(f"{self._signal} are accepted with a warning {answer}")
            case Verdict.TOO_LARGE:
                reason = dropped.TOO_LARGE
                name = otlp_requests.name_of_only(part)
                details = f"for {self.destination}: {name}, {part.ByteSize():,} bytes"
            case Verdict.REFUSED:
                reason = dropped.REFUSED
                self._say_refused(answer)
        if outcome.verdict is not Verdict.REFUSED:
            self._refused_since = 0.0
        if self.is_counting:
            dropped.count(self._signal, reason, number, details)

    def _say_refused(self, answer: str) -> None:
        """Report refusals that last: the end of the process reports the records in any case."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refused_since > PATIENCE_SECONDS:
            say_once(f"{self._signal} are refused {answer}")
