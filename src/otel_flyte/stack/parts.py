"""The parts of the stack as processes: how each is started, and how its health is checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from otel_flyte.stack.settings import Settings

NO_EXPORTERS = "[nop]"
"""The list of exporters of a signal without a backend."""


@dataclass(frozen=True)
class Part:
    """A part of the stack: one process.

    Arguments and environment are templates for :meth:`str.format`; `template_values` returns their values.
    """

    name: str
    binaries: tuple[str, ...]
    """The possible names of its executable."""
    ports: tuple[str, ...]
    """Keys of `settings.PORTS`; the first is the port that users need."""
    health: tuple[str, str]
    """The port and the path that answer 200 when the part is ready."""
    without_it: str
    """The effect on the stack when the part is missing."""
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_built: bool = False
    """Whether ``native/build.py`` builds it."""
    exporters: str = ""
    """The collector's variable for the exporters of the signal that this part stores."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL. Acknowledged data is on disk much sooner."""

    @property
    def variable(self) -> str:
        """The variable that names its executable."""
        return f"OTEL_FLYTE_{self.name.upper()}"

    @property
    def how_to_install(self) -> str:
        """The advice for a part without an executable."""
        return f"put {' or '.join(f'`{name}`' for name in self.binaries)} on PATH, or set {self.variable}"


PROMETHEUS_SWITCHES = (
    "--web.enable-otlp-receiver",
    "--web.enable-remote-write-receiver",
    "--enable-feature=exemplar-storage",
)
"""Options that backends/prometheus.yaml can't hold; docker-compose.yml has the same."""

PARTS = (
    Part(
        "prometheus",
        binaries=("prometheus",),
        ports=("prometheus",),
        health=("prometheus", "/-/ready"),
        without_it="metrics are not stored",
        arguments=(
            "--config.file={root}/backends/prometheus.yaml",
            "--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time={retention}",
            "--web.listen-address={host}:{port[prometheus]}",
            *PROMETHEUS_SWITCHES,
        ),
        environment={"GRAFANA_URL": "http://{address[grafana]}"},
        is_built=True,
        exporters="METRICS_EXPORTERS",
    ),
    Part(
        "loki",
        binaries=("loki",),
        ports=("loki", "loki_grpc"),
        health=("loki", "/ready"),
        without_it="logs are not stored",
        arguments=("-config.file={root}/backends/loki.yaml", "-config.expand-env=true"),
        environment={"LOKI_DATA": "{data}"},
        exporters="LOGS_EXPORTERS",
    ),
    Part(
        "tempo",
        binaries=("tempo",),
        ports=("tempo", "tempo_grpc", "tempo_otlp_grpc", "tempo_otlp_http"),
        health=("tempo", "/ready"),
        without_it="traces are not stored",
        arguments=("-config.file={root}/backends/tempo.yaml", "-config.expand-env=true"),
        environment={
            "TEMPO_DATA": "{data}",
            "PROMETHEUS_REMOTE_WRITE_ENDPOINT": "http://{address[prometheus]}/api/v1/write",
        },
        exporters="TRACES_EXPORTERS",
        # Seen in 3.0.3: after it has answered a query it never exits on SIGTERM. Its data is on disk within a second.
        grace=5.0,
    ),
    Part(
        "collector",
        binaries=("otelcol-flyte", "otelcol-contrib"),
        ports=("otlp_http", "otlp_grpc", "statsd", "health", "metrics"),
        health=("health", "/"),
        without_it="nothing is received",
        arguments=("--config={root}/collector/config.yaml",),
        environment={
            "COLLECTOR_STORAGE": "{data}",
            "TEMPO_OTLP_ENDPOINT": "http://{address[tempo_otlp_http]}",
            "PROMETHEUS_OTLP_ENDPOINT": "http://{address[prometheus]}/api/v1/otlp",
            "LOKI_OTLP_ENDPOINT": "http://{address[loki]}/otlp",
            "STACK_TARGETS": "[{address[tempo]}, {address[prometheus]}, {address[loki]}]",
        },
        is_built=True,
    ),
    Part(
        "grafana",
        binaries=("grafana",),
        ports=("grafana",),
        health=("grafana", "/api/health"),
        without_it="dashboards are not shown",
        arguments=("server", "--homepath={grafana_home}", "--config={root}/backends/grafana.ini"),
        environment={
            "GF_SERVER_HTTP_ADDR": "{host}",
            "GF_SERVER_HTTP_PORT": "{port[grafana]}",
            "GF_PATHS_DATA": "{data}",
            "GF_PATHS_LOGS": "{data}/log",
            "GF_PATHS_PROVISIONING": "{root}/grafana/provisioning",
            "GRAFANA_DASHBOARDS": "{root}/grafana/dashboards",
            "PROMETHEUS_URL": "http://{address[prometheus]}",
            "TEMPO_URL": "http://{address[tempo]}",
            "LOKI_URL": "http://{address[loki]}",
        },
    ),
)
"""In the order in which they are started."""

STOP_ORDER = (("grafana", "collector"), ("tempo", "loki"), ("prometheus",))
"""In the direction of the data, so that a part can still deliver its data to the next."""

BY_NAME: Mapping[str, Part] = {part.name: part for part in PARTS}


def template_values(binary: Path, root: Path, data: Path, settings: Settings) -> dict[str, object]:
    """Return the values of the placeholders: the stack's files are in ``root``, the part's own data in ``data``."""
    # Grafana's front end is beside its binary in an archive, and in /usr/share in a Debian package.
    homes = (binary.resolve().parent.parent, Path("/usr/share/grafana"))
    return {
        "root": root,
        "data": data,
        "host": settings.host,
        "port": settings.ports,
        "address": {key: settings.address(key) for key in settings.ports},
        "retention": settings.retention,
        "grafana_home": next((home for home in homes if (home / "public").is_dir()), homes[0]),
    }
