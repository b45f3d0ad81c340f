"""Standard variables that OpenTelemetry's SDK reads by itself, and what becomes of a value that it can't use.

The SDK answers a wrong value with a traceback, with a line of its own, or by not starting at all. So what it can't use
is found here first: each such value becomes one line that says what is wrong and what is used instead
(:func:`unusable`), and the SDK never sees it (:func:`usable_only`).

What other variables configure stands in :mod:`otel_flyte.config.settings`. Nothing here is used unless something is
exported.
"""

import importlib
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import unquote

from otel_flyte import semconv

SAMPLERS = (
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    "traceidratio",
    "parentbased_traceidratio",
)
_RATIO = "traceidratio"
_PARENT_BASED = "parentbased_"
_BATCH = 512
"""Records in a batch, where nothing else is said."""

_HEADER_KEY = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+")
_HEADER_VALUE = re.compile(r"[ !#-+\--:<-\[\]-~]*")
"""What the SDK takes for a header, URL-encoded or not."""

_lock = threading.RLock()


class _Reading(NamedTuple):
    """What a value comes to.

    Attributes:
        used: what the SDK is to read, ``None`` where the variable is to be unset for it.
        wrong: what is wrong with the value, empty where nothing is.
        instead: what is used instead, empty where it is the default.
        shown: whether the value may be shown to anybody.
    """

    used: str | None
    wrong: str = ""
    instead: str = ""
    shown: bool = True


class _Variable(NamedTuple):
    """How the values of a variable are read.

    Attributes:
        read: reads a value that is not blank.
        default: what is used where there is no value, in words.
        otherwise: the variable that decides before the default does, empty where there is none.
        may_be_blank: whether the SDK gives a blank value a meaning of its own.
    """

    read: Callable[[str], _Reading]
    default: str
    otherwise: str = ""
    may_be_blank: bool = False


def unusable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return one line for each standard variable whose value can't be used, by the variable's name.

    What may be a secret is not in it: entries of lists are named by their position.
    """
    return {name: _line(environ, name, reading) for name, reading in _readings(environ) if reading.wrong}


def usable(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment as OpenTelemetry is to read it, with nothing in it that can't be used."""
    read = dict(environ)
    _put(_changes(environ), read)
    return read


@contextmanager
def usable_only() -> Iterator[None]:
    """Keep from ``os.environ``, as long as the context lasts, what can't be used; then restore it exactly.

    The SDK is to be imported and its providers made inside: it reads some variables on import. Threads take turns; the
    same thread may enter again.
    """
    _lock.acquire()
    changes = _changes(os.environ)
    if not changes:
        _lock.release()
        yield
        return
    given = {name: os.environ.get(name) for name in changes}
    try:
        _put(changes, os.environ)
        if semconv.PROPAGATORS in changes:
            # It reads the variable on import: a task that imports it later would fail.
            importlib.import_module("opentelemetry.propagate")
        yield
    finally:
        _put(given, os.environ)
        _lock.release()


def sampled_out(environ: Mapping[str, str]) -> str:
    """Return one line where the sampler records no span, or none of a trace that begins here; empty where it does."""
    read = usable(environ)
    sampler, argument = read.get(semconv.SAMPLER, ""), read.get(semconv.SAMPLER_ARG, "")
    said = f"{semconv.SAMPLER}={sampler}"
    if sampler.endswith(_RATIO) and float(argument) == 0:
        said += f" with {semconv.SAMPLER_ARG}={argument}"
    elif not sampler.endswith("always_off"):
        return ""
    if sampler.startswith(_PARENT_BASED):
        return f"{said} records no span but those below a sampled {semconv.TRACEPARENT}"
    return f"{said} records no span"


# --- how a value must look -------------------------------------------------------------------------------------------


def _whole_number(least: int) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        try:
            usable = int(value) >= least
        except ValueError:
            usable = False
        return _Reading(value) if usable else _Reading(None, f"is no whole number from {least} up")

    return read


def _number_above_zero(value: str) -> _Reading:
    return _Reading(value) if 0 < _number(value) < math.inf else _Reading(None, "is no number above 0")


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def _one_of(*choices: str) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        # Lower case is what all of the SDK compares with.
        chosen = value.lower()
        return _Reading(chosen) if chosen in choices else _Reading(None, f"is not one of {', '.join(choices)}")

    return read


def _boolean(value: str) -> _Reading:
    return _Reading(value) if value.lower() in ("true", "false") else _Reading(None, "is neither true nor false")


def _file(value: str) -> _Reading:
    try:
        with open(value, "rb"):  # noqa: PTH123  # every process that configures something imports this
            return _Reading(value)
    except IsADirectoryError:
        return _Reading(value)
    except (OSError, ValueError) as error:
        return _Reading(None, f"can't be read ({getattr(error, 'strerror', None) or error})")


def _entries(is_right: Callable[[str], bool]) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        entries = [entry for entry in value.split(",") if entry.strip()]
        wrong = [str(number) for number, entry in enumerate(entries, 1) if not is_right(entry)]
        used = ",".join(entry for entry in entries if is_right(entry)) or None
        if not wrong:
            return _Reading(used)
        which = f"entry {wrong[0]} is" if len(wrong) == 1 else f"entries {', '.join(wrong)} are"
        instead = "the others are used" if used else ""
        return _Reading(used, f"{which} no key=value", instead, shown=False)

    return read


def _is_header(entry: str) -> bool:
    key, separator, value = (part.strip() for part in entry.partition("="))
    decoded = unquote(value)
    return (
        bool(separator)
        and _HEADER_KEY.fullmatch(key) is not None
        and _HEADER_VALUE.fullmatch(value) is not None
        and all(character.isprintable() for character in decoded)
    )


def _is_attribute(entry: str) -> bool:
    key, separator, _ = entry.partition("=")
    return bool(separator) and bool(key.strip())


def _installed(group: str, noun: str, *also: str) -> Callable[[str], _Reading]:
    def read(value: str) -> _Reading:
        from importlib.metadata import entry_points

        names = [name.strip() for name in value.split(",") if name.strip()]
        there = {entry.name for entry in entry_points(group=group)}
        missing = [name for name in names if name not in there and name not in also]
        if not missing:
            return _Reading(value)
        used = ",".join(name for name in names if name not in missing) or None
        which = "" if missing == names else f" by {', '.join(missing)}"
        wrong = f"names no {noun} that is installed here{which} (installed: {', '.join(sorted(there))})"
        return _Reading(used, wrong, "the others are used" if used else "")

    return read


# --- the variables ---------------------------------------------------------------------------------------------------

_DETECTORS = "opentelemetry_resource_detector"
_PROPAGATORS = "opentelemetry_propagator"
_ID_GENERATORS = "opentelemetry_id_generator"
_TRACER_PROVIDERS = "opentelemetry_tracer_provider"

_FOR_EACH_SIGNAL = {
    semconv.HEADERS: _Variable(_entries(_is_header), "no header"),
    semconv.COMPRESSION: _Variable(_one_of("none", "gzip", "deflate"), "none"),
    semconv.TIMEOUT: _Variable(_number_above_zero, "10"),
    semconv.CERTIFICATE: _Variable(_file, "the system's certificates are"),
    semconv.CLIENT_KEY: _Variable(_file, "none"),
    semconv.CLIENT_CERTIFICATE: _Variable(_file, "none"),
    semconv.INSECURE: _Variable(_boolean, "what the endpoint's scheme says"),
}
_LIMITS = {
    semconv.ATTRIBUTE_COUNT_LIMIT: ("128", ""),
    semconv.ATTRIBUTE_LENGTH_LIMIT: ("no limit", ""),
    semconv.SPAN_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.SPAN_ATTRIBUTE_LENGTH_LIMIT: ("no limit", semconv.ATTRIBUTE_LENGTH_LIMIT),
    semconv.SPAN_EVENT_COUNT_LIMIT: ("128", ""),
    semconv.SPAN_LINK_COUNT_LIMIT: ("128", ""),
    semconv.EVENT_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LINK_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LOG_ATTRIBUTE_COUNT_LIMIT: ("128", semconv.ATTRIBUTE_COUNT_LIMIT),
    semconv.LOG_ATTRIBUTE_LENGTH_LIMIT: ("no limit", semconv.ATTRIBUTE_LENGTH_LIMIT),
}


def _of_signal(name: str, signal: str) -> str:
    return name.replace("_OTLP_", f"_OTLP_{signal}_")


VARIABLES = {
    **_FOR_EACH_SIGNAL,
    **{
        _of_signal(name, signal): variable._replace(otherwise=name)
        for name, variable in _FOR_EACH_SIGNAL.items()
        for signal in ("TRACES", "METRICS", "LOGS")
    },
    **{
        name: _Variable(_whole_number(0), default, otherwise, may_be_blank=True)
        for name, (default, otherwise) in _LIMITS.items()
    },
    **{semconv.BATCH_DELAY.format(batch=batch): _Variable(_whole_number(1), "1000") for batch in semconv.BATCHES},
    **{semconv.BATCH_TIMEOUT.format(batch=batch): _Variable(_whole_number(1), "30000") for batch in semconv.BATCHES},
    **{semconv.BATCH_QUEUE.format(batch=batch): _Variable(_whole_number(1), "32768") for batch in semconv.BATCHES},
    **{semconv.BATCH_SIZE.format(batch=batch): _Variable(_whole_number(1), f"{_BATCH}") for batch in semconv.BATCHES},
    semconv.METRIC_EXPORT_INTERVAL: _Variable(_number_above_zero, "60000"),
    semconv.METRIC_EXPORT_TIMEOUT: _Variable(_number_above_zero, "30000"),
    semconv.EXEMPLAR_FILTER: _Variable(_one_of("always_on", "always_off", "trace_based"), "trace_based"),
    semconv.TEMPORALITY: _Variable(_one_of("cumulative", "delta", "lowmemory"), "cumulative"),
    semconv.HISTOGRAM_AGGREGATION: _Variable(
        _one_of("explicit_bucket_histogram", "base2_exponential_bucket_histogram"), "explicit_bucket_histogram"
    ),
    semconv.SAMPLER: _Variable(_one_of(*SAMPLERS), "parentbased_always_on"),
    semconv.RESOURCE_ATTRIBUTES: _Variable(_entries(_is_attribute), "none"),
    semconv.RESOURCE_DETECTORS: _Variable(_installed(_DETECTORS, "detector", "*"), "the SDK's own"),
    semconv.PROPAGATORS: _Variable(_installed(_PROPAGATORS, "propagator", "none"), "tracecontext,baggage"),
    semconv.ID_GENERATOR: _Variable(_installed(_ID_GENERATORS, "id generator"), "flyte"),
    semconv.TRACER_PROVIDER: _Variable(_installed(_TRACER_PROVIDERS, "tracer provider"), "none"),
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
    yield from _sampler_argument(environ)
    for batch in semconv.BATCHES:
        yield from _batch_size(environ, batch)


def _sampler_argument(environ: Mapping[str, str]) -> Iterator[tuple[str, _Reading]]:
    """Read the share of traces that a sampler records; the SDK misses it where it is not there."""
    if environ.get(semconv.SAMPLER, "").strip().lower() not in (_RATIO, _PARENT_BASED + _RATIO):
        return
    value = environ.get(semconv.SAMPLER_ARG, "").strip()
    if 0 <= _number(value) <= 1:
        yield semconv.SAMPLER_ARG, _Reading(value)
    else:
        yield semconv.SAMPLER_ARG, _Reading("1.0", "is no number from 0 to 1" if value else "", "1.0 is used")


def _batch_size(environ: Mapping[str, str], batch: str) -> Iterator[tuple[str, _Reading]]:
    """Make batches no larger than the queue, which the SDK takes for an error."""
    size_variable, queue_variable = semconv.BATCH_SIZE.format(batch=batch), semconv.BATCH_QUEUE.format(batch=batch)
    queue, size = (VARIABLES[name].read(environ.get(name, "").strip()).used for name in (queue_variable, size_variable))
    if queue and int(queue) < int(size or _BATCH):
        wrong = f"is less than a batch of {size or _BATCH}"
        yield queue_variable, _Reading(queue, wrong, f"batches of {queue} are sent")
        yield size_variable, _Reading(queue)


def _line(environ: Mapping[str, str], name: str, reading: _Reading) -> str:
    variable = VARIABLES.get(name)
    said = f"{name}={environ[name]} " if reading.shown else f"{name}: "
    instead = reading.instead
    if not instead and variable is not None:
        common = variable.otherwise if environ.get(variable.otherwise, "").strip() else ""
        default = f"that of {common}" if common else variable.default
        instead = f"{default} used" if default.endswith(" are") else f"{default} is used"
    return f"{said}{reading.wrong}: {instead}."


def _changes(environ: Mapping[str, str]) -> dict[str, str | None]:
    return {name: reading.used for name, reading in _readings(environ) if reading.used != environ.get(name)}


def _put(values: Mapping[str, str | None], environ: MutableMapping[str, str]) -> None:
    for name, value in values.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
