"""Which attempt a name means, and its series in steps of minutes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otel_flyte.formulas import NO_VALUE
from otel_flyte.recording.attempts import Attempt, UnknownAttemptError, choose
from otel_flyte.server.problems import BadRequestError


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an attempt, in minutes from its start.

    Attributes:
        step: the number of minutes of each value.
    """

    first: int
    last: int
    step: int

    def of(self, attempt: Attempt, name: str) -> list[float]:
        """Return the averages of a series, -1 where there is no value."""
        values = attempt.by_minute(name)[self.first : self.last]
        if self.step == 1:
            return values
        return [_mean(values[at : at + self.step]) for at in range(0, len(values), self.step)]


def window(attempt: Attempt, begin: int, end: int | None, step: int) -> Window:
    """Return the part between two numbers of seconds from the start.

    Args:
        attempt: the attempt.
        begin: the first second.
        end: the last one, ``None`` for the end.
        step: seconds of each value.

    Raises:
        BadRequestError: the end is not after the begin.
    """
    if end is not None and end <= begin:
        raise BadRequestError("to must be after from: give a later one, or omit it")
    first = min(begin // 60, attempt.minutes)
    last = attempt.minutes if end is None else min(attempt.minutes, math.ceil(end / 60))
    return Window(first, last, step // 60)


def chosen(attempts: Sequence[Attempt], name: str) -> Attempt:
    """Return the attempt with a name; the last one of a node whose attempts share it.

    Raises:
        UnknownAttemptError: none has it, or several that are not attempts of one node.
    """
    try:
        return choose(attempts, name)
    except UnknownAttemptError:
        named = [attempt for attempt in attempts if attempt.path and name in attempt.names()]
        last = max((attempt.number or 0 for attempt in named), default=0)
        latest = [attempt for attempt in named if (attempt.number or 0) == last]
        # The attempt of a pod stands above those of its workers.
        latest = [attempt for attempt in latest if not attempt.worker] or latest
        if len(latest) != 1 or len({attempt.path for attempt in named}) != 1:
            raise
        return latest[0]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value != NO_VALUE]
    return sum(known) / len(known) if known else NO_VALUE
