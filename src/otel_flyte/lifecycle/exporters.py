"""Exporters by name: OTLP in the protocol that fits, the console, and whatever other packages bring."""

from importlib.metadata import entry_points
from typing import Any

from otel_flyte.settings import GRPC, OTLP_PROTOCOLS, SignalPlan

_OTLP_MODULES = {
    ("traces", GRPC): ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter"),
    ("metrics", GRPC): ("opentelemetry.exporter.otlp.proto.grpc.metric_exporter", "OTLPMetricExporter"),
    ("logs", GRPC): ("opentelemetry.exporter.otlp.proto.grpc._log_exporter", "OTLPLogExporter"),
    ("traces", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    ("metrics", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http.metric_exporter", "OTLPMetricExporter"),
    ("logs", "http/protobuf"): ("opentelemetry.exporter.otlp.proto.http._log_exporter", "OTLPLogExporter"),
}


class ExporterError(Exception):
    """An exporter can't be had; the message is one line that says why."""


def load(name: str, plan: SignalPlan) -> Any:
    """Make an exporter for the signal of a plan.

    Raises:
        ExporterError: there is no exporter of that name, or what it needs is not installed.
    """
    try:
        if name in OTLP_PROTOCOLS:
            return _otlp(plan)
        return _named(name, plan.signal)
    except ExporterError:
        raise
    except Exception as error:
        raise ExporterError(f"the exporter {name} can't be used ({error})") from error


def names(signal: str) -> list[str]:
    """Return the names of the exporters that are installed for a signal."""
    return sorted({"otlp", *(entry.name for entry in entry_points(group=f"opentelemetry_{signal}_exporter"))})


def _otlp(plan: SignalPlan) -> Any:
    """Make an OTLP exporter, which reads all that the specification lets the environment say by itself.

    It is told an endpoint only where the environment's had to be mended.
    """
    module_name, class_name = _OTLP_MODULES[plan.signal, plan.protocol]
    module = __import__(module_name, fromlist=[class_name])
    exporter = getattr(module, class_name)
    if not plan.mended:
        return exporter()
    if plan.protocol == GRPC:
        return exporter(endpoint=plan.endpoint, insecure=plan.endpoint.startswith("http://"))
    path = "" if plan.endpoint_is_whole else f"/v1/{plan.signal}"
    return exporter(endpoint=f"{plan.endpoint.rstrip('/')}{path}")


def _named(name: str, signal: str) -> Any:
    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return entry.load()()
    raise ExporterError(f"there is no exporter {name} here (installed: {', '.join(names(signal))})")
