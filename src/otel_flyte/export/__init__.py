"""Delivery of records: queues, retries, OTLP, the spool. Its modules import the SDK's spans."""

from otel_flyte.export.sdk_import import import_sdk_of_traces

import_sdk_of_traces()
