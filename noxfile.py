"""The only task runner: `nox` runs everything that continuous integration runs, `nox -s lint` one session."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "newest", "oldest", "elastic", "wheel", "stack", "docs"]


def _works(python: str) -> bool:
    executable = shutil.which(f"python{python}")
    return (
        executable is not None
        and subprocess.run([executable, "--version"], check=False, capture_output=True).returncode == 0
    )


SUPPORTED = ("3.10", "3.11", "3.12")
PYTHONS = [python for python in SUPPORTED if _works(python)] or [f"{sys.version_info[0]}.{sys.version_info[1]}"]

OLDEST = (
    "flytekit==1.15.0",
    "opentelemetry-sdk==1.27.0",
    "opentelemetry-exporter-otlp==1.27.0",
    "opentelemetry-instrumentation==0.48b0",
    # opentelemetry-instrumentation 0.48b0 imports pkg_resources, which later setuptools lack.
    "setuptools<81",
)
ELASTIC = (
    # The last version that includes its CUDA libraries: one download, without a GPU.
    "torch==1.12.1",
    "numpy<2",
    "flytekitplugins-kfpytorch",
)

STACK = "tests/stack"
"""Tests that need the stack's programs, or test its files."""

CONCURRENTLY = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
"""Three files at a time, as most tests wait for processes that they start, in the order of tests/conftest.py."""


@nox.session(python=PYTHONS[-1])
def lint(session: nox.Session) -> None:
    _sync(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(python=PYTHONS[-1])
def types(session: nox.Session) -> None:
    _sync(session, "lint", "test", "stack", "dev")
    session.run("mypy")


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """All tests with the newest OpenTelemetry and flytekit, as locked."""
    # The extra supports the newest OpenTelemetry only: with the oldest, its tests are skipped.
    _sync(session, "test", extras=("configuration",))
    _test(session, f"--ignore={STACK}")


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The tests with the oldest supported OpenTelemetry and flytekit, without those that are marked `newest_only`."""
    session.install("-e", ".", *nox.project.dependency_groups(_project(), "test"), *OLDEST)
    _test(session, f"--ignore={STACK}", "-m", "not newest_only")


@nox.session(python=PYTHONS[-1])
def quick(session: nox.Session) -> None:
    """The tests marked `quick`, in three minutes, for each commit."""
    _sync(session, "test")
    _test(session, f"--ignore={STACK}", "-m", "quick")


@nox.session(python="3.10")
def elastic(session: nox.Session) -> None:
    """Torch elastic, on the Python for which a small enough torch is on PyPI."""
    if "3.10" not in PYTHONS or platform.machine() not in ("x86_64", "AMD64"):
        session.skip("torch 1.12 needs Python 3.10 on x86-64: the ranks of torch elastic are not tested here")
    session.install("-e", ".", *nox.project.dependency_groups(_project(), "test"), *ELASTIC)
    session.run("python", "-c", "import torch, flytekitplugins.kfpytorch")
    session.run("pytest", "tests/test_elastic.py", *session.posargs)


@nox.session(python=PYTHONS[-1])
def wheel(session: nox.Session) -> None:
    """The wheel in a separate environment, and the README's first command."""
    folder = session.create_tmp()
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", folder, external=True)
    (built,) = Path(folder).glob("*.whl")
    session.install(f"{built}[instruments]")
    session.chdir(folder)
    session.run("otel-flyte", "demo")
    # In a process that a traced one starts, Python imports it by the wheel's `.pth` file.
    imported = "import sys; sys.exit('otel_flyte.child_process' not in sys.modules)"
    session.run(
        "python", "-c", imported, env={"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )


@nox.session(python=PYTHONS[-1])
def stack(session: nox.Session) -> None:
    """The bundled stack, natively: a real Collector and Prometheus, built once; Loki and Tempo where installed."""
    if shutil.which("go") is None:
        session.skip("go is not on PATH to build the stack: dashboards, rules and configurations are not tested")
    _sync(session, "test", "stack")
    session.run("python", "native/build.py")
    # -rP prints the results of queries and the counts of records.
    _test(session, STACK, "-raP")


@nox.session(python=PYTHONS[-1])
def fuzz(session: nox.Session) -> None:
    """The readers of foreign data, guided by their coverage; the argument is the number of seconds for each."""
    if PYTHONS[-1] == "3.10" or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        session.skip("atheris has wheels for Python 3.11 and later on Linux and x86-64 only")
    _sync(session, "fuzz")
    seconds, *names = session.posargs or ["60"]
    folder = Path(session.cache_dir).resolve() / "fuzz"
    listed = session.run("python", "tests/support/fuzz.py", silent=True)
    broken = []
    for name in names or str(listed).split():
        session.log(f"{name}: {seconds} s")
        options = (f"-max_total_time={seconds}", "-max_len=8192", "-timeout=30", "-verbosity=0", "-print_final_stats=1")
        try:
            session.run("python", "tests/support/fuzz.py", name, str(folder), *options)
        except CommandFailed:
            broken.append(name)
    if broken:
        session.error(f"{', '.join(broken)} failed: the inputs are in {folder}")


@nox.session(python=PYTHONS[-1])
def benchmarks(session: nox.Session) -> None:
    """The README's table, and the times of the commands that read a large recording."""
    _sync(session, "test")
    session.run("python", "benchmarks/run.py", *session.posargs)
    session.run("python", "benchmarks/recordings.py")


def _test(session: nox.Session, *options: str) -> None:
    """Run tests concurrently. Failed tests are repeated alone; those that pass then are named."""
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    # Each session has a cache of its own: it lists the failures of that session.
    folder = session.cache_dir.resolve() / session.name
    cache = ("-o", f"cache_dir={folder}")
    try:
        session.run("pytest", *options, *CONCURRENTLY, *cache, "--cache-clear")
    except CommandFailed as failure:
        # With any other code some tests have not run.
        if failure.reason != "Returned code 1":
            raise
    else:
        return
    failed = _failures(folder)
    session.warn("Tests failed. They are repeated without concurrent ones.")
    try:
        session.run("pytest", *options, *cache, "--last-failed", "--last-failed-no-failures=none")
    finally:
        for test in sorted(failed - _failures(folder)):
            session.warn(f"FLAKY {test}: it failed once and passed when it was repeated")


def _failures(cache: Path) -> set[str]:
    """Return the tests that failed in the last run."""
    path = cache / "v" / "cache" / "lastfailed"
    return set(json.loads(path.read_text())) if path.exists() else set()


def _sync(session: nox.Session, *groups: str, extras: tuple[str, ...] = ()) -> None:
    options = [option for group in groups for option in ("--group", group)]
    options += [option for extra in extras for option in ("--extra", extra)]
    session.run_install(
        "uv",
        "sync",
        "--quiet",
        "--locked",
        "--no-default-groups",
        *options,
        env={"UV_PROJECT_ENVIRONMENT": session.virtualenv.location, "UV_PYTHON": session.virtualenv.location},
        external=True,
    )


def _project() -> dict[str, object]:
    return nox.project.load_toml("pyproject.toml")


@nox.session(python=PYTHONS[-1])
def docs(session: nox.Session) -> None:
    """The documentation site, in `site`; broken links and unknown names fail."""
    if PYTHONS[-1] == "3.10":
        session.skip("mkdocstrings needs Python 3.11")
    _sync(session, "docs")
    session.run("zensical", "build", "--strict", "--clean")
