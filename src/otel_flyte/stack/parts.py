"""The parts of the stack as processes: what each is started with, by what one sees that it is ready, what it is for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from otel_flyte.stack.settings import Settings

NOWHERE = "[nop]"
"""The list of exporters of a signal that nobody keeps."""


@dataclass(frozen=True)
class Launch:
    """All that the command line of a part is made of."""

    binary: Path
    root: Path
    """The folder with the stack's files."""
    data: Path
    """The part's own folder."""
    settings: Settings


@dataclass(frozen=True)
class Part:
    """A part of the stack that is one process."""

    name: str
    binaries: tuple[str, ...]
    """What its executable may be called."""
    ports: tuple[str, ...]
    """Keys of `settings.PORTS`; the first is the one that people use."""
    health: tuple[str, str]
    """The port and the path that answer 200 once it is ready."""
    without_it: str
    """What one lacks where it is missing."""
    arguments: Callable[[Launch], list[str]]
    environment: Callable[[Launch], dict[str, str]]
    exporters: str = ""
    """The collector's variable for what is sent here."""
    grace: float = 10.0
    """Seconds that it may take to end: what it has acknowledged is on disk well before."""

    @property
    def variable(self) -> str:
        """The variable that names its executable."""
        return f"OTEL_FLYTE_{self.name.upper()}"


def _collector_arguments(launch: Launch) -> list[str]:
    return [f"--config={launch.root / 'collector' / 'config.yaml'}"]


def _collector_environment(launch: Launch) -> dict[str, str]:
    settings = launch.settings
    backends = ", ".join(settings.address(key) for key in ("tempo", "prometheus", "loki"))
    return {
        "COLLECTOR_STORAGE": str(launch.data),
        "TEMPO_OTLP_ENDPOINT": settings.url("tempo_otlp_http"),
        "PROMETHEUS_OTLP_ENDPOINT": settings.url("prometheus", "/api/v1/otlp"),
        "LOKI_OTLP_ENDPOINT": settings.url("loki", "/otlp"),
        "STACK_TARGETS": f"[{backends}]",
    }


def _tempo_arguments(launch: Launch) -> list[str]:
    return [f"-config.file={launch.root / 'backends' / 'tempo.yaml'}", "-config.expand-env=true"]


def _tempo_environment(launch: Launch) -> dict[str, str]:
    return {
        "TEMPO_DATA": str(launch.data),
        "PROMETHEUS_REMOTE_WRITE_ENDPOINT": launch.settings.url("prometheus", "/api/v1/write"),
    }


PROMETHEUS_SWITCHES = (
    "--web.enable-otlp-receiver",
    "--web.enable-remote-write-receiver",
    "--enable-feature=exemplar-storage",
)
"""What backends/prometheus.yaml can't say; docker-compose.yml says the same."""


def _prometheus_arguments(launch: Launch) -> list[str]:
    settings = launch.settings
    return [
        f"--config.file={launch.root / 'backends' / 'prometheus.yaml'}",
        f"--storage.tsdb.path={launch.data}",
        f"--storage.tsdb.retention.time={settings.retention}",
        f"--web.listen-address={settings.host}:{settings.ports['prometheus']}",
        *PROMETHEUS_SWITCHES,
    ]


def _prometheus_environment(launch: Launch) -> dict[str, str]:
    return {"GRAFANA_URL": launch.settings.url("grafana")}


def _loki_arguments(launch: Launch) -> list[str]:
    return [f"-config.file={launch.root / 'backends' / 'loki.yaml'}", "-config.expand-env=true"]


def _loki_environment(launch: Launch) -> dict[str, str]:
    return {"LOKI_DATA": str(launch.data)}


def _grafana_arguments(launch: Launch) -> list[str]:
    # Its front end lies beside its binary in an archive, and elsewhere in a Debian package.
    homes = (launch.binary.resolve().parents[1], Path("/usr/share/grafana"))
    home = next((home for home in homes if (home / "public").is_dir()), homes[0])
    return ["server", f"--homepath={home}", f"--config={launch.root / 'backends' / 'grafana.ini'}"]


def _grafana_environment(launch: Launch) -> dict[str, str]:
    settings = launch.settings
    return {
        "GF_SERVER_HTTP_ADDR": settings.host,
        "GF_SERVER_HTTP_PORT": str(settings.ports["grafana"]),
        "GF_PATHS_DATA": str(launch.data),
        "GF_PATHS_LOGS": str(launch.data / "log"),
        "GF_PATHS_PROVISIONING": str(launch.root / "grafana" / "provisioning"),
        "GRAFANA_DASHBOARDS": str(launch.root / "grafana" / "dashboards"),
        "PROMETHEUS_URL": settings.url("prometheus"),
        "TEMPO_URL": settings.url("tempo"),
        "LOKI_URL": settings.url("loki"),
    }


PARTS = (
    Part(
        "prometheus",
        ("prometheus",),
        ("prometheus",),
        ("prometheus", "/-/ready"),
        "metrics are not kept",
        _prometheus_arguments,
        _prometheus_environment,
        exporters="METRICS_EXPORTERS",
    ),
    Part(
        "loki",
        ("loki",),
        ("loki", "loki_grpc"),
        ("loki", "/ready"),
        "logs are not kept",
        _loki_arguments,
        _loki_environment,
        exporters="LOGS_EXPORTERS",
    ),
    Part(
        "tempo",
        ("tempo",),
        ("tempo", "tempo_grpc", "tempo_otlp_grpc", "tempo_otlp_http"),
        ("tempo", "/ready"),
        "traces are not kept",
        _tempo_arguments,
        _tempo_environment,
        exporters="TRACES_EXPORTERS",
        # Seen in 3.0.3: having answered a query, it never ends. What it holds is on disk within a second.
        grace=5.0,
    ),
    Part(
        "collector",
        ("otelcol-flyte", "otelcol-contrib"),
        ("otlp_http", "otlp_grpc", "statsd", "health", "metrics"),
        ("health", "/"),
        "nothing is received",
        _collector_arguments,
        _collector_environment,
    ),
    Part(
        "grafana",
        ("grafana",),
        ("grafana",),
        ("grafana", "/api/health"),
        "dashboards are not shown",
        _grafana_arguments,
        _grafana_environment,
    ),
)
"""In the order in which they are started; they are stopped in the order in which data flows, the collector first."""

BY_NAME: Mapping[str, Part] = {part.name: part for part in PARTS}
