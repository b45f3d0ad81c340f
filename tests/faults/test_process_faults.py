"""Processes that end badly, fork or are interrupted: no record is lost unreported, and each ends within the bound."""

import pytest

from faults import cases, checks, collectors
from faults.harness import Case, Outcome
from otel_flyte import semconv

pytestmark = pytest.mark.slow

CASES = (*cases.OF_ENDS, *cases.OF_FORKS, *cases.OF_USER_CODE)


@checks.of(CASES)
class TestProcesses(checks.Checks):
    pass


@checks.of(case for case in CASES if case.spool)
class TestProcessesWithSpool(checks.SpoolChecks):
    pass


@checks.of(case for case in CASES if "a forked child is terminated" in case.name)
def test_a_forked_child_that_is_terminated_ends_at_once(case: Case, outcome: Outcome) -> None:
    assert outcome.ledger.join_seconds is not None, outcome.summary
    assert outcome.ledger.join_seconds <= checks.TEARDOWN_SECONDS, outcome.summary


@checks.of(case for case in CASES if "SIGKILL" in case.name)
def test_a_killed_attempt_has_sent_its_pending_span(case: Case, outcome: Outcome) -> None:
    pending = [
        span for span in outcome.all_spans if span.attributes.get(semconv.SPAN_ROLE) == semconv.SPAN_ROLE_PENDING
    ]
    assert len(pending) == 1, outcome.summary
    assert pending[0].attributes[semconv.TASK_NAME] == "faults.programs.ours.work"


@checks.of(case for case in CASES if "SIGTERM" in case.name)
def test_spans_that_are_open_at_sigterm_have_an_event(case: Case, outcome: Outcome) -> None:
    events = [
        event.attributes
        for span in outcome.all_spans
        if span.name.startswith("task ")
        for event in span.events
        if event.name == semconv.EVENT_SIGNAL
    ]
    if case.collector is collectors.black_hole and not case.spool:
        assert not events
        return
    assert [attributes["flyte.signal.name"] for attributes in events] == ["SIGTERM"], outcome.summary


@checks.of(cases.OF_USER_CODE)
def test_the_users_spans_are_in_the_trace_of_the_task(case: Case, outcome: Outcome) -> None:
    assert len({span.trace_id for span in outcome.spans}) == 1, outcome.summary
