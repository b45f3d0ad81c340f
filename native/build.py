"""Builds the stack's programs from the Go module proxy, once, into the user's cache.

``python native/build.py [NAME...]`` prints the path of each program. A program is built to
``${XDG_CACHE_HOME:-~/.cache}/otel-flyte/bin/<name>/<key>/<name>``. The key is a hash of everything the program is
built from, and the link ``<name>/current`` points to the newest build. Go's own cache is used as it is, so that a
rebuild after a change to one file takes seconds. ``GOFLAGS=-p=1`` limits a build to one core.

Tempo, Loki and Grafana are licensed under the AGPL and are never built here.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

KEPT = 3
"""Builds kept of each program, so that two checkouts do not delete each other's builds."""


class Program(NamedTuple):
    """The source of a program. A change to a field or its value changes the key of the build."""

    folder: str
    """A folder beside this file, with a ``go.mod`` that pins every dependency."""
    package: str
    version: str
    stamp: str = ""
    """The Go variable for the version; empty where the source has the version."""
    tags: str = ""


_PROMETHEUS = "github.com/prometheus/prometheus"
_STAMP = "github.com/prometheus/common/version.Version"
# Service discovery for clouds is half of Prometheus. Only the collector needs one, that of Kubernetes for kubelets.
_NO_CLOUDS = "remove_all_sd"

PROGRAMS = {
    "prometheus": Program("prometheus", f"{_PROMETHEUS}/cmd/prometheus", "3.15.0", _STAMP, _NO_CLOUDS),
    "promtool": Program("prometheus", f"{_PROMETHEUS}/cmd/promtool", "3.15.0", _STAMP, _NO_CLOUDS),
    "otelcol-flyte": Program("collector", ".", "0.155.0", tags=f"{_NO_CLOUDS},enable_kubernetes_sd"),
}


class BuildError(Exception):
    """A program cannot be built; the message is one line."""


class _Go(NamedTuple):
    executable: str
    version: str
    target: str


def build(name: str) -> Path:
    """Return the path of a program. It is built unless the same source was built before.

    Raises:
        BuildError: Go is missing or too old, or the build failed.
    """
    program = PROGRAMS[name]
    sources = Path(__file__).parent / program.folder
    go = _go(name, sources)
    home = _cache() / name
    home.mkdir(parents=True, exist_ok=True)
    folder = home / _key(program, sources, go)
    with _locked(home / "lock"):
        if not (folder / name).is_file():
            _compile(name, program, sources, go, folder)
        os.utime(folder)  # Builds are deleted by the time of their last use.
        _link_current(folder)
        _prune(home, folder)
    return folder / name


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte" / "bin"


def _go(name: str, sources: Path) -> _Go:
    executable = shutil.which("go")
    needed = re.findall(r"^go (\S+)$", (sources / "go.mod").read_text(), re.MULTILINE)[0]
    install = f"install Go {needed} or newer from https://go.dev/dl"
    if executable is None:
        raise BuildError(f"{name} cannot be built, `go` is not on PATH: {install}")
    # Run beside go.mod, because Go may switch to the version that go.mod names.
    result = subprocess.run(
        [executable, "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
        cwd=sources,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise BuildError(f"{name} cannot be built, `go env` failed: {_last_line(result.stderr)}")
    environment = json.loads(result.stdout)
    version = environment["GOVERSION"].removeprefix("go")
    if _numbers(version) < _numbers(needed):
        raise BuildError(f"{name} cannot be built, {executable} is Go {version}: {install}")
    return _Go(executable, version, f"{environment['GOOS']}/{environment['GOARCH']}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _key(program: Program, sources: Path, go: _Go) -> str:
    digest = hashlib.sha256(repr((program, go.version, go.target)).encode())
    for source in sorted(path for path in sources.iterdir() if path.is_file()):
        digest.update(f"{source.name}\0{source.stat().st_size}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time build a program; the next one finds the build."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(name: str, program: Program, sources: Path, go: _Go, folder: Path) -> None:
    for leftover in folder.parent.glob(".building-*"):
        shutil.rmtree(leftover)
    print(f"building {name} {program.version}; the first build takes minutes", file=sys.stderr)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    log = folder.parent / "build.log"
    stamp = f" -X {program.stamp}={program.version}" if program.stamp else ""
    with log.open("w") as output:
        result = subprocess.run(
            [
                *(go.executable, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-tags={program.tags}"),
                *(f"-ldflags=-s -w{stamp}", "-o", str(temporary / name), program.package),
            ],
            cwd=sources,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode != 0:
        shutil.rmtree(temporary)
        raise BuildError(f"{name} failed to build, see {log}: {_last_line(log.read_text())}")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.chmod(0o755)
    temporary.rename(folder)


def _link_current(folder: Path) -> None:
    link = folder.parent / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(folder.parent / "current")


def _prune(home: Path, current: Path) -> None:
    builds = [path for path in home.iterdir() if path.is_dir() and not path.is_symlink() and path != current]
    for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"


def main(names: list[str]) -> int:
    """Build the named programs, or all of them; return the exit code."""
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        print(f"native/build.py: unknown program {unknown[0]}: choose from {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    try:
        for name in names or PROGRAMS:
            print(build(name), flush=True)
    except (BuildError, OSError) as error:
        print(f"native/build.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
