"""Tracers of users in our provider: a span without a parent belongs to the task, or the process, that encloses it.

Threads, greenlets and worker processes begin without a context, so that the SDK would start a trace for each of their
spans.
"""

import importlib.util
import os
from functools import cache
from pathlib import Path
from threading import RLock
from types import SimpleNamespace
from typing import Any

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.sdk import trace
from opentelemetry.trace import Span

from otel_flyte import semconv
from otel_flyte.config.imports import import_despite
from otel_flyte.runtime.guard import guarded
from otel_flyte.tasks import here


class TracerProvider(trace.TracerProvider):
    """The SDK's tracer provider, with such tracers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A signal handler that creates spans may interrupt the thread that holds it.
        self._tracers_lock = RLock()  # type: ignore[assignment]  # it is used as a context only

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        """Return a tracer of the SDK."""
        tracer = super().get_tracer(*args, **kwargs)
        if type(tracer) is trace.Tracer:
            tracer.__class__ = _Tracer
        return tracer


class _Tracer(trace.Tracer):
    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        return super().start_span(name, here.parent() if context is None else context, *args, **kwargs)


@cache
@guarded
def share_context_with_threads() -> None:
    """Have threads inherit the span in which they are started."""
    disabled = os.environ.get(semconv.DISABLED_INSTRUMENTATIONS, "").split(",")
    if "threading" in map(str.strip, disabled) or _needs_pkg_resources():
        return
    # It imports the propagators.
    import_despite(semconv.PROPAGATORS, "opentelemetry.propagate", "opentelemetry.environment_variables")
    from opentelemetry.instrumentation import threading

    instrumentor = threading.ThreadingInstrumentor()
    # The user, or `opentelemetry-instrument`, may have it already.
    if not instrumentor.is_instrumented_by_opentelemetry:
        # It calls them unguarded: no thread of the program would start, or run, where one fails.
        vars(threading)["context"] = SimpleNamespace(
            **vars(context) | {"get_current": _current, "attach": _attach, "detach": _detach}
        )
        instrumentor.instrument()


def _needs_pkg_resources() -> bool:
    """Return whether this version imports a module that newer setuptools lack, that is slow, and warns on stderr."""
    package = importlib.util.find_spec("opentelemetry.instrumentation")
    folders = (package.submodule_search_locations if package is not None else None) or ()
    sources = (Path(folder, "dependencies.py") for folder in folders)
    return any("pkg_resources" in source.read_text() for source in sources if source.exists())


@guarded
def _current() -> Context:
    return context.get_current()


@guarded
def _attach(given: Context | None) -> object:
    # It is None where there was no current one to be had.
    return None if given is None else context.attach(given)


@guarded
def _detach(token: Any) -> None:
    context.detach(token)
