"""A real Prometheus on loopback, and a client for its API."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from support import native


class Prometheus:
    """A client for the Prometheus at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def otlp_endpoint(self) -> str:
        """The URL of its receiver of OTLP metrics."""
        return f"{self.url}/api/v1/otlp/v1/metrics"

    def now(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        return self._get("query", {"query": query})["result"]  # type: ignore[no-any-return]

    def over(self, query: str, *, seconds: float, step: float = 1) -> list[dict[str, Any]]:
        """Return the series of a range query over the last seconds."""
        end = time.time()
        window = {"query": query, "start": str(end - seconds), "end": str(end), "step": str(step)}
        return self._get("query_range", window)["result"]  # type: ignore[no-any-return]

    def values_of_label(self, label: str, selector: str) -> list[str]:
        """Return the values of a label in the selected series."""
        return self._get(f"label/{label}/values", {"match[]": selector})  # type: ignore[no-any-return]

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        document = requests.get(f"{self.url}/api/v1/{path}", parameters, timeout=native.TIMEOUT).json()
        if document["status"] != "success":
            raise ValueError(f"{parameters}: {document['error']}")
        return document["data"]


@contextlib.contextmanager
def running(folder: Path, configuration: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run a Prometheus with its data in a folder. Skip the test if it cannot be built."""
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(dict(configuration)), encoding="utf-8")
    (port,) = native.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        native.binary("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-otlp-receiver",
        # The first scrape otherwise waits for five seconds.
        "--scrape.discovery-reload-interval=100ms",
        "--log.level=warn",
    ]
    with native.Process(command, os.environ, ready=f"{url}/-/ready", log=folder / "prometheus.log"):
        yield Prometheus(url)


def scrape(targets: Mapping[str, str], *, interval: str = "1s") -> Sequence[Mapping[str, Any]]:
    """Return scrape configurations: one job for each address, by name of the job."""
    return [
        {
            "job_name": name,
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "static_configs": [{"targets": [address]}],
        }
        for name, address in targets.items()
    ]
