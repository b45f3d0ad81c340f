"""Log records of the SDK as OTLP requests."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message

from otel_flyte.export.otlp_json import plain
from otel_flyte.runtime.forks import importing
from otel_flyte.runtime.limits import in_64_bits


def encode(records: Sequence[Any]) -> Message:
    """Return log records as a request. OpenTelemetry's encoder fails for an integer beyond 64 bits: it is a double."""
    with importing:
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

    request: Message = encode_logs([_with_doubles(record) for record in records])
    return request


def _with_doubles(record: Any) -> Any:
    fields = {"body": record.log_record.body, "attributes": plain(record.log_record.attributes)}
    changed = {name: _converted(value) for name, value in fields.items() if _is_beyond(value)}
    if not changed:
        return record
    # The records belong to the SDK and to the user's processors, and their classes depend on the version.
    converted, converted_log = copy.copy(record), copy.copy(record.log_record)
    for name, value in changed.items():
        object.__setattr__(converted_log, name, value)
    object.__setattr__(converted, "log_record", converted_log)
    return converted


def _is_beyond(value: Any) -> bool:
    """Return whether a value has an integer beyond 64 bits."""
    match value:
        case str() | bytes():
            return False
        case int():
            return not -(2**63) <= value < 2**63
        case Mapping():
            return any(map(_is_beyond, value.values()))
        case Sequence():
            return any(map(_is_beyond, value))
    return False


def _converted(value: Any) -> Any:
    match value:
        case str() | bytes() | bool():
            return value
        case int():
            with suppress(OverflowError):
                return in_64_bits(value)
        case Mapping():
            return {key: _converted(item) for key, item in value.items()}
        case Sequence():
            return [_converted(item) for item in value]
    return value
