"""docker-compose.yml, as the compose specification's own loader reads it. No container engine is needed."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from otel_flyte.stack import compose, files, parts
from otel_flyte.stack.settings import PORTS

ROOT = files.root()
LOADER = "github.com/compose-spec/compose-go/v2/cmd"
LOADER_VERSION = "v2.16.2"

BUILT = {
    "collector": ("native/collector/go.mod", r"opentelemetry-collector-contrib/\S+ v(\S+)"),
    "prometheus": ("native/prometheus/go.mod", r"prometheus/prometheus v0\.(\S+)"),
}
"""The file and the pattern of a native binary's version."""

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def loader() -> Path:
    """The loader, built once into the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "otel-flyte" / "bin" / "compose-go" / LOADER_VERSION
    binary = folder / "cmd"
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("go is not on PATH: docker-compose.yml is not checked against the compose specification")
        installed = subprocess.run(
            [go, "install", f"{LOADER}@{LOADER_VERSION}"],
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            pytest.skip(f"the compose specification's loader cannot be built: {installed.stderr.splitlines()[-1]}")
    return binary


@pytest.fixture(scope="session")
def services(loader: Path) -> Services:
    """The services of the file if no variable is set."""
    return _services(loader)


def test_each_part_of_the_stack_is_a_service(services: Services) -> None:
    assert set(services) == {*parts.BY_NAME, "collector-health"}


def test_images_have_the_versions_that_are_tested_natively(services: Services) -> None:
    for name, (file, pattern) in BUILT.items():
        found = re.search(pattern, (ROOT / file).read_text())
        assert found, file
        version = found[1]
        # Prometheus 3.15.0 is v0.315.0 as a Go module.
        if name == "prometheus":
            version = f"{version[0]}.{int(version[1:3])}.{version[4:]}"
        assert services[name]["image"].split(":")[1].removeprefix("v") == version
    assert services["tempo"]["image"] == "grafana/tempo:3.0.3"
    assert services["loki"]["image"] == "grafana/loki:3.7.8"
    assert services["grafana"]["image"] == "grafana/grafana:13.2.1"


def test_only_this_machine_can_reach_it(services: Services) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {service.get("network_mode") for service in services.values()} == {None}


def test_ports_and_their_variables_are_those_of_the_native_stack(loader: Path) -> None:
    moved = {PORTS[key].variable: str(PORTS[key].default + 10_000) for key in compose.PUBLISHED}
    for env, offset in (({}, 0), (moved, 10_000)):
        ports = [port for service in _services(loader, env).values() for port in service.get("ports", [])]
        published = {(int(port["published"]), port.get("protocol")) for port in ports}
        expected = {(PORTS[key].default + offset, "udp" if PORTS[key].is_udp else "tcp") for key in compose.PUBLISHED}
        assert published == expected


def test_it_can_be_opened_to_the_network(loader: Path) -> None:
    opened = _services(loader, {"OTEL_FLYTE_STACK_HOST": "0.0.0.0"})
    assert {port["host_ip"] for service in opened.values() for port in service.get("ports", [])} == {"0.0.0.0"}


def test_every_service_is_limited_restarted_and_unprivileged(services: Services) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"].removesuffix("m").replace("1g", "1024")) > 0, name
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("privileged"), name


def test_every_service_has_a_health_check(services: Services) -> None:
    # The collector's image has no program for a health check; a second container checks it.
    checked = {name for name, service in services.items() if service.get("healthcheck", {}).get("test")}
    assert checked == set(services) - {"collector"}
    assert "http://collector:13133/" in services["collector-health"]["healthcheck"]["test"]


def test_data_is_stored_in_volumes(services: Services) -> None:
    for name in parts.BY_NAME:
        kinds = [volume["type"] for volume in services[name]["volumes"]]
        assert "volume" in kinds, name


def test_mounted_files_exist_and_are_read_only(services: Services) -> None:
    mounts = [volume for service in services.values() for volume in service.get("volumes", [])]
    bound = [volume for volume in mounts if volume["type"] == "bind"]
    assert bound
    assert [volume["source"] for volume in bound if not Path(volume["source"]).exists()] == []
    assert {volume.get("read_only") for volume in bound} == {True}


def test_grafana_has_no_default_password(loader: Path) -> None:
    ini = (ROOT / "backends" / "grafana.ini").read_text()
    assert "disable_initial_admin_creation = true" in ini
    assert "org_role = Editor" in ini
    without = _services(loader)["grafana"]["environment"]
    assert without["GF_SECURITY_ADMIN_PASSWORD"] == without["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == ""
    assert without["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Editor"
    given = _services(loader, {"OTEL_FLYTE_STACK_GRAFANA_PASSWORD": "s3cret"})["grafana"]["environment"]
    assert given["GF_SECURITY_ADMIN_PASSWORD"] == "s3cret"
    assert given["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] is given["GF_AUTH_DISABLE_LOGIN_FORM"] is False


def test_prometheus_has_the_options_that_it_has_natively(services: Services) -> None:
    assert set(parts.PROMETHEUS_SWITCHES) <= set(services["prometheus"]["command"])


def test_no_part_reports_its_usage() -> None:
    for file in ("tempo.yaml", "loki.yaml", "grafana.ini"):
        assert re.search(r"reporting_enabled( =|:) false", (ROOT / "backends" / file).read_text()), file


def test_the_loader_finds_a_mistake(loader: Path, tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text((ROOT / "docker-compose.yml").read_text().replace("mem_limit:", "memory_limit:", 1))
    loaded = subprocess.run([loader, broken], capture_output=True, text=True, check=False)
    assert loaded.returncode != 0
    assert "memory_limit" in loaded.stdout + loaded.stderr


def _services(loader: Path, env: dict[str, str] | None = None) -> Services:
    file = ROOT / "docker-compose.yml"
    with tempfile.TemporaryDirectory() as folder:
        if env:
            file = Path(folder) / file.name
            file.write_text(_interpolated((ROOT / file.name).read_text(), env))
        loaded = subprocess.run(
            [loader, "-format", "json", file],
            env={"PATH": os.defpath, "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert loaded.returncode == 0, loaded.stderr
    services: Services = json.loads(loaded.stdout)["services"]
    return services


def _interpolated(text: str, env: dict[str, str]) -> str:
    """Replace variables: unlike engines, the loader knows only their defaults."""
    for name, value in env.items():
        text = re.sub(rf"\$\{{{name}:-[^{{}}]*\}}", value, text)
        text = re.sub(rf"\$\{{{name}:\+([^{{}}]*)\}}", r"\1", text)
    return text
