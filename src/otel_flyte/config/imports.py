"""The import of modules of OpenTelemetry that fails where a standard variable can't be used."""

import os
import sys
from importlib import import_module

from otel_flyte.config import standard


def import_despite(variable: str, module: str, constants: str) -> None:
    """Import a module without the value of a variable, if it is not imported yet and the value can't be used.

    Args:
        variable: the variable that the module reads when it is imported.
        module: the module.
        constants: the module with the constant from which it takes the variable's name, which has the same name. The
            constant has another value during the import.
    """
    if module in sys.modules or variable not in os.environ or _is_usable(variable, os.environ[variable]):
        return
    names = import_module(constants)
    setattr(names, variable, f"{variable} is not usable")
    try:
        setattr(import_module(module), variable, variable)
    finally:
        setattr(names, variable, variable)


def _is_usable(variable: str, value: str) -> bool:
    given = {variable: value}
    return variable in standard.usable(given) and not standard.unusable(given)
