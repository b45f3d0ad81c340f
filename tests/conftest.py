"""Fixtures that every test may use."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.receiver import Receiver

# In the background of a shell it is ignored, and what is ignored children inherit.
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist that dies may leave tests that nobody runs: the whole run has failed."""
    if error:
        pytest.exit(f"{node.gateway.id}: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)


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
