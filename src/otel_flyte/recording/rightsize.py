"""Recommended resources of a task, from the usage of its last attempts. Pure: attempts in, advice out.

A task can't give memory back, so its memory request equals its limit: the largest working set and a margin, half as
much again where an attempt ran out of memory. Memory that was in use before is no evidence. The CPU request covers the
peak, and the 95th percentile with a margin; the limit is the peak with a margin, and half as much again as now where
attempts were throttled. Where all attempts had to wait for a CPU, or some were throttled, less than now is never
recommended: the task wanted more than it got.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

from otel_flyte import formulas, semconv
from otel_flyte.formulas import NO_VALUE
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.usage import Device, Usage

LAST = 20
MEMORY_MARGIN = 0.2
CPU_MARGIN = 0.15
AFTER_SHORTAGE = 1.5
"""Factor for a resource that was short: the true need is unknown."""

IDLE = 0.05
"""A device that is busy for less than this fraction of the time is idle."""

UNTOUCHED = 64 * 2**20
"""Bytes. Less memory of a device may be the driver's alone."""

THROTTLED = 0.05
"""Attempts are throttled where they waited for CPU for more than this fraction of their time."""

SHORT = 30.0
"""Seconds. A shorter attempt may end before it needs most."""

OUT_OF_MEMORY, THROTTLING, STARVATION, _ = PROBLEMS = ("OOM-killed", "throttled", "starved", "idle GPU")
"""The worst first."""

_FITS = (0.9, 1.25)
"""A request fits between these fractions of the recommendation."""

_MEBIBYTE, _GIBIBYTE = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Margins:
    """Margins above the usage, as fractions of it."""

    memory: float = MEMORY_MARGIN
    cpu: float = CPU_MARGIN


@dataclass(frozen=True, slots=True)
class Amount:
    """The recommended and the present request and limit of one resource, in cores or bytes.

    Attributes:
        peak: the largest usage, ``None`` where it is unknown.
        fits: whether the present values may stay.
        is_kept: whether they stay because the need is unknown.
    """

    request: float
    limit: float
    request_now: float | None
    limit_now: float | None
    peak: float | None
    fits: bool
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Gpus:
    """The recommended number of GPUs.

    Attributes:
        now: the present request.
        idle: the number of GPUs that were idle in all attempts.
        utilization: the mean, as a fraction of 1.
        memory_peak: bytes of the fullest.
    """

    count: int
    now: int
    idle: int
    utilization: float | None = None
    memory_peak: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The attempts on which an advice rests.

    Attributes:
        attempts: the number that was considered, of ``known`` ones.
        measured: the number with a usage of their own.
        shared: the number that shared their process with others.
        unmeasured: the number without usage.
        longest: seconds of the longest measured attempt.
        cpu_p95: cores; of averages by the minute, else of the attempts' means.
        throttled: seconds, of all attempts.
        starved: the number of measured attempts that wanted more CPU than they got.
        waited: seconds for which these waited for a CPU.
        out_of_memory: the number that was, or had processes, OOM-killed.
        memory_left: the number of measured attempts whose memory was in use before for a large part.
        npu_utilization: mean over the task's NPUs.
    """

    attempts: int
    known: int
    measured: int
    shared: int
    unmeasured: int
    longest: float
    cpu_p95: float | None
    cpu_mean: float | None
    throttled: float
    starved: int
    waited: float
    out_of_memory: int
    memory_left: int
    npu_utilization: float | None

    @property
    def is_thin(self) -> bool:
        """Whether it is too thin to rely on."""
        return self.measured == 1 or self.longest < SHORT


@dataclass(frozen=True, slots=True)
class Advice:
    """The recommended resources of one task, with their reasons; ``problems`` has the worst first."""

    task: str
    versions: tuple[str, ...]
    problems: tuple[str, ...]
    evidence: Evidence
    cpu: Amount | None
    memory: Amount | None
    gpus: Gpus | None
    margins: Margins

    @property
    def fits(self) -> bool:
        """Whether the present resources may stay."""
        known = [amount.fits for amount in (self.cpu, self.memory) if amount]
        lacks_memory = self.memory is None and self.evidence.memory_left > 0
        lacks_cpu = self.cpu is None and self.evidence.starved > 0
        is_complete = not lacks_memory and not lacks_cpu
        return bool(known) and all(known) and is_complete and (self.gpus is None or self.gpus.count == self.gpus.now)


def advise(attempts: Iterable[Attempt], last: int = LAST, margins: Margins | None = None) -> list[Advice]:
    """Return the advice for each task from its last attempts, the worst first. Cached attempts did not run."""
    by_task: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.start_ns):
        if not attempt.is_cached:
            by_task[attempt.task].append(attempt)
    advice = [_advice(task, ran, last, margins or Margins()) for task, ran in by_task.items()]
    return sorted(advice, key=lambda each: min(map(PROBLEMS.index, each.problems), default=len(PROBLEMS)))


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that is not below ``share`` of the values; ``None`` without values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def round_up_cores(cores: float) -> float:
    """Round up to a tenth of a core below one core, to a quarter above."""
    step = 0.1 if cores <= 1 else 0.25
    # In floating point, 0.3 is more than three tenths.
    return max(1, math.ceil(round(cores / step, 6))) * step


def round_up_bytes(size: float) -> int:
    """Round up to 16 MiB below one GiB, to 128 MiB above."""
    step = (16 if size <= _GIBIBYTE else 128) * _MEBIBYTE
    return max(1, math.ceil(size / step)) * step


def _advice(task: str, known: Sequence[Attempt], last: int, margins: Margins) -> Advice:
    ran = known[-last:]
    measured = [attempt for attempt in ran if attempt.usage and not attempt.is_shared]
    used = [attempt.usage for attempt in measured if attempt.usage]
    shared = sum(attempt.is_shared for attempt in ran)
    out_of_memory = [attempt for attempt in ran if _ran_out_of_memory(attempt)]
    is_throttled = any(map(_is_throttled, measured))
    p95 = quantile(_minutes(measured) or _known(usage.cpu_mean for usage in used), 0.95)
    gpus = _gpus(ran, used)
    starved = [usage for usage in used if usage.is_starved]
    has_problem = (bool(out_of_memory), is_throttled, bool(starved), gpus is not None and gpus.idle > 0)
    return Advice(
        task=task,
        versions=tuple(dict.fromkeys(attempt.version for attempt in ran if attempt.version)),
        problems=tuple(compress(PROBLEMS, has_problem)),
        evidence=Evidence(
            attempts=len(ran),
            known=len(known),
            measured=len(measured),
            shared=shared,
            unmeasured=len(ran) - len(measured) - shared,
            longest=max((attempt.seconds for attempt in measured), default=0.0),
            cpu_p95=p95,
            cpu_mean=formulas.mean([usage.cpu_mean for usage in used]),
            throttled=sum(_known(usage.throttled for usage in used)),
            starved=len(starved),
            waited=sum(_known(usage.waited for usage in starved)),
            out_of_memory=len(out_of_memory),
            memory_left=sum(usage.is_memory_of_others for usage in used),
            npu_utilization=_largest(usage.mean_utilization(semconv.DEVICE_NPU) for usage in used),
        ),
        cpu=_cpu(ran, used, p95, margins.cpu, is_throttled=is_throttled),
        memory=_memory(ran, used, out_of_memory, margins.memory),
        gpus=gpus,
        margins=margins,
    )


def _memory(
    ran: Sequence[Attempt], used: Sequence[Usage], out_of_memory: Sequence[Attempt], margin: float
) -> Amount | None:
    peak = _largest(usage.memory_peak for usage in used if not usage.is_memory_of_others)
    limit_now = _last(attempt.quota.memory_limit for attempt in ran)
    enough = [peak * (1 + margin)] if peak else []
    for attempt in out_of_memory:
        reached = attempt.quota.memory_limit or limit_now or (attempt.usage and attempt.usage.memory_peak)
        enough += [AFTER_SHORTAGE * reached] if reached else []
    if not enough:
        return None
    request_now = _last(attempt.quota.memory_request for attempt in ran)
    return _amount(max(enough), max(enough), round_up_bytes, (request_now, limit_now), peak)


def _cpu(
    ran: Sequence[Attempt], used: Sequence[Usage], p95: float | None, margin: float, *, is_throttled: bool
) -> Amount | None:
    peak = _largest(value for usage in used for value in (usage.cpu_peak, usage.cpu_mean))
    if peak is None:
        return None
    limit_now = _last(attempt.quota.cpu_limit for attempt in ran)
    request = max(peak, (p95 or 0.0) * (1 + margin))
    limit = max(request, peak * (1 + margin), AFTER_SHORTAGE * limit_now if is_throttled and limit_now else 0.0)
    request_now = _last(attempt.quota.cpu_request for attempt in ran)
    amount = _amount(request, limit, round_up_cores, (request_now, limit_now), peak)
    is_starved = all(usage.is_starved for usage in used)
    if is_starved and request_now is None:
        return None
    return _not_less(amount) if is_starved or is_throttled else amount


def _amount(
    request: float,
    limit: float,
    rounded: Callable[[float], float],
    now: tuple[float | None, float | None],
    peak: float | None,
) -> Amount:
    """Keep the present request and limit where they are about right: a small change is not worth the effort."""
    request_now, limit_now = now
    least, most = _FITS
    if (
        request_now is not None
        and limit_now is not None
        and request_now <= limit_now
        and max(least * request, peak or 0) <= request_now <= most * request
        and max(least * limit, peak or 0) <= limit_now <= most * limit
    ):
        return Amount(request_now, limit_now, request_now, limit_now, peak, fits=True)
    return Amount(rounded(request), rounded(limit), request_now, limit_now, peak, fits=False)


def _not_less(amount: Amount) -> Amount:
    """Return an amount that is at least the present one."""
    request = max(amount.request, amount.request_now or 0.0)
    limit = max(amount.limit, amount.limit_now or 0.0, request)
    is_kept = (request, limit) == (amount.request_now, amount.limit_now)
    return replace(amount, request=request, limit=limit, fits=amount.fits and not is_kept, is_kept=is_kept)


def _gpus(ran: Sequence[Attempt], used: Sequence[Usage]) -> Gpus | None:
    """Count the GPUs that were needed: a GPU with memory in use is, however idle, because the task may rely on it."""
    now = ran[-1].quota.gpus
    if not now or not used:
        return None
    by_index: dict[int, list[Device]] = defaultdict(list)
    for usage in used:
        for device in usage.devices:
            if device.kind == semconv.DEVICE_GPU:
                by_index[device.index].append(device)
    if not by_index:
        share = _largest(usage.gpu_of_request for usage in used)
        return Gpus(now, now, idle=now if share is not None and share < IDLE else 0, utilization=share)
    untouched = sum(map(_is_untouched, by_index.values()))
    return Gpus(
        count=min(now, max(len(by_index) - untouched, now - untouched)),
        now=now,
        idle=sum(map(_is_idle, by_index.values())),
        utilization=_largest(usage.mean_utilization(semconv.DEVICE_GPU) for usage in used),
        memory_peak=_largest(device.memory_peak for attempts in by_index.values() for device in attempts),
    )


def _is_idle(device: Sequence[Device]) -> bool:
    """Return whether a device was idle in all attempts, or had no memory in use."""
    mean = _largest(seen.utilization_mean for seen in device)
    return (mean is not None and mean < IDLE) or _is_empty(device) is True


def _is_untouched(device: Sequence[Device]) -> bool:
    peak = _largest(seen.utilization_peak for seen in device)
    return _is_empty(device) is not False and peak is not None and peak < IDLE


def _is_empty(device: Sequence[Device]) -> bool | None:
    memory = _largest(seen.memory_peak for seen in device)
    return None if memory is None else memory < UNTOUCHED


def _ran_out_of_memory(attempt: Attempt) -> bool:
    return semconv.ERROR_OOM_KILLED in attempt.error_type or (attempt.usage is not None and attempt.usage.oom_kills > 0)


def _is_throttled(attempt: Attempt) -> bool:
    waited = attempt.usage.throttled if attempt.usage else None
    return waited is not None and waited > THROTTLED * attempt.seconds


def _minutes(attempts: Iterable[Attempt]) -> list[float]:
    """Return the cores in use in each minute of all attempts."""
    return [
        value for attempt in attempts for value in attempt.series.get(semconv.SERIES_CORES, ()) if value != NO_VALUE
    ]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _largest(values: Iterable[float | None]) -> float | None:
    return max(_known(values), default=None)


def _last(values: Iterable[float | None]) -> float | None:
    return next(iter(_known(values)[::-1]), None)
