"""The real collector with the stack's configuration, on free ports."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import native, otlp
from support.native import CONFIG, Process

PORTS = {
    name: f"OTEL_FLYTE_STACK_{name.upper()}_PORT" for name in ("otlp_grpc", "otlp_http", "statsd", "health", "metrics")
}
"""The variables of its ports."""

EXISTING = {
    **dict.fromkeys(("TRACES_EXPORTERS", "METRICS_EXPORTERS", "LOGS_EXPORTERS"), "[otlp_http/existing]"),
    "EXISTING_BACKEND_HEADERS": "{X-Tenant: flyte}",
}
"""The variables that replace the stack's backends by an existing one."""


@dataclass(frozen=True)
class Collector:
    process: Process
    ports: Mapping[str, int]

    @property
    def endpoint(self) -> str:
        """The base URL for OTLP over HTTP."""
        return f"http://127.0.0.1:{self.ports['otlp_http']}"

    def send(
        self, signal: str, *records: Mapping[str, Any], resource: Mapping[str, Any] | None = None, scope: str = ""
    ) -> None:
        """Send records of a resource; they are acknowledged on return."""
        otlp.send(self.endpoint, signal, otlp.message(signal, resource or {"service.name": "sender"}, records, scope))

    def send_statsd(self, *lines: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for line in lines:
                client.sendto(line.encode(), ("127.0.0.1", self.ports["statsd"]))


@contextmanager
def running(folder: Path, env: Mapping[str, str]) -> Iterator[Collector]:
    """Run a collector with its queues in a folder. Skip the test if it cannot be built."""
    binary = native.binary("otelcol-flyte")
    ports = dict(zip(PORTS, native.free_ports(len(PORTS)), strict=True))
    variables = {PORTS[name]: str(port) for name, port in ports.items()}
    variables |= {"COLLECTOR_STORAGE": str(folder / "queues"), "STATSD_INTERVAL": "1s", "SPAN_METRICS_INTERVAL": "1s"}
    ready = f"http://127.0.0.1:{ports['health']}/"
    command = [str(binary), f"--config={CONFIG}"]
    with Process(command, variables | dict(env), ready=ready, log=folder / "collector.log") as process:
        yield Collector(process, ports)


def spans(count: int, attributes: Mapping[str, Any], *, first: int = 1, name: str = "work") -> list[dict[str, Any]]:
    """Return spans with numbers as ids, which their names can contain as ``{}``."""
    return [
        otlp.span(f"{number:032x}", f"{number:016x}", name=name.format(number), attributes=otlp.attributes(attributes))
        for number in range(first, first + count)
    ]
