"""Tasks that use the OpenTelemetry API themselves."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import random
from collections.abc import Iterator
from contextlib import contextmanager

from flytekit import task
from opentelemetry import trace

random.seed(42)

tracer = trace.get_tracer("users.own")


@task
def train(epochs: int) -> float:
    with tracer.start_as_current_span("train", attributes={"epochs": epochs}) as training:
        for epoch in range(epochs):
            with tracer.start_as_current_span("epoch", attributes={"epoch": epoch}):
                training.add_event("loss", {"value": 1 / (epoch + 1)})
    return 0.5


@task
def train_and_fail(epochs: int) -> float:
    with tracer.start_as_current_span("train"):
        _diverge(epochs)
    return 0.5


def _diverge(epochs: int) -> None:
    raise ArithmeticError(f"the loss diverged after {epochs} epochs")


@task
def train_seeded(epochs: int) -> float:
    random.seed(42)
    with _span_of_each(epochs):
        return random.random()


@contextmanager
def _span_of_each(epochs: int) -> Iterator[None]:
    for epoch in range(epochs):
        tracer.start_span(f"epoch {epoch}").end()
    yield
