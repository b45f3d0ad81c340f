"""The stand-in for ``pynvml`` in processes with this folder on their path: see `support.fake_nvml`."""

import importlib.util
import os
from pathlib import Path
from typing import Any

_specification = importlib.util.spec_from_file_location("_fake_nvml", Path(__file__).parents[1] / "fake_nvml.py")
assert _specification
assert _specification.loader
_module = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_module)
NVMLError = _module.NVMLError
_library = _module.of(os.environ.get(_module.VARIABLE, "1"))


def __getattr__(name: str) -> Any:
    return getattr(_library, name)
