"""Map tasks, downloaded code and scripts end as without otel-flyte."""

from pathlib import Path

import pytest

from support import pods
from support.receiver import Receiver
from unchanged.both_ways import BothWays, assert_unchanged
from unchanged.cases import OTHER_ENTRYPOINTS, parameters
from unchanged.pictures import strings

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]


@parameters(OTHER_ENTRYPOINTS)
def test_task_of_other_entrypoints_is_unchanged(name: str, both_ways: BothWays, receiver: Receiver) -> None:
    assert_unchanged(name, both_ways, receiver)


@pytest.mark.parametrize("entrypoint", ["execute", "fast", "script"])
def test_bare_pod_never_imports_otel_flyte(entrypoint: pods.Entrypoint, tmp_path: Path) -> None:
    task, inputs = "task_processes.modules_of", {"package": "otel_flyte"}

    bare = pods.prepare(entrypoint, tmp_path / "bare", task, inputs, bare=True).run()
    instrumented = pods.prepare(entrypoint, tmp_path / "instrumented", task, inputs).run()

    assert strings(bare) == []
    assert "otel_flyte" in strings(instrumented)
