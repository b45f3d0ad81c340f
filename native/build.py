"""Builds the stack's programs from the Go module proxy, once, into the user's cache.

``python native/build.py [NAME...]`` prints the path of each. A program stands at
``${XDG_CACHE_HOME:-~/.cache}/otel-flyte/bin/<name>/<key>/<name>``, where the key tells what it was built from, and
``<name>/current`` leads to the folder of the newest. Go's own cache is left as it is: with it, a change of one file
costs seconds, not minutes. ``GOFLAGS=-p=1`` leaves the machine to others meanwhile.
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
"""Builds of one program that stay: two checkouts must not throw out each other's."""


class Program(NamedTuple):
    """What one program is built from."""

    folder: str
    """Below this one, with a ``go.mod`` that pins everything."""
    package: str
    version: str
    stamp: str = ""
    """The Go variable that the program tells its version from; empty where its source has it."""
    tags: str = ""


_PROMETHEUS = "github.com/prometheus/prometheus"
_STAMP = "github.com/prometheus/common/version.Version"
# Discovery by clouds is half of Prometheus, and nothing here asks a cloud; the collector finds kubelets by Kubernetes.
_NO_CLOUDS = "remove_all_sd"

PROGRAMS = {
    "prometheus": Program("prometheus", f"{_PROMETHEUS}/cmd/prometheus", "3.15.0", _STAMP, _NO_CLOUDS),
    "promtool": Program("prometheus", f"{_PROMETHEUS}/cmd/promtool", "3.15.0", _STAMP, _NO_CLOUDS),
    "otelcol-flyte": Program("collector", ".", "0.155.0", tags=f"{_NO_CLOUDS},enable_kubernetes_sd"),
}


class BuildError(Exception):
    """A program that can't be built here; the message is one line for a person."""


class _Go(NamedTuple):
    executable: str
    version: str
    target: str


def build(name: str) -> Path:
    """Return the path of a program, built now if it was not built before from the same.

    Raises:
        BuildError: There is no Go, it is too old, or the build failed.
    """
    program = PROGRAMS[name]
    sources = Path(__file__).parent / program.folder
    go = _go(name, sources)
    home = _cache() / name
    home.mkdir(parents=True, exist_ok=True)
    built = home / _key(program, sources, go)
    with _locked(home / "lock"):
        if not (built / name).is_file():
            _compile(name, program, sources, go, built)
        os.utime(built)  # What is used is not old.
        _lead_to(built)
        _prune(home, built)
    return built / name


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte" / "bin"


def _go(name: str, sources: Path) -> _Go:
    executable = shutil.which("go")
    needed = re.findall(r"^go (\S+)$", (sources / "go.mod").read_text(), re.MULTILINE)[0]
    if executable is None:
        raise BuildError(f"{name} is built by Go {needed} or newer, and there is no `go` in PATH: https://go.dev/dl")
    # Asked where go.mod is: Go may fetch the version that a go.mod names.
    said = subprocess.run(
        [executable, "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
        cwd=sources,
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        raise BuildError(f"{name} is not built: {_last_line(said.stderr)}")
    found = json.loads(said.stdout)
    version = found["GOVERSION"].removeprefix("go")
    if _numbers(version) < _numbers(needed):
        raise BuildError(f"{name} is built by Go {needed} or newer, and {executable} is {version}: https://go.dev/dl")
    return _Go(executable, version, f"{found['GOOS']}/{found['GOARCH']}")


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
    """Wait for whoever else builds this program; what they built is then found."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(name: str, program: Program, sources: Path, go: _Go, built: Path) -> None:
    for left in built.parent.glob(".building-*"):
        shutil.rmtree(left)
    print(f"{name} {program.version} is being built, which takes minutes the first time.", file=sys.stderr)
    beside = Path(tempfile.mkdtemp(prefix=".building-", dir=built.parent))
    log = built.parent / "build.log"
    stamp = f" -X {program.stamp}={program.version}" if program.stamp else ""
    with log.open("w") as output:
        result = subprocess.run(
            [
                *(go.executable, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-tags={program.tags}"),
                *(f"-ldflags=-s -w{stamp}", "-o", str(beside / name), program.package),
            ],
            cwd=sources,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode != 0:
        shutil.rmtree(beside)
        raise BuildError(f"{name} did not build: {_last_line(log.read_text())} (all of it: {log})")
    shutil.rmtree(built, ignore_errors=True)
    beside.chmod(0o755)
    beside.rename(built)


def _lead_to(built: Path) -> None:
    link = built.parent / f".current-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(built.name)
    link.replace(built.parent / "current")


def _prune(home: Path, built: Path) -> None:
    builds = [path for path in home.iterdir() if path.is_dir() and not path.is_symlink() and path != built]
    for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "Go said nothing"


def main(names: list[str]) -> int:
    """Build all that are named, or every program; return the exit code."""
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        print(f"native/build.py: no program is named {unknown[0]}: {', '.join(PROGRAMS)}", file=sys.stderr)
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
