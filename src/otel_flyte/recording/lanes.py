"""What all attempts of an execution reserve and use together, over its time: one lane for each resource.

An attempt reserves its request, which without a declared one is its limit. Of memory it reserves the larger of request
and use, as in the charts of an attempt. GPUs are used as far as they are busy.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from otel_flyte import semconv
from otel_flyte.formulas import mean
from otel_flyte.recording import attempt_usage, cells
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.curves import Fine
from otel_flyte.recording.roles import Role
from otel_flyte.recording.span_tree import Execution, TreeSpan
from otel_flyte.recording.usage import Usage

STEPS = 240
"""The number of values of a lane: the part of a page beside the names has few more pixels."""

_MEASURED = (Role.ATTEMPT, Role.ITEM)
_GIB = 2**30
_MIB = 2**20
_UNITS = ((3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


class Lane(NamedTuple):
    """One resource of an execution.

    Attributes:
        title: such as ``CPU``.
        unit: of the values, such as ``cores``.
        reserved: the mean of each of :data:`STEPS` equal parts of the time.
        used: the same.
        reserved_seconds: the total, such as core-seconds.
        used_seconds: the same.
        counted: the number of attempts.
        left_out: the number of attempts whose reservation or use is unknown, or is that of other tasks, too.
    """

    title: str
    unit: str
    reserved: tuple[float, ...]
    used: tuple[float, ...]
    reserved_seconds: float
    used_seconds: float
    counted: int
    left_out: int

    @property
    def words(self) -> str:
        """The totals: ``0.4 of 2 core-hours used, 20 %``."""
        size, name = next((unit for unit in _UNITS if self.reserved_seconds >= unit[0]), _UNITS[-1])
        used, reserved = (cells.amount(seconds / size) for seconds in (self.used_seconds, self.reserved_seconds))
        share = f", {cells.percent(self.used_seconds / self.reserved_seconds)}" if self.reserved_seconds else ""
        return f"{used} of {reserved} {self.unit.removesuffix('s')}-{name}s used{share}"

    @property
    def remark(self) -> str:
        """What is not counted, empty where all attempts are."""
        return f"{cells.counted(self.left_out, 'attempt')} not counted" if self.left_out else ""


class _Resource(NamedTuple):
    """How a resource is read from an attempt.

    Attributes:
        concerns: whether an attempt may use it at all.
        reserved: cores, bytes or devices; ``None`` where they are unknown.
        mean: the mean use; ``None`` where it is unknown.
        curves: the use over time with a number of values, each curve with the factor of its values.
        is_stretched: whether use above the reservation counts as reserved.
    """

    title: str
    unit: str
    concerns: Callable[[Attempt], bool]
    reserved: Callable[[Attempt], float | None]
    mean: Callable[[Usage], float | None]
    curves: Callable[[Attempt, int], "list[tuple[Fine, float]]"]
    scale: float = 1.0
    is_stretched: bool = False


def lanes_of(execution: Execution, attempts: Iterable[Attempt], start_ns: int, end_ns: int) -> tuple[Lane, ...]:
    """Return the lanes of an execution between two times, none for a resource of which nothing was measured."""
    own = _outermost(execution)
    running = [attempt for attempt in attempts if attempt.span in own and not attempt.is_cached]
    lanes = (_lane(resource, running, start_ns, max(end_ns, start_ns + 1)) for resource in _RESOURCES)
    return tuple(lane for lane in lanes if lane is not None)


def _outermost(execution: Execution) -> set[TreeSpan | None]:
    """Return the attempts, without those that ran in the process of another one: its use is theirs, too."""
    found: set[TreeSpan | None] = set()
    waiting: list[tuple[TreeSpan, tuple[TreeSpan, ...]]] = [(root, ()) for root in execution.roots]
    while waiting:
        span, around = waiting.pop()
        if span.role in _MEASURED:
            if not any(_is_one_pod(outer, span) for outer in around):
                found.add(span)
            around = (*around, span)[-_AROUND:]
        waiting += ((child, around) for child in span.children if child.children or child.role in _MEASURED)
    return found


_AROUND = 20
"""A recursive task may nest thousands."""


def _is_one_pod(outer: TreeSpan, inner: TreeSpan) -> bool:
    if outer.span.resource == inner.span.resource:
        return True
    return bool(outer.node_key) and outer.node_key == inner.node_key and outer.attempt == inner.attempt


def _lane(resource: _Resource, attempts: Sequence[Attempt], start_ns: int, end_ns: int) -> Lane | None:
    reserved, used = _Steps(start_ns, end_ns), _Steps(start_ns, end_ns)
    counted = left_out = 0
    for attempt in attempts:
        if not resource.concerns(attempt):
            continue
        if _add(resource, attempt, reserved, used):
            counted += 1
        else:
            left_out += 1
    if not counted:
        return None
    return Lane(
        resource.title,
        resource.unit,
        reserved.values(resource.scale),
        used.values(resource.scale),
        reserved.total / resource.scale,
        used.total / resource.scale,
        counted,
        left_out,
    )


def _add(resource: _Resource, attempt: Attempt, reserved: "_Steps", used: "_Steps") -> bool:
    """Add an attempt; return whether both its reservation and its use are known."""
    whole = resource.reserved(attempt)
    usage = attempt.usage or Usage()
    if not whole or usage.is_shared:
        return False
    average = resource.mean(usage)
    longest = max(1, round(2 * used.steps(attempt.end_ns - attempt.start_ns)))
    # The mean of a short attempt is all that a step shows.
    curves = [] if longest <= 2 and average is not None else resource.curves(attempt, longest)
    if not curves and average is None:
        return False
    curves = curves or [(Fine("", attempt.seconds, (average,), ()), 1.0)]
    if not resource.is_stretched:
        reserved.add(attempt.start_ns, attempt.end_ns, whole)
    for curve, factor in curves:
        for begin_ns, stop_ns, value in _pieces(attempt, curve):
            used.add(begin_ns, stop_ns, value * factor)
            if resource.is_stretched:
                reserved.add(begin_ns, stop_ns, max(whole, value * factor))
    return True


def _pieces(attempt: Attempt, curve: Fine) -> Iterator[tuple[int, int, float]]:
    """Return begin, end and value of each step of a curve; a step without a value has the mean of the others."""
    average = mean(list(curve.means)) or 0.0
    step_ns = max(1, round(curve.step * 1e9))
    last = len(curve.means) - 1
    for index, value in enumerate(curve.means):
        begin_ns = attempt.start_ns + index * step_ns
        stop_ns = attempt.end_ns if index == last else min(attempt.end_ns, begin_ns + step_ns)
        if begin_ns < stop_ns:
            yield begin_ns, stop_ns, average if value is None else value


class _Steps:
    """Sums of constant values over stretches of time, in equal steps. Each stretch costs the same."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._start_ns = start_ns
        self._step_ns = (end_ns - start_ns) / STEPS
        self._partial = [0.0] * (STEPS + 1)
        self._changes = [0.0] * (STEPS + 1)
        self.total = 0.0

    def steps(self, duration_ns: int) -> float:
        """Return a duration in steps."""
        return duration_ns / self._step_ns

    def add(self, begin_ns: int, end_ns: int, value: float) -> None:
        """Add a value from one time to another."""
        self.total += value * (end_ns - begin_ns) / 1e9
        begin = min(STEPS, max(0.0, (begin_ns - self._start_ns) / self._step_ns))
        end = min(STEPS, max(0.0, (end_ns - self._start_ns) / self._step_ns))
        first, last = int(begin), int(end)
        if first == last:
            self._partial[first] += value * (end - begin)
            return
        self._partial[first] += value * (first + 1 - begin)
        self._partial[last] += value * (end - last)
        self._changes[first + 1] += value
        self._changes[last] -= value

    def values(self, scale: float) -> tuple[float, ...]:
        """Return the mean of each step, divided by a scale."""
        whole = accumulate(self._changes)
        sums = [part + full for part, full in zip(self._partial, whole, strict=True)]
        return tuple(max(0.0, round(each / scale, 3)) for each in sums[:STEPS])


def _cores(attempt: Attempt, longest: int) -> list[tuple[Fine, float]]:
    fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_CPU, longest)
    limit = attempt.quota.cpu_limit
    values = () if fine else attempt_usage.absolute(attempt, semconv.SERIES_CORES, semconv.SERIES_CPU, limit, 3)
    return _curves(attempt, fine, values, longest, 1.0)


def _bytes(attempt: Attempt, longest: int) -> list[tuple[Fine, float]]:
    fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_MEMORY, longest)
    limit = attempt.quota.memory_limit
    values = () if fine else attempt_usage.absolute(attempt, semconv.SERIES_BYTES, semconv.SERIES_MEMORY, limit, 0)
    return _curves(attempt, fine, values, longest, _MIB)


def _curves(
    attempt: Attempt, fine: Sequence[Fine], values: attempt_usage.Values, longest: int, factor: float
) -> list[tuple[Fine, float]]:
    """Return the curves at the sampling interval with their factor, else that by the minute."""
    if fine:
        return [(each, factor) for each in fine]
    return [(attempt_usage.by_minute(attempt, values).thinned(longest), 1.0)] if values else []


def _devices(kind: str, series: str, title: str) -> _Resource:
    """Return the resource of accelerators of a kind; only GPUs are requested by number."""

    def count(attempt: Attempt) -> int:
        seen = sum(device.kind == kind for device in (attempt.usage or Usage()).devices)
        return (attempt.quota.gpus if kind == semconv.DEVICE_GPU else 0) or seen

    def average(usage: Usage) -> float | None:
        busy = usage.mean_utilization(kind)
        return None if busy is None else busy * sum(device.kind == kind for device in usage.devices)

    def curves(attempt: Attempt, longest: int) -> list[tuple[Fine, float]]:
        fine = attempt_usage.fine(attempt, semconv.USAGE_CURVE_DEVICE.format(kind=kind), longest)
        if len(fine) > 1:
            return [(each, 0.01) for each in fine]
        seen = sum(device.kind == kind for device in (attempt.usage or Usage()).devices) or count(attempt)
        values = attempt_usage.values(attempt, series)
        lines = fine or ([attempt_usage.by_minute(attempt, values)] if values else [])
        return [(line.thinned(longest), 0.01 * seen) for line in lines]

    return _Resource(title, f"{title}s", lambda attempt: count(attempt) > 0, count, average, curves)


_RESOURCES = (
    _Resource(
        "CPU",
        "cores",
        lambda _: True,
        lambda attempt: attempt.quota.cpu_request,
        lambda usage: usage.cpu_mean,
        _cores,
    ),
    _Resource(
        "Memory",
        "GiB",
        lambda _: True,
        lambda attempt: attempt.quota.memory_request,
        lambda usage: usage.memory_mean,
        _bytes,
        scale=_GIB,
        is_stretched=True,
    ),
    _devices(semconv.DEVICE_GPU, semconv.SERIES_GPU, "GPU"),
    _devices(semconv.DEVICE_NPU, semconv.SERIES_NPU, "NPU"),
)
