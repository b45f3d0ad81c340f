"""A small pipeline with most features of Flyte, for a look at its trace: ``otel-flyte demo``.

It reads a batch of reviews, scores six shards of it in parallel, tunes a model, and publishes it to a registry that
rejects the first request. It needs no network, no data and no package but flytekit.
"""
# The folder has no __init__.py, so that the names of tasks are those of a script: demo.fetch.
# ruff: noqa: INP001

import asyncio
import math
import time
import uuid

from flytekit import Resources, current_context, dynamic, eager, kwtypes, map_task, task, workflow
from flytekit.deck import DeckField
from flytekit.extras.tasks.shell import ShellTask
from opentelemetry import trace

SHARDS = 6
EPOCHS = 3
REQUESTS, LIMITS = Resources(cpu="500m", mem="256Mi"), Resources(cpu="1", mem="1Gi")

WORDS = ("fast", "robust", "slow", "bug", "love", "cluster")

tracer = trace.get_tracer("reviews")


class RegistryUnavailableError(Exception):
    """The model registry did not accept the model."""


disk_space = ShellTask(name="demo.disk_space", script="df -k {inputs.folder} > /dev/null", inputs=kwtypes(folder=str))


@task(requests=REQUESTS, limits=LIMITS)
def fetch(rows: int) -> str:
    """Fetch a batch part by part, and return its id."""
    current_context().logging.warning("fetching %d rows, though not the newest", rows)
    for language, seconds in (("de", 0.15), ("en", 0.25), ("fr", 0.1)):
        with tracer.start_as_current_span(f"GET /reviews/{language}", attributes={"rows": rows // 3}):
            time.sleep(seconds)
    return uuid.uuid4().hex


@task(cache=True, cache_version="1")
def vocabulary(batch: str) -> list[str]:
    """Collect the words of a batch; a second call for the same batch is a cache hit."""
    time.sleep(0.3)
    return sorted(WORDS, key=lambda word: hash((batch, word)))


@task
def split(words: list[str]) -> list[int]:
    """Number the shards."""
    return list(range(min(SHARDS, len(words))))


@task(requests=REQUESTS, limits=LIMITS)
def score(shard: int) -> float:
    """Score one shard; the fourth is the largest."""
    time.sleep(0.35 if shard == 3 else 0.08)
    return math.tanh(shard + 1)


@task(requests=REQUESTS, limits=LIMITS)
def train(depth: int, scores: list[float], seconds: float) -> float:
    """Train one candidate, in epochs that have spans of their own."""
    for epoch in range(EPOCHS):
        with tracer.start_as_current_span("epoch", attributes={"epoch": epoch, "depth": depth}):
            until = time.monotonic() + seconds / EPOCHS
            while time.monotonic() < until:
                sum(math.tanh(step) for step in range(100_000))
                time.sleep(min(0.01, seconds / EPOCHS))
    print(f"a model of depth {depth} is trained")  # noqa: T201  # stdout of a task is captured
    return sum(scores) / len(scores) / (1 + abs(3 - depth))


@dynamic
def tune(scores: list[float], depths: list[int], seconds: float) -> list[float]:
    """Train a candidate for each depth; the deepest is slow."""
    return [train(depth=each, scores=scores, seconds=seconds if each == max(depths) else 0.15) for each in depths]


@task
async def register(model: str, is_retry: bool) -> str:
    """Publish the model to the registry, which rejects the first request."""
    await asyncio.sleep(0.15)
    if not is_retry:
        raise RegistryUnavailableError(f"503 for {model}: the registry is starting, ask again")
    return f"models/{model}"


@workflow
def prepare(batch: str) -> list[float]:
    """Score a batch, shard by shard."""
    checked, words = disk_space(folder="."), vocabulary(batch=batch)
    checked >> words
    return map_task(score)(shard=split(words=words))


@eager(deck_fields=(DeckField.TIMELINE, DeckField.OUTPUT))
async def pipeline(rows: int = 3000, seconds: float = 0.25) -> str:
    """Fetch, score, tune and publish, with a second request if the registry is not ready."""
    batch = fetch(rows=rows)
    scores = prepare(batch=batch)
    candidates = tune(scores=scores, depths=[2, 3, 4], seconds=seconds)
    model = f"{vocabulary(batch=batch)[0]}-{max(candidates):.2f}"
    try:
        return await register(model=model, is_retry=False)
    except Exception:
        return await register(model=model, is_retry=True)
