"""The task attempts of a recording with what each used, and how a user names one of them."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from otel_flyte import semconv
from otel_flyte.recording import metric_records, usage
from otel_flyte.recording.otlp_file import AttributeValue, Point, Recording
from otel_flyte.recording.tree import NEVER_ENDED, ExecutionTree, Role, TreeSpan, short_name
from otel_flyte.recording.usage import NO_VALUE, Quota, Usage

FROM_SPAN = "span"
FROM_RECORDS = "metric records"
FROM_NOWHERE = "none"

_KEY = (semconv.RUN_NAME, semconv.ATTEMPT, semconv.ARRAY_INDEX, semconv.REPLICA)
_MORE = (semconv.ACTION_NAME, semconv.PROJECT, semconv.DOMAIN)
"""What the resource of an attempt's metrics says of it, besides the name of its task; not all say more than the key."""

_Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One attempt of a task.

    Attributes:
        task: the task's name.
        version: the task's version, empty where unknown.
        run: name of the execution, empty for a local run.
        path: ids of the nodes that lead to it joined by ``/``, the last of a map's item its index; empty in local runs.
        number: counted from 0, ``None`` outside a pod.
        span_id: hexadecimal, empty where only metric records tell of it.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch, of one that never ended when it was seen last.
        result: ``success``, ``failure``, ``cancellation``, ``never ended``.
        error_type: what ended it, such as ``OOMKilled``; empty where unknown.
        is_cached: whether its result was taken from a cache.
        quota: what was asked for.
        usage: what was used, ``None`` where its span does not tell.
        source: where the series are from.
        series: a value a minute by name of :data:`otel_flyte.semconv.SERIES`, -1 where there is none.
        minutes_a_value: for how many minutes of the series each value that was recorded stands.
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
    error_type: str = ""
    is_cached: bool = False
    quota: Quota = field(default_factory=Quota)
    usage: Usage | None = None
    source: str = FROM_NOWHERE
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)
    minutes_a_value: int = 1

    @property
    def seconds(self) -> float:
        """How long it took, or is known to have gone on."""
        return max(0, self.end_ns - self.start_ns) / 1e9

    @property
    def minutes(self) -> int:
        """How many values a series of one a minute has: as many minutes as were begun, and at least one."""
        begun = min(max(1, math.ceil(self.seconds / 60)), metric_records.LONGEST)
        measured = max(map(len, self.series.values()), default=0)
        # The last value may stand for minutes in which it no longer ran.
        return max(begun, measured - self.minutes_a_value + 1)

    def by_minute(self, name: str) -> list[float]:
        """Give a series, as long as all of them."""
        values = list(self.series.get(name, ()))[: self.minutes]
        return values + [NO_VALUE] * (self.minutes - len(values))

    def names(self) -> Iterator[str]:
        """Give what it is called by, the shortest first; several may share all but the last."""
        if self.path:
            numbered = f"{self.path}@{self.number or 0}"
            yield from (self.path, numbered)
            if self.run:
                yield from (f"{self.run}/{self.path}", f"{self.run}/{numbered}")
        yield from (self.task.rpartition(".")[2], self.task)
        if self.span_id:
            yield self.span_id


class UnknownAttemptError(Exception):
    """No attempt, or more than one, is called so. Its message is one line that names what there is."""


def found(recording: Recording) -> tuple[Attempt, ...]:
    """Give all attempts by start: those that have a span or a marker, then those that only metric records tell of."""
    tree = ExecutionTree.from_spans(recording.spans, recording.records)
    spans = [span for span in tree.walk() if span.role is Role.TASK or _is_measured_item(span)]
    told, untold = _shared_out(recording.points, spans)
    attempts = [_of_span(span, told.get(id(span), ())) for span in spans]
    attempts += [_of_points(key, points) for key, points in untold.items()]
    return tuple(sorted(attempts, key=lambda attempt: attempt.start_ns))


def selectors(attempts: Sequence[Attempt]) -> list[str]:
    """Give for each attempt the first of its names that no other shares."""
    answering: dict[str, int] = defaultdict(int)
    for attempt in attempts:
        for name in set(attempt.names()):
            answering[name] += 1
    return [
        next((name for name in attempt.names() if answering[name] == 1), attempt.span_id or attempt.task)
        for attempt in attempts
    ]


def choose(attempts: Sequence[Attempt], selector: str) -> Attempt:
    """Find the attempt that is called so; of several local runs, which have no other names, the newest.

    Raises:
        UnknownAttemptError: none is, or several of executions are.
    """
    chosen = [attempt for attempt in attempts if selector in attempt.names()]
    if len(chosen) == 1 or (chosen and not any(attempt.run or attempt.path for attempt in chosen)):
        return max(chosen, key=lambda attempt: attempt.start_ns)
    named = dict(zip(attempts, selectors(attempts), strict=True))
    if chosen:
        choices = _listed([named[attempt] for attempt in chosen])
        raise UnknownAttemptError(f"{selector} is the name of {len(chosen)} task attempts: choose one of {choices}.")
    raise UnknownAttemptError(f"{selector} is no task attempt of this source: choose one of {_listed(named.values())}.")


_LISTED = 20


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    more = f" and {len(first) - _LISTED} more" if len(first) > _LISTED else ""
    return ", ".join(first[:_LISTED]) + more


def _is_measured_item(span: TreeSpan) -> bool:
    return span.role is Role.MAP_ITEM and usage.of(span.span.attributes) is not None


def _of_span(span: TreeSpan, points: Sequence[Point]) -> Attempt:
    own = span.span.attributes
    series = usage.by_minute(own)
    if not series and span.seconds is not None and span.seconds <= 60:
        series = usage.of_one_minute(own)
    source = FROM_SPAN if series else FROM_NOWHERE
    end_ns = span.seen_ns
    points = metric_records.credible(points, span.start_ns)
    if not series and points:
        series, source = metric_records.by_minute(points, span.start_ns), FROM_RECORDS
        end_ns = max(end_ns, *(point.time_ns for point in points)) if span.end_ns is None else end_ns
    return Attempt(
        task=_task(span),
        version=_text(span.attribute(semconv.TASK_VERSION)),
        run=_run(span.attribute),
        path=_path(span),
        number=span.attempt,
        span_id=span.span.span_id,
        start_ns=span.start_ns,
        end_ns=end_ns,
        result=span.result,
        error_type=_text(own.get(semconv.ERROR_TYPE)),
        is_cached=own.get(semconv.CACHE_STATUS) == semconv.CACHE_HIT,
        quota=usage.quota_of(own),
        usage=usage.of(own),
        source=source,
        series=series,
        minutes_a_value=usage.minutes_a_value(own) if source == FROM_SPAN else 1,
    )


def _of_points(key: _Key, points: Sequence[Point]) -> Attempt:
    """Give an attempt whose span and marker are not there: it began before the first of its metric records."""
    times = sorted({point.time_ns for point in points})
    start_ns = times[0] - round(metric_records.interval([time_ns / 1e9 for time_ns in times]) * 1e9)
    points = metric_records.credible(points, start_ns)
    who = dict(zip((*_KEY, *_MORE, semconv.TASK_NAME), key, strict=True))
    return Attempt(
        task=who[semconv.TASK_NAME] or "unknown",
        version="",
        run=_run(who.get),
        path="/".join(part for part in (who[semconv.ACTION_NAME], who[semconv.ARRAY_INDEX]) if part),
        number=int(who[semconv.ATTEMPT]) if who[semconv.ATTEMPT].isdecimal() else None,
        span_id="",
        start_ns=start_ns,
        end_ns=max(point.time_ns for point in points),
        result=NEVER_ENDED,
        source=FROM_RECORDS,
        series=metric_records.by_minute(points, start_ns),
    )


def _shared_out(
    points: Iterable[Point], spans: Iterable[TreeSpan]
) -> tuple[dict[int, list[Point]], dict[_Key, list[Point]]]:
    """Give each span's points by its ``id``, and by what they say of themselves those of attempts without a span.

    Where several attempts in one process call themselves the same, a point is of the one that had begun last.
    """
    candidates: dict[_Key, list[TreeSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: -span.start_ns):
        candidates[_key(span.attribute, span.attribute(semconv.TASK_NAME))].append(span)
    told: dict[int, list[Point]] = defaultdict(list)
    untold: dict[_Key, list[Point]] = defaultdict(list)
    for point in points:
        task = point.attributes.get(semconv.TASK_NAME)
        called_so = [span for span in candidates.get(_key(point.resource.get, task), ()) if _agree(span, point)]
        for span in called_so:
            if span.start_ns < point.time_ns and (span.end_ns is None or point.time_ns <= span.end_ns):
                told[id(span)].append(point)
                break
        if not called_so:
            untold[_key(point.resource.get, *(point.resource.get(name) for name in _MORE), task)].append(point)
    return told, untold


def _key(attribute: Callable[[str], AttributeValue], *more: AttributeValue) -> _Key:
    return tuple(map(_text, (*map(attribute, _KEY), *more)))


def _agree(span: TreeSpan, point: Point) -> bool:
    """Tell whether a span and a point don't say different things."""
    return all(
        point.resource.get(name) in (None, span.attribute(name)) or span.attribute(name) is None for name in _MORE
    )


def _run(attribute: Callable[[str], AttributeValue]) -> str:
    run = _text(attribute(semconv.RUN_NAME))
    return "" if run == "local" else run


def _path(span: TreeSpan) -> str:
    """Give the path of its node; of a map's item that of the map, and its index."""
    if span.attempt is None:
        return ""
    if span.array_index is None:
        return span.node_path
    return f"{span.node_path.rpartition('/')[0] or span.node_path}/{span.array_index}"


def _task(span: TreeSpan) -> str:
    own_name = short_name(span.span.name.removeprefix(semconv.SPAN_TASK.format(name="")))
    return short_name(_text(span.attribute(semconv.TASK_NAME))) or own_name


def _text(value: AttributeValue) -> str:
    return "" if value is None else str(value)
