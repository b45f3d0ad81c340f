"""A cache of results of runs without this project: they change only with flytekit, Python and the tests themselves.

Set ``FRESH_BARE_RUNS=1`` to repeat them. The cache is a folder of small files under ``XDG_CACHE_HOME``; files are
written whole, so that several processes may use it at once.
"""

import ast
import functools
import hashlib
import importlib.metadata
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support import pods

FRESH = "FRESH_BARE_RUNS"
UNUSED_DAYS = 30
_IS_FRESH = bool(os.environ.get(FRESH))
_FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte-tests" / "bare"


def key(*parts: object, sources: Iterable[Path] = ()) -> str:
    """Return the key of a run: a hash of everything on which its result depends.

    Args:
        parts: the differences from other runs with the same sources; each has a complete ``repr``.
        sources: files besides the workflows, ``pods.py`` and the stand-in for a missing otel-flyte.
    """
    files = {file: _digest(file) for file in sources}
    return hashlib.sha256(repr((_surroundings(), sorted(files.values()), parts)).encode()).hexdigest()


def read(key: str) -> Any:
    """Return the value of a key, ``None`` if there is none or ``FRESH_BARE_RUNS`` is set."""
    path = _FOLDER / key
    if _IS_FRESH:
        return None
    try:
        value = ast.literal_eval(path.read_text())
        os.utime(path)
    except (OSError, ValueError, SyntaxError):
        return None
    return value


def write(key: str, value: Any) -> None:
    """Store a value of Python literals; remove values that were not used for a month."""
    try:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=_FOLDER, prefix=".", delete=False) as file:
            file.write(repr(value))
        Path(file.name).replace(_FOLDER / key)
        _remove_unused()
    except OSError as error:
        sys.stderr.write(f"The cache of bare runs cannot be written ({error}): these runs are repeated next time.\n")


@functools.cache
def _remove_unused() -> None:
    oldest = time.time() - UNUSED_DAYS * 86400
    for path in _FOLDER.iterdir():
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


@functools.cache
def _surroundings() -> tuple[object, ...]:
    installed = {
        (found.metadata["Name"], found.version)
        for found in importlib.metadata.distributions()
        if found.metadata["Name"] != "otel-flyte"
    }
    sources = [Path(pods.__file__), *pods.BARE.rglob("*.py"), *pods.WORKFLOWS.glob("*.py")]
    mask = os.umask(0)
    os.umask(mask)
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    return (
        *(sys.version, sys.prefix, sys.base_prefix, str(pods.WORKFLOWS)),
        sorted(installed),
        sorted((path.name, _digest(path)) for path in sources),
        *(os.geteuid(), mask, sorted(ignored), tempfile.gettempdir()),
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
