"""Tasks that write to stdout and stderr in different ways; their output is compared with and without capture."""

# mypy: allow-untyped-decorators, no-warn-return-any
# ruff: noqa: T201  # the tasks are about printing

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flytekit import task, workflow
from opentelemetry import metrics

LINES = 10_000


@task
def write(way: str) -> int:
    WAYS[way]()
    return os.getpid()


@task
def say(text: str) -> str:
    print(text)
    return text


@workflow
def say_twice() -> str:
    first: str = say(text="first")
    say(text="second").with_overrides(node_name="second")
    return first


@task
def write_until_nobody_reads() -> str:
    """Write until the pipe breaks: the pump notices it first, and lines written before its message are lost."""
    deadline = time.monotonic() + 2
    try:
        while time.monotonic() < deadline:
            os.write(1, b"a line\n")
            time.sleep(0.01)
    except BrokenPipeError:
        return "broken"
    return "not broken"


@task
def ask_again(before: str) -> str:
    time.sleep(0.1)
    try:
        os.write(1, b"a line\n")
    except BrokenPipeError:
        before += ", still broken"
    os.write(2, before.encode() + b"\n")
    return before


@workflow
def write_to_nobody() -> str:
    told: str = ask_again(before=write_until_nobody_reads())
    return told


def everything() -> None:
    """Write bytes that a text stream does not accept to both streams."""
    print("printed")
    print("complained", file=sys.stderr)
    sys.stdout.flush()
    os.write(1, b"\xff\xfe is no text, \x00 is none either\n")
    os.write(1, b"windows\r\n")
    for percent in range(0, 101, 10):
        os.write(2, f"\rstep {percent}%".encode())
    os.write(2, b"\n")
    os.write(1, b"x" * 20_000 + b"\n")
    os.write(1, b"no end")


def under_the_gil() -> None:
    """Write in C code that never releases the GIL: `ctypes.PyDLL` does not release it."""
    line = b"%07d" + b"." * 92 + b"\n"
    data = b"".join(line % number for number in range(LINES))
    written = 0
    libc = ctypes.PyDLL(None)
    buffer = ctypes.create_string_buffer(data, len(data))
    while written < len(data):
        count = libc.write(1, ctypes.byref(buffer, written), ctypes.c_size_t(len(data) - written))
        assert count > 0
        written += count


def in_c() -> None:
    libc = ctypes.CDLL(None)
    libc.printf(b"from C\n")


def segfault() -> None:
    os.write(1, b"last words\n")
    ctypes.string_at(0)


def leave() -> None:
    os.write(1, b"last words\n")
    os._exit(3)


def kill() -> None:
    os.write(1, b"last words\n")
    os.kill(os.getpid(), signal.SIGKILL)


def in_children() -> None:
    subprocess.run(["sh", "-c", "echo from a shell; echo complaint of a shell >&2"], check=True)
    for method in ("fork", "spawn"):
        context: Any = multiprocessing.get_context(method)
        process = context.Process(target=os.write, args=(1, f"{method}ed\n".encode()))
        process.start()
        process.join()
        assert process.exitcode == 0
    print("after them", flush=True)


def in_a_child_that_counts() -> None:
    """Fork a child that exports its own metrics, and that ends like any process with an export."""
    print("before", flush=True)
    process = multiprocessing.get_context("fork").Process(target=count)
    process.start()
    process.join()
    assert process.exitcode == 0
    print("after", flush=True)


def count() -> None:
    metrics.get_meter("user").create_counter("counted").add(1)
    print("counted", flush=True)


def descriptors_of_a_child() -> None:
    """Print the descriptors that a child program inherits."""
    subprocess.run(
        [sys.executable, "-c", "import os; print(*[fd for fd in os.listdir('/proc/self/fd') if fd not in '012'])"],
        check=True,
        close_fds=False,
    )


def in_background() -> None:
    subprocess.Popen(["sh", "-c", "sleep 1; echo from behind"], start_new_session=True)
    print("task is over", flush=True)


def wait_for_all_children() -> None:
    time.sleep(0.5)
    subprocess.Popen(["true"])
    try:
        while True:
            os.wait()
    except ChildProcessError:
        print("no children", flush=True)


def meet() -> None:
    """Write a line, wait for a file of the test, and write the rest."""
    print("before", flush=True)
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    os.write(1, b"y" * 300_000 + b"\n")
    subprocess.run(["echo", "child after"], check=True)
    print("after", flush=True)


def write_until_told() -> None:
    """Write to a closed pipe until an error is raised, for 20 s at most."""
    print("before", flush=True)
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    for _ in range(2000):
        os.write(1, b"is anybody there?\n")
        time.sleep(0.01)


def be_interrupted() -> None:
    print("before", flush=True)
    Path("ready").touch()
    try:
        while not Path("go").exists():
            time.sleep(0.01)
    finally:
        os.write(1, b"last words\n")


def too_much() -> None:
    os.write(1, b"".join(b"%d\n" % number for number in range(30_000)))


def find_terminal() -> None:
    print([os.isatty(descriptor) for descriptor in (0, 1, 2)], os.get_terminal_size(1).columns, flush=True)


def close_everything() -> None:
    print("before", flush=True)
    os.closerange(3, 256)
    print("after", flush=True)
    os._exit(0)


WAYS = {
    function.__name__: function
    for function in (
        everything,
        under_the_gil,
        in_c,
        segfault,
        leave,
        kill,
        in_children,
        in_a_child_that_counts,
        descriptors_of_a_child,
        in_background,
        wait_for_all_children,
        meet,
        write_until_told,
        be_interrupted,
        too_much,
        find_terminal,
        close_everything,
    )
}
