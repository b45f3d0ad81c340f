"""A task that succeeds ends as without otel-flyte."""

import pytest

from support.receiver import Receiver
from unchanged.both_ways import BothWays, assert_unchanged
from unchanged.cases import SUCCESSES, parameters

pytestmark = [pytest.mark.newest_only, pytest.mark.slow]


@parameters(SUCCESSES)
def test_task_that_succeeds_is_unchanged(name: str, both_ways: BothWays, receiver: Receiver) -> None:
    assert_unchanged(name, both_ways, receiver)
