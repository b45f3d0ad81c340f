"""A backend that stores traces and logs in files: a second collector, with the file exporter.

Tests count stored records with it, because Tempo and Loki are only there where a person has installed them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import native
from support.native import Process

CONFIG = Path(__file__).with_name("file_backend.yaml")


@dataclass(frozen=True)
class Record:
    """A span or a log record, with the attributes of its resource."""

    resource: Mapping[str, Any]
    fields: Mapping[str, Any]
    """Its fields in OTLP JSON."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        return _attributes(self.fields)

    @property
    def body(self) -> str:
        """The text of a log record."""
        return str(self.fields["body"].get("stringValue", ""))


@dataclass(frozen=True)
class FileBackend:
    """A running backend; its process can be stopped and started again."""

    process: Process
    endpoint: str
    """The base URL for OTLP over HTTP."""
    folder: Path

    def spans(self) -> list[Record]:
        """Return the stored spans; a span that was sent twice is there twice."""
        return list(self._records("traces", "resourceSpans", "scopeSpans", "spans"))

    def log_records(self) -> list[Record]:
        """Return the stored log records; a record that was sent twice is there twice."""
        return list(self._records("logs", "resourceLogs", "scopeLogs", "logRecords"))

    def _records(self, signal: str, resources: str, scopes: str, records: str) -> Iterator[Record]:
        file = self.folder / f"{signal}.jsonl"
        # A line without its end is being written.
        text = file.read_text(encoding="utf-8").rpartition("\n")[0] if file.exists() else ""
        for line in filter(None, text.split("\n")):
            for of_resource in json.loads(line).get(resources, ()):
                resource = _attributes(of_resource.get("resource", {}))
                for scope in of_resource.get(scopes, ()):
                    yield from (Record(resource, each) for each in scope.get(records, ()))


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in holder.get("attributes", ())}


@contextmanager
def running(folder: Path) -> Iterator[FileBackend]:
    """Run a backend that stores into a folder, which must not exist yet. Skip the test if it cannot be built."""
    folder.mkdir()
    otlp, health = native.free_ports(2)
    env = {"OTLP_PORT": str(otlp), "HEALTH_PORT": str(health), "FOLDER": str(folder)}
    command = [str(native.binary("otelcol-flyte")), f"--config={CONFIG}"]
    with Process(command, env, ready=f"http://127.0.0.1:{health}/", log=folder / "log") as process:
        yield FileBackend(process, f"http://127.0.0.1:{otlp}", folder)
