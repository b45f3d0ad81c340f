"""Tasks that run until a file appears in their working directory."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import multiprocessing
import sys
import time
from pathlib import Path

from flytekit import task, workflow


@task
def linger(value: int) -> int:
    Path("ready").touch()
    while not Path("go on").exists():
        time.sleep(0.02)
    return value


@task
def find_modules(seconds: float) -> list[str]:
    """Return the imported modules after a while."""
    time.sleep(seconds)
    return sorted(name for name in sys.modules if name.startswith("opentelemetry."))


@task
def last(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@workflow
def last_long_and_short(seconds: float) -> float:
    last(seconds=seconds)
    return last(seconds=0.0)


@workflow
def linger_locally(value: int) -> int:
    return linger(value=value)


@task
def train(seconds: float) -> int:
    """Start ranks like torch elastic."""
    from otel_flyte.adapters.flytekit_v1 import rank_spans

    entrypoint = rank_spans.observed(time.sleep)
    worker = multiprocessing.get_context("spawn").Process(target=entrypoint, args=(seconds,))
    worker.start()
    worker.join()
    return worker.exitcode or 0
