"""Advice on resources as text with code to paste, and as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from otel_flyte.quantity import as_cores, as_size
from otel_flyte.recording.cells import cores, counted, duration, percent, printable, size
from otel_flyte.recording.rightsize import (
    AFTER_SHORTAGE,
    OUT_OF_MEMORY,
    PROBLEMS,
    STARVATION,
    THROTTLING,
    Advice,
    Amount,
    Evidence,
)


def as_text(advice: Sequence[Advice]) -> str:
    """Return a line for each task with a problem, then the recommendation for each task with its reasons."""
    problems = [
        f"{problem:<12}{printable(each.task)}: {_problem(problem, each)}"
        for problem in PROBLEMS
        for each in advice
        if problem in each.problems
    ]
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


def _problem(problem: str, advice: Advice) -> str:
    """Return a problem of a task with its numbers."""
    evidence, gpus = advice.evidence, advice.gpus
    if problem == OUT_OF_MEMORY:
        text = f"{evidence.out_of_memory} of {counted(evidence.attempts, 'attempt')} ran out of memory"
        return text + _limit(advice.memory, as_size)
    if problem == STARVATION:
        of_all = f"{evidence.starved} of {counted(evidence.attempts, 'attempt')}"
        return f"{of_all} waited {duration(evidence.waited)} for a CPU"
    if problem == THROTTLING:
        return f"waited {duration(evidence.throttled)} for CPU{_limit(advice.cpu, as_cores)}"
    mean = "" if not gpus or gpus.utilization is None else f", mean utilisation {percent(gpus.utilization)}"
    return f"{gpus.idle} of {gpus.now} did next to nothing{mean}" if gpus else ""


def _limit(amount: Amount | None, written: Callable[[float], str]) -> str:
    return f", the limit is {written(amount.limit_now)}" if amount and amount.limit_now else ""


def _block(advice: Advice) -> Iterator[str]:
    number, known = advice.evidence.attempts, advice.evidence.known
    heading = f"last {number} of {known} attempts" if known > number else counted(number, "attempt")
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
    for note in _notes(advice.evidence):
        yield f"  note: {note}"


def _change(amount: Amount, written: Callable[[float], str]) -> str:
    now = " / ".join("-" if value is None else written(value) for value in (amount.request_now, amount.limit_now))
    if amount.is_kept:
        return f"{now} kept"
    return f"{now} fits" if amount.fits else f"{now} -> {written(amount.request)} / {written(amount.limit)}"


def _cpu_reasons(advice: Advice, cpu: Amount) -> Iterator[str]:
    yield f"peak {cores(cpu.peak or 0)} + {percent(advice.margins.cpu)}"
    evidence = advice.evidence
    averages = [("p95", evidence.cpu_p95), ("mean", evidence.cpu_mean)]
    yield ", ".join(f"{name} {cores(value)}" for name, value in averages if value is not None)
    if evidence.starved:
        yield f"waited {duration(evidence.waited)} for a CPU"
    if evidence.throttled:
        factor = f", limit x {AFTER_SHORTAGE:g}" if THROTTLING in advice.problems and cpu.limit_now else ""
        yield f"throttled {duration(evidence.throttled)}{factor}"


def _memory_reasons(advice: Advice, memory: Amount) -> Iterator[str]:
    if memory.peak is not None:
        yield f"peak {size(memory.peak)} + {percent(advice.margins.memory)}"
    if advice.evidence.out_of_memory:
        yield f"{counted(advice.evidence.out_of_memory, 'attempt')} ran out of it, limit x {AFTER_SHORTAGE:g}"


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


def _notes(evidence: Evidence) -> Iterator[str]:
    if not evidence.measured:
        yield "no evidence: no attempt has a usage of its own"
    elif evidence.is_thin:
        yield f"thin evidence: {counted(evidence.measured, 'attempt')}, the longest took {duration(evidence.longest)}"
    if evidence.starved:
        others = evidence.measured - evidence.starved
        meaning = f"the other {others} are the evidence" if others else "no evidence for less"
        meaning = "the other one is the evidence" if others == 1 else meaning
        yield f"{counted(evidence.starved, 'attempt')} wanted more CPU than there was, {meaning}"
    if evidence.memory_left:
        attempts = counted(evidence.memory_left, "attempt")
        yield f"much of the memory of {attempts} was in use before, no evidence"
    if evidence.shared:
        yield f"{counted(evidence.shared, 'attempt')} shared the process with other tasks, no evidence"
    if evidence.unmeasured:
        yield f"{counted(evidence.unmeasured, 'attempt')} without usage, no evidence"
    if evidence.npu_utilization is not None:
        yield f"NPUs: mean utilisation {percent(evidence.npu_utilization)}"


def _entry(advice: Advice) -> dict[str, Any]:
    requests, limits = resources(advice)
    cpu, memory, gpus = advice.cpu, advice.memory, advice.gpus
    evidence = asdict(advice.evidence)
    del evidence["npu_utilization"]
    return {
        "task": advice.task,
        "versions": advice.versions,
        "problems": advice.problems,
        "fits": advice.fits,
        "requests": requests,
        "limits": limits,
        "now": {"cpu": _now(cpu), "mem": _now(memory), "gpu": gpus.now if gpus else None},
        "evidence": {
            **evidence,
            "is_thin": advice.evidence.is_thin,
            "cpu_peak": cpu.peak if cpu else None,
            "memory_peak": memory.peak if memory else None,
            "gpu_utilization": gpus.utilization if gpus else None,
            "gpus_idle": gpus.idle if gpus else None,
        },
        "margins": asdict(advice.margins),
    }


def _now(amount: Amount | None) -> dict[str, float | None] | None:
    return {"request": amount.request_now, "limit": amount.limit_now} if amount else None
