"""Checks of the outcome of a case: every record is accounted for, and no process waits for it longer than the bound.

A test file runs them with cases of its own: it derives a class from each and names the cases by :func:`of`.
"""

import warnings
from collections.abc import Iterable

import pytest

from faults.harness import Case, Outcome, Runs

EXIT_SECONDS = 2.0
"""The bound that users are promised for the end of a process."""
TEARDOWN_SECONDS = 1.5
"""The time that an interpreter with flytekit may need for its own end, on a loaded machine."""
DELIVERY_SECONDS = 1.4
"""Of the bound, the time after which the records that are left stay in the spool."""
LARGEST_REQUEST = 512
"""Records: the default of ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``."""


def of(cases: Iterable[Case]) -> "pytest.MarkDecorator":
    """Run a test with each of these cases."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id, marks=_marks(case)) for case in cases])


def _marks(case: Case) -> tuple["pytest.MarkDecorator", ...]:
    # The transports and the queue do not depend on the SDK, but the records of each signal do.
    is_of_each_signal = "all signals" in case.name and case.protocol == "http/protobuf"
    return () if is_of_each_signal else (pytest.mark.newest_only,)


class Checks:
    """Checks of every case."""

    def test_every_record_is_received_spooled_or_counted_as_dropped(self, case: Case, outcome: Outcome) -> None:
        assert len(outcome.made) >= case.work.spans + case.work.points + case.work.logs, outcome.stderr
        assert outcome.unaccounted <= case.may_lose, outcome.summary
        assert outcome.overstated == 0, outcome.summary

    def test_each_record_arrives_once(self, case: Case, outcome: Outcome) -> None:
        repeated = {name: count for name, count in outcome.received.items() if count > 1}
        assert not repeated or case.repeats, outcome.summary

    def test_the_process_ends_in_its_own_way_within_the_bound(self, case: Case, outcome: Outcome, runs: Runs) -> None:
        if outcome.delay > EXIT_SECONDS + TEARDOWN_SECONDS:
            # The machine may have been busy: the case is repeated by itself.
            warnings.warn(f"FLAKY {case.id}: it ended after {outcome.delay:.1f} s, and was repeated", stacklevel=1)
            outcome = runs.again(case, "ours")
        assert case.returncode in (outcome.returncode, None), outcome.summary
        assert outcome.delay <= EXIT_SECONDS + TEARDOWN_SECONDS, outcome.summary

    def test_dropped_records_are_reported_once_and_no_fault_is(self, case: Case, outcome: Outcome) -> None:
        reports = [line for line in outcome.stderr.splitlines() if " dropped (" in line]
        assert len(reports) <= len(outcome.dropped), outcome.summary
        assert bool(reports) == bool(outcome.dropped), outcome.summary
        assert "otel-flyte failed" not in outcome.stderr, outcome.summary
        assert "Traceback" not in outcome.stderr or case.work.end == "exception", outcome.summary


class SpoolChecks:
    """Checks of cases with a spool."""

    def test_a_spool_drops_nothing_but_rejected_records(self, case: Case, outcome: Outcome) -> None:
        assert not outcome.dropped or case.rejects, outcome.summary
        assert len(outcome.missing) <= case.may_lose or case.rejects, outcome.summary

    def test_a_replay_sends_unacknowledged_records_once(self, case: Case, outcome: Outcome) -> None:
        if outcome.replay is None:
            assert outcome.made - outcome.missing == outcome.received.keys() & outcome.made, outcome.summary
            return
        assert outcome.replay.returncode == 0, outcome.replay.stderr
        arrived = outcome.received + outcome.replay.received
        assert arrived.keys() >= outcome.made - outcome.missing, outcome.summary
        # On a busy machine the bound ends a request that has arrived but has no answer yet: its records are sent again.
        allowed = LARGEST_REQUEST if outcome.delay >= DELIVERY_SECONDS else 0
        assert sum(arrived.values()) - len(arrived) <= allowed or case.repeats, outcome.summary
        assert not outcome.replay.received_again
        assert not outcome.replay.left
