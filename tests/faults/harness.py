"""Runs a case: real processes, a misbehaving collector, and the whereabouts of every record."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from faults import records
from faults.collectors import Collector, Start, healthy
from faults.records import Ledger
from faults.work import LEDGER, PROGRAM, Work
from support import fork_server, pods
from support.receiver import Protocol, Receiver, Span, spans

Side = Literal["stock", "ours"]
How = Literal["program", "pod", "pid 1"]

LIMIT_SECONDS = 75.0
"""After that a process is killed; the stock SDK's worst is about 45 s."""
TESTS = Path(__file__).resolve().parent.parent
OURS = TESTS / "faults" / "programs" / "ours.py"
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", *(() if os.geteuid() == 0 else ("--map-root-user",)))
"""Runs a command as PID 1 of its own namespace, if the system permits it."""


@dataclass
class Live:
    """A running program, and its collector."""

    process: pods.Process
    collector: Collector
    how: How
    signalled: float | None = None

    def send(self, number: int) -> None:
        """Send a signal to the program: its user code ends here, unless it continues."""
        self.signalled = time.monotonic()
        os.kill(self._pid(), number)

    def _pid(self) -> int:
        if self.how != "pid 1":
            return self.process.pid
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    work: Work
    collector: Start = healthy
    protocol: Protocol = "http/protobuf"
    how: How = "program"
    """A program of a user, a pod (for ours only; the stock SDK has a program there too), or PID 1."""
    spool: bool = False
    """Whether ours has a spool; the stock SDK has none."""
    once_ready: Callable[[Live], None] | None = None
    """The event that happens once the work is ready."""
    env: Mapping[str, str] = field(default_factory=dict)
    returncode: int | None = 0
    """The end of ours; ``None`` where Flyte decides it."""
    may_lose: int = 0
    """The number of records that may be lost unreported: the last ones before an end without time for a report."""
    rejects: bool = False
    """Whether the collector rejects some records, so that they are dropped even with a spool."""
    repeats: bool = False
    """Whether the collector accepts records without acknowledging them, so that they are sent again."""

    @property
    def title(self) -> str:
        return f"{self.name}, spool" if self.spool else self.name

    @property
    def over(self) -> str:
        return "gRPC" if self.protocol == "grpc" else "HTTP"

    @property
    def id(self) -> str:
        return f"{self.title}, {self.over}"


@dataclass(frozen=True)
class Replay:
    """The result of `otel-flyte replay` for a spool, and of a second run."""

    returncode: int
    stderr: str
    received: Counter[str]
    received_again: Counter[str]
    left: Counter[str]
    spans: list[Span]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    ledger: Ledger
    received: Counter[str]
    spooled: Counter[str]
    dropped: Mapping[str, Counter[str]]
    """The numbers by reason, for each kind of record."""
    replay: Replay | None
    delay: float
    """Seconds from the end of user code to the end of the process."""
    returncode: int
    stderr: str
    spans: list[Span]
    """The received ones."""

    @property
    def made(self) -> frozenset[str]:
        return self.ledger.made

    @property
    def missing(self) -> frozenset[str]:
        return self.made - self.received.keys() - self.spooled.keys()

    @property
    def unaccounted(self) -> int:
        """The number of records that are missing and not reported as dropped."""
        return sum(max(0, missing - reported) for missing, reported in self._missing_and_reported())

    @property
    def overstated(self) -> int:
        """The number of records that are reported as dropped and not missing."""
        return sum(max(0, reported - missing) for missing, reported in self._missing_and_reported())

    @property
    def all_spans(self) -> list[Span]:
        """The spans that arrived from the process or from the replay of its spool."""
        return [*self.spans, *(self.replay.spans if self.replay else [])]

    @property
    def summary(self) -> str:
        """The outcome as text, for the message of an assertion."""
        return (
            f"made {len(self.made)}, received {len(self.received)}, spooled {len(self.spooled)}, "
            f"dropped {self.dropped}, unaccounted {self.unaccounted}, overstated {self.overstated}; "
            f"exit status {self.returncode} after {self.delay:.2f} s\n{self.stderr}"
        )

    def _missing_and_reported(self) -> list[tuple[int, int]]:
        missing = Counter(name.partition(" ")[0] for name in self.missing)
        return [(missing[kind], self.dropped.get(kind, Counter()).total()) for kind in records.NOUNS.values()]


def run(case: Case, side: Side, root: Path) -> Outcome:
    """Run a case in a folder that does not exist yet."""
    for folder in ("home", "tmp", "work"):
        (root / folder).mkdir(parents=True)
    spool = root / "spool"
    with case.collector() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint(case.protocol),
            "OTEL_EXPORTER_OTLP_PROTOCOL": case.protocol,
            LEDGER: str(root / "ledger"),
            PROGRAM: f"faults.programs.{side}",
            # Usage metrics are not in the ledger.
            "OTEL_FLYTE_SAMPLE_INTERVAL": "0",
            **case.work.environment(),
            **({"OTEL_FLYTE_SPOOL": str(spool)} if case.spool else {}),
            **case.env,
        }
        returncode, ended, live = _process(case, side, root, environment, collector)
        requests = collector.requests()
    ledger = Ledger.read(root / "ledger")
    stderr = (root / "stderr").read_text(errors="replace")
    spooled = records.spooled(spool)
    replay = _replay(root, spool, case.protocol) if side == "ours" and case.spool and spool.exists() else None
    user_code_ended = max(filter(None, (ledger.time_of("ended"), live.signalled)), default=ended)
    return Outcome(
        ledger=ledger,
        received=records.received(requests),
        spooled=spooled,
        dropped=records.dropped(stderr),
        replay=replay,
        delay=ended - user_code_ended,
        returncode=returncode,
        stderr=stderr,
        spans=spans(requests),
    )


class Runs:
    """Runs cases, two at a time in the order in which they are planned."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = itertools.count()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._planned: dict[tuple[str, Side], Future[Outcome]] = {}

    def plan(self, case: Case, side: Side) -> "Future[Outcome]":
        """Schedule a case, once; the stock SDK does the same with a spool as without."""
        if side == "stock":
            case = replace(case, spool=False)
        if (case.id, side) not in self._planned:
            self._planned[case.id, side] = self._submit(case, side)
        return self._planned[case.id, side]

    def __call__(self, case: Case, side: Side) -> Outcome:
        return self.plan(case, side).result()

    def again(self, case: Case, side: Side) -> Outcome:
        """Run a case again, after all scheduled ones."""
        return self._submit(case, side).result()

    def _submit(self, case: Case, side: Side) -> "Future[Outcome]":
        return self._pool.submit(run, case, side, self._root / str(next(self._numbers)))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


# --- processes --------------------------------------------------------------------------------------------------------


def _process(
    case: Case, side: Side, root: Path, environment: Mapping[str, str], collector: Collector
) -> tuple[int, float, Live]:
    """Run the program of a side to its end; return its exit status and the time of its end."""
    command, environment, directory = _command(case, side, root, environment)
    with (root / "stdout").open("w") as stdout, (root / "stderr").open("w") as stderr:
        process = _start(command, environment, directory, (stdout.fileno(), stderr.fileno()))
    live = Live(process, collector, case.how)
    watchdog = threading.Timer(LIMIT_SECONDS, process.kill)
    watchdog.start()
    try:
        if case.once_ready is not None and _is_ready(root / "ledger", process):
            case.once_ready(live)
        returncode = process.wait()
        return returncode, time.monotonic(), live
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def _start(
    command: tuple[str, ...], environment: dict[str, str], directory: Path, files: tuple[int, int]
) -> pods.Process:
    """Start a process, forked where it imports flytekit first."""
    arguments = fork_server.script_of(command) if str(OURS) in command else command
    if fork_server.can_fork(arguments, environment, pods.ENVIRONMENT):
        server = fork_server.server(pods.ENVIRONMENT, environment)
        return server.start(arguments, environment, directory, files)
    return subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=files[0], stderr=files[1], text=True
    )


def _command(
    case: Case, side: Side, root: Path, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str], Path]:
    if case.how == "pod" and side == "ours":
        path = os.pathsep.join((str(TESTS), str(pods.WORKFLOWS)))
        pod = pods.prepare(
            "execute", root / "pod", "faults.programs.ours.work", {}, env={**environment, "PYTHONPATH": path}
        )
        return pod.arguments, pod.environment, pod.directory
    command = (sys.executable, str(OURS.with_name(f"{side}.py")))
    user = {
        "PATH": os.pathsep.join((str(pods.SCRIPTS), os.defpath)),
        "PYTHONPATH": str(TESTS),
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "LANG": "C.UTF-8",
        "FLYTE_SDK_RICH_TRACEBACKS": "0",
    }
    return (*(NAMESPACE if case.how == "pid 1" else ()), *command), {**user, **environment}, root / "work"


def _is_ready(ledger: Path, process: pods.Process) -> bool:
    """Wait until the work is ready for the event, or has ended."""
    while process.poll() is None:
        if Ledger.read(ledger).time_of("ready") is not None:
            return True
        time.sleep(0.02)
    return False


def can_be_pid_1() -> str | None:
    """Return the reason why no process can be PID 1 here; ``None`` if one can."""
    try:
        tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return "unshare is not installed"
    return (tried.stderr.strip() or f"unshare ended with {tried.returncode}") if tried.returncode else None


def _replay(root: Path, spool: Path, protocol: Protocol) -> Replay:
    with Receiver() as first, Receiver() as second:
        ended = _run_replay(root, spool, first, protocol)
        _run_replay(root, spool, second, protocol)
        return Replay(
            ended.returncode,
            ended.stderr,
            records.received(first.requests()),
            records.received(second.requests()),
            records.spooled(spool),
            first.spans(),
        )


def _run_replay(root: Path, spool: Path, receiver: Receiver, protocol: Protocol) -> "subprocess.CompletedProcess[str]":
    command = [str(pods.SCRIPTS / "otel-flyte"), "replay", str(spool), "--endpoint", receiver.endpoint(protocol)]
    environment = {"PATH": os.defpath, "HOME": str(root / "home"), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


# --- events while a program runs --------------------------------------------------------------------------------------


def terminate(live: Live) -> None:
    live.send(signal.SIGTERM)


def kill(live: Live) -> None:
    live.send(signal.SIGKILL)


def recover(live: Live) -> None:
    """Start the collector again after an outage of three seconds."""
    assert isinstance(live.collector, Receiver)
    time.sleep(3)
    live.collector.up()
