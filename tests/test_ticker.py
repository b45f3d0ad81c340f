"""The ticker thread in a process whose own code closes descriptors and reuses their numbers."""

import json
import signal
from pathlib import Path

import pytest

from support import programs

OPENED = """
    import fcntl, json, os, select, signal, time

    def is_open(number):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
        except OSError:
            return False
        return True

    def opened(begin):
        before = set(filter(is_open, range(256)))
        begin()
        return sorted(set(filter(is_open, range(256))) - before)
"""

REUSED = """
    import json, os, threading
    from otel_flyte.runtime import ticker

    ticker.INTERVAL_SECONDS = 0.05
    ticked = threading.Event()
    before = {int(name) for name in os.listdir("/dev/fd")}
    ticker.every_second(lambda: None)
    ours = {int(name) for name in os.listdir("/dev/fd")} - before
    for number in list(ours):
        try:
            os.fstat(number)
        except OSError:
            ours.discard(number)

    reading, writing = os.pipe()
    os.write(writing, b"of the program")
    for number in ours:
        os.dup2(reading if number == min(ours) else writing, number)
    news, sent = os.pipe()
    read = threading.Event()
    ticker.when_readable(news, lambda: (os.read(news, 1), read.set()))
    os.write(sent, b".")
    ticker.every_second(ticked.set)
    print(json.dumps([len(ours), read.wait(10), ticked.wait(10), os.read(reading, 100).decode()]))
"""


def test_a_file_with_the_number_of_a_descriptor_of_ours_is_neither_read_nor_written(tmp_path: Path) -> None:
    assert programs.run(REUSED, tmp_path, programs.RAISE).printed == [2, True, True, "of the program"]


CLOSED = """
    from otel_flyte.runtime import ticker

    ticks, turns, poll = [], [], select.poll
    select.poll = lambda: (turns.append(1), poll())[1]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    ticker.INTERVAL_SECONDS = 0.2
    numbers = dict(zip(("reading", "writing"), opened(lambda: ticker.every_second(lambda: ticks.append(1)))))
    numbers["watched"], numbers["sender"] = os.pipe()
    ticker.when_readable(numbers["watched"], lambda: None)
    time.sleep(0.3)
    for name in os.environ["CLOSED"].split():
        os.closerange(3, 256) if name == "all" else os.close(numbers[name])
    turns.clear(), ticks.clear()
    ticker.wake()
    time.sleep(1.1)
    print(json.dumps([len(turns) < 20, 0 < len(ticks) < 20]))
"""


@pytest.mark.quick
@pytest.mark.parametrize("closed", ["writing", "reading", "reading writing", "watched", "sender", "all"])
def test_the_thread_waits_and_works_on_with_any_descriptor_closed(closed: str, tmp_path: Path) -> None:
    program = programs.joined(OPENED, CLOSED)
    ended = programs.run(program, tmp_path, programs.RAISE | {"CLOSED": closed})

    assert (ended.returncode, ended.printed, ended.stderr) == (0, [True, True], "")


WATCHED_NUMBER = """
    from otel_flyte.runtime import ticker

    ticker.INTERVAL_SECONDS = 0.05
    watched, sender = os.pipe()
    called = []
    ticker.when_readable(watched, lambda: called.append(os.read(watched, 100)))
    time.sleep(0.2)
    reading, writing = os.pipe()
    os.write(writing, b"of the program")
    os.dup2(reading, watched)
    time.sleep(0.3)
    print(json.dumps([len(called), os.read(reading, 100).decode()]))
"""


@pytest.mark.quick
def test_a_file_with_the_number_of_a_watched_descriptor_is_not_read(tmp_path: Path) -> None:
    program = programs.joined(OPENED, WATCHED_NUMBER)

    assert programs.run(program, tmp_path, programs.RAISE).printed == [0, "of the program"]


SIGNALS = """
    from otel_flyte.process import signals
    from otel_flyte.runtime import ticker

    ticker.INTERVAL_SECONDS = 0.05
    handled = []
    signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
    ours = opened(signals.install)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"of the program")
    for number in ours:
        os.close(number) if os.environ["REUSED"] == "closed" else os.dup2(locals()[os.environ["REUSED"]], number)
    time.sleep(0.5)
    signals._check()
    os.kill(os.getpid(), signal.SIGUSR1)
    print(json.dumps([len(ours), handled, os.read(reading, 100).decode()]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
"""


@pytest.mark.quick
@pytest.mark.parametrize("reused", ["closed", "reading", "writing"])
def test_signals_neither_read_nor_write_a_file_with_the_number_of_their_pipe(reused: str, tmp_path: Path) -> None:
    program = programs.joined(OPENED, SIGNALS)
    ended = programs.run(program, tmp_path, programs.RAISE | {"REUSED": reused})

    assert (ended.returncode, ended.stderr) == (-signal.SIGTERM, "")
    assert json.loads(ended.stdout) == [4, [1], "of the program"]
