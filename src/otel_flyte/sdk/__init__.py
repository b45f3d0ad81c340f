"""The providers that we create. Importing this package imports OpenTelemetry's SDK, so that it can be imported."""

from importlib import import_module

from otel_flyte.export.sdk_import import import_sdk_of_traces
from otel_flyte.sdk.late_psutil import psutil_later

with psutil_later():
    import_sdk_of_traces()
    import_module("opentelemetry.sdk.resources")
