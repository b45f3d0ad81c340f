"""Misbehaving collectors: no record is lost unreported, and no process is delayed beyond the bound."""

from faults import cases, checks


@checks.of(cases.OF_COLLECTORS)
class TestCollectors(checks.Checks):
    pass


@checks.of(case for case in cases.OF_COLLECTORS if case.spool)
class TestCollectorsWithSpool(checks.SpoolChecks):
    pass
