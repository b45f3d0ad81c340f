"""The end of the process: what is buffered is sent, but nobody waits long for a collector that does not answer."""

import atexit
import os
import threading
from typing import Protocol

from opentelemetry import trace

from otel_flyte.guard import guarded

EXIT_TIMEOUT_SECONDS = 2.0


class Provider(Protocol):
    """What providers of all signals have in common."""

    def shutdown(self) -> object:
        """Send what is buffered and stop."""


_providers: list[Provider] = []
_exiting = threading.Event()
_sent = threading.Event()


def at_exit(provider: Provider) -> None:
    """Shut a provider down at the end of the process, all of them together within the bound.

    The SDK's own shutdown waits for as long as its exporters retry. It runs in a daemon thread here; the thread is
    started now because Python 3.12 starts none once the interpreter is exiting.
    """
    if not _providers:
        atexit.register(_wait, os.getpid())
        threading.Thread(target=_shut_down_when_exiting, name="otel-flyte-exit", daemon=True).start()
    _providers.append(provider)


def _shut_down_when_exiting() -> None:
    _exiting.wait()
    for provider in _providers:
        guarded(provider.shutdown)()
    _sent.set()


def _wait(owner: int) -> None:
    if os.getpid() != owner:
        return  # A forked child has no such thread.
    _exiting.set()
    _sent.wait(EXIT_TIMEOUT_SECONDS)


def flush() -> None:
    """Send what is buffered, within the bound: a forked worker ends without running its exit handlers."""
    provider = trace.get_tracer_provider()
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return
    thread = threading.Thread(target=force_flush, daemon=True)
    thread.start()
    thread.join(EXIT_TIMEOUT_SECONDS)
