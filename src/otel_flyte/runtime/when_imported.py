"""Calls a function after a module is imported, so that otel-flyte need not import the module itself.

Python imports this at the start of every process that a traced one starts: it imports only what such a process has.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, function: "Callable[[], object]") -> None:
    """Call a function when a module has been imported: now if it is, else in the thread that imports it."""
    if name in sys.modules:
        # Another thread may be importing it.
        importlib.import_module(name)
        function()
    else:
        sys.meta_path.insert(0, _Finder(name, function))


class _Finder:
    """A finder that has the others find its module. It stays: an import of another thread may be at it."""

    def __init__(self, name: str, function: "Callable[[], object]") -> None:
        self.name = name
        self.function = function
        self.is_done = False

    def find_spec(
        self,
        name: str,
        path: "Sequence[str] | None" = None,  # noqa: ARG002 - the protocol's
        target: "ModuleType | None" = None,  # noqa: ARG002 - the protocol's
    ) -> "ModuleSpec | None":
        """Return the spec of the module, with a loader that calls the function."""
        if name != self.name or self.is_done:
            return None
        self.is_done = True
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            self.is_done = False
            return None
        spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # it has the methods of the protocol
        return spec


class _Loader:
    """Loads a module by its own loader, and calls the function. Its base class would take long to import."""

    def __init__(self, loader: "Loader", finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self._loader.create_module(spec)

    def exec_module(self, module: "ModuleType") -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        try:
            self._loader.exec_module(module)
        except BaseException:
            self._finder.is_done = False
            raise
        from otel_flyte.runtime.guard import guarded

        guarded(self._finder.function)()
