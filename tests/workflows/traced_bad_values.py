"""Tasks with values that must not be inspected."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import os
import time

from flytekit import task, workflow
from opentelemetry import trace

SECRET = "sesame-0451"
LONE = "\ud83d"
"""Half of a character, which UTF-8 cannot encode."""


class Shy:
    """It contains itself, and its representation is long, slow and counted."""

    looks = 0

    def __init__(self) -> None:
        self.itself = self
        self.more = {"itself": self, "list": [self] * 1000}

    def __repr__(self) -> str:
        Shy.looks += 1
        time.sleep(0.5)
        return "x" * 10_000_000

    __str__ = __repr__


@task
def measure(text: str) -> int:
    return len(text)


@task
def reveal(password: str, number: float, words: list[str]) -> str:
    return f"{password} {number} {words} {os.environ['SERVICE_PASSWORD']}"


@task
def make_shy() -> Shy:
    return Shy()


@task
def look(shy: Shy) -> int:
    return Shy.looks


@workflow
def look_at_shy() -> int:
    return look(shy=make_shy())


@task(labels={"broken": f"a{LONE}b", "long": "l" * 5000}, annotations={f"key{LONE}": "ä" * 5000})
def label(value: int) -> int:
    return value


@task
def fail_with_half_a_character(value: int) -> int:
    if value:
        raise ValueError(f"no {LONE} {value}")
    return value


@task
def fail_at_length(value: int) -> int:
    if value:
        raise ValueError("ä" * 1_000_000)
    return value


@task
def compute(number: float) -> list[float]:
    with trace.get_tracer("users.own").start_as_current_span("dividing") as span:
        span.set_attributes({"nan": float("nan"), "inf": [float("inf"), -float("inf")], "given": number})
    return [number, float("inf"), -float("inf")]


@task
def name_badly(value: int) -> int:
    with trace.get_tracer("users.own").start_as_current_span(f"bad {LONE}"):
        pass
    with trace.get_tracer("users.own").start_as_current_span("good"):
        return value
