"""docker-compose.yml, as the compose specification's own loader reads it: no engine is needed for that."""

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
    "loki": ("native/loki/go.mod", r"require github.com/grafana/loki/v3 v(\S+)|grafana/loki/v3 v(\S+)"),
}
"""Where the version of a native binary is said."""


@pytest.fixture(scope="session")
def loader() -> Path:
    """The loader, built into the user's cache once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "otel-flyte" / "bin" / "compose-go" / LOADER_VERSION
    binary = folder / "cmd"
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("no Go: docker-compose.yml is not checked against the compose specification")
        installed = subprocess.run(
            [go, "install", f"{LOADER}@{LOADER_VERSION}"],
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            pytest.skip(f"the compose specification's loader can't be built: {installed.stderr.splitlines()[-1]}")
    return binary


@pytest.fixture(scope="session")
def services(loader: Path) -> dict[str, dict[str, Any]]:
    """What the file says where no variable is set."""
    return _services(loader)


def test_each_part_of_the_stack_is_a_service(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {*parts.BY_NAME, "collector-health"}


def test_images_are_of_the_versions_that_are_built_and_tested_natively(services: dict[str, dict[str, Any]]) -> None:
    for name, (file, pattern) in BUILT.items():
        found = re.search(pattern, (ROOT / file).read_text())
        assert found, file
        version = next(filter(None, found.groups()))
        # Prometheus 3.15.0 is v0.315.0 as a Go module.
        if name == "prometheus":
            version = f"{version[0]}.{int(version[1:3])}.{version[4:]}"
        assert services[name]["image"].split(":")[1].removeprefix("v") == version
    assert services["tempo"]["image"] == "grafana/tempo:3.0.3"
    assert services["grafana"]["image"] == "grafana/grafana:13.2.1"


def test_only_this_machine_reaches_it(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {service.get("network_mode") for service in services.values()} == {None}


def test_the_ports_are_those_of_the_native_stack_and_are_moved_by_the_same_variables(loader: Path) -> None:
    moved = {PORTS[key].variable: str(PORTS[key].default + 10_000) for key in compose.PUBLISHED}
    for env, offset in (({}, 0), (moved, 10_000)):
        ports = [port for service in _services(loader, env).values() for port in service.get("ports", [])]
        published = {(int(port["published"]), port.get("protocol")) for port in ports}
        expected = {(PORTS[key].default + offset, "udp" if PORTS[key].is_udp else "tcp") for key in compose.PUBLISHED}
        assert published == expected


def test_whoever_wants_to_may_open_it(loader: Path) -> None:
    opened = _services(loader, {"OTEL_FLYTE_STACK_HOST": "0.0.0.0"})
    assert {port["host_ip"] for service in opened.values() for port in service.get("ports", [])} == {"0.0.0.0"}


def test_every_service_is_limited_restarted_and_without_privileges(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"].removesuffix("m").replace("1g", "1024")) > 0, name
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("privileged"), name


def test_every_service_says_whether_it_is_healthy(services: dict[str, dict[str, Any]]) -> None:
    # Of the collector's image, which has nothing to ask with, another one asks.
    checked = {name for name, service in services.items() if service.get("healthcheck", {}).get("test")}
    assert checked == set(services) - {"collector"}
    assert "http://collector:13133/" in services["collector-health"]["healthcheck"]["test"]


def test_what_is_stored_is_in_volumes(services: dict[str, dict[str, Any]]) -> None:
    for name in parts.BY_NAME:
        kinds = [volume["type"] for volume in services[name]["volumes"]]
        assert "volume" in kinds, name


def test_what_is_mounted_is_there_and_can_not_be_written_to(services: dict[str, dict[str, Any]]) -> None:
    mounts = [volume for service in services.values() for volume in service.get("volumes", [])]
    bound = [volume for volume in mounts if volume["type"] == "bind"]
    assert bound
    assert [volume["source"] for volume in bound if not Path(volume["source"]).exists()] == []
    assert {volume.get("read_only") for volume in bound} == {True}


def test_grafana_has_no_password_that_everybody_knows(loader: Path) -> None:
    ini = (ROOT / "backends" / "grafana.ini").read_text()
    assert "disable_initial_admin_creation = true" in ini
    assert "org_role = Editor" in ini
    without = _services(loader)["grafana"]["environment"]
    assert without["GF_SECURITY_ADMIN_PASSWORD"] == without["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == ""
    assert without["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Editor"
    given = _services(loader, {"OTEL_FLYTE_STACK_GRAFANA_PASSWORD": "s3cret"})["grafana"]["environment"]
    assert given["GF_SECURITY_ADMIN_PASSWORD"] == "s3cret"
    assert given["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] is given["GF_AUTH_DISABLE_LOGIN_FORM"] is False


def test_prometheus_has_the_switches_that_it_has_natively(services: dict[str, dict[str, Any]]) -> None:
    assert set(parts.PROMETHEUS_SWITCHES) <= set(services["prometheus"]["command"])


def test_nothing_phones_home() -> None:
    for file in ("tempo.yaml", "loki.yaml", "grafana.ini"):
        assert re.search(r"reporting_enabled( =|:) false", (ROOT / "backends" / file).read_text()), file


def test_a_mistake_in_the_file_is_found(loader: Path, tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text((ROOT / "docker-compose.yml").read_text().replace("mem_limit:", "memory_limit:", 1))
    said = subprocess.run([loader, broken], capture_output=True, text=True, check=False)
    assert said.returncode != 0
    assert "memory_limit" in said.stdout + said.stderr


def _services(loader: Path, env: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    file = ROOT / "docker-compose.yml"
    with tempfile.TemporaryDirectory() as folder:
        if env:
            file = Path(folder) / file.name
            file.write_text(_interpolated((ROOT / file.name).read_text(), env))
        said = subprocess.run(
            [loader, "-format", "json", file],
            env={"PATH": os.defpath, "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 0, said.stderr
    services: dict[str, dict[str, Any]] = json.loads(said.stdout)["services"]
    return services


def _interpolated(text: str, env: dict[str, str]) -> str:
    """Fill in variables, of which the loader, unlike engines, takes the defaults alone."""
    for name, value in env.items():
        text = re.sub(rf"\$\{{{name}:-[^{{}}]*\}}", value, text)
        text = re.sub(rf"\$\{{{name}:\+([^{{}}]*)\}}", r"\1", text)
    return text
