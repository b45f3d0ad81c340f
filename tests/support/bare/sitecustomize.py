"""Hides this project from a process, as if it were not installed: its entry points are not found, nor its modules.

A folder with this file at the front of ``PYTHONPATH`` is all it takes. Both the standard library and its backport look
distributions up through a finder on ``sys.meta_path``, so hiding ours from those two finders hides it from everyone.

flytekit imports both, so that importing them here costs nothing more: benchmarks compare with a process like this.
"""

import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

DISTRIBUTION = "otel_flyte"
PACKAGE = "otel_flyte"


class _NoSuchPackage:
    @staticmethod
    def find_spec(name: str, *_: Sequence[str] | ModuleType | None) -> ModuleSpec | None:
        if name.partition(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _name(distribution: Any) -> str:
    # Of the file's name, as the finders have it: reading the metadata of everything would cost more than flytekit does.
    return str(getattr(distribution, "_normalized_name", ""))


def _hide_from(finder: Any) -> None:
    find_all = finder.find_distributions

    def find_distributions(*args: Any, **kwargs: Any) -> Iterable[importlib.metadata.Distribution]:
        return [found for found in find_all(*args, **kwargs) if _name(found) != DISTRIBUTION]

    finder.find_distributions = staticmethod(find_distributions)


_hide_from(importlib.metadata.MetadataPathFinder)
try:
    import importlib_metadata
except ImportError:
    pass
else:
    _hide_from(importlib_metadata.MetadataPathFinder)
sys.meta_path.insert(0, _NoSuchPackage)
