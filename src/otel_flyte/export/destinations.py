"""Destinations of each signal: queues for OTLP, and the exporters of other packages by name."""

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from otel_flyte import semconv
from otel_flyte.config import endpoints, settings, standard, urls
from otel_flyte.config.endpoints import OTLP_PROTOCOLS, SignalPlan
from otel_flyte.export import relay
from otel_flyte.export.codecs import CODECS
from otel_flyte.export.connection import connect
from otel_flyte.export.queue import ExportQueue, Limits
from otel_flyte.export.spool.files import SpoolFile
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded, say_once

_METRICS = Limits(120, 1, 1.0)
"""Collections of all metrics: two hours of them at one a minute."""

_LONGEST_DELAY_SECONDS = 3600.0
_BATCHES = {"traces": semconv.BATCHES[0], "logs": semconv.BATCHES[1]}


class ExporterError(Exception):
    """An exporter can't be used, for the reason in the message."""


class Destinations:
    """All destinations of a signal."""

    def __init__(self) -> None:
        self.queues: list[ExportQueue] = []
        self.exporters: list[Any] = []


on_acknowledged: dict[str, Callable[[Sequence[Any]], None]] = {}
"""By signal: a function that is called with records that are acknowledged, dropped or in the spool."""

_made: dict[str, Destinations] = {}
_lock = threading.RLock()


def of(signal: str) -> Destinations:
    """Return the destinations of a signal, which are created by the first call.

    An exporter that can't be used is reported in one line, with the one that is used instead.
    """
    with _lock:
        if signal not in _made:
            environ = standard.usable(os.environ)
            plan = endpoints.plan(signal, environ)
            found = _made[signal] = Destinations()
            for name in plan.exporters:
                try:
                    _add(found, name, plan, environ)
                except ExporterError as error:
                    _add_instead(found, name, plan, error, environ)
        return _made[signal]


def load(name: str, signal: str) -> Any:
    """Create an exporter of another package.

    Raises:
        ExporterError: no exporter of that name is installed, or it can't be created.
    """
    group = f"opentelemetry_{signal}_exporter"
    try:
        for entry in entry_points(group=group, name=name):
            return entry.load()()
    except Exception as error:
        raise ExporterError(f"can't be used ({error})") from error
    installed = sorted({endpoints.OTLP, *(entry.name for entry in entry_points(group=group))})
    raise ExporterError(f"is not installed (installed exporters: {', '.join(installed)})")


def _add(found: Destinations, name: str, plan: SignalPlan, environ: Mapping[str, str]) -> None:
    if name not in OTLP_PROTOCOLS:
        found.exporters.append(load(name, plan.signal))
        return
    try:
        transport = connect(plan, environ)
    except Exception as error:
        raise ExporterError(f"can't be used ({error})") from error
    folder = spool_folder()
    queue = ExportQueue(
        CODECS[plan.signal],
        transport,
        _limits(plan.signal, environ),
        spool=SpoolFile(folder, plan.signal) if folder else None,
        on_acknowledged=on_acknowledged.get(plan.signal),
    )
    shutdown.add_queue(queue)
    found.queues.append(queue)


def _add_instead(
    found: Destinations, name: str, plan: SignalPlan, error: Exception, environ: Mapping[str, str]
) -> None:
    """Use OTLP in place of an exporter that can't be used, if an endpoint covers the signal."""
    exporter_variable = semconv.EXPORTER.format(signal=plan.signal.upper())
    variable = plan.decided_by or exporter_variable
    value = name if variable == exporter_variable else urls.without_password(environ[variable])
    problem = f"{variable}={value} {error}"
    others = [other for other in plan.exporters if other != name]
    fallback = endpoints.plan(plan.signal, {key: value for key, value in environ.items() if key != variable})
    used = f"{plan.signal} are not exported"
    if others:
        used = f"only {', '.join(others)} is used"
    elif name not in OTLP_PROTOCOLS and fallback.exporters:
        try:
            _add(found, endpoints.OTLP, fallback, environ)
            used = f"{endpoints.OTLP} is used instead"
        except ExporterError as second_error:
            problem = f"{problem}, and {endpoints.OTLP} {second_error}"
    say_once(f"{problem}: {used}")


def _limits(signal: str, environ: Mapping[str, str]) -> Limits:
    if signal == "metrics":
        return _METRICS
    variables = (semconv.BATCH_QUEUE, semconv.BATCH_SIZE, semconv.BATCH_DELAY)
    queue, batch, delay = (standard.number(environ, each.format(batch=_BATCHES[signal])) for each in variables)
    return Limits(int(queue), int(min(queue, batch)), min(_LONGEST_DELAY_SECONDS, delay / 1000))


@functools.cache
def spool_folder() -> str:
    """Return the folder of the spool, empty without one. A spool at a URL is copied from a temporary folder."""
    chosen = settings.current().spool.removeprefix("file://")
    if "://" not in chosen:
        return chosen
    from otel_flyte.export.spool import at_url

    return at_url.create_folder(chosen)


def _prepare_to_fork() -> None:
    """Create all destinations, because a child may use more signals than its parent, which sends its records."""
    if _made and not relay.is_child():
        for signal in endpoints.SIGNALS:
            guarded(of)(signal)


def _begin_child() -> None:
    global _lock
    _lock = threading.RLock()


forks.register(before=_prepare_to_fork, after_in_child=_begin_child)
