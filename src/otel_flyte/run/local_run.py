"""A local run, recorded."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TextIO

from otel_flyte import semconv
from otel_flyte.config import settings, standard
from otel_flyte.recording.cells import counted
from otel_flyte.report.terminal import Terminal
from otel_flyte.run import live_metrics, pyflyte_run
from otel_flyte.run.identity import named
from otel_flyte.run.pyflyte_run import NotRunnableError, Target
from otel_flyte.runtime.guard import say_once

_STANDARD_ERROR = 2


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
        exit_code: the exit code of ``pyflyte run``.
        recording: the file, ``None`` where no span was recorded.
        problem: one line where spans are missing.
    """

    exit_code: int
    recording: Path | None
    problem: str


def run(arguments: Sequence[str], target: Target, output: Path | None = None) -> Outcome:
    """Run ``pyflyte run`` and record it, in ``output`` if the user has chosen a place.

    Raises:
        NotRunnableError: the recording can't be written anywhere; nothing was run.
    """
    _occupy_standard_descriptors()
    _report_ignored_variables()
    from otel_flyte.run import recording

    try:
        exporter, elsewhere = recording.open_file(target.entity, output)
    except recording.NoPlaceError as error:
        raise NotRunnableError(f"{error}: name a new file, or a folder that can be written, by --output") from None
    if elsewhere:
        say_once(elsewhere)
    folder = Path.cwd()
    with ExitStack() as recorded:
        recorded.enter_context(named(target.entity))
        recorded.enter_context(live_metrics.often())
        stream: TextIO = getattr(sys, "stderr", None) or recorded.enter_context(Path(os.devnull).open("w"))
        if settings.switched_off_by(os.environ) is None:
            recorded.enter_context(recording.to(exporter, stream, Terminal.of(stream, os.environ)))
        code = pyflyte_run.invoke(arguments)
    os.chdir(folder)  # A task may have changed it.
    is_empty = recording.discard_if_empty(exporter)
    if exporter.error:
        reason = exporter.error.strerror or exporter.error
        problem = (
            f"the recording lacks {counted(exporter.dropped, 'span')} that can't be written ({reason}): check the disk"
        )
    else:
        problem = _reason_for_nothing(code) if is_empty else ""
    return Outcome(code, None if is_empty else exporter.path, problem)


def _occupy_standard_descriptors() -> None:
    """Occupy the numbers of closed standard streams: a file that is opened later would receive the output of others."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(descriptor)


def _report_ignored_variables() -> None:
    for problem in standard.unusable(os.environ).values():
        say_once(problem)
    if os.environ.get(semconv.CONFIG_FILE):
        say_once(f"otel-flyte run ignores {semconv.CONFIG_FILE}: set {semconv.ENDPOINT} to export the run")


def _reason_for_nothing(code: int) -> str:
    """Return why nothing was recorded; empty for a failure, which reports itself."""
    if variable := settings.switched_off_by(os.environ):
        return f"nothing was recorded, {variable} disables the instrumentation: unset it"
    if sampler := standard.sampled_out(os.environ):
        return f"nothing was recorded, {sampler}: choose another sampler"
    return "" if code else "nothing was recorded, no task ran in this process: run a workflow or a task"
