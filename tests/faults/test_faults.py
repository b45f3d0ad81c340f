"""Every record is received, spooled or counted as dropped, and no process waits for it longer than the bound."""

from collections.abc import Iterator

import pytest

from faults import cases, collectors, harness
from faults.harness import Case, Outcome, Runs
from otel_flyte import semconv

EXIT_SECONDS = 2.0
"""What users are promised: telemetry adds no more to the end of a process."""
TEARDOWN_SECONDS = 1.5
"""What the end of an interpreter with flytekit in it may take besides, on a loaded machine."""

of_cases = pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.id)
with_spool = pytest.mark.parametrize("case", [case for case in cases.CASES if case.spool], ids=lambda case: case.id)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Runs ahead what the selected tests ask for."""
    runs = Runs(tmp_path_factory.mktemp("faults"))
    for item in request.session.items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")  # type: ignore[attr-defined]
        if isinstance(case, Case) and not _unavailable(case):
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


@of_cases
def test_every_record_is_received_or_spooled_or_counted_as_dropped(case: Case, outcome: Outcome) -> None:
    assert len(outcome.made) >= case.work.spans + case.work.points + case.work.logs, outcome.stderr
    assert outcome.unaccounted <= case.may_lose, _shown(outcome)
    assert outcome.overstated == 0, _shown(outcome)


@of_cases
def test_a_record_arrives_once(case: Case, outcome: Outcome) -> None:
    repeated = {name: count for name, count in outcome.received.items() if count > 1}
    assert not repeated or case.repeats, _shown(outcome)


@of_cases
def test_the_process_ends_as_without_us_and_not_much_later(case: Case, outcome: Outcome, runs: Runs) -> None:
    if outcome.delay > EXIT_SECONDS + TEARDOWN_SECONDS:
        # The machine may have been busy with something else: it has a second chance, by itself.
        outcome = runs.again(case, "ours")
    assert case.returncode in (outcome.returncode, None), _shown(outcome)
    assert outcome.delay <= EXIT_SECONDS + TEARDOWN_SECONDS, _shown(outcome)


@of_cases
def test_what_was_lost_is_said_once_and_no_fault_of_ours_is(case: Case, outcome: Outcome) -> None:
    said = [line for line in outcome.stderr.splitlines() if "were dropped" in line]
    assert len(said) == len(outcome.dropped), _shown(outcome)
    assert "otel-flyte failed" not in outcome.stderr, _shown(outcome)
    assert "Traceback" not in outcome.stderr or case.work.end == "exception", _shown(outcome)


@with_spool
def test_a_spool_loses_nothing_but_what_the_collector_rejects(case: Case, outcome: Outcome) -> None:
    assert not outcome.dropped or case.rejects, _shown(outcome)
    assert len(outcome.missing) <= case.may_lose or case.rejects, _shown(outcome)


@with_spool
def test_a_replay_sends_what_was_not_acknowledged_once(case: Case, outcome: Outcome) -> None:
    if outcome.replay is None:
        assert outcome.made - outcome.missing == outcome.received.keys() & outcome.made, _shown(outcome)
        return
    assert outcome.replay.returncode == 0, outcome.replay.stderr
    arrived = outcome.received + outcome.replay.received
    assert arrived.keys() >= outcome.made - outcome.missing, _shown(outcome)
    assert max(arrived.values(), default=1) == 1 or case.repeats, _shown(outcome)
    assert not outcome.replay.received_again
    assert not outcome.replay.left


def _named(text: str) -> "pytest.MarkDecorator":
    found = [case for case in cases.CASES if text in case.name]
    return pytest.mark.parametrize("case", found, ids=lambda case: case.id)


@_named("a forked child is terminated")
def test_a_forked_child_that_is_terminated_goes_at_once(case: Case, outcome: Outcome) -> None:
    assert outcome.ledger.join_seconds is not None, _shown(outcome)
    assert outcome.ledger.join_seconds <= TEARDOWN_SECONDS, _shown(outcome)


@_named("SIGKILL")
def test_an_attempt_that_is_killed_has_said_that_it_runs(case: Case, outcome: Outcome) -> None:
    replayed = outcome.replay.spans if outcome.replay else []
    markers = [
        span
        for span in (*outcome.spans, *replayed)
        if span.attributes.get(semconv.SPAN_ROLE) == semconv.SPAN_ROLE_PENDING
    ]
    assert len(markers) == 1, _shown(outcome)
    assert markers[0].attributes[semconv.TASK_NAME] == "faults.programs.ours.work"


@_named("SIGTERM")
def test_spans_that_are_open_when_the_signal_comes_say_so(case: Case, outcome: Outcome) -> None:
    replayed = outcome.replay.spans if outcome.replay else []
    told = [
        event.attributes
        for span in (*outcome.spans, *replayed)
        if span.name.startswith("task ")
        for event in span.events
        if event.name == semconv.EVENT_SIGNAL
    ]
    if case.collector is collectors.black_hole and not case.spool:
        assert not told
        return
    assert [attributes["flyte.signal.name"] for attributes in told] == ["SIGTERM"], _shown(outcome)


def _shown(outcome: Outcome) -> str:
    """What a failed test says besides."""
    return (
        f"made {len(outcome.made)}, received {len(outcome.received)}, spooled {len(outcome.spooled)}, "
        f"dropped {outcome.dropped}, unaccounted {outcome.unaccounted}, overstated {outcome.overstated}; "
        f"exit status {outcome.returncode} after {outcome.delay:.2f} s\n{outcome.stderr}"
    )
