"""A server for each test, and one for each file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with an empty database."""
    with serving(tmp_path / "serve") as ready:
        yield ready


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for all tests of a file, with an empty database at first."""
    with serving(tmp_path_factory.mktemp("serve")) as ready:
        yield ready
