"""What a task should ask for, from what its last attempts used. Pure: attempts in, advice out.

Memory can't be taken back, so its request equals its limit: the largest working set and a margin, half as much again
where an attempt ran out of it. A request of CPU covers the peak, and the 95th percentile of what was used with a
margin; its limit the peak with a margin, and half as much again as now where attempts were throttled.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from otel_flyte import semconv
from otel_flyte.recording.attempts import Attempt
from otel_flyte.recording.usage import NO_VALUE, Device, Usage, mean_utilization

LAST = 20
MEMORY_MARGIN = 0.2
CPU_MARGIN = 0.15
AFTER_SHORTAGE = 1.5
"""What ran out of memory, or was throttled, needs more than was seen: nobody knows how much."""

IDLE = 0.05
"""A device that is busy for less than this share of the time is idle."""

UNTOUCHED = 64 * 2**20
"""Bytes. A device of which less is in use holds nothing of a task: a driver alone may hold some."""

THROTTLED = 0.05
"""Attempts are throttled where they waited for CPU for more than this share of their time."""

SHORT = 30.0
"""Seconds. A shorter attempt may end before it needs most."""

_FITS = (0.9, 1.25)
"""What is asked for fits where it is between these shares of what is recommended."""

_OUT_OF_MEMORY = "OOMKilled"
_MEBIBYTE, _GIBIBYTE = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Margins:
    """What is added to what was seen, as shares of it."""

    memory: float = MEMORY_MARGIN
    cpu: float = CPU_MARGIN


@dataclass(frozen=True, slots=True)
class Amount:
    """What to ask for of one resource, in cores or bytes, and what is asked for now.

    Attributes:
        peak: the most that was seen, ``None`` where nothing was.
        fits: whether it may stay as it is.
    """

    request: float
    limit: float
    request_now: float | None
    limit_now: float | None
    peak: float | None
    fits: bool


@dataclass(frozen=True, slots=True)
class Gpus:
    """How many GPUs to ask for.

    Attributes:
        count: how many to ask for.
        now: how many are asked for.
        idle: those that were idle in all attempts.
        utilization: their mean utilisation, as a share of 1.
        memory_peak: bytes of the fullest.
    """

    count: int
    now: int
    idle: int
    utilization: float | None = None
    memory_peak: float | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """What one task should ask for, and why.

    Attributes:
        attempts: how many were looked at, of ``known`` ones.
        evidence: of how many it is known what they used.
        shared: how many shared their process with others.
        unmeasured: of how many nothing is known.
        longest: seconds that the longest of the evidence took.
        cpu_p95: cores; of averages by the minute, or of the attempts' means.
        throttled: seconds, in all attempts.
        out_of_memory: how many attempts were killed, or had processes killed, for memory.
        npu_utilization: mean over its NPUs, where it has some.
    """

    task: str
    versions: tuple[str, ...]
    attempts: int
    known: int
    evidence: int
    shared: int
    unmeasured: int
    longest: float = 0.0
    cpu: Amount | None = None
    memory: Amount | None = None
    gpus: Gpus | None = None
    cpu_mean: float | None = None
    cpu_p95: float | None = None
    throttled: float = 0.0
    is_throttled: bool = False
    out_of_memory: int = 0
    npu_utilization: float | None = None
    margins: Margins = field(default_factory=Margins)

    @property
    def fits(self) -> bool:
        """Whether nothing need change."""
        known = [amount.fits for amount in (self.cpu, self.memory) if amount]
        return bool(known) and all(known) and (self.gpus is None or self.gpus.count == self.gpus.now)

    @property
    def is_thin(self) -> bool:
        """Whether more should be seen before this is relied on."""
        return self.evidence == 1 or self.longest < SHORT

    @property
    def is_gpu_idle(self) -> bool:
        """Whether a GPU does next to nothing."""
        return self.gpus is not None and self.gpus.idle > 0

    @property
    def urgency(self) -> int:
        """How soon it should be looked at: out of memory first, then throttled, then idle devices, then the rest."""
        return 0 if self.out_of_memory else 1 if self.is_throttled else 2 if self.is_gpu_idle else 3


def advise(attempts: Iterable[Attempt], last: int = LAST, margins: Margins | None = None) -> list[Advice]:
    """Advise for each task, from its last attempts; the most urgent first. What came from a cache did not run."""
    by_task: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.start_ns):
        if not attempt.is_cached:
            by_task[attempt.task].append(attempt)
    advice = [_advice(task, ran, last, margins or Margins()) for task, ran in by_task.items()]
    return sorted(advice, key=lambda each: each.urgency)


def _advice(task: str, known: Sequence[Attempt], last: int, margins: Margins) -> Advice:
    ran = known[-last:]
    evidence = [attempt for attempt in ran if attempt.usage is not None and not attempt.usage.is_shared]
    used = [attempt.usage for attempt in evidence if attempt.usage]
    shared = sum(attempt.usage is not None and attempt.usage.is_shared for attempt in ran)
    starved = [attempt for attempt in ran if _ran_out_of_memory(attempt)]
    throttled = [attempt for attempt in evidence if _is_throttled(attempt)]
    means = _known(usage.cpu_mean for usage in used)
    p95 = quantile(_minutes(evidence) or means, 0.95)
    return Advice(
        task=task,
        versions=tuple(dict.fromkeys(attempt.version for attempt in ran if attempt.version)),
        attempts=len(ran),
        known=len(known),
        evidence=len(evidence),
        shared=shared,
        unmeasured=len(ran) - len(evidence) - shared,
        longest=max((attempt.seconds for attempt in evidence), default=0.0),
        cpu=_cpu(ran, used, p95, margins.cpu, is_throttled=bool(throttled)),
        memory=_memory(ran, used, starved, margins.memory),
        gpus=_gpus(ran, used),
        cpu_mean=sum(means) / len(means) if means else None,
        cpu_p95=p95,
        throttled=sum(_known(usage.throttled for usage in used)),
        is_throttled=bool(throttled),
        out_of_memory=len(starved),
        npu_utilization=max(_known(mean_utilization(usage, semconv.DEVICE_NPU) for usage in used), default=None),
        margins=margins,
    )


def quantile(values: Sequence[float], share: float) -> float | None:
    """Give the smallest value that at least this share of them don't exceed; ``None`` of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def round_up_cores(cores: float) -> float:
    """Round up to a tenth of a core below one core, to a quarter above."""
    step = 0.1 if cores <= 1 else 0.25
    # 0.3 is three tenths, whatever floating point makes of it.
    return max(1, math.ceil(round(cores / step, 6))) * step


def round_up_bytes(size: float) -> int:
    """Round up to 16 MiB below one GiB, to 128 MiB above."""
    step = (16 if size <= _GIBIBYTE else 128) * _MEBIBYTE
    return max(1, math.ceil(size / step)) * step


def _memory(ran: Sequence[Attempt], used: Sequence[Usage], starved: Sequence[Attempt], margin: float) -> Amount | None:
    peak = max(_known(usage.memory_peak for usage in used), default=None)
    limit_now = _last(attempt.quota.memory_limit for attempt in ran)
    enough = [peak * (1 + margin)] if peak else []
    for attempt in starved:
        reached = attempt.quota.memory_limit or limit_now or (attempt.usage and attempt.usage.memory_peak)
        enough += [AFTER_SHORTAGE * reached] if reached else []
    if not enough:
        return None
    request_now = _last(attempt.quota.memory_request for attempt in ran)
    return _amount(max(enough), max(enough), round_up_bytes, request_now=request_now, limit_now=limit_now, peak=peak)


def _cpu(
    ran: Sequence[Attempt], used: Sequence[Usage], p95: float | None, margin: float, *, is_throttled: bool
) -> Amount | None:
    peak = max(_known(value for usage in used for value in (usage.cpu_peak, usage.cpu_mean)), default=None)
    if peak is None:
        return None
    limit_now = _last(attempt.quota.cpu_limit for attempt in ran)
    request = max(peak, (p95 or 0.0) * (1 + margin))
    limit = max(request, peak * (1 + margin), AFTER_SHORTAGE * limit_now if is_throttled and limit_now else 0.0)
    request_now = _last(attempt.quota.cpu_request for attempt in ran)
    return _amount(request, limit, round_up_cores, request_now=request_now, limit_now=limit_now, peak=peak)


def _amount(
    request: float,
    limit: float,
    rounded: Callable[[float], float],
    *,
    request_now: float | None,
    limit_now: float | None,
    peak: float | None,
) -> Amount:
    """Keep what is asked for now where it is about right: a change for little is not worth it."""
    if (
        request_now is not None
        and limit_now is not None
        and request_now <= limit_now
        and _is_about(request_now, request, peak)
        and _is_about(limit_now, limit, peak)
    ):
        return Amount(request_now, limit_now, request_now, limit_now, peak, fits=True)
    return Amount(rounded(request), rounded(limit), request_now, limit_now, peak, fits=False)


def _is_about(now: float, advised: float, peak: float | None) -> bool:
    least, most = _FITS
    return max(least * advised, peak or 0) <= now <= most * advised


def _gpus(ran: Sequence[Attempt], used: Sequence[Usage]) -> Gpus | None:
    """Count the GPUs that were needed: one that holds memory of a task is, however idle; the task may rely on it."""
    now = ran[-1].quota.gpus
    if not now or not used:
        return None
    by_index: dict[int, list[Device]] = defaultdict(list)
    for usage in used:
        for device in usage.devices:
            if device.kind == semconv.DEVICE_GPU:
                by_index[device.index].append(device)
    devices = list(by_index.values())
    if not devices:
        share = max(_known(usage.gpu_of_request for usage in used), default=None)
        return Gpus(now, now, idle=now if share is not None and share < IDLE else 0, utilization=share)
    untouched = sum(map(_is_untouched, devices))
    return Gpus(
        count=min(now, max(len(devices) - untouched, now - untouched)),
        now=now,
        idle=sum(map(_is_idle, devices)),
        utilization=max(_known(mean_utilization(usage, semconv.DEVICE_GPU) for usage in used), default=None),
        memory_peak=max(_known(seen.memory_peak for device in devices for seen in device), default=None),
    )


def _is_idle(device: Sequence[Device]) -> bool:
    """Tell whether a device did next to nothing in all attempts, or held nothing."""
    mean = max(_known(seen.utilization_mean for seen in device), default=None)
    return (mean is not None and mean < IDLE) or _holds_nothing(device) is True


def _is_untouched(device: Sequence[Device]) -> bool:
    peak = max(_known(seen.utilization_peak for seen in device), default=None)
    return _holds_nothing(device) is not False and peak is not None and peak < IDLE


def _holds_nothing(device: Sequence[Device]) -> bool | None:
    memory = max(_known(seen.memory_peak for seen in device), default=None)
    return None if memory is None else memory < UNTOUCHED


def _ran_out_of_memory(attempt: Attempt) -> bool:
    return _OUT_OF_MEMORY in attempt.error_type or (attempt.usage is not None and attempt.usage.oom_kills > 0)


def _is_throttled(attempt: Attempt) -> bool:
    waited = attempt.usage.throttled if attempt.usage else None
    return waited is not None and waited > THROTTLED * attempt.seconds


def _minutes(evidence: Iterable[Attempt]) -> list[float]:
    """Give the cores in use in each minute of all attempts."""
    return [
        value for attempt in evidence for value in attempt.series.get(semconv.SERIES_CORES, ()) if value != NO_VALUE
    ]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _last(values: Iterable[float | None]) -> float | None:
    """Give what the latest attempt that tells was given."""
    return next(iter(_known(values)[::-1]), None)
