"""The syntax of PromQL, LogQL and TraceQL, checked with the published grammars.

Grafana publishes the grammars of LogQL and TraceQL (Apache-2.0) for Node only. They are installed once into the user's
cache. A grammar does not know whether a query finds anything: only Loki and Tempo do.
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
    """Return the error in a query, ``None`` if there is none."""
    try:
        promql_parser.parse(query)
    except ValueError as error:
        return f"{error}: {query}"
    return None


def problems(queries: Sequence[tuple[str, str]]) -> list[str | None]:
    """Return the error in each pair of a language (``logql`` or ``traceql``) and a query, ``None`` if there is none.

    Skip the test if Node or the package registry is missing.
    """
    answer = subprocess.run(
        ["node", "parse.cjs"], cwd=_installed(), input=json.dumps(queries), capture_output=True, text=True, check=True
    )
    found: list[str | None] = json.loads(answer.stdout)
    return found


@functools.cache
def _installed() -> Path:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not on PATH: LogQL and TraceQL are not parsed")
    files = sorted(PROGRAM.iterdir())
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte" / "grammars" / key
    if folder.exists():
        return folder
    # Installed beside and renamed, so that the folder is complete even if two test runs start at once.
    unfinished = folder.with_name(f"{key}.{os.getpid()}")
    shutil.copytree(PROGRAM, unfinished)
    made = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=unfinished, capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(unfinished)
        pytest.skip(f"npm cannot install the grammars of LogQL and TraceQL: {made.stderr.strip()[-300:]}")
    try:
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished)
    return folder
