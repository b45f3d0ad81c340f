"""The addresses, ports and retention of the stack, from the variables that its configuration files use too.

The names of these variables are not in :mod:`otel_flyte.semconv`, because no task reads them. All have a prefix:
Kubernetes sets variables such as ``LOKI_PORT`` itself for every service of that name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from itertools import combinations

from otel_flyte.config.services import is_address
from otel_flyte.stack.status import StackError

HOST = "OTEL_FLYTE_STACK_HOST"
"""The IPv4 address that every part listens on. Default: loopback."""

RETENTION = "OTEL_FLYTE_STACK_RETENTION"
"""How long traces, metrics and logs are kept, in hours, the only unit that all backends accept. Default: 14 days."""

LOOPBACK = "127.0.0.1"
_FORTNIGHT = "336h"
_ANY = "0.0.0.0"  # noqa: S104  # compared with what a user has set, never a default


@dataclass(frozen=True)
class Port:
    """A configurable port."""

    key: str
    default: int
    meaning: str
    is_udp: bool = False

    @property
    def variable(self) -> str:
        """The variable that sets it."""
        return f"OTEL_FLYTE_STACK_{self.key.upper()}_PORT"


PORTS = {
    port.key: port
    for port in (
        Port("otlp_grpc", 4317, "OTLP over gRPC"),
        Port("otlp_http", 4318, "OTLP over HTTP"),
        Port("statsd", 8125, "statsd", is_udp=True),
        Port("health", 13133, "the collector's health"),
        Port("metrics", 8888, "the collector's own metrics"),
        Port("tempo", 3200, "Tempo's API"),
        Port("tempo_grpc", 9095, "Tempo's internal gRPC"),
        Port("tempo_otlp_grpc", 4327, "OTLP into Tempo over gRPC"),
        Port("tempo_otlp_http", 4328, "OTLP into Tempo over HTTP"),
        Port("prometheus", 9090, "Prometheus' API"),
        Port("loki", 3100, "Loki's API"),
        Port("loki_grpc", 9096, "Loki's internal gRPC"),
        Port("grafana", 3000, "Grafana"),
    )
}


@dataclass(frozen=True)
class Settings:
    """The address, the ports and the retention of a stack."""

    host: str
    ports: Mapping[str, int]
    retention: str

    def address(self, key: str) -> str:
        """Return ``host:port`` of a port, as reached from this machine."""
        return f"{LOOPBACK if self.host == _ANY else self.host}:{self.ports[key]}"

    def url(self, key: str, path: str = "") -> str:
        """Return the URL of a port, as reached from this machine."""
        return f"http://{self.address(key)}{path}"

    def environment(self) -> dict[str, str]:
        """Return the settings as variables, for the configuration files of the stack."""
        numbers = {PORTS[key].variable: str(number) for key, number in self.ports.items()}
        return {HOST: self.host, RETENTION: self.retention, **numbers}


def read(environ: Mapping[str, str]) -> Settings:
    """Read the variables.

    Raises:
        StackError: a variable has an invalid value, or two ports are the same.
    """
    ports = {key: _port(port, environ) for key, port in PORTS.items()}
    for one, other in combinations(PORTS.values(), 2):
        if ports[one.key] == ports[other.key] and one.is_udp == other.is_udp:
            raise StackError(f"{one.variable} and {other.variable} are both {ports[one.key]}: change one of them")
    return Settings(_host(environ), ports, _retention(environ))


def _host(environ: Mapping[str, str]) -> str:
    host = environ.get(HOST) or LOOPBACK
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise StackError(
            f"{HOST}={host} is not an IPv4 address: use {LOOPBACK} for this machine only, {_ANY} for all interfaces"
        ) from None


def _retention(environ: Mapping[str, str]) -> str:
    retention = environ.get(RETENTION) or _FORTNIGHT
    if not re.fullmatch(r"[1-9]\d{0,5}h", retention):
        raise StackError(f"{RETENTION}={retention} is not a number of hours: use a value such as {_FORTNIGHT}")
    return retention


def _port(port: Port, environ: Mapping[str, str]) -> int:
    text = environ.get(port.variable, "")
    # Kubernetes sets the variable, too, for a Service such as otel-flyte-stack-tempo.
    if not text or is_address(text):
        text = str(port.default)
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise StackError(f"{port.variable}={text} is not a port: use a number from 1 to 65535")
    return int(text)
