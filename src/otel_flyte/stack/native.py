"""The stack as processes of this machine: for tests, and for hosts without a container engine."""

import errno
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from otel_flyte.stack import binaries, processes
from otel_flyte.stack.parts import BY_NAME, NOWHERE, PARTS, Launch, Part
from otel_flyte.stack.processes import Process
from otel_flyte.stack.settings import HOST, PORTS, Settings
from otel_flyte.stack.state import NATIVE, Folder, State
from otel_flyte.stack.status import ENDED, MISSING, READY, STARTING, STOPPED, PartStatus, StackError

_PAUSE = 0.25
_HEALTH_TIMEOUT = 5.0
_STOP_ORDER = (("grafana", "collector"), ("tempo", "loki"), ("prometheus",))
"""As data flows, so that what one part still holds finds the next one there."""

_OF_THE_STACK = "OTEL_FLYTE_"
"""All other variables of OpenTelemetry are the user's tasks': Tempo and Grafana would trace themselves by them, and the
collector would say of everybody's telemetry what a user says of a task."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """What a stack is started from."""

    root: Path
    """The folder with its files."""
    settings: Settings
    folder: Folder
    environ: Mapping[str, str]
    """The variables of the user, among them those of the collector's configuration."""


@dataclass(frozen=True)
class Plan:
    """Which parts can be started, and which can't for want of an executable."""

    found: Mapping[str, Path]
    missing: Sequence[Part]


def plan(environ: Mapping[str, str]) -> Plan:
    """Look for the executables.

    Raises:
        StackError: a variable names none.
    """
    try:
        found = {part.name: binary for part in PARTS if (binary := binaries.find(part, environ))}
    except FileNotFoundError as error:
        raise StackError(str(error)) from None
    return Plan(found, [part for part in PARTS if part.name not in found])


def up(plan: Plan, setup: Setup, tell: Tell, patience: float) -> None:
    """Start what does not run yet, and wait until all of it is ready; whoever calls holds the folder's lock.

    Args:
        plan: What can be started.
        setup: From which files, where, and with which variables.
        tell: Is told of each part that is ready, or missing.
        patience: Seconds that they may take together.

    Raises:
        StackError: a port is in use, a part can't be started, ended, or was not ready in time. What this call has
            started has been stopped then.
    """
    settings, folder = setup.settings, setup.folder
    before = folder.load()
    known = {} if before is None else before.processes
    running = {name: each for name, each in known.items() if _runs(each)}
    if running and before is not None and before.settings != settings:
        raise StackError("it runs with other ports, address or retention: `otel-flyte stack down` first, or unset them")
    if "collector" in running and any(BY_NAME[name].exporters and name not in known for name in plan.found):
        # It was told to send nowhere what now has a place.
        _stop_all({"collector": running.pop("collector")})
    # A part that was killed may have left what it had started.
    _stop_all({name: each for name, each in known.items() if name not in running})
    starting = [part for part in PARTS if part.name in plan.found and part.name not in running]
    if not starting:
        tell("it runs already")
    check_ports(settings, (key for part in starting for key in part.ports))
    started: dict[str, Process] = {}
    with _stopped_on_failure(started, folder, before):
        for part in starting:
            started[part.name] = _start(part, plan, setup)
            folder.save(State(NATIVE, settings, running | started))
        _await(running | started, setup, tell, patience)


def down(state: State) -> list[str]:
    """Stop what runs, the collector before what it sends to, and return what was running."""
    stopped = [name for name, process in state.processes.items() if processes.is_anything_left(process)]
    _stop_all(state.processes)
    return stopped


def status(state: State | None, plan: Plan) -> list[PartStatus]:
    """Tell of each part."""
    return [_status_of(part, state, plan) for part in PARTS]


def is_any_running(state: State) -> bool:
    """Whether one of its processes is there."""
    return any(_runs(process) for process in state.processes.values())


def delete_data(folder: Folder) -> None:
    """Delete what the parts have stored, and their logs."""
    shutil.rmtree(folder.data, ignore_errors=True)
    shutil.rmtree(folder.path / "logs", ignore_errors=True)


def check_ports(settings: Settings, keys: Iterable[str]) -> None:
    """Try the ports.

    Raises:
        StackError: the address is not this machine's, or a port is in use; it says by whom, where that can be known,
            and which variable moves it.
    """
    for key in keys:
        port, number = PORTS[key], settings.ports[key]
        kind = socket.SOCK_DGRAM if port.is_udp else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as trial:
            if not port.is_udp:
                # As servers do it: connections that have ended do not hold a port.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((settings.host, number))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise StackError(f"{HOST}={settings.host} is no address of this machine: correct it") from None
                who = _owner(number)
                why = f"is in use{who}" if who or "in use" in str(error) else f"can't be had: {error.strerror or error}"
                raise StackError(f"port {number} ({port.meaning}) {why}: set {port.variable} to move it") from None


def _owner(number: int) -> str:
    try:
        pids = {each.pid for each in psutil.net_connections() if each.laddr and each.laddr.port == number and each.pid}
        return "".join(f" by {psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pids)[:1])
    except (psutil.Error, OSError):
        return ""


def _start(part: Part, plan: Plan, setup: Setup) -> Process:
    binary = plan.found[part.name]
    launch = Launch(binary, setup.root, setup.folder.data / part.name, setup.settings)
    log = setup.folder.log(part.name)
    with setup.folder.written():
        launch.data.mkdir(parents=True, exist_ok=True)
        processes.new_log(log)
    command = [str(binary), *part.arguments(launch)]
    try:
        return processes.start(command, _environment(part, launch, plan, setup.environ), setup.folder.path, log)
    except OSError as error:
        raise StackError(f"{part.name} can't be started: {binary}: {error.strerror or error}") from None


def _environment(part: Part, launch: Launch, plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Return a part's environment. What a user has set for the collector's configuration stands before what we say."""
    inherited = {
        name: value for name, value in environ.items() if not name.startswith("OTEL_") or name.startswith(_OF_THE_STACK)
    }
    own = part.environment(launch) | launch.settings.environment()
    if part.name == "collector":
        # An exporter whose backend is not there would fill its queue for ever.
        own |= {missing.exporters: NOWHERE for missing in plan.missing if missing.exporters}
        return own | {name: value for name, value in inherited.items() if value or name not in own}
    return inherited | own


@contextmanager
def _stopped_on_failure(started: Mapping[str, Process], folder: Folder, before: State | None) -> Iterator[None]:
    """Leave nothing running of what was started where not all of it comes up, nor where a user gives up waiting."""
    try:
        yield
    except BaseException:
        _stop_all(started)
        if before is not None and is_any_running(before):
            folder.save(before)
        else:
            folder.forget()
        raise


def _await(running: Mapping[str, Process], setup: Setup, tell: Tell, patience: float) -> None:
    """Wait for all, and tell of each as soon as those before it are ready: always in the same order."""
    waiting = {part.name: part for part in PARTS if part.name in running}
    untold = list(PARTS)
    deadline = time.monotonic() + patience
    while untold:
        for name, part in list(waiting.items()):
            if not _runs(running[name]):
                why = processes.last_words(setup.folder.log(name))
                raise StackError(f"{name} ended while it started: {why}")
            if _is_ready(part, setup.settings):
                del waiting[name]
        while untold and untold[0].name not in waiting:
            tell(_line_of(untold.pop(0), running, setup.settings))
        if waiting and time.monotonic() > deadline:
            log = setup.folder.log(next(iter(waiting)))
            why = f"{processes.last_words(log)} (all of it: {log})"
            raise StackError(f"{', '.join(waiting)} not ready after {patience:.0f} s: {why}")
        time.sleep(_PAUSE if waiting else 0)


def _line_of(part: Part, running: Mapping[str, Process], settings: Settings) -> str:
    if part.name in running:
        return f"{part.name:<10}  {READY}  {settings.url(part.ports[0])}"
    return f"{part.name:<10}  {MISSING}: {without(part)}"


def _is_ready(part: Part, settings: Settings) -> bool:
    key, path = part.health
    try:
        # Not by a proxy that is set for the rest of the world.
        with requests.Session() as session:
            session.trust_env = False
            return session.get(settings.url(key, path), timeout=_HEALTH_TIMEOUT).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def _stop_all(running: Mapping[str, Process]) -> None:
    for names in _STOP_ORDER:
        processes.stop({running[name]: BY_NAME[name].grace for name in names if name in running})


def _runs(process: Process) -> bool:
    return processes.is_running(process)


def _status_of(part: Part, state: State | None, plan: Plan) -> PartStatus:
    process = state.processes.get(part.name) if state else None
    if state is None or process is None:
        if part.name in plan.found:
            return PartStatus(part.name, STOPPED)
        return PartStatus(part.name, MISSING, note=without(part))
    url = state.settings.url(part.ports[0])
    if not _runs(process):
        return PartStatus(part.name, ENDED, url, f"pid {process.pid} is gone: `otel-flyte stack up` starts it again")
    return PartStatus(part.name, READY if _is_ready(part, state.settings) else STARTING, url, f"pid {process.pid}")


def without(part: Part) -> str:
    """Return what one lacks without a part, and how to get it."""
    names = " or ".join(f"`{name}`" for name in part.binaries)
    return f"{part.without_it}: no {names} on PATH, and {part.variable} names none"
