"""Real torch: worker processes without a dispatch."""

import pytest

from support import runs
from support.receiver import Protocol, Span, children
from support.runs import Run, Runs, Scenario

pytest.importorskip("torch", reason="torch is not installed: the ranks of torch elastic are tested by `nox -s elastic`")

VALUE = {"value": 3}
PROTOCOLS: tuple[Protocol, ...] = ("http/protobuf", "grpc")
SCENARIOS: dict[str, Scenario] = {
    **{way: runs.pod(f"task_elastic.train_{way}", VALUE) for way in ("spawned", "forked")},
    "failing": runs.pod("task_elastic.fail_on_one_rank", VALUE),
    **{protocol: runs.pod("task_loader.load", {"size": 20}, protocol=protocol) for protocol in PROTOCOLS},
}


ran = runs.fixture(SCENARIOS)


def of_ranks(run: Run) -> list[Span]:
    return children(run.spans, run.named("user code"))


@pytest.mark.parametrize("way", ["spawned", "forked"])
def test_each_rank_of_a_task_is_a_span_below_its_user_code(way: str, ran: Runs) -> None:
    run = ran(way)

    assert run.pod.outputs is not None
    assert sorted((span.name, span.attributes["flyte.replica"]) for span in of_ranks(run)) == [
        ("rank", "0"),
        ("rank", "1"),
    ]


@pytest.mark.parametrize("way", ["spawned", "forked"])
def test_ranks_have_different_ids(way: str, ran: Runs) -> None:
    assert len({span.span_id for span in of_ranks(ran(way))}) == 2


def test_a_failed_rank_has_its_own_exception(ran: Runs) -> None:
    failed = [span for span in ran("failing").spans if span.name == "rank" and span.status == "ERROR"]

    assert [span.attributes["flyte.replica"] for span in failed] == ["1"]
    assert [event.attributes["exception.type"] for span in failed for event in span.events] == ["ValueError"]


def test_torchs_report_of_a_failed_rank_has_no_frames_of_ours(ran: Runs) -> None:
    error = ran("failing").pod.error

    assert error is not None
    assert "rank 1 cannot take 3" in error.error.message
    assert "otel_flyte" not in error.error.message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_spans_of_data_loader_workers_arrive_once_below_the_user_code(protocol: str, ran: Runs) -> None:
    run = ran(protocol)
    samples = [span for span in of_ranks(run) if span.name.startswith("sample ")]

    assert run.pod.outputs is not None
    assert sorted(span.name for span in samples) == sorted(f"sample {number}" for number in range(20))
