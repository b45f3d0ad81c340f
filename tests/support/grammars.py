"""Whether queries are PromQL, LogQL and TraceQL, by the grammars that Grafana and Prometheus have for them.

Grafana publishes those of LogQL and TraceQL for Node alone. They are installed once into the user's cache.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import promql_parser
import pytest

PROGRAM = Path(__file__).with_name("grammar")


def promql_problem(query: str) -> str | None:
    """What is wrong with a query, ``None`` where nothing is."""
    try:
        promql_parser.parse(query)
    except ValueError as error:
        return f"{error}: {query}"
    return None


def problems(queries: Sequence[tuple[str, str]]) -> list[str | None]:
    """What is wrong with each of (``logql`` or ``traceql``, query).

    Skips the test, by a reason, where there is no Node or no package registry.
    """
    answer = subprocess.run(
        ["node", "parse.cjs"], cwd=_installed(), input=json.dumps(queries), capture_output=True, text=True, check=True
    )
    found: list[str | None] = json.loads(answer.stdout)
    return found


@functools.cache
def _installed() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node or npm on the PATH: LogQL and TraceQL are not parsed")
    files = sorted(PROGRAM.iterdir())
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte" / "grammars" / key
    if folder.exists():
        return folder
    # Made beside and renamed: what is there is whole, also where two test runs begin at once.
    unfinished = folder.with_name(f"{key}.{os.getpid()}")
    shutil.copytree(PROGRAM, unfinished)
    made = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=unfinished, capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(unfinished)
        pytest.skip(f"npm could not install the grammars of LogQL and TraceQL: {made.stderr.strip()[-300:]}")
    try:
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished)
    return folder
