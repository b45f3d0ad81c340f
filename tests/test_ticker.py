"""The thread beside the task in a process whose own code closes descriptors and reuses their numbers."""

from pathlib import Path

from support import programs

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
