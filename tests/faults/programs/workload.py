"""The work of a user: it creates records, writes each of them to a ledger, and ends in some way.

The ledger survives every end of the process. Spans are written as they end, including those of otel-flyte.
"""

import ctypes
import functools
import importlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.work import LEDGER, PROGRAM, Work


def run() -> None:
    """Do the work described by the environment."""
    work = Work.ordered()
    ACTS[work.act](work)
    note("ended")
    ENDS[work.end]()


def note(event: str) -> None:
    """Write an event and its time to the ledger."""
    os.write(_ledger, f"{time.monotonic()} {event}\n".encode())


def make(work: Work) -> None:
    from opentelemetry import trace

    tracer = trace.get_tracer("user")
    for number in range(work.spans):
        with tracer.start_as_current_span("user span", attributes={"number": number}) as span:
            if number == 0 and work.bulk:
                span.set_attribute("bulk", "x" * work.bulk)
    _make_points(work.points)
    _make_logs(work.logs)


def _make_points(count: int) -> None:
    if count:
        from opentelemetry import metrics

        counter = metrics.get_meter("user").create_counter("user.counter")
        for number in range(count):
            name = f"point {os.getpid()}-{number}"
            counter.add(1, {"record": name})
            note(f"made {name}")


def _make_logs(count: int) -> None:
    if count:
        logger = _logger()
        for number in range(count):
            name = f"log {os.getpid()}-{number}"
            logger.warning(name)
            note(f"made {name}")


@functools.cache
def _logger() -> logging.Logger:
    from opentelemetry._logs import get_logger_provider
    from opentelemetry.sdk._logs import LoggingHandler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler = LoggingHandler(logger_provider=get_logger_provider())
    logger = logging.getLogger("user")
    logger.addHandler(handler)
    logger.propagate = False
    return logger


# --- acts -------------------------------------------------------------------------------------------------------------


def _make_and_wait(work: Work) -> None:
    make(work)
    note("ready")
    time.sleep(work.seconds)


def _wait_and_make(work: Work) -> None:
    """Create the last records just before the end."""
    make(work)
    time.sleep(work.seconds)
    make(Work())


def _make_and_flush(work: Work) -> None:
    make(work)
    note("ended")
    _side().flush()


def _wait_with_a_handler(work: Work) -> None:
    """Set a user's own handler of SIGTERM, which lets the work finish."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    make(work)
    note("ready")
    deadline = time.monotonic() + 30
    while not received and time.monotonic() < deadline:
        time.sleep(0.01)


def _wait_in_c(work: Work) -> None:
    """Block the main thread in C code, without the GIL and deaf to signals: it waits for a lock that it holds."""
    libc = ctypes.CDLL(None)
    lock = ctypes.create_string_buffer(128)
    until = _Timespec(int(time.time() + work.seconds), 0)
    make(work)
    libc.pthread_mutex_lock(lock)
    note("ready")
    libc.pthread_mutex_timedlock(lock, ctypes.byref(until))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _fork(work: Work) -> None:
    make(work)
    children = [_forked(work) for _ in range(2)]
    for child in children:
        os.waitpid(child, 0)


def _forked(work: Work) -> int:
    child = os.fork()
    if child == 0:
        make(work)
        os._exit(0)
    return child


def _fork_later(work: Work) -> None:
    """Fork while or after the first records are exported."""
    make(work)
    time.sleep(work.seconds)
    _process("fork", work)
    make(work)


def _pool(work: Work) -> None:
    make(work)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(make_somewhere, [work] * 4)
        pool.close()
        pool.join()


def _process(method: str, work: Work) -> None:
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=make_somewhere, args=(work,))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the child ended with {child.exitcode}")


def _terminate_child(work: Work) -> None:
    make(work)
    child = multiprocessing.get_context("fork").Process(target=_make_and_wait, args=(work,))
    child.start()
    time.sleep(work.seconds / 10)
    started = time.monotonic()
    child.terminate()
    child.join()
    note(f"joined after {time.monotonic() - started}")


def make_somewhere(work: Work) -> None:
    """Create records in a child, in which nothing may be set up yet."""
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        _side().call(lambda: make(work))
    else:
        make(work)


def _make_in_handler(work: Work) -> None:
    """Make records and measure in a loop, and in a signal handler that interrupts it anywhere."""

    def interrupt(number: int, frame: object) -> None:
        _side().measure()
        make(Work(spans=1))
        # On a busy machine the next signal may arrive before the handler ends: it would interrupt itself without end.
        signal.setitimer(signal.ITIMER_REAL, 0.005)

    # What the first record imports takes longer than the interval of the signals.
    signal.signal(signal.SIGALRM, interrupt)
    interrupt(signal.SIGALRM, None)
    until = time.monotonic() + work.seconds
    while time.monotonic() < until:
        _side().measure()
        make(Work(spans=1))
    signal.setitimer(signal.ITIMER_REAL, 0)
    make(work)


class _LateError(Exception):
    pass


def _make_with_time_limits(work: Work) -> None:
    """End each of twenty endless loops by an exception of a signal handler, which is a usual time limit."""

    def end(number: int, frame: object) -> None:
        raise _LateError

    signal.signal(signal.SIGALRM, end)
    for _ in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        try:
            while True:
                _side().measure()
        except _LateError:
            make(work)


def _make_in_threads(work: Work) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(make, [work] * 3))


def _make_in_subprocess(work: Work) -> None:
    make(work)
    # The providers of a user are in a module that such a process imports, as our hooks are.
    program = f"import {os.environ[PROGRAM]}; from faults.programs import workload as w; w.make(w.Work.ordered())"
    subprocess.run([sys.executable, "-c", program], check=True)


def _make_with_own_provider(work: Work) -> None:
    """Set a provider in the midst of the work."""
    importlib.import_module("faults.programs.stock").set_providers()
    make(work)


def _in_process(method: str) -> Callable[[Work], None]:
    def act(work: Work) -> None:
        make(work)
        _process(method, work)

    return act


ACTS: dict[str, Callable[[Work], None]] = {
    "make": make,
    "make and flush": _make_and_flush,
    "make and wait": _make_and_wait,
    "wait and make": _wait_and_make,
    "wait with a handler": _wait_with_a_handler,
    "wait in C": _wait_in_c,
    "fork": _fork,
    "fork later": _fork_later,
    "pool": _pool,
    "process by fork": _in_process("fork"),
    "process by forkserver": _in_process("forkserver"),
    "process by spawn": _in_process("spawn"),
    "terminate a child": _terminate_child,
    "make in a handler": _make_in_handler,
    "make with time limits": _make_with_time_limits,
    "make in threads": _make_in_threads,
    "make in a subprocess": _make_in_subprocess,
    "make with its own provider": _make_with_own_provider,
}


# --- ends -------------------------------------------------------------------------------------------------------------


def _exit() -> None:
    sys.exit(3)


def _raise() -> None:
    raise ValueError("as a user's code does")


def _stay() -> None:
    note("ready")
    time.sleep(30)


def _leave() -> None:
    os._exit(0)


def _crash() -> None:
    ctypes.string_at(0)


ENDS: dict[str, Callable[[], None]] = {
    "finish": lambda: None,
    "sys.exit": _exit,
    "exception": _raise,
    "stay": _stay,
    "os._exit": _leave,
    "segfault": _crash,
}


# --- the ledger -------------------------------------------------------------------------------------------------------


def _note_spans() -> None:
    from opentelemetry.sdk.trace import Span

    _note_ends(Span)
    if "otel_flyte" in sys.modules:
        _note_ends(importlib.import_module("otel_flyte.tracing.flyte_span").FlyteSpan)


def _note_ends(kind: Any) -> None:
    end = kind.end

    def end_and_note(span: Any, end_time: int | None = None) -> None:
        is_open = span.is_recording()
        end(span, end_time)
        context = span.get_span_context()
        if is_open and context.trace_flags.sampled:
            note(f"made span {context.span_id:016x}")

    kind.end = end_and_note


def _side() -> Any:
    return importlib.import_module(os.environ[PROGRAM])


_ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
_note_spans()
