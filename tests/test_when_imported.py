"""Functions that are called when a module has been imported."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_flyte.runtime.when_imported import when_imported

pytestmark = pytest.mark.quick

NAME = "imported_later"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / f"{NAME}.py"
    path.write_text("import time\ntime.sleep(0.1)\nREADY = True\n")
    finders = list(sys.meta_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.meta_path[:] = finders
    sys.modules.pop(NAME, None)


def test_a_function_is_called_once_the_module_is_complete() -> None:
    found = []
    when_imported(NAME, lambda: found.append(sys.modules[NAME].READY))
    assert found == []

    imported = importlib.import_module(NAME)
    importlib.import_module(NAME)

    assert found == [True]
    assert imported.__spec__ is not None
    assert type(imported.__spec__.loader).__name__ == type(imported.__loader__).__name__ == "SourceFileLoader"


def test_a_function_is_called_now_for_a_module_that_is_imported() -> None:
    found: list[str] = []
    when_imported("json", lambda: found.append("json"))

    assert found == ["json"]


def test_threads_that_import_at_once_see_what_the_function_has_set() -> None:
    when_imported(NAME, lambda: setattr(sys.modules[NAME], "SET", "by us"))
    seen: list[str] = []

    def look() -> None:
        seen.append(importlib.import_module(NAME).SET)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == ["by us"] * 8


def test_a_module_that_does_not_exist_still_raises() -> None:
    when_imported("no_such_module", lambda: None)

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_module")


def test_a_module_that_raises_once_is_imported_by_the_next_import(module: Path) -> None:
    source = module.read_text()
    module.write_text("raise ValueError('broken')")
    found: list[bool] = []
    when_imported(NAME, lambda: found.append(sys.modules[NAME].READY))
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(NAME)

    module.write_text(source)
    importlib.invalidate_caches()
    importlib.import_module(NAME)

    assert found == [True]
