"""The task attempts of a recording with their usage, and the names by which a user selects one."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.formulas import NO_VALUE
from otel_flyte.recording import live_curves, usage, usage_points
from otel_flyte.recording.cells import duration, moment
from otel_flyte.recording.curves import Fine
from otel_flyte.recording.live_curves import of_running, partition
from otel_flyte.recording.model import Attributes, AttributeValue, Point
from otel_flyte.recording.roles import Role, entity_name, short_name
from otel_flyte.recording.span_tree import LOCAL, NEVER_ENDED, TreeSpan
from otel_flyte.recording.usage import Quota, Usage

FROM_SPAN = "span"
FROM_POINTS = "metric records"
NO_SOURCE = "none"

_LISTED = 20
_KEY = (semconv.RUN_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.REPLICA)
_MORE = (semconv.ACTION_NAME, semconv.PROJECT, semconv.DOMAIN)
"""Further attributes that identify the attempt of a point or its process; not all have them."""

_Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One attempt of a task. Texts are empty where they are unknown, times are nanoseconds since the epoch.

    Attributes:
        run: name of the execution, empty for a local run.
        path: ids of the nodes that lead to it joined by ``/``, for a map's item the map's and the index; empty in local
            runs.
        number: counted from 0, ``None`` outside a pod.
        span_id: hexadecimal, empty where only points are recorded.
        trace_id: the same.
        end_ns: for an attempt that never ended, the time of its last sign.
        error_type: such as ``OOMKilled``.
        is_cached: whether its result was taken from a cache.
        worker: which of several pods or processes of the attempt, such as ``worker-1``; empty for the only one.
        series: a value a minute by name of :data:`otel_flyte.semconv.SERIES`, -1 where there is none.
        minutes_per_value: the number of minutes for which each recorded value of the series stands.
        live: curves at the interval of its metrics, by the attributes that an ended attempt has for them.
        span: its span, ``None`` where only points are recorded.
    """

    task: str
    version: str
    run: str
    path: str
    number: int | None
    span_id: str
    start_ns: int
    end_ns: int
    result: str
    trace_id: str = ""
    error_type: str = ""
    is_cached: bool = False
    worker: str = ""
    quota: Quota = field(default_factory=Quota)
    usage: Usage | None = None
    source: str = NO_SOURCE
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    minutes_per_value: int = 1
    live: Mapping[str, Sequence[Fine]] = field(default_factory=dict)
    span: TreeSpan | None = None

    @property
    def is_shared(self) -> bool:
        """Whether it shared its process with other tasks, so that its own usage is unknown."""
        return self.usage is not None and self.usage.is_shared

    @property
    def seconds(self) -> float:
        """Its duration, or the time for which it is known to have run."""
        return max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def minutes(self) -> int:
        """The number of values in a series of one a minute: each minute that began, and at least one."""
        begun = min(max(1, math.ceil(self.seconds / 60)), usage_points.LONGEST)
        measured = max(map(len, self.series.values()), default=0)
        # The last value may cover minutes after its end.
        return max(begun, measured - self.minutes_per_value + 1)

    def by_minute(self, name: str) -> list[float]:
        """Return a series with as many values as there are minutes."""
        values = list(self.series.get(name, ()))[: self.minutes]
        return values + [NO_VALUE] * (self.minutes - len(values))

    def names(self) -> Iterator[str]:
        """Return its names, the shortest first; several attempts may share all but the last."""
        if self.path:
            own = [self.path, f"{self.path}@{self.number or 0}"]
            own += [f"{name}-{self.worker}" for name in own if self.worker]
            yield from own
            if self.run:
                yield from (f"{self.run}/{name}" for name in own)
        yield from (self.task.rpartition(".")[2], self.task)
        if self.span_id:
            yield self.span_id


class UnknownAttemptError(Exception):
    """No attempt, or more than one, has the name. The message is one line with the names that there are."""


def attempts_of(spans: Iterable[TreeSpan], points: Iterable[Point]) -> tuple[Attempt, ...]:
    """Return all attempts by start: those with a span or a pending span, and those with points only."""
    measured = [span for span in spans if span.role is Role.ATTEMPT or _is_measured_item(span)]
    of_tasks, of_devices = partition(points)
    points_of, others = _assigned(of_tasks, measured)
    for span, own in of_running(of_devices, measured):
        points_of[id(span)] += own
    attempts = [_of_span(span, points_of[id(span)]) for span in measured]
    attempts += [_of_points(key, unclaimed) for key, unclaimed in others.items()]
    return tuple(sorted(attempts, key=lambda attempt: attempt.start_ns))


def selectors(attempts: Sequence[Attempt]) -> list[str]:
    """Return for each attempt the first of its names that no other attempt has."""
    uses = Counter(name for attempt in attempts for name in set(attempt.names()))
    return [
        next((name for name in attempt.names() if uses[name] == 1), attempt.span_id or attempt.task)
        for attempt in attempts
    ]


def choose(attempts: Sequence[Attempt], selector: str) -> Attempt:
    """Return the attempt with a name.

    Raises:
        UnknownAttemptError: no attempt, or several attempts, have the name.
    """
    chosen = [attempt for attempt in attempts if selector in attempt.names()]
    if len(chosen) == 1:
        return chosen[0]
    named = dict(zip(attempts, selectors(attempts), strict=True))
    problem = f"is the name of {len(chosen)} task attempts" if chosen else "is not a task attempt of this source"
    # Local runs differ by their ids only, which the user does not know: the newest comes first.
    chosen = chosen if all(attempt.path for attempt in chosen) else chosen[::-1]
    names = [named[attempt] + _when(attempt) * (not attempt.path) for attempt in chosen]
    names = names or [named[attempt] for attempt in attempts]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    raise UnknownAttemptError(f"{selector} {problem}: choose one of {', '.join(names[:_LISTED])}{more}")


def _when(attempt: Attempt) -> str:
    return f" ({moment(attempt.start_ns):%Y-%m-%d %H:%M:%S} UTC, {duration(attempt.seconds)})"


def _is_measured_item(span: TreeSpan) -> bool:
    return span.role is Role.ITEM and span.usage is not None


def _of_span(span: TreeSpan, points: Sequence[Point]) -> Attempt:
    own = span.span.attributes
    series = usage.by_minute(own)
    if not series and span.seconds is not None and span.seconds <= 60:
        series = usage.of_one_minute(own, span.usage or Usage())
    source, end_ns = FROM_SPAN if series else NO_SOURCE, span.seen_ns
    live: Mapping[str, Sequence[Fine]] = {}
    points = usage_points.credible(points, span.start_ns)
    if not series and points:
        series, source = usage_points.by_minute(points, span.start_ns), FROM_POINTS
        live = live_curves.of(points, span.start_ns)
        end_ns = max(end_ns, *(point.time_ns for point in points)) if span.end_ns is None else end_ns
    return Attempt(
        task=short_name(_text(span.attribute(semconv.TASK_NAME)) or entity_name(span.span.name, Role.ATTEMPT)),
        version=_text(span.attribute(semconv.TASK_VERSION)),
        run=_run(span.attribute),
        path=_path(span),
        number=span.attempt,
        span_id=span.span.span_id,
        trace_id=span.span.trace_id,
        start_ns=span.start_ns,
        end_ns=end_ns,
        result=span.result,
        error_type=_text(own.get(semconv.ERROR_TYPE)),
        is_cached=own.get(semconv.CACHE_STATUS) == semconv.CACHE_HIT,
        worker=_worker(span.attribute(semconv.REPLICA)),
        quota=span.quota,
        usage=span.usage,
        source=source,
        series=series,
        minutes_per_value=usage.minutes_per_value(own) if source == FROM_SPAN else 1,
        live=live,
        span=span,
    )


def _of_points(key: _Key, points: Sequence[Point]) -> Attempt:
    """Return an attempt without a span; it began one interval before the first of its points."""
    times = sorted({point.time_ns for point in points})
    start_ns = times[0] - round(usage_points.interval([time_ns / 1e9 for time_ns in times]) * 1e9)
    points = usage_points.credible(points, start_ns)
    identity = dict(zip((*_KEY, *_MORE, semconv.TASK_NAME), key, strict=True))
    number = identity[semconv.ATTEMPT]
    return Attempt(
        task=identity[semconv.TASK_NAME] or "unknown",
        version="",
        run=_run(identity.get),
        path="/".join(part for part in (identity[semconv.ACTION_NAME], identity[semconv.ARRAY_INDEX]) if part),
        number=int(number) if number.isdecimal() else None,
        span_id="",
        start_ns=start_ns,
        end_ns=max(point.time_ns for point in points),
        result=NEVER_ENDED,
        worker=_worker(identity[semconv.REPLICA]),
        source=FROM_POINTS,
        series=usage_points.by_minute(points, start_ns),
    )


def _assigned(
    points: Iterable[Point], spans: Iterable[TreeSpan]
) -> tuple[Mapping[int, list[Point]], Mapping[_Key, list[Point]]]:
    """Return each span's points by its ``id``, and the points of other attempts by their identity.

    The identity is on the resource, or on each point where attempts share a process.

    Where several attempts of one process have the same identity, a point belongs to the one that began last.
    """
    candidates: dict[_Key, list[TreeSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: -span.start_ns):
        candidates[_key(span.attribute, span.attribute(semconv.TASK_NAME))].append(span)
    of_spans: dict[int, list[Point]] = defaultdict(list)
    others: dict[_Key, list[Point]] = defaultdict(list)
    for point in points:
        task, identity = point.attributes.get(semconv.TASK_NAME), {**point.resource, **point.attributes}
        possible = [span for span in candidates.get(_key(identity.get, task), ()) if _agree(span, identity)]
        if not possible:
            others[_key(identity.get, *map(identity.get, _MORE), task)].append(point)
        for span in possible:
            if span.start_ns < point.time_ns and (span.end_ns is None or point.time_ns <= span.end_ns):
                of_spans[id(span)].append(point)
                break
    return of_spans, others


def _key(attribute: Callable[[str], AttributeValue], *more: AttributeValue) -> _Key:
    return tuple(map(_text, (*map(attribute, _KEY), *more)))


def _agree(span: TreeSpan, identity: Attributes) -> bool:
    """Return whether a span and the identity of a point have no attribute with different values."""
    return all(identity.get(name) in (None, span.attribute(name)) or span.attribute(name) is None for name in _MORE)


def _run(attribute: Callable[[str], AttributeValue]) -> str:
    run = _text(attribute(semconv.RUN_NAME))
    return "" if run == LOCAL else run


def _path(span: TreeSpan) -> str:
    """Return the path of its node; for a map's item the path of the map, and the index."""
    if span.attempt is None:
        return ""
    if span.array_index is None:
        return span.node_path
    return f"{span.node_path.rpartition('/')[0] or span.node_path}/{span.array_index}"


def _worker(replica: AttributeValue) -> str:
    """Return the name of a worker; some frameworks only count them."""
    name = _text(replica)
    return f"worker-{name}" if name.isdecimal() else name


def _text(value: AttributeValue) -> str:
    return "" if value is None else str(value)
