"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The workflows too, because this process plays the control plane, which knows a task's template and its inputs' types.
sys.path.insert(0, str(Path(__file__).parent / "workflows"))
sys.path.insert(0, str(Path(__file__).parent))

from support.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _environment_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer or the CI has set for its own telemetry must not decide a test."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "FLYTE", "_F_", "TRACEPARENT", "TRACESTATE", "_OTEL_FLYTE")):
            monkeypatch.delenv(name)
