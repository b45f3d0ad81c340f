"""What is built natively is what the stack's files name, at their versions; a build that fails says why."""

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

from support import native
from support.native import BUILD, CONFIG, ROOT

NATIVE = BUILD.parent
COLLECTOR = NATIVE / "collector"
KINDS = ("extensions", "receivers", "processors", "connectors", "exporters")

BINARY = "otelcol-flyte"
"""Of the programs the one whose source is in its folder, so that a test may put another in its place."""

TELEMETRY = "go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
"""What a collector tells of itself by: the builder puts it into each."""

HELLO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'


# --- the slim collector ----------------------------------------------------------------------------------------------


def modules(*kinds: str) -> dict[str, str]:
    """The versions of the manifest's modules, by their paths."""
    manifest = yaml.safe_load((COLLECTOR / "builder.yaml").read_text())
    return dict(component["gomod"].split() for kind in kinds for component in manifest[kind])


def test_the_generated_code_has_the_components_of_the_manifest_and_no_other() -> None:
    generated = (COLLECTOR / "components.go").read_text()
    imported = re.findall(r'^\t\w+ "(\S+)"$', generated, re.MULTILINE)
    versions = dict(re.findall(r'NewFactory\(\)\.Type\(\): "(\S+) (\S+)"', generated))

    assert {path for path in imported if path != TELEMETRY} == set(modules(*KINDS))
    assert versions == modules(*KINDS)


def test_the_generated_code_reads_configurations_as_the_manifest_says() -> None:
    generated = (COLLECTOR / "main.go").read_text()

    assert dict(re.findall(r'Scheme\(\): "(\S+) (\S+)"', generated)) == modules("providers")


def test_go_mod_has_the_versions_of_the_manifest() -> None:
    required = requirements("collector")

    wanted = modules(*KINDS, "providers")
    assert {path: required.get(path) for path in wanted} == wanted


def test_the_manifest_has_the_components_that_are_used_and_no_other() -> None:
    agent = ROOT / "deploy" / "kubernetes" / "agent" / "config.yaml"
    used: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for file in (CONFIG, CONFIG.with_name("kubernetes.yaml"), agent):
        for kind in KINDS:
            used[kind] |= {name.partition("/")[0] for name in yaml.safe_load(file.read_text()).get(kind, ())}

    said = yaml.safe_load(subprocess.check_output([native.binary(BINARY), "components"], text=True))

    assert {kind: {component["name"] for component in said[kind]} for kind in KINDS} == used


# --- versions --------------------------------------------------------------------------------------------------------


def programs() -> dict[str, Any]:
    table: dict[str, Any] = runpy.run_path(str(BUILD))["PROGRAMS"]
    return table


def requirements(folder: str) -> dict[str, str]:
    """What a folder's go.mod requires: versions by module."""
    text = (NATIVE / folder / "go.mod").read_text()
    return dict(re.findall(r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", text.partition("\nrequire")[2], re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "module", "version"),
    [
        # Prometheus 3.15.0 is the module's v0.315.0.
        ("prometheus", "github.com/prometheus/prometheus", "v0.315.0"),
        ("promtool", "github.com/prometheus/prometheus", "v0.315.0"),
        ("loki", "github.com/grafana/loki/v3", "v3.7.8"),
        ("otelcol-flyte", "go.opentelemetry.io/collector/service", "v0.155.0"),
    ],
)
def test_a_program_is_built_from_its_version(name: str, module: str, version: str) -> None:
    program = programs()[name]

    assert requirements(program.folder)[module] == version
    assert version in (f"v{program.version}", re.sub(r"3\.(\d+)\.(\d+)", r"v0.3\1.\2", program.version))


@pytest.mark.parametrize("name", programs())
def test_a_program_tells_its_version(name: str) -> None:
    ended = subprocess.run([native.binary(name), "--version"], capture_output=True, text=True, check=True)

    assert f"version {programs()[name].version}" in ended.stdout + ended.stderr


# --- builds ----------------------------------------------------------------------------------------------------------


class Workplace:
    """A copy of `native/build.py` with a program that builds in a second, and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.builds = self.cache / "otel-flyte" / "bin" / BINARY
        self.sources = folder / "native" / "collector"
        self.sources.mkdir(parents=True)
        self.write("go.mod", "module example.invalid/hello\n\ngo 1.20\n")
        self.write("main.go", HELLO)
        shutil.copy(BUILD, folder / "native" / "build.py")
        self._script = folder / "native" / "build.py"
        self._env = {**os.environ, "XDG_CACHE_HOME": str(self.cache)}
        # Go keeps its own cache where it was: what it has built for others is not built again.
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
        """The keys of the builds that are there."""
        return {path.name for path in self.builds.iterdir() if path.is_dir() and not path.is_symlink()}


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def real(workplace: Workplace) -> Workplace:
    if shutil.which("go") is None:
        pytest.skip("there is no Go: nothing is built")
    return workplace


def fake_go(folder: Path, script: str) -> Path:
    """A PATH on which Go is a script of the test's."""
    folder.mkdir()
    (folder / "go").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "go").chmod(0o755)
    return folder


def test_a_program_is_built_once_and_found_by_its_link(real: Workplace) -> None:
    built = real.build()
    again = real.run(BINARY)

    assert subprocess.check_output([built], text=True) == "hello\n"
    assert (again.stdout.strip(), again.stderr) == (str(built), "")
    assert (real.builds / "current" / BINARY).resolve() == built.resolve()


def test_another_source_is_another_build(real: Workplace) -> None:
    first = real.build()
    real.write("main.go", HELLO.replace("hello", "good morning"))
    second = real.build()

    assert first != second
    assert subprocess.check_output([real.builds / "current" / BINARY], text=True) == "good morning\n"


def test_the_newest_builds_are_kept(real: Workplace) -> None:
    built = []
    for word in ("one", "two", "three", "four", "five"):
        real.write("main.go", HELLO.replace("hello", word))
        built.append(real.build().parent.name)

    assert real.kept() == set(built[-3:])


def test_two_at_once_build_once(real: Workplace) -> None:
    with ThreadPoolExecutor() as threads:
        ended = [each.result() for each in [threads.submit(real.run, BINARY) for _ in range(3)]]

    assert {each.returncode for each in ended} == {0}
    assert len({each.stdout for each in ended}) == 1
    assert sum("is being built" in each.stderr for each in ended) == 1


def test_a_build_that_fails_is_one_line_and_leaves_what_was_there(real: Workplace) -> None:
    before = real.build()
    real.write("main.go", "package main\n\nfunc main() { nonsense() }\n")
    ended = real.run(BINARY)

    assert ended.returncode == 1
    assert ended.stdout == ""
    *_, last = ended.stderr.splitlines()
    assert re.fullmatch(rf"native/build\.py: {BINARY} did not build: .*undefined: nonsense \(all of it: \S+\)", last)
    assert real.kept() == {before.parent.name}
    assert (real.builds / "current" / BINARY).resolve() == before.resolve()


def test_what_a_killed_build_has_left_is_cleared_away(real: Workplace) -> None:
    (real.builds / ".building-killed").mkdir(parents=True)
    built = real.build()

    assert real.kept() == {built.parent.name}


def test_without_go_it_says_which_is_needed(workplace: Workplace, tmp_path: Path) -> None:
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    ended = workplace.run(BINARY, path=nowhere)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"native/build.py: {BINARY} is built by Go 1.20 or newer, and there is no `go` in PATH: https://go.dev/dl\n"
    )


def test_a_go_that_is_too_old_is_named(workplace: Workplace, tmp_path: Path) -> None:
    said = '{"GOVERSION": "go1.9.7", "GOOS": "linux", "GOARCH": "amd64"}'
    path = fake_go(tmp_path / "old", f"echo '{said}'")
    ended = workplace.run(BINARY, path=path)

    assert ended.returncode == 1
    assert ended.stderr == (
        f"native/build.py: {BINARY} is built by Go 1.20 or newer, and {path}/go is 1.9.7: https://go.dev/dl\n"
    )


def test_a_name_that_is_no_program_is_bad_usage(workplace: Workplace) -> None:
    ended = workplace.run("tempo")

    assert ended.returncode == 2
    assert ended.stderr == ("native/build.py: no program is named tempo: prometheus, promtool, loki, otelcol-flyte\n")
