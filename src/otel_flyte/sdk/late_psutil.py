"""The SDK without psutil, until the SDK calls it.

The SDK imports psutil for its process detector alone, which few users select. That import takes longer than the SDK of
traces itself.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import get_ident
from types import ModuleType
from typing import Any

_NAME = "psutil"
_IMPORTER = "opentelemetry.sdk.resources"


@contextmanager
def psutil_later() -> Iterator[None]:
    """Import the SDK in this context; psutil is imported when the SDK calls it."""
    if _NAME in sys.modules or _IMPORTER in sys.modules:
        yield
        return
    finder = _NotYet()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.is_done = True
        importer = sys.modules.get(_IMPORTER)
        if importer is not None and vars(importer).get(_NAME, importer) is None:
            setattr(importer, _NAME, _Later(_NAME))


class _NotYet:
    """A finder that finds no psutil for this thread; other threads are not affected.

    It stays in ``sys.meta_path``: an import of another thread that is at it would skip the next finder.
    """

    def __init__(self) -> None:
        self._thread = get_ident()
        self.is_done = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002 - the protocol's
        """Raise an error for psutil."""
        if name == _NAME and get_ident() == self._thread and not self.is_done:
            raise ModuleNotFoundError(f"{name} is imported later", name=name)


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(_NAME), name)
