"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest

from faults import harness
from faults.harness import Case, Outcome, Runs


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs the cases of a file ahead of its tests."""
    runs = Runs(tmp_path_factory.mktemp("faults"))
    for item in request.session.items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]
        if item.path == request.path and isinstance(case, Case) and not _unavailable(case):
            runs.plan(case, "ours")
    yield runs
    runs.close()


@pytest.fixture
def outcome(case: Case, runs: Runs) -> Outcome:
    if reason := _unavailable(case):
        pytest.skip(f"no process can be PID 1 here: {reason}")
    return runs(case, "ours")


def _unavailable(case: Case) -> str | None:
    return harness.can_be_pid_1() if case.how == "pid 1" else None
