"""What the pump starts when a task's process is gone: it sends, or spools, the lines that the process has not sent."""

import json
import sys

from otel_flyte.export import dropped
from otel_flyte.process import shutdown
from otel_flyte.runtime.guard import guarded
from otel_flyte.stdio_capture import handover, records
from otel_flyte.stdio_capture.journal import Position


def main() -> None:
    """Run as a process; its argument says in JSON where the journal is, how much of it is settled, and until when."""
    told = json.loads(sys.argv[2])
    for destination, place in told["sent"].items():
        _deliver(destination, told["folder"], Position(*place), told["recording"])
    if handover.SENT in told["sent"]:
        shutdown.end(told["deadline"])


@guarded
def _deliver(destination: str, folder: str, after: Position, recording: str) -> None:
    entries = handover.rest(folder, after)
    requests = list(records.requests(entries))
    if destination == handover.RECORDED:
        handover.record(recording, requests)
        return
    for reason, number in records.left_out(entries):
        dropped.count("logs", reason, number, "in the task's output")
    handover.send(requests)
