"""Server-sent events: what a client hears while records arrive, and what its connection costs."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from support import otlp, served_runs
from support.served_runs import MEASURED
from support.server import Served, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

URL = f"/api/v1/executions/{MEASURED}/events"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "serve") as ready:
        ready.send_file(served_runs.measured(tmp_path))
        yield ready


@contextmanager
def listening(served: Served, url: str = URL) -> Iterator[Iterator[str]]:
    """Return the lines that arrive; empty ones are left out."""
    with requests.get(served.url + url, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield (line.decode() for line in answer.iter_lines(chunk_size=1) if line)


def event(lines: Iterator[str]) -> str:
    """Return the version of the next event."""
    kind, data = next(lines), next(lines)
    sign = json.loads(data.removeprefix("data: "))
    assert kind == "event: changed"
    assert sign.keys() == {"version", "state", "age", "is_over"}
    return str(sign["version"])


def send(served: Served, name: str = "measured") -> None:
    span = otlp.span("ab" * 16, f"{time.time_ns():016x}")
    served.send("traces", json.dumps(otlp.message("traces", served_runs.resource(name), [span])))


def threads(served: Served) -> int:
    return len(list(Path(f"/proc/{served.process.pid}/task").iterdir()))


def test_a_change_is_told_with_a_version_of_its_own(api: Served) -> None:
    with listening(api) as lines:
        versions = [event(lines)]
        for _ in range(2):
            send(api)
            versions.append(event(lines))
        assert len(set(versions)) == 3


def test_changes_are_told_four_times_a_second_at_most(api: Served) -> None:
    with listening(api) as lines:
        versions = [event(lines)]
        begin = time.monotonic()

        def send_all() -> None:
            while time.monotonic() - begin < 2:
                send(api)

        sender = threading.Thread(target=send_all)
        sender.start()
        while time.monotonic() - begin < 2:
            versions.append(event(lines))
        sender.join()
    assert 3 <= len(versions) <= 10


def test_another_execution_is_not_told_of(api: Served) -> None:
    with listening(api) as lines:
        version = event(lines)
        send(api, "another")
        time.sleep(1)
        send(api)
        assert event(lines) != version


def test_an_execution_that_is_long_over_has_an_end(api: Served) -> None:
    with listening(api) as lines:
        event(lines)
        assert list(lines)[-2:] == ["event: ended", "data: {}"]


def test_many_clients_cost_no_threads(api: Served) -> None:
    with ExitStack() as held:
        clients: list[Any] = [held.enter_context(listening(api)) for _ in range(10)]
        before = threads(api)
        clients += [held.enter_context(listening(api)) for _ in range(90)]
        for lines in clients:
            event(lines)
        # Those of the pool that looks the execution up, which has one for each processor and four, or forty.
        assert threads(api) <= before + 40
        send(api)
        for lines in clients:
            event(lines)


def test_clients_that_leave_are_forgotten_and_sigterm_ends_those_that_stay(tmp_path: Path) -> None:
    with serving(tmp_path / "serve") as served:
        served.send_file(served_runs.measured(tmp_path))
        with listening(served) as lines:
            event(lines)
        with listening(served) as lines:
            event(lines)
            served.process.terminate()
            assert list(lines) == []
    assert (served.folder / "stderr").read_text() == ""


def test_an_execution_that_is_not_recorded_has_no_events(api: Served) -> None:
    assert api.get("/api/v1/executions/a:b:c/events").status_code == 404
