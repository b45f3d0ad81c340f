"""Real torch: worker processes without a dispatch."""

from pathlib import Path

import pytest

from support import pods
from support.receiver import Protocol, Receiver, Span, children

pytest.importorskip("torch", reason="torch is not installed: the ranks of torch elastic are tested by `nox -s elastic`")


@pytest.fixture(scope="module", params=["spawned", "forked"])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Span]:
    root = tmp_path_factory.mktemp("elastic") / request.param
    with Receiver() as receiver:
        result = pods.execute(root, f"task_elastic.train_{request.param}", {"value": 3}, env=receiver.environment())
        assert result.outputs is not None
        (user_code,) = receiver.spans("user code")
        return children(receiver.spans(), user_code)


def test_each_rank_of_a_task_is_a_span_below_its_user_code(ranks: list[Span]) -> None:
    assert sorted((span.name, span.attributes["flyte.replica"]) for span in ranks) == [("rank", "0"), ("rank", "1")]


def test_ranks_have_different_ids(ranks: list[Span]) -> None:
    assert len({span.span_id for span in ranks}) == 2


def test_a_failed_rank_has_its_own_exception(tmp_path: Path) -> None:
    with Receiver() as receiver:
        pods.execute(tmp_path / "pod", "task_elastic.fail_on_one_rank", {"value": 3}, env=receiver.environment())
        failed = [span for span in receiver.spans("rank") if span.status == "ERROR"]
    assert [span.attributes["flyte.replica"] for span in failed] == ["1"]
    assert [event.attributes["exception.type"] for span in failed for event in span.events] == ["ValueError"]


def test_torchs_report_of_a_failed_rank_has_no_frames_of_ours(tmp_path: Path) -> None:
    result = pods.execute(
        tmp_path / "pod", "task_elastic.fail_on_one_rank", {"value": 3}, env={"OTEL_TRACES_EXPORTER": "console"}
    )
    assert result.error is not None
    assert "rank 1 cannot take 3" in result.error.error.message
    assert "otel_flyte" not in result.error.error.message


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_spans_of_data_loader_workers_arrive_once_below_the_user_code(protocol: Protocol, tmp_path: Path) -> None:
    with Receiver() as receiver:
        result = pods.execute(tmp_path / "pod", "task_loader.load", {"size": 20}, env=receiver.environment(protocol))
        (user_code,) = receiver.spans("user code")
        samples = [span for span in children(receiver.spans(), user_code) if span.name.startswith("sample ")]

    assert result.outputs is not None
    assert sorted(span.name for span in samples) == sorted(f"sample {number}" for number in range(20))
