"""Fixtures that every test may use, and a summary that says what did not run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from support import pods
from support.receiver import Receiver

# The templates of a shim task are made here, by the process that plays the control plane.
sys.path.append(str(pods.WORKFLOWS))


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skipped test proves nothing: its reason is said even in a quiet run."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.getreports("skipped"))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} not run: {reason.removeprefix('Skipped: ')}", yellow=True)
