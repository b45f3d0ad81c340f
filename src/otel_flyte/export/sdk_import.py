"""The import of the SDK's spans where a variable keeps them from being imported."""

import os
import sys
from importlib import import_module

from otel_flyte import semconv
from otel_flyte.config.standard import unusable

_VARIABLE = semconv.SPAN_ATTRIBUTE_COUNT_LIMIT
_MODULE = "opentelemetry.sdk.trace"


def import_sdk_of_traces() -> None:
    """Import the SDK of traces if this variable holds no non-negative integer, with which the import itself fails.

    The SDK reads the variable by a constant that holds its name, which is another one during the import.
    """
    if _MODULE in sys.modules or not unusable({_VARIABLE: os.environ.get(_VARIABLE, "")}):
        return
    names = import_module("opentelemetry.sdk.environment_variables")
    setattr(names, _VARIABLE, f"{_VARIABLE} is not usable")
    try:
        setattr(import_module(_MODULE), _VARIABLE, _VARIABLE)
    finally:
        setattr(names, _VARIABLE, _VARIABLE)
