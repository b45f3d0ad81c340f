"""Where the parts of the stack listen, and how long they keep what they have: the same variables in every file.

They are not in :mod:`otel_flyte.semconv`, for no task reads them. All are prefixed: Kubernetes sets ``LOKI_PORT`` and
the like by itself, to something else, beside every service of that name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from otel_flyte.stack.status import StackError

HOST = "OTEL_FLYTE_STACK_HOST"
"""The IPv4 address that everything listens on. Default: loopback."""

RETENTION = "OTEL_FLYTE_STACK_RETENTION"
"""How long traces, metrics and logs are kept, in hours, the only unit that all three understand. Default: 14 days."""

LOOPBACK = "127.0.0.1"
_FORTNIGHT = "336h"
_ANY = "0.0.0.0"  # noqa: S104  # what may be asked for, not what is done by default


@dataclass(frozen=True)
class Port:
    """A port that can be moved."""

    key: str
    default: int
    meaning: str
    is_udp: bool = False

    @property
    def variable(self) -> str:
        """The variable that moves it."""
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
        Port("tempo_grpc", 9095, "Tempo's parts among themselves"),
        Port("tempo_otlp_grpc", 4327, "OTLP into Tempo over gRPC"),
        Port("tempo_otlp_http", 4328, "OTLP into Tempo over HTTP"),
        Port("prometheus", 9090, "Prometheus' API"),
        Port("loki", 3100, "Loki's API"),
        Port("loki_grpc", 9096, "Loki's parts among themselves"),
        Port("grafana", 3000, "Grafana"),
    )
}


class BadSettingError(StackError):
    """A variable holds what can't be used."""


@dataclass(frozen=True)
class Settings:
    """Where the stack listens, and how long it keeps what it has."""

    host: str
    ports: Mapping[str, int]
    retention: str

    @property
    def reached_at(self) -> str:
        """The address by which this machine reaches it."""
        return LOOPBACK if self.host == _ANY else self.host

    def address(self, key: str) -> str:
        """Return ``host:port`` of a port, as this machine reaches it."""
        return f"{self.reached_at}:{self.ports[key]}"

    def url(self, key: str, path: str = "") -> str:
        """Return the URL of a port, as this machine reaches it."""
        return f"http://{self.address(key)}{path}"

    def environment(self) -> dict[str, str]:
        """Return all of it as the variables that it is read from, and that the files of the stack are written in."""
        numbers = {PORTS[key].variable: str(number) for key, number in self.ports.items()}
        return {HOST: self.host, RETENTION: self.retention, **numbers}


def read(environ: Mapping[str, str]) -> Settings:
    """Read the variables.

    Raises:
        BadSettingError: one holds what can't be used, or two hold the same port.
    """
    ports = {key: _number(port, environ) for key, port in PORTS.items()}
    for one, other in _pairs(list(ports)):
        if ports[one] == ports[other] and PORTS[one].is_udp == PORTS[other].is_udp:
            raise BadSettingError(f"{PORTS[one].variable} and {PORTS[other].variable} are both {ports[one]}: move one")
    return Settings(_host(environ), ports, _retention(environ))


def _host(environ: Mapping[str, str]) -> str:
    host = environ.get(HOST) or LOOPBACK
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise BadSettingError(f"{HOST}={host} is no IPv4 address: 127.0.0.1 is this machine, 0.0.0.0 is all") from None


def _retention(environ: Mapping[str, str]) -> str:
    retention = environ.get(RETENTION) or _FORTNIGHT
    if not re.fullmatch(r"[1-9]\d{0,5}h", retention):
        raise BadSettingError(f"{RETENTION}={retention} is no number of hours such as {_FORTNIGHT}")
    return retention


def _number(port: Port, environ: Mapping[str, str]) -> int:
    text = environ.get(port.variable) or str(port.default)
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise BadSettingError(f"{port.variable}={text} is no port: give a number from 1 to 65535")
    return int(text)


def _pairs(keys: list[str]) -> Iterator[tuple[str, str]]:
    return ((one, other) for index, one in enumerate(keys) for other in keys[index + 1 :])
