"""Misbehaving collectors: no record is lost unreported, and no process is delayed beyond the bound."""

import pytest

from faults import cases, checks

pytestmark = pytest.mark.slow


@checks.of(cases.OF_COLLECTORS)
class TestCollectors(checks.Checks):
    pass


@checks.of(case for case in cases.OF_COLLECTORS if case.spool)
class TestCollectorsWithSpool(checks.SpoolChecks):
    pass
