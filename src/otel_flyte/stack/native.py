"""The stack as processes of this machine: for tests, and for hosts without a container engine."""

import errno
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
import requests

from otel_flyte.stack import binaries, files, processes
from otel_flyte.stack.parts import BY_NAME, NO_EXPORTERS, PARTS, STOP_ORDER, Part, template_values
from otel_flyte.stack.processes import Process
from otel_flyte.stack.settings import HOST, PORTS, Settings
from otel_flyte.stack.state import NATIVE, Folder, State
from otel_flyte.stack.status import ENDED, MISSING, READY, STARTING, STOPPED, PartStatus, StackError

_POLL_INTERVAL = 0.1
_HEALTH_TIMEOUT = 5.0

_OURS = "OTEL_FLYTE_"
"""Of the ``OTEL_*`` variables only these reach the parts. The others are for the user's tasks: with them Tempo and
Grafana would trace themselves, and the collector would add the resource attributes of one task to all telemetry."""

Print = Callable[[str], None]


@dataclass(frozen=True)
class Setup:
    """The inputs of a stack."""

    settings: Settings
    folder: Folder
    environ: Mapping[str, str]
    """The user's variables, including those of the collector's configuration."""

    @cached_property
    def binaries(self) -> Mapping[str, Path]:
        """The executables of the parts that have one."""
        return binaries.find_all(self.environ)


def up(setup: Setup, report: Print, timeout: float) -> None:
    """Start the parts that are not running, and wait until all are ready. The caller holds the folder's lock.

    Raises:
        StackError: a port is in use, or a part can't be started, exited or was not ready in time. The parts that this
            call has started have been stopped then.
    """
    settings, folder = setup.settings, setup.folder
    before = folder.load()
    known = before.processes if before else {}
    running = {name: process for name, process in known.items() if processes.is_running(process)}
    if running and before is not None and before.settings != settings:
        raise StackError(
            "the stack is running with other ports, address or retention: "
            "run `otel-flyte stack down` first, or unset the variables"
        )
    if "collector" in running and any(BY_NAME[name].exporters and name not in known for name in setup.binaries):
        # It was started without an exporter for a backend that is available now.
        _stop({"collector": running.pop("collector")})
    # A part that was killed may have left child processes.
    _stop({name: process for name, process in known.items() if name not in running})
    starting = [part for part in PARTS if part.name in setup.binaries and part.name not in running]
    if not starting:
        report("the stack is already running")
    check_ports(settings, (key for part in starting for key in part.ports))
    started: dict[str, Process] = {}
    try:
        for part in starting:
            started[part.name] = _start(part, setup)
            folder.save(State(NATIVE, settings, running | started))
        _wait_until_ready(running | started, setup, report, timeout)
    except BaseException:
        # Also when the user interrupts the wait.
        _stop(started)
        if before is not None and is_any_running(before):
            folder.save(before)
        else:
            folder.forget()
        raise


def down(state: State) -> list[str]:
    """Stop the running parts, each before the part that it sends to, and return their names."""
    stopped = [name for name, process in state.processes.items() if processes.is_any_left(process)]
    _stop(state.processes)
    return stopped


def status(state: State | None, environ: Mapping[str, str]) -> list[PartStatus]:
    """Return the status of every part."""
    found = binaries.find_all(environ)
    return [_status(part, state, is_installed=part.name in found) for part in PARTS]


def is_any_running(state: State) -> bool:
    """Return whether at least one of the processes is running."""
    return any(processes.is_running(process) for process in state.processes.values())


def delete_data(folder: Folder) -> None:
    """Delete the stored telemetry and the logs of the parts."""
    shutil.rmtree(folder.data, ignore_errors=True)
    shutil.rmtree(folder.logs, ignore_errors=True)


def check_ports(settings: Settings, keys: Iterable[str]) -> None:
    """Check that ports are free.

    Raises:
        StackError: the address is not one of this machine's, or a port is in use. The message names the process that
            uses it, where known, and the variable that changes the port.
    """
    for key in keys:
        port, number = PORTS[key], settings.ports[key]
        kind = socket.SOCK_DGRAM if port.is_udp else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as probe:
            if not port.is_udp:
                # As servers do: a closed connection does not block the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, number))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise StackError(f"{HOST}={settings.host} is not an address of this machine: correct it") from None
                is_used = error.errno == errno.EADDRINUSE
                why = f"is in use{_user_of(number)}" if is_used else f"can't be used, {error.strerror or error}"
                raise StackError(f"port {number} ({port.meaning}) {why}: set {port.variable} to another port") from None


def _user_of(port: int) -> str:
    try:
        pids = {each.pid for each in psutil.net_connections() if each.laddr and each.laddr.port == port and each.pid}
        return "".join(f" by {psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pids)[:1])
    except (psutil.Error, OSError):
        return ""


def _start(part: Part, setup: Setup) -> Process:
    binary = setup.binaries[part.name]
    data = setup.folder.data / part.name
    log = setup.folder.log(part.name)
    with setup.folder.writing():
        data.mkdir(parents=True, exist_ok=True)
        processes.new_log(log)
    values = template_values(binary, files.root(), data, setup.settings)
    command = [str(binary), *(argument.format_map(values) for argument in part.arguments)]
    own = {name: value.format_map(values) for name, value in part.environment.items()}
    try:
        return processes.start(command, _environment(part, own, setup), setup.folder.path, log)
    except OSError as error:
        raise StackError(f"{part.name} can't be started, {error.strerror or error}: check {binary}") from None


def _environment(part: Part, own: dict[str, str], setup: Setup) -> dict[str, str]:
    """Return the environment of a part. For the collector the user's variables override the stack's own."""
    inherited = {
        name: value for name, value in setup.environ.items() if not name.startswith("OTEL_") or name.startswith(_OURS)
    }
    own |= setup.settings.environment()
    if part.name != "collector":
        return inherited | own
    # The queue of an exporter without a backend would fill up.
    own |= {each.exporters: NO_EXPORTERS for each in PARTS if each.exporters and each.name not in setup.binaries}
    return own | {name: value for name, value in inherited.items() if value or name not in own}


def _wait_until_ready(running: Mapping[str, Process], setup: Setup, report: Print, timeout: float) -> None:
    """Wait for all parts, and report each part as soon as it and the parts before it are ready: the order is fixed."""
    waiting = {part.name: part for part in PARTS if part.name in running}
    unreported = list(PARTS)
    deadline = time.monotonic() + timeout
    while unreported:
        for name, part in list(waiting.items()):
            log = setup.folder.log(name)
            if not processes.is_running(running[name]):
                raise StackError(f"{name} exited during startup ({processes.last_error(log)}): see {log}")
            if _is_ready(part, setup.settings):
                del waiting[name]
        while unreported and unreported[0].name not in waiting:
            part = unreported.pop(0)
            url = setup.settings.url(part.ports[0])
            report((PartStatus(part.name, READY, url) if part.name in running else _missing(part)).line)
        if waiting and time.monotonic() > deadline:
            log = setup.folder.log(next(iter(waiting)))
            raise StackError(
                f"{', '.join(waiting)} not ready after {timeout:.0f} s ({processes.last_error(log)}): "
                f"see {log}, or raise --timeout"
            )
        time.sleep(_POLL_INTERVAL if waiting else 0)


def _missing(part: Part) -> PartStatus:
    return PartStatus(part.name, MISSING, note=f"{part.without_it}: {part.how_to_install}")


def _is_ready(part: Part, settings: Settings) -> bool:
    key, path = part.health
    try:
        # A proxy from the environment is for other hosts.
        with requests.Session() as session:
            session.trust_env = False
            return session.get(settings.url(key, path), timeout=_HEALTH_TIMEOUT).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def _stop(running: Mapping[str, Process]) -> None:
    for names in STOP_ORDER:
        processes.stop({running[name]: BY_NAME[name].grace for name in names if name in running})


def _status(part: Part, state: State | None, *, is_installed: bool) -> PartStatus:
    process = state.processes.get(part.name) if state else None
    if state is None or process is None:
        return PartStatus(part.name, STOPPED) if is_installed else _missing(part)
    url = state.settings.url(part.ports[0])
    if not processes.is_running(process):
        return PartStatus(
            part.name, ENDED, url, f"process {process.pid} has ended: restart it with `otel-flyte stack up`"
        )
    return PartStatus(part.name, READY if _is_ready(part, state.settings) else STARTING, url, f"pid {process.pid}")
