"""A process that runs a task repeatedly and writes a report of the recorded data, to compare with the stored data.

python tests/support/load.py FOLDER    runs until the file `stop` is in the folder, then writes `recorded.json`
"""

# mypy: allow-untyped-decorators

import json
import logging
import sys
import time
from pathlib import Path

import flytekit
from flytekit import task
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import otel_flyte

LINE = "a line of the load"
STAT = "load"
PAUSE_SECONDS = 0.05

logger = logging.getLogger("load")


class Ended(SpanProcessor):
    """Collects the ids of all spans that have ended."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ids.append(f"{span.context.span_id:016x}")


@task
def count(number: int) -> int:
    """Write a log line, count one, and create a span."""
    with trace.get_tracer("load").start_as_current_span("step"):
        logger.warning("%s %d", LINE, number)
        flytekit.current_context().stats.incr(STAT)
    return number


def main(folder: Path) -> None:
    # The first task creates the providers.
    count(number=0)
    ended = Ended()
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(ended)
    number = 0
    with trace.get_tracer("load").start_as_current_span("load") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        while not (folder / "stop").exists():
            number += 1
            count(number=number)
            time.sleep(PAUSE_SECONDS)
    otel_flyte.flush()
    recorded = {"trace": trace_id, "spans": ended.ids, "logs": number + 1, "metrics": number + 1}
    (folder / "recorded.json").write_text(json.dumps(recorded))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
