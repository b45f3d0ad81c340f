"""Whether the telemetry of a local run goes to a receiver on this machine."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from otel_flyte.config import endpoints
from otel_flyte.config.endpoints import SignalPlan


def is_on_this_machine(plan: SignalPlan) -> bool:
    """Return whether a signal is exported by OTLP to ``localhost`` or a loopback address."""
    if not any(name in endpoints.OTLP_PROTOCOLS for name in plan.exporters):
        return False
    host = urlsplit(plan.endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
