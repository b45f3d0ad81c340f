"""Tasks with their own processes, threads and signal handlers."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

import atexit
import locale
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

from flytekit import task


def _square(value: int) -> int:
    return value * value


@task
def signal_itself(number: int) -> int:
    os.kill(os.getpid(), number)
    # The default action or flytekit's handler ends the process here; it waits only for that.
    time.sleep(30)
    return number


@task
def signal_parent(number: int) -> int:
    os.kill(os.getppid(), number)
    time.sleep(30)
    return number


@task
def handle_own_signal(number: int) -> int:
    received: list[int] = []
    signal.signal(number, lambda received_number, frame: received.append(received_number))
    os.kill(os.getpid(), number)
    while not received:
        time.sleep(0.001)
    return received[0]


@task
def fork_pool(value: int) -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(_square, range(value))


@task
def spawn_pool(value: int) -> list[int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(_square, range(value))


@task
def fork_and_leave(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@task
def call_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@task
def outlive(value: int) -> int:
    def finish() -> None:
        time.sleep(0.2)
        print("the thread has finished")  # noqa: T201 - users do

    threading.Thread(target=finish).start()
    atexit.register(print, "at exit")
    return value


@task
def modules_of(package: str) -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] == package)


@task
def environment() -> list[str]:
    return sorted(f"{name}={value}" for name, value in os.environ.items())


@task
def surroundings() -> list[str]:
    """Return the properties of the process that user code can observe, except the environment."""
    return [
        f"argv {sys.argv}",
        f"working directory {Path.cwd()}",
        f"files here {sorted(path.name for path in Path().iterdir())}",
        f"warning filters {[entry for entry in warnings.filters if 'opentelemetry' not in str(entry)]}",
        f"log level {logging.root.level}, handlers {logging.root.handlers}, disabled {logging.root.manager.disable}",
        f"log record factory {logging.getLogRecordFactory()}, logger class {logging.getLoggerClass()}",
        f"excepthooks {sys.excepthook} {threading.excepthook} {sys.unraisablehook}",
        f"tracing {sys.gettrace()} {sys.getprofile()} switch {sys.getswitchinterval()}",
        f"recursion limit {sys.getrecursionlimit()}, locale {locale.setlocale(locale.LC_ALL)}, umask {_umask()}",
        f"main thread {threading.current_thread() is threading.main_thread()}",
        f"start method {multiprocessing.get_start_method(allow_none=True)}",
    ]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
