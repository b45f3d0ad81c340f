"""Fixtures for all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser import Browser, browser
from support.receiver import Receiver

# A shell starts background processes with SIGQUIT ignored, and children inherit that.
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files. With pytest-xdist this needs ``--no-loadscope-reorder``."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Fail the whole run if a worker of pytest-xdist dies, because some tests may not have run."""
    if error:
        pytest.exit(f"{node.gateway.id}: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A tab for all tests of a file."""
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the screenshots."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(autouse=True)
def _environment_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings of the developer or the CI for their own telemetry."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "FLYTE", "_F_", "TRACEPARENT", "TRACESTATE", "_OTEL_FLYTE")):
            monkeypatch.delenv(name)
