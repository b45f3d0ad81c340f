"""Log records of the SDK as OTLP requests."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message
from opentelemetry.attributes import BoundedAttributes

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
    of_user = record.log_record
    is_body, is_attribute = _is_beyond(of_user.body), _is_beyond(plain(of_user.attributes))
    if not is_body and not is_attribute:
        return record
    # The record belongs to the SDK and to the user's processors; its classes are frozen in some versions.
    copied, log_record = copy.copy(record), copy.copy(of_user)
    if is_body:
        object.__setattr__(log_record, "body", _converted(of_user.body))
    if is_attribute:
        object.__setattr__(log_record, "attributes", _converted_attributes(of_user.attributes))
    object.__setattr__(copied, "log_record", log_record)
    return copied


def _converted_attributes(attributes: Any) -> Any:
    """Return attributes with the number of those that a limit has dropped."""
    converted = _converted(plain(attributes))
    if not isinstance(attributes, BoundedAttributes):
        return converted
    bounded: Any = copy.copy(attributes)
    # Its constructor drops what a version of the SDK does not accept, such as mappings.
    bounded._dict = converted
    return bounded


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
