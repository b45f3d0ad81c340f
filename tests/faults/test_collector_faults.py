"""Collectors that misbehave: no record is lost unnoticed, and no process is kept."""

from faults import cases, checks


@checks.of(cases.OF_COLLECTORS)
class TestCollectors(checks.Checks):
    pass


@checks.of(case for case in cases.OF_COLLECTORS if case.spool)
class TestCollectorsWithSpool(checks.SpoolChecks):
    pass
