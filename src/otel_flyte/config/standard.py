"""Standard variables that OpenTelemetry's SDK reads, and the values that are used where a value can't be.

The SDK answers a wrong value with a traceback, with a line of its own, or by not starting at all. So each such value is
found here first and becomes one line (:func:`unusable`), and our providers get values that can be used
(:func:`usable`). The environment itself stays as it is.

Other variables are read in :mod:`otel_flyte.config.endpoints` and :mod:`otel_flyte.config.settings`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from otel_flyte import semconv
from otel_flyte.config import endpoints

RATIO = "traceidratio"
PARENT_BASED = "parentbased_"
DEFAULT_SAMPLER = f"{PARENT_BASED}always_on"
SAMPLERS = (
    "always_on",
    "always_off",
    f"{PARENT_BASED}always_on",
    f"{PARENT_BASED}always_off",
    RATIO,
    f"{PARENT_BASED}{RATIO}",
)
SAMPLER_GROUP = "opentelemetry_traces_sampler"
"""The entry points of other samplers: functions that take the argument's text, or ``None``, and return a sampler."""

DETECTOR_GROUP = "opentelemetry_resource_detector"
_ALL = "*"
_FIRST_AND_LAST = ("service_instance", "otel")
"""The detectors that the SDK always uses."""

EXPONENTIAL = "base2_exponential_bucket_histogram"
_UNLIMITED = "no limit"

_HEADER_KEY = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+")
_HEADER_VALUE = re.compile(r"[ !#-+\--:<-\[\]-~]*")
"""The characters of a header that the SDK accepts, URL-encoded or not."""

_FRAMING = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that describe the body. A receiver can't read a body that they describe wrongly."""

_GRPC_KEY = re.compile(r"[0-9a-z_.-]+")
_GRPC_HEADER = "ASCII with a name of letters, digits, '-', '_' and '.'"
GRPC_BINARY = "-bin"
"""The end of names of gRPC metadata whose value is any bytes."""

_KEY_VALUE = "must be key=value"


class _Reading(NamedTuple):
    """The result of reading a value.

    Attributes:
        used: the value that is used, ``None`` where the variable counts as not set.
        wrong: why the value can't be used, empty where it can.
        instead: the value that is used instead, empty for the default.
        is_secret: whether the value may be a secret, which is not shown.
    """

    used: str | None
    wrong: str = ""
    instead: str = ""
    is_secret: bool = False


class _Variable(NamedTuple):
    """How the values of a variable are read.

    Attributes:
        read: reads a value that is not blank.
        default: the value without the variable, in words.
        general: the variable that is used before the default, empty where there is none.
        may_be_blank: whether a blank value has a meaning of its own.
    """

    read: Callable[[str], _Reading]
    default: str
    general: str = ""
    may_be_blank: bool = False


def unusable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return one line for each standard variable whose value can't be used, by the variable's name.

    Values that may be secrets are not shown: entries of lists are named by their position.
    """
    return {name: _line(environ, name, reading) for name, reading in _readings(environ) if reading.wrong}


def usable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the standard values that can't be used."""
    values = dict(environ)
    for name, reading in _readings(environ):
        values.pop(name, None)
        if reading.used is not None:
            values[name] = reading.used
    return values


def number(environ: Mapping[str, str], name: str) -> float:
    """Return the value of a numeric variable in a usable environment, or its default."""
    return float(environ.get(name) or VARIABLES[name].default)


def limit(environ: Mapping[str, str], name: str) -> int | None:
    """Return the value of a limit in a usable environment, or its default; ``None`` for no limit."""
    variable = VARIABLES[name]
    value = environ.get(name)
    if value is None:
        value = environ.get(variable.general, "").strip() or variable.default
    return int(value) if value.strip() and value != _UNLIMITED else None


def sampled_out(environ: Mapping[str, str]) -> str:
    """Return one line if the sampler records no span, or none of a trace that begins here; else an empty string."""
    values = usable(environ)
    sampler, argument = values.get(semconv.SAMPLER, ""), values.get(semconv.SAMPLER_ARG, "")
    chosen = f"{semconv.SAMPLER}={sampler}"
    if sampler not in SAMPLERS:
        return ""
    if sampler.endswith(RATIO) and float(argument) == 0:
        chosen += f" with {semconv.SAMPLER_ARG}={argument}"
    elif not sampler.endswith("always_off"):
        return ""
    if sampler.startswith(PARENT_BASED):
        return f"{chosen} records only spans below a sampled {semconv.TRACEPARENT}"
    return f"{chosen} records no spans"


# --- readers of values -----------------------------------------------------------------------------------------------


def _integer(least: int) -> Callable[[str], _Reading]:
    kind = "positive" if least else "non-negative"

    def read(value: str) -> _Reading:
        try:
            is_usable = int(value) >= least
        except ValueError:
            is_usable = False
        return _Reading(value) if is_usable else _Reading(None, f"must be a {kind} integer")

    return read


def _positive_number(value: str) -> _Reading:
    return _Reading(value) if 0 < _number(value) < math.inf else _Reading(None, "must be a positive number")


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _one_of(*choices: str) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        # The SDK compares in lower case.
        chosen = value.lower()
        return _Reading(chosen) if chosen in choices else _Reading(None, f"must be one of {', '.join(choices)}")

    return read


def _sampler(value: str) -> _Reading:
    """Read the name of a sampler of the SDK, which it compares in lower case, or of an installed one."""
    if value.lower() in SAMPLERS:
        return _Reading(value.lower())
    from importlib.metadata import entry_points

    others = sorted({entry.name for entry in entry_points(group=SAMPLER_GROUP)}.difference(SAMPLERS))
    if value in others:
        return _Reading(value)
    return _Reading(None, f"must be one of {', '.join((*SAMPLERS, *others))}")


def _boolean(value: str) -> _Reading:
    return _Reading(value) if value.lower() in ("true", "false") else _Reading(None, "must be true or false")


def _file(value: str) -> _Reading:
    try:
        with open(value, "rb"):  # noqa: PTH123  # every process that configures an exporter imports this
            return _Reading(value)
    except IsADirectoryError:
        return _Reading(value)
    except (OSError, ValueError) as error:
        return _Reading(None, f"can't be read ({getattr(error, 'strerror', None) or error})")


def _entries(problem_of: Callable[[str], str]) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        entries = [entry for entry in value.split(",") if entry.strip()]
        right: list[str] = []
        problems: dict[str, list[str]] = {}
        for position, entry in enumerate(entries, 1):
            problem = problem_of(entry)
            if problem:
                problems.setdefault(problem, []).append(str(position))
            else:
                right.append(entry)
        used = ",".join(right) or None
        if not problems:
            return _Reading(used)
        wrong = " and ".join(
            f"entr{'y' if len(which) == 1 else 'ies'} {', '.join(which)} {problem}"
            for problem, which in problems.items()
        )
        return _Reading(used, wrong, "the other entries are used" if used else "", True)

    return read


def _problem_of_header(entry: str) -> str:
    key, separator, value = (part.strip() for part in entry.partition("="))
    if not separator or _HEADER_KEY.fullmatch(key) is None:
        return _KEY_VALUE
    if _HEADER_VALUE.fullmatch(value) is None or not unquote(value).isprintable():
        return "must have a URL-encoded value of printable characters"
    return "must not name a header that the exporter sets" if key.lower() in _FRAMING else ""


def _problem_of_grpc_header(entry: str) -> str:
    key, _, value = (part.strip() for part in entry.partition("="))
    name = key.lower()
    fits = _GRPC_KEY.fullmatch(name) and (name.endswith(GRPC_BINARY) or unquote(value).isascii())
    return _problem_of_header(entry) or ("" if fits else f"must be {_GRPC_HEADER}, as the protocol is {endpoints.GRPC}")


def _problem_of_attribute(entry: str) -> str:
    key, separator, _ = entry.partition("=")
    return "" if separator and key.strip() else _KEY_VALUE


def _installed(kind: str, *also: str) -> Callable[[str], _Reading]:
    """Return a reader of names of entry points in the group ``opentelemetry_{kind}``."""

    def read(value: str) -> _Reading:
        from importlib.metadata import entry_points

        names = [name.strip() for name in value.split(",") if name.strip()]
        installed = {entry.name for entry in entry_points(group=f"opentelemetry_{kind.replace(' ', '_')}")}
        missing = [name for name in names if name not in installed and name not in also]
        if not missing:
            # Older versions of the SDK look up the empty names between two commas, too.
            return _Reading(",".join(names) or None)
        used = ",".join(name for name in names if name not in missing) or None
        wrong = "is not installed" if missing == names else f"contains {', '.join(missing)}, which is not installed"
        listed = f"(installed {kind}s: {', '.join(sorted(installed))})"
        return _Reading(used, f"{wrong} {listed}", "the others are used" if used else "")

    return read


def _detectors(value: str) -> _Reading:
    """Read names of resource detectors. Older versions of the SDK do not know ``*``, the name of all others."""
    reading = _installed("resource detector", _ALL)(value)
    names = (reading.used or "").split(",")
    if _ALL not in names:
        return reading
    from importlib.metadata import entry_points

    installed = {entry.name for entry in entry_points(group=DETECTOR_GROUP)}
    # The SDK's own are the first and the last of all, so that those of others and the user's attributes win.
    others = sorted(installed.difference(names, _FIRST_AND_LAST))
    first = [name for name in _FIRST_AND_LAST[:1] if name in installed and name not in names]
    place = names.index(_ALL)
    rest = [name for name in names[place + 1 :] if name != _ALL]
    return reading._replace(used=",".join([*first, *names[:place], *others, *rest]) or None)


# --- the variables ---------------------------------------------------------------------------------------------------

_FOR_EACH_SIGNAL = {
    semconv.HEADERS: _Variable(_entries(_problem_of_header), "no header"),
    semconv.COMPRESSION: _Variable(_one_of("none", "gzip", "deflate"), "none"),
    semconv.TIMEOUT: _Variable(_positive_number, "10"),
    semconv.CERTIFICATE: _Variable(_file, "the system's certificate store"),
    semconv.CLIENT_KEY: _Variable(_file, "no client key"),
    semconv.CLIENT_CERTIFICATE: _Variable(_file, "no client certificate"),
    semconv.INSECURE: _Variable(_boolean, "the endpoint's scheme"),
}
_LIMITS = {
    semconv.ATTRIBUTE_COUNT_LIMIT: ("128", ""),
    semconv.ATTRIBUTE_LENGTH_LIMIT: (_UNLIMITED, ""),
    semconv.SPAN_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.SPAN_ATTRIBUTE_LENGTH_LIMIT: (_UNLIMITED, semconv.ATTRIBUTE_LENGTH_LIMIT),
    semconv.SPAN_EVENT_COUNT_LIMIT: ("128", ""),
    semconv.SPAN_LINK_COUNT_LIMIT: ("128", ""),
    semconv.EVENT_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LINK_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LOG_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LOG_ATTRIBUTE_LENGTH_LIMIT: (_UNLIMITED, semconv.ATTRIBUTE_LENGTH_LIMIT),
}
# The SDK's queue of 2,048 drops most of a burst of 10,000; this one takes some 100 MB when it is full. A killed process
# has not sent the records of the delay, which is 5 s in the SDK: that is long for a task.
_BATCH_DEFAULTS = {
    semconv.BATCH_DELAY: "1000",
    semconv.BATCH_TIMEOUT: "30000",
    semconv.BATCH_QUEUE: "32768",
    semconv.BATCH_SIZE: "512",
}
VARIABLES = {
    **_FOR_EACH_SIGNAL,
    **{
        name.replace("_OTLP_", f"_OTLP_{signal}_"): variable._replace(general=name)
        for name, variable in _FOR_EACH_SIGNAL.items()
        for signal in ("TRACES", "METRICS", "LOGS")
    },
    **{
        name: _Variable(_integer(0), default, general, may_be_blank=True)
        for name, (default, general) in _LIMITS.items()
    },
    **{
        pattern.format(batch=batch): _Variable(_integer(1), default)
        for pattern, default in _BATCH_DEFAULTS.items()
        for batch in semconv.BATCHES
    },
    semconv.METRIC_EXPORT_INTERVAL: _Variable(_positive_number, "60000"),
    semconv.METRIC_EXPORT_TIMEOUT: _Variable(_positive_number, "30000"),
    semconv.EXEMPLAR_FILTER: _Variable(_one_of("always_on", "always_off", "trace_based"), "trace_based"),
    semconv.TEMPORALITY: _Variable(_one_of("cumulative", "delta", "lowmemory"), "cumulative"),
    semconv.HISTOGRAM_AGGREGATION: _Variable(
        _one_of("explicit_bucket_histogram", EXPONENTIAL), "explicit_bucket_histogram"
    ),
    semconv.SAMPLER: _Variable(_sampler, DEFAULT_SAMPLER),
    semconv.RESOURCE_ATTRIBUTES: _Variable(_entries(_problem_of_attribute), "no attribute"),
    semconv.RESOURCE_DETECTORS: _Variable(_detectors, "the SDK's default"),
    semconv.PROPAGATORS: _Variable(_installed("propagator", "none"), "tracecontext,baggage"),
    semconv.ID_GENERATOR: _Variable(_installed("id generator"), "flyte"),
    semconv.TRACER_PROVIDER: _Variable(_installed("tracer provider"), "none"),
    semconv.SDK_DISABLED: _Variable(_boolean, "false"),
    semconv.INTERNAL_METRICS: _Variable(_boolean, "false"),
}
"""All variables that are read here, by their names."""


def _readings(environ: Mapping[str, str]) -> Iterator[tuple[str, _Reading]]:
    for name, variable in VARIABLES.items():
        value = environ.get(name)
        if value is not None and value.strip():
            yield name, variable.read(value.strip())
        elif value is not None and not variable.may_be_blank:
            yield name, _Reading(None)
    yield from _grpc_headers(environ)
    yield from _sampler_argument(environ)
    for batch in semconv.BATCHES:
        yield from _batch_size(environ, batch)


def _grpc_headers(environ: Mapping[str, str]) -> Iterator[tuple[str, _Reading]]:
    """Read the headers of signals that are sent over gRPC, which fails with a header that HTTP can send."""
    for signal in endpoints.SIGNALS:
        if endpoints.plan(signal, environ).protocol != endpoints.GRPC:
            continue
        for name in (semconv.HEADERS.replace("_OTLP_", f"_OTLP_{signal.upper()}_"), semconv.HEADERS):
            reading = _entries(_problem_of_grpc_header)(environ.get(name, "").strip())
            if reading.used or reading.wrong:
                yield name, reading
            # Without a usable entry of its own, the signal has the headers for all.
            if reading.used:
                break


def _sampler_argument(environ: Mapping[str, str]) -> Iterator[tuple[str, _Reading]]:
    """Read the share of traces that a sampler records, which the SDK requires."""
    if environ.get(semconv.SAMPLER, "").strip().lower() not in (RATIO, f"{PARENT_BASED}{RATIO}"):
        return
    value = environ.get(semconv.SAMPLER_ARG, "").strip()
    if 0 <= _number(value) <= 1:
        yield semconv.SAMPLER_ARG, _Reading(value)
    else:
        yield semconv.SAMPLER_ARG, _Reading("1.0", "must be a number from 0 to 1" if value else "", "1.0 is used")


def _batch_size(environ: Mapping[str, str], batch: str) -> Iterator[tuple[str, _Reading]]:
    """Limit the batch size to the queue size: the SDK rejects larger batches."""
    names = semconv.BATCH_QUEUE.format(batch=batch), semconv.BATCH_SIZE.format(batch=batch)
    queue, size = (VARIABLES[name].read(environ.get(name, "").strip()).used for name in names)
    size = size or VARIABLES[names[1]].default
    if queue and int(queue) < int(size):
        yield names[0], _Reading(queue, f"is less than the batch size {size}", f"the batch size {queue} is used")
        yield names[1], _Reading(queue)


def _line(environ: Mapping[str, str], name: str, reading: _Reading) -> str:
    given = f"{name}:" if reading.is_secret else f"{name}={environ[name]}"
    instead = reading.instead
    if not instead:
        variable = VARIABLES[name]
        has_general = environ.get(variable.general, "").strip()
        instead = f"{variable.general if has_general else variable.default} is used"
    return f"{given} {reading.wrong}: {instead}"
