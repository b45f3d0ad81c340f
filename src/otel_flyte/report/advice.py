"""Advice on resources as text with code to paste, and as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from otel_flyte.quantity import as_cores, as_size
from otel_flyte.recording.cells import cores, counted, duration, percent, printable, size
from otel_flyte.recording.rightsize import AFTER_SHORTAGE, Advice, Amount


def as_text(advice: Sequence[Advice]) -> str:
    """Return a line for each task with a problem, then the recommendation for each task with its reasons."""
    problems = [line for problem in (_out_of_memory, _throttled, _idle) for each in advice for line in problem(each)]
    blocks = ["\n".join(problems)] if problems else []
    blocks += ["\n".join(_block(each)) for each in advice]
    return "\n\n".join(blocks)


def as_json(advice: Sequence[Advice]) -> str:
    """Return the advice as JSON: cores, bytes and seconds as numbers, resources as Kubernetes quantities."""
    return json.dumps({"tasks": [_entry(each) for each in advice]}, indent=2)


def as_code(advice: Advice) -> str:
    """Return the arguments of ``@task``; empty where nothing is recommended."""
    requests, limits = resources(advice)
    return f"requests={_call(requests)}, limits={_call(limits)}" if requests else ""


def resources(advice: Advice) -> tuple[dict[str, str], dict[str, str]]:
    """Return the requests and the limits, by the names of flytekit's ``Resources``."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if advice.cpu:
        requests["cpu"], limits["cpu"] = as_cores(advice.cpu.request), as_cores(advice.cpu.limit)
    if advice.memory:
        requests["mem"], limits["mem"] = as_size(advice.memory.request), as_size(advice.memory.limit)
    if advice.gpus and requests:
        # Kubernetes accepts no other limit than the request.
        requests["gpu"] = limits["gpu"] = str(advice.gpus.count)
    return requests, limits


def _call(arguments: dict[str, str]) -> str:
    return f"Resources({', '.join(f'{name}={json.dumps(value)}' for name, value in arguments.items())})"


def _out_of_memory(advice: Advice) -> Iterator[str]:
    if advice.out_of_memory:
        attempts = f"{advice.out_of_memory} of {counted(advice.attempts, 'attempt')}"
        yield f"OOM-killed  {printable(advice.task)}: {attempts} ran out of memory{_limit(advice.memory, as_size)}"


def _throttled(advice: Advice) -> Iterator[str]:
    if advice.is_throttled:
        waited = f"waited {duration(advice.throttled)} for CPU"
        yield f"throttled   {printable(advice.task)}: {waited}{_limit(advice.cpu, as_cores)}"


def _limit(amount: Amount | None, written: Callable[[float], str]) -> str:
    return f", the limit is {written(amount.limit_now)}" if amount and amount.limit_now else ""


def _idle(advice: Advice) -> Iterator[str]:
    gpus = advice.gpus
    if gpus and gpus.idle:
        mean = "" if gpus.utilization is None else f", mean utilisation {percent(gpus.utilization)}"
        yield f"idle GPU    {printable(advice.task)}: {gpus.idle} of {gpus.now} did next to nothing{mean}"


def _block(advice: Advice) -> Iterator[str]:
    is_cut = advice.known > advice.attempts
    heading = f"last {advice.attempts} of {advice.known} attempts" if is_cut else counted(advice.attempts, "attempt")
    versions = f", versions {', '.join(map(printable, advice.versions))}" if len(advice.versions) > 1 else ""
    yield f"{printable(advice.task)}: {heading}{versions}"
    if advice.cpu:
        yield f"  cpu     {_change(advice.cpu, as_cores)}: {'; '.join(_cpu_reasons(advice, advice.cpu))}"
    if advice.memory:
        yield f"  memory  {_change(advice.memory, as_size)}: {'; '.join(_memory_reasons(advice, advice.memory))}"
    if advice.gpus:
        yield f"  gpu     {'; '.join(_gpu(advice))}"
    if advice.fits:
        yield "  fits"
    elif as_code(advice):
        yield f"  {as_code(advice)}"
    for note in _notes(advice):
        yield f"  note: {note}"


def _change(amount: Amount, written: Callable[[float], str]) -> str:
    now = " / ".join("-" if value is None else written(value) for value in (amount.request_now, amount.limit_now))
    return f"{now} fits" if amount.fits else f"{now} -> {written(amount.request)} / {written(amount.limit)}"


def _cpu_reasons(advice: Advice, cpu: Amount) -> Iterator[str]:
    yield f"peak {cores(cpu.peak or 0)} + {percent(advice.margins.cpu)}"
    averages = [("p95", advice.cpu_p95), ("mean", advice.cpu_mean)]
    yield ", ".join(f"{name} {cores(value)}" for name, value in averages if value is not None)
    if advice.throttled:
        factor = f", limit x {AFTER_SHORTAGE:g}" if advice.is_throttled and cpu.limit_now else ""
        yield f"throttled {duration(advice.throttled)}{factor}"


def _memory_reasons(advice: Advice, memory: Amount) -> Iterator[str]:
    if memory.peak is not None:
        yield f"peak {size(memory.peak)} + {percent(advice.margins.memory)}"
    if advice.out_of_memory:
        yield f"{counted(advice.out_of_memory, 'attempt')} ran out of it, limit x {AFTER_SHORTAGE:g}"


def _gpu(advice: Advice) -> Iterator[str]:
    gpus = advice.gpus
    if gpus is None:
        return
    unused = gpus.now - gpus.count
    yield f"{gpus.now} -> {gpus.count}: {unused} never used" if unused else f"{gpus.now} kept"
    if gpus.utilization is not None:
        yield f"mean utilisation {percent(gpus.utilization)}"
    if gpus.memory_peak is not None:
        yield f"peak memory {size(gpus.memory_peak)}"
    if gpus.idle > unused:
        yield f"{gpus.idle - unused} idle but with memory in use: a smaller or shared one may do"


def _notes(advice: Advice) -> Iterator[str]:
    if not advice.evidence:
        yield "no evidence: no attempt has a usage of its own"
    elif advice.is_thin:
        attempts = counted(advice.evidence, "attempt")
        yield f"thin evidence: {attempts}, the longest took {duration(advice.longest)}"
    if advice.shared:
        yield f"{counted(advice.shared, 'attempt')} shared the process with other tasks, no evidence"
    if advice.unmeasured:
        yield f"{counted(advice.unmeasured, 'attempt')} without usage, no evidence"
    if advice.npu_utilization is not None:
        yield f"NPUs: mean utilisation {percent(advice.npu_utilization)}"


def _entry(advice: Advice) -> dict[str, Any]:
    requests, limits = resources(advice)
    problems = {
        "OOM-killed": advice.out_of_memory > 0,
        "throttled": advice.is_throttled,
        "idle GPU": advice.is_gpu_idle,
    }
    return {
        "task": advice.task,
        "versions": list(advice.versions),
        "problems": [name for name, is_so in problems.items() if is_so],
        "fits": advice.fits,
        "requests": requests,
        "limits": limits,
        "now": {"cpu": _now(advice.cpu), "mem": _now(advice.memory), "gpu": advice.gpus.now if advice.gpus else None},
        "evidence": {
            "attempts": advice.attempts,
            "known": advice.known,
            "measured": advice.evidence,
            "shared": advice.shared,
            "unmeasured": advice.unmeasured,
            "longest": advice.longest,
            "is_thin": advice.is_thin,
            "cpu_peak": advice.cpu.peak if advice.cpu else None,
            "cpu_p95": advice.cpu_p95,
            "cpu_mean": advice.cpu_mean,
            "throttled": advice.throttled,
            "memory_peak": advice.memory.peak if advice.memory else None,
            "out_of_memory": advice.out_of_memory,
            "gpu_utilization": advice.gpus.utilization if advice.gpus else None,
            "gpus_idle": advice.gpus.idle if advice.gpus else None,
        },
        "margins": {"cpu": advice.margins.cpu, "memory": advice.margins.memory},
    }


def _now(amount: Amount | None) -> dict[str, float | None] | None:
    return {"request": amount.request_now, "limit": amount.limit_now} if amount else None
