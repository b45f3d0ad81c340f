"""Starts the programs beside this file, and gives variants of a dispatch their turns."""

import os
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
NOTHING: Mapping[str, str] = {}


class Variant(NamedTuple):
    """A variant of `dispatch.py`.

    Attributes:
        name: its name there.
        python: the interpreter of its environment.
        env: further variables.
    """

    name: str
    python: Path
    env: Mapping[str, str] = NOTHING


class Times(NamedTuple):
    """The CPU time of a dispatch, in µs.

    Attributes:
        calling: of the thread that dispatches, the median of all turns.
        sending: of the thread that sends spans.
    """

    calling: float
    sending: float


def take(variants: Mapping[str, Variant], turns: int) -> dict[str, Times]:
    """Start all variants, give each its turns, and return their times."""
    processes = {name: started(each.python, "dispatch.py", each.name, each.env) for name, each in variants.items()}
    calling: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(turns):
        for name, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            calling[name].append(float(process.stdout.readline()))
    return {
        name: Times(statistics.median(calling[name]), float(process.communicate()[0]))
        for name, process in processes.items()
    }


def started(python: Path, program: str, variant: str, env: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start a variant of a program beside this file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.Popen(
        [str(python), str(HERE / program), variant],
        env={**kept, "FLYTE_SDK_LOGGING_LEVEL": "50", **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
