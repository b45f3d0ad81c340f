"""Log records: the logger provider that we make."""

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from otel_flyte.export import destinations
from otel_flyte.process import shutdown
from otel_flyte.sdk import resource
from otel_flyte.sdk.log_processor import QueueLogProcessor


def make_provider() -> LoggerProvider:
    """Make an SDK logger provider with our resource that delivers to the exporters that the environment configures."""
    provider = LoggerProvider(resource.ours(), shutdown_on_exit=False)
    found = destinations.of("logs")
    for queue in found.queues:
        provider.add_log_record_processor(QueueLogProcessor(queue))
    for exporter in found.exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    shutdown.at_exit(provider)
    return provider
