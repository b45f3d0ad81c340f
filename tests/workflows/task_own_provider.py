"""A module of a user that sets its own provider."""
# mypy: allow-untyped-decorators, allow-subclassing-any, no-warn-return-any

from flytekit import task
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource({"service.name": "trainer"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)


@task
def train(epochs: int) -> int:
    with trace.get_tracer("users.own").start_as_current_span("training"):
        return epochs
