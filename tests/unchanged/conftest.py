"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest

from unchanged.both_ways import BothWays
from unchanged.cases import CASES


@pytest.fixture(scope="module")
def both_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothWays]:
    both_ways = BothWays(tmp_path_factory)
    # Begun for all tests of the file, so that no processor is idle.
    for item in request.session.items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("name")  # type: ignore[attr-defined]
        if item.path == request.path and name in CASES and CASES[name].can_run:
            both_ways.begin(name)
    yield both_ways
    both_ways.close()
