"""20,000 spans of a user's tracer, made, encoded and delivered: `python benchmarks/many_spans.py stock|ours`.

Prints the CPU seconds of the process for them, as JSON.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SPANS = 20_000


def main(side: str) -> None:
    from opentelemetry import trace

    flush: Callable[[], bool]
    if side == "ours":
        import otel_flyte
        from otel_flyte.sdk import providers

        providers.ensure()
        flush = otel_flyte.flush
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=2 * SPANS))
        trace.set_tracer_provider(provider)
        flush = provider.force_flush
    tracer = trace.get_tracer("user")
    tracer.start_span("first").end()
    flush()
    began = time.process_time()
    for number in range(SPANS):
        with tracer.start_as_current_span("user", attributes={"number": number, "name": "spam"}):
            pass
    for _ in range(20):
        if flush():
            break
    sys.stdout.write(json.dumps(time.process_time() - began) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
