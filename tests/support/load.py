"""A process that runs a task over and over, and says at its end what it has recorded: what is stored is held to that.

python tests/support/load.py FOLDER    goes on until there is a file `stop` in the folder, then writes `said.json`
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
    """Remembers the ids of all spans that have ended."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ids.append(f"{span.context.span_id:016x}")


@task
def count(number: int) -> int:
    """Log a line, count one, and have a span of its own."""
    with trace.get_tracer("load").start_as_current_span("step"):
        logger.warning("%s %d", LINE, number)
        flytekit.current_context().stats.incr(STAT)
    return number


def main(folder: Path) -> None:
    # With the first task providers are there.
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
    said = {"trace": trace_id, "spans": ended.ids, "logs": number + 1, "metrics": number + 1}
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
