"""Where a signal goes: outlets for OTLP, and the exporters that other packages bring, by name."""

import functools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from otel_flyte import semconv
from otel_flyte.config import endpoints, settings, urls
from otel_flyte.config.endpoints import OTLP_PROTOCOLS, SignalPlan
from otel_flyte.config.standard import usable
from otel_flyte.export import dropped, relay
from otel_flyte.export.codecs import CODECS
from otel_flyte.export.queue import Limits, Outlet
from otel_flyte.export.spool import files as spool
from otel_flyte.export.transport import Transport, connect
from otel_flyte.process import shutdown
from otel_flyte.runtime import forks
from otel_flyte.runtime.guard import guarded, say_once, start_thread

DEFAULT_QUEUE = 2**15
"""Records that wait. The SDK's 2,048 lose most of a burst of 10,000; these take some 100 MB where all are in use."""

DEFAULT_COLLECTIONS = 120
"""Collections of all metrics that wait: two hours of them, by the minute."""

DEFAULT_BATCH = 512
DEFAULT_DELAY_MILLISECONDS = 1000
"""What a process that is killed has not sent yet. The SDK's 5 s are long for a task."""


LONGEST_DELAY_SECONDS = 3600.0

_BATCHES = {"traces": semconv.BATCHES[0], "logs": semconv.BATCHES[1]}


class ExporterError(Exception):
    """An exporter can't be had; the message is one line that says why."""


class Destinations:
    """All places where a signal goes."""

    def __init__(self) -> None:
        self.outlets: list[Outlet] = []
        self.exporters: list[Any] = []


on_acknowledged: dict[str, Callable[[Sequence[Any]], None]] = {}
"""By signal: a function that is called with records that a receiver has acknowledged, or that are in the spool."""

_made: dict[str, Destinations] = {}
_lock = threading.RLock()
_spool_folder: str | None = None


def of(signal: str) -> Destinations:
    """Return what delivers a signal, made when it is first asked for.

    What can't be had is said in one line, with what is used instead.
    """
    with _lock:
        if signal not in _made:
            _made[signal] = _destinations(signal, usable(os.environ))
        return _made[signal]


def _destinations(signal: str, environ: Mapping[str, str]) -> Destinations:
    plan = endpoints.plan(signal, environ)
    found = Destinations()
    for name in plan.exporters:
        try:
            _add(found, name, plan, environ)
        except ExporterError as error:
            _add_instead(found, name, plan, error, environ)
    return found


def load(name: str, signal: str) -> Any:
    """Make an exporter that another package brings.

    Raises:
        ExporterError: there is no exporter of that name, or what it needs is not installed.
    """
    try:
        for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
            return entry.load()()
    except Exception as error:
        raise ExporterError(f"the exporter {name} can't be used ({error})") from error
    raise ExporterError(f"there is no exporter {name} here (installed: {', '.join(names(signal))})")


def connected(name: str, plan: SignalPlan, environ: Mapping[str, str]) -> Transport:
    """Make the transport for an OTLP exporter's name.

    Raises:
        ExporterError: a certificate can't be read, or the protocol's package can't be imported.
    """
    try:
        return connect(plan, environ)
    except Exception as error:
        raise ExporterError(f"the exporter {name} can't be used ({error})") from error


def names(signal: str) -> list[str]:
    """Return the names of the exporters that are installed for a signal."""
    return sorted({"otlp", *(entry.name for entry in entry_points(group=f"opentelemetry_{signal}_exporter"))})


def _add(found: Destinations, name: str, plan: SignalPlan, environ: Mapping[str, str]) -> None:
    if name in OTLP_PROTOCOLS:
        found.outlets.append(_outlet(connected(name, plan, environ), plan.signal, environ))
    else:
        found.exporters.append(load(name, plan.signal))


def _outlet(transport: Transport, signal: str, environ: Mapping[str, str]) -> Outlet:
    relay.prepare()
    folder = spool_folder()
    outlet = Outlet(
        signal,
        CODECS[signal],
        transport,
        _limits(signal, environ),
        spool=spool.SpoolFile(folder, signal) if folder else None,
        on_settled=on_acknowledged.get(signal),
    )
    shutdown.add_outlet(outlet)
    return outlet


def spool_folder() -> str:
    """Return the folder that the spool is in, empty where there is none; a URL is filled from a temporary one."""
    global _spool_folder
    if _spool_folder is None:
        _spool_folder = _choose_spool_folder()
    return _spool_folder


def _choose_spool_folder() -> str:
    chosen = settings.current().spool.removeprefix("file://")
    if "://" not in chosen:
        return chosen
    import tempfile

    from otel_flyte.export.spool import remote

    try:
        remote.check(chosen)
    except remote.RemoteError as error:
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}: {error}: it is done without.")
        return ""
    # Looking for credentials takes some filesystems longer than a task may wait for.
    start_thread("otel-flyte-prepare", functools.partial(_prepare, chosen))
    folder = tempfile.mkdtemp(prefix="otel-flyte-spool-")
    shutdown.in_the_time_left(lambda deadline: _push(Path(folder), chosen, deadline))
    shutdown.at_the_end(lambda: _say_what_is_left(Path(folder), chosen))
    return folder


def _prepare(url: str) -> None:
    from otel_flyte.export.spool import remote

    try:
        remote.prepare(url)
    except remote.RemoteError as error:
        say_once(f"{semconv.OTEL_FLYTE_SPOOL}: {error}.")


def _push(folder: Path, url: str, deadline: float) -> None:
    """Hand over what is left in the spool; what can't be is said to be where it is."""
    from otel_flyte.export.spool import remote

    try:
        pushed = remote.push(folder, url, deadline)
    except remote.RemoteError as error:
        say_once(f"{error}.")
        return
    if not pushed.problems:
        dropped.moved(str(folder), urls.without_password(url))
        folder.rmdir()


def _say_what_is_left(folder: Path, url: str) -> None:
    if folder.exists() and any(folder.iterdir()):
        say_once(f"{urls.without_password(url)} was not reached in time: the spool is still in {folder}.")


def _limits(signal: str, environ: Mapping[str, str]) -> Limits:
    def number(variable: str, default: int) -> int:
        value = environ.get(variable.format(batch=_BATCHES[signal]), "").strip()
        return int(value) if value.isascii() and value.isdigit() and int(value) > 0 else default

    if signal == "metrics":
        return Limits(DEFAULT_COLLECTIONS, 1, DEFAULT_DELAY_MILLISECONDS / 1000)
    queue = number(semconv.BATCH_QUEUE, DEFAULT_QUEUE)
    return Limits(
        queue=queue,
        batch=min(queue, number(semconv.BATCH_SIZE, DEFAULT_BATCH)),
        delay=min(LONGEST_DELAY_SECONDS, number(semconv.BATCH_DELAY, DEFAULT_DELAY_MILLISECONDS) / 1000),
    )


def _add_instead(
    found: Destinations, name: str, plan: SignalPlan, error: Exception, environ: Mapping[str, str]
) -> None:
    """Use OTLP where an endpoint covers the signal and the exporter that was asked for can't be had."""
    exporter_variable = semconv.EXPORTER.format(signal=plan.signal.upper())
    variable = plan.decided_by or exporter_variable
    value = name if variable == exporter_variable else urls.without_password(environ[variable])
    wrong = f"{variable}={value}: {error}"
    others = [other for other in plan.exporters if other != name]
    without_exporter = {key: value for key, value in environ.items() if key != variable}
    fallback = endpoints.plan(plan.signal, without_exporter)
    if others or name in OTLP_PROTOCOLS or not fallback.exporters:
        used = f"{', '.join(others)} alone is used" if others else f"{plan.signal} are not exported"
        say_once(f"{wrong}: {used}.")
        return
    try:
        _add(found, endpoints.OTLP, fallback, environ)
    except ExporterError as second_error:
        say_once(f"{wrong}, and {second_error}: {plan.signal} are not exported.")
        return
    say_once(f"{wrong}: otlp is used instead.")


def _prepare_to_fork() -> None:
    """Have somebody to read what a child records: its parent may use fewer signals than it."""
    if _made and not relay.is_child():
        for signal in endpoints.SIGNALS:
            guarded(of)(signal)


def _begin_child() -> None:
    global _lock
    _lock = threading.RLock()


forks.register(before=_prepare_to_fork, after_in_child=_begin_child)
