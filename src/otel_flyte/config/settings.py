"""The settings of this project, read from ``OTEL_FLYTE_*`` variables.

A value that can't be used becomes one line in ``problems``; nothing here raises.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from otel_flyte import semconv
from otel_flyte.config.endpoints import SIGNALS
from otel_flyte.config.services import is_of_service
from otel_flyte.config.urls import without_password
from otel_flyte.runtime.guard import say_once

LONGEST_EXIT_SECONDS = 3600.0
DEFAULT_INTERVAL_SECONDS = 1.0
SHORTEST_INTERVAL_SECONDS = 0.05
LONGEST_INTERVAL_SECONDS = 30.0
"""Longer intervals would leave minutes without an average."""

_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
_TRACE_URL_EXAMPLE = "https://tempo.example.com/trace/{trace_id}"
_TRACEPARENT = re.compile(r"(?!ff|00.{53}-)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$")
_OUR_PREFIX = "OTEL_FLYTE_"
_OURS = tuple(value for name, value in vars(semconv).items() if name.startswith("OTEL_FLYTE_"))
_STANDARD = (
    semconv.ENDPOINT,
    semconv.PROTOCOL,
    semconv.SERVICE_NAME,
    semconv.SDK_DISABLED,
    semconv.CONFIG_FILE,
    semconv.ID_GENERATOR,
    semconv.DISABLED_INSTRUMENTATIONS,
    semconv.HEADERS,
    semconv.TIMEOUT,
    semconv.COMPRESSION,
    semconv.CERTIFICATE,
    semconv.INSECURE,
    semconv.RESOURCE_ATTRIBUTES,
    semconv.SAMPLER,
    semconv.SAMPLER_ARG,
    *(
        pattern.format(signal=signal.upper())
        for signal in SIGNALS
        for pattern in (semconv.EXPORTER, semconv.SIGNAL_ENDPOINT, semconv.SIGNAL_PROTOCOL)
    ),
)
"""The standard variables whose misspelling would lose telemetry without a word."""

T = TypeVar("T")
B = TypeVar("B", bool, bool | None)


class Settings(NamedTuple):
    """The settings of this project.

    Attributes:
        map_nested: the first array index whose map subtask has a trace of its own.
        control_plane: whether the control plane's attempt spans are exported, as parents of task spans without
            ``TRACEPARENT``.
        exit_timeout: seconds that telemetry may add to the end of a process.
        spool: folder or URL for records that could not be delivered, empty for none.
        sample_interval: seconds between two samples of a task's resource usage, 0 for no samples.
        capture_values: whether the values of inputs and outputs are recorded on spans.
        capture_output: whether a task's stdout and stderr become log records, ``None`` where the variable is not set.
        deck: whether a task with decks enabled has a deck with its telemetry.
        trace_url: template of a link to a span, empty for none.
        problems: one line for each value that can't be used.
    """

    map_nested: int
    control_plane: bool
    exit_timeout: float
    spool: str
    sample_interval: float
    capture_values: bool
    capture_output: bool | None
    deck: bool
    trace_url: str
    problems: tuple[str, ...]


_current: Settings | None = None


def current() -> Settings:
    """Return this project's settings, read once in a process; their problems are logged then."""
    global _current
    if _current is None:
        _current = read(os.environ)
        for problem in _current.problems:
            say_once(problem)
    return _current


def read(environ: Mapping[str, str]) -> Settings:
    """Read this project's own variables."""
    variables = _Variables(environ)
    variables.boolean(semconv.OTEL_FLYTE_ENABLED, True)
    variables.traceparent(semconv.OTEL_FLYTE_LAUNCHED_BY)
    return Settings(
        map_nested=variables.count(semconv.OTEL_FLYTE_MAP_NESTED, 500),
        control_plane=variables.boolean(semconv.OTEL_FLYTE_CONTROL_PLANE, False),
        exit_timeout=variables.seconds(semconv.OTEL_FLYTE_EXIT_TIMEOUT, 2.0, 0.0, LONGEST_EXIT_SECONDS),
        spool=environ.get(semconv.OTEL_FLYTE_SPOOL, "").strip(),
        sample_interval=variables.seconds(
            semconv.OTEL_FLYTE_SAMPLE_INTERVAL,
            DEFAULT_INTERVAL_SECONDS,
            SHORTEST_INTERVAL_SECONDS,
            LONGEST_INTERVAL_SECONDS,
        ),
        capture_values=variables.boolean(semconv.OTEL_FLYTE_CAPTURE_VALUES, False),
        capture_output=variables.boolean(semconv.OTEL_FLYTE_CAPTURE_OUTPUT, None),
        deck=variables.boolean(semconv.OTEL_FLYTE_DECK, True),
        trace_url=variables.trace_url(),
        problems=(*variables.problems, *_misspelt(environ)),
    )


def switched_off_by(environ: Mapping[str, str]) -> str | None:
    """Return the variable that switches the instrumentation off, ``None`` where it is on."""
    if not _Variables(environ).boolean(semconv.OTEL_FLYTE_ENABLED, True):
        return semconv.OTEL_FLYTE_ENABLED
    if environ.get(semconv.SDK_DISABLED, "").strip().lower() == "true":
        return semconv.SDK_DISABLED
    disabled = environ.get(semconv.DISABLED_INSTRUMENTATIONS, "")
    if any(name.strip() in ("flyte", "*") for name in disabled.split(",")):
        return semconv.DISABLED_INSTRUMENTATIONS
    return None


class _Variables:
    """Reads variables, and collects one line for each value that can't be used."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def boolean(self, variable: str, default: B) -> B:
        used = "it is ignored" if default is None else f"{str(default).lower()} is used"
        return self._read(variable, default, lambda value: _BOOLEANS[value.lower()], f"must be true or false: {used}")

    def count(self, variable: str, default: int) -> int:
        def read(value: str) -> int:
            if not (value.isascii() and value.isdigit()):
                raise ValueError
            return int(value)

        return self._read(variable, default, read, f"must be a non-negative integer: {default} is used")

    def seconds(self, variable: str, default: float, shortest: float, longest: float) -> float:
        """Read seconds within bounds; 0 is always allowed."""

        def read(value: str) -> float:
            seconds = float(value)
            if not seconds >= 0:
                raise ValueError
            return seconds

        problem = f"must be a non-negative number of seconds: {default:g} is used"
        seconds = self._read(variable, default, read, problem)
        bounded = min(max(seconds, shortest), longest) if seconds else 0.0
        if bounded != seconds:
            bound = f"at most {longest:g}" if bounded < seconds else f"0 or at least {shortest:g}"
            value = self._environ[variable].strip()
            self.problems.append(f"{variable}={value} must be {bound} s: {bounded:g} is used")
        return bounded

    def traceparent(self, variable: str) -> None:
        """Check a ``traceparent`` (https://www.w3.org/TR/trace-context/), which is parsed where spans are made."""

        def read(value: str) -> None:
            if not _TRACEPARENT.match(value):
                raise ValueError

        self._read(variable, None, read, "must be a W3C traceparent: it is ignored")

    def trace_url(self) -> str:
        variable = semconv.OTEL_FLYTE_TRACE_URL
        value = self._environ.get(variable, "").strip()
        if not value or (value.startswith(("http://", "https://")) and "{trace_id}" in value):
            return value
        wrong = f"{variable}={without_password(value)} must be a URL with {{trace_id}} such as {_TRACE_URL_EXAMPLE}"
        self.problems.append(f"{wrong}: traces are not linked")
        return ""

    def _read(self, variable: str, default: T, read: Callable[[str], T], problem: str) -> T:
        value = self._environ.get(variable, "").strip()
        if not value:
            return default
        try:
            return read(value)
        except (KeyError, ValueError):
            self.problems.append(f"{variable}={value} {problem}")
            return default


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    problems = []
    for variable, value in environ.items():
        if variable in _OURS or variable.startswith(semconv.STACK_VARIABLES) or is_of_service(variable, value):
            continue
        if variable.startswith(_OUR_PREFIX):
            owner, similar = "otel-flyte", _similar(variable, _OURS, 0.7, _OUR_PREFIX)
        elif variable.startswith(("OTEL_", "OTLP_", "OTL_")) and not _is_standard(variable):
            owner, similar = "OpenTelemetry", _similar(variable, _STANDARD, 0.92)
            if not similar:
                continue
        else:
            continue
        problems.append(f"{variable} is not a variable of {owner}{similar}: it is ignored")
    return problems


def _similar(variable: str, known: tuple[str, ...], cutoff: float, prefix: str = "") -> str:
    """Return a guess; a prefix that all have is not compared."""
    import difflib

    names = [name.removeprefix(prefix) for name in known]
    close = difflib.get_close_matches(variable.removeprefix(prefix), names, n=1, cutoff=cutoff)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def _is_standard(variable: str) -> bool:
    from otel_flyte.config.standard import VARIABLES

    return variable in _STANDARD or variable in VARIABLES
