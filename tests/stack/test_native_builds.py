"""`native/build.py`: it builds each program of the stack once, at the version in the stack's files."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import file_backend, native, stack
from support.native import BUILD, CONFIG, ROOT

NATIVE = BUILD.parent
COLLECTOR = NATIVE / "collector"
KINDS = ("extensions", "receivers", "processors", "connectors", "exporters")

BINARY = "otelcol-flyte"
"""The only program whose source is in its folder, so that a test can replace it."""

TELEMETRY = "go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
"""The builder adds it to every collector."""

HELLO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'


# --- the slim collector ----------------------------------------------------------------------------------------------


def modules(*kinds: str) -> dict[str, str]:
    """Return the versions of the manifest's modules, by path."""
    manifest = yaml.safe_load((COLLECTOR / "builder.yaml").read_text())
    return dict(component["gomod"].split() for kind in kinds for component in manifest[kind])


def test_the_generated_code_has_the_components_of_the_manifest() -> None:
    generated = (COLLECTOR / "components.go").read_text()
    imported = re.findall(r'^\t\w+ "(\S+)"$', generated, re.MULTILINE)
    versions = dict(re.findall(r'NewFactory\(\)\.Type\(\): "(\S+) (\S+)"', generated))

    assert {path for path in imported if path != TELEMETRY} == set(modules(*KINDS))
    assert versions == modules(*KINDS)


def test_the_generated_code_has_the_configuration_providers_of_the_manifest() -> None:
    generated = (COLLECTOR / "main.go").read_text()

    assert dict(re.findall(r'Scheme\(\): "(\S+) (\S+)"', generated)) == modules("providers")


def test_go_mod_has_the_versions_of_the_manifest() -> None:
    required = requirements("collector")

    wanted = modules(*KINDS, "providers")
    assert {path: required.get(path) for path in wanted} == wanted


def test_the_manifest_has_exactly_the_components_in_use() -> None:
    agent = ROOT / "deploy" / "kubernetes" / "agent" / "config.yaml"
    used: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for file in (CONFIG, CONFIG.with_name("kubernetes.yaml"), agent, file_backend.CONFIG):
        for kind in KINDS:
            used[kind] |= {name.partition("/")[0] for name in yaml.safe_load(file.read_text()).get(kind, ())}

    listed = yaml.safe_load(subprocess.check_output([native.binary(BINARY), "components"], text=True))

    assert {kind: {component["name"] for component in listed[kind]} for kind in KINDS} == used


# --- programs --------------------------------------------------------------------------------------------------------


def programs() -> dict[str, Any]:
    table: dict[str, Any] = runpy.run_path(str(BUILD))["PROGRAMS"]
    return table


def requirements(folder: str) -> dict[str, str]:
    """Return the versions of the modules that a folder's go.mod requires."""
    text = (NATIVE / folder / "go.mod").read_text()
    return dict(re.findall(r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", text.partition("\nrequire")[2], re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "module", "version"),
    [
        # Prometheus 3.15.0 is the module's v0.315.0.
        ("prometheus", "github.com/prometheus/prometheus", "v0.315.0"),
        ("promtool", "github.com/prometheus/prometheus", "v0.315.0"),
        ("otelcol-flyte", "go.opentelemetry.io/collector/service", "v0.155.0"),
    ],
)
def test_a_program_is_built_from_its_version(name: str, module: str, version: str) -> None:
    program = programs()[name]

    assert requirements(program.folder)[module] == version
    assert version in (f"v{program.version}", re.sub(r"3\.(\d+)\.(\d+)", r"v0.3\1.\2", program.version))


@pytest.mark.parametrize("name", programs())
def test_a_program_prints_its_version(name: str) -> None:
    ended = subprocess.run([native.binary(name), "--version"], capture_output=True, text=True, check=True)

    assert f"version {programs()[name].version}" in ended.stdout + ended.stderr


def test_no_program_under_the_agpl_is_built() -> None:
    required = {module for program in programs().values() for module in requirements(program.folder)}
    assert [module for module in required if re.match(r"github\.com/grafana/(loki|tempo|grafana)\b", module)] == []


# --- builds ----------------------------------------------------------------------------------------------------------


class Workplace:
    """A copy of `native/build.py` with a program that builds in a second, and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.builds = folder / "cache" / "otel-flyte" / "bin" / BINARY
        self.sources = folder / "native" / "collector"
        self.sources.mkdir(parents=True)
        self.write("go.mod", "module example.invalid/hello\n\ngo 1.20\n")
        self.write("main.go", HELLO)
        self._script = Path(shutil.copy(BUILD, folder / "native" / "build.py"))
        self._env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        # Go keeps its own cache, so that packages are not built again.
        if shutil.which("go"):
            self._env["GOCACHE"] = subprocess.check_output(["go", "env", "GOCACHE"], text=True).strip()

    def write(self, name: str, text: str) -> None:
        (self.sources / name).write_text(text)

    def run(self, *names: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = self._env if path is None else self._env | {"PATH": str(path)}
        command = [sys.executable, str(self._script), *names]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def build(self) -> Path:
        ended = self.run(BINARY)
        assert ended.returncode == 0, ended.stderr
        return Path(ended.stdout.strip())

    def kept(self) -> set[str]:
        """Return the keys of the builds."""
        return {path.name for path in self.builds.iterdir() if path.is_dir() and not path.is_symlink()}


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def with_go(workplace: Workplace) -> Workplace:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH: nothing is built")
    return workplace


def test_a_program_is_built_once_and_linked_as_current(with_go: Workplace) -> None:
    built = with_go.build()
    again = with_go.run(BINARY)

    assert subprocess.check_output([built], text=True) == "hello\n"
    assert (again.stdout.strip(), again.stderr) == (str(built), "")
    assert (with_go.builds / "current" / BINARY).resolve() == built.resolve()


def test_changed_sources_are_built_and_the_newest_builds_are_kept(with_go: Workplace) -> None:
    built = []
    for word in ("one", "two", "three", "four", "five"):
        with_go.write("main.go", HELLO.replace("hello", word))
        built.append(with_go.build().parent.name)

    assert subprocess.check_output([with_go.builds / "current" / BINARY], text=True) == "five\n"
    assert len({*built}) == 5
    assert with_go.kept() == set(built[-3:])


def test_concurrent_commands_build_once(with_go: Workplace) -> None:
    with ThreadPoolExecutor() as threads:
        ended = [each.result() for each in [threads.submit(with_go.run, BINARY) for _ in range(3)]]

    assert {each.returncode for each in ended} == {0}
    assert len({each.stdout for each in ended}) == 1
    assert sum("building otelcol-flyte" in each.stderr for each in ended) == 1


def test_a_failed_build_is_reported_in_one_line_and_changes_nothing(with_go: Workplace) -> None:
    before = with_go.build()
    with_go.write("main.go", "package main\n\nfunc main() { nonsense() }\n")
    ended = with_go.run(BINARY)

    assert ended.returncode == 1
    assert ended.stdout == ""
    *_, last = ended.stderr.splitlines()
    assert re.fullmatch(rf"native/build\.py: {BINARY} failed to build, see \S+: .*undefined: nonsense", last)
    assert with_go.kept() == {before.parent.name}
    assert (with_go.builds / "current" / BINARY).resolve() == before.resolve()


def test_leftovers_of_a_killed_build_are_deleted(with_go: Workplace) -> None:
    (with_go.builds / ".building-killed").mkdir(parents=True)
    built = with_go.build()

    assert with_go.kept() == {built.parent.name}


INSTALL = "install Go 1.20 or newer from https://go.dev/dl\n"


def test_without_go_the_needed_version_is_reported(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = workplace.run(BINARY, path=tmp_path / "empty")

    assert ended.returncode == 1
    assert ended.stderr == f"native/build.py: {BINARY} cannot be built, `go` is not on PATH: {INSTALL}"


def test_a_go_that_is_too_old_is_reported(workplace: Workplace, tmp_path: Path) -> None:
    answer = '{"GOVERSION": "go1.9.7", "GOOS": "linux", "GOARCH": "amd64"}'
    go = stack.executable(tmp_path / "old" / "go", f"echo '{answer}'")
    ended = workplace.run(BINARY, path=go.parent)

    assert ended.returncode == 1
    assert ended.stderr == f"native/build.py: {BINARY} cannot be built, {go} is Go 1.9.7: {INSTALL}"


def test_an_unknown_program_is_a_usage_error(workplace: Workplace) -> None:
    ended = workplace.run("tempo")

    assert ended.returncode == 2
    assert ended.stderr == ("native/build.py: unknown program tempo: choose from prometheus, promtool, otelcol-flyte\n")
