"""The routes of ModelArts: its body, its errors, and the names of tasks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from otel_flyte.cli import main as cli
from support import served_runs
from support.served_runs import CPU
from support.server import Served, serving

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

JOBS = "/v2/shop:development/training-jobs"
NAMES = ["cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "npuUtil", "npuMemUsage"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serve")) as ready:
        served_runs.send_all(ready)
        yield ready


def metrics(served: Served, path: str) -> dict[str, list[float]]:
    """Return the values of each metric, which are the six in their order and equally long."""
    answer = served.get(f"{JOBS}/{path}")
    assert answer.status_code == 200, answer.text
    found = answer.json()["metrics"]
    assert [each["metric"] for each in found] == NAMES
    assert len({len(each["value"]) for each in found}) == 1
    return {each["metric"]: each["value"] for each in found}


def test_the_body_is_that_of_the_command(api: Served) -> None:
    path = str(api.folder / "sent" / "measured.jsonl")
    printed = CliRunner().invoke(cli.main, ["metrics", path, "n0", "--json"])
    assert printed.exit_code == 0, printed.output
    answer = api.get(f"{JOBS}/measured/metrics/n0")
    assert answer.json() == json.loads(printed.stdout)
    assert answer.headers["content-type"] == "application/json"
    # An integer, as in ModelArts' own examples.
    assert '"npuUtil","value":[-1,-1,-1]' in answer.text


@pytest.mark.parametrize(
    ("task", "first"),
    [
        ("n0", 10.0),
        ("n0@0", 10.0),
        ("measured/n0", 10.0),
        ("fetch", 10.0),
        ("shop.fetch", 10.0),
        ("n1", 10.0),
        ("n1@1", 10.0),
        ("n1@0", -1),
        ("n2/1", 10.0),
        ("n2%2F1", 10.0),
        ("n2%2f1", 10.0),
        ("n2/1@0", 10.0),
        ("n3-worker-1", 10.0),
        ("n3@0-worker-1", 10.0),
    ],
)
def test_a_task_has_these_names(api: Served, task: str, first: float) -> None:
    assert metrics(api, f"measured/metrics/{task}")["cpuUsage"][0] == first


@pytest.mark.parametrize("project", [":", "shop:", ":development"])
def test_an_empty_project_is_no_name_of_all(api: Served, project: str) -> None:
    answer = api.get(f"/v2/{project}/training-jobs")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "ModelArts.0104")


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("from=60", CPU[1:]),
        ("to=120", CPU[:2]),
        ("step=120", [15.25, 30.25]),
        ("from=60&to=120&step=60", CPU[1:2]),
        ("from=6000", []),
    ],
)
def test_a_part_of_the_time_in_steps(api: Served, query: str, values: list[float]) -> None:
    assert metrics(api, f"measured/metrics/n0?{query}")["cpuUsage"] == values


def test_a_task_that_runs_has_a_value_for_each_minute_from_its_start(api: Served) -> None:
    values = metrics(api, "running/metrics/n0")
    assert len(values["cpuUsage"]) == 3
    assert [round(value) for value in values["cpuUsage"][:2]] == [10, 20]
    assert values["gpuUtil"] == [-1, -1, -1]


def test_a_job_tells_its_phase_and_its_tasks(api: Served) -> None:
    running = api.get(f"{JOBS}/running").json()
    assert (running["kind"], running["metadata"]["id"], running["status"]["phase"]) == ("job", "running", "Running")
    assert running["status"]["tasks"] == ["n0"]
    measured = api.get(f"{JOBS}/measured").json()
    assert measured["status"]["phase"] == "Completed"
    assert measured["metadata"]["create_time"] == 1_780_000_000_000
    assert measured["status"]["duration"] == 640_000
    tasks = measured["status"]["tasks"]
    assert tasks == ["n0", "n1@0", "n1@1", "n2/0", "n2/1", "n2/2", "n3-worker-0", "n3-worker-1"]
    for task in tasks:
        assert metrics(api, f"measured/metrics/{task}")


def test_jobs_are_those_of_the_project_the_newest_first(api: Served) -> None:
    found = api.get(JOBS).json()
    assert [each["metadata"]["name"] for each in found["items"]] == ["running", "measured"]
    assert (found["total"], found["count"], found["limit"], found["offset"]) == (2, 2, 10, 0)
    second = api.get(f"{JOBS}?limit=1&offset=1").json()
    assert [each["metadata"]["name"] for each in second["items"]] == ["measured"]
    assert api.get("/v2/other:development/training-jobs").json()["items"] == []


def test_a_project_alone_is_in_the_default_domain(api: Served, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert api.get("/v2/shop/training-jobs/measured").status_code == 200
    assert api.get("/v2/shop/training-jobs/f1c0ffee").status_code == 404
    with serving(tmp_path_factory.mktemp("serve"), "--default-domain", "production") as production:
        served_runs.send_all(production)
        assert production.get("/v2/shop/training-jobs/f1c0ffee").status_code == 200
        assert production.get("/v2/shop/training-jobs/measured").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{JOBS}/nothing", 404),
        (f"{JOBS}/nothing/metrics/n0", 404),
        (f"{JOBS}/measured/metrics/n9", 404),
        (f"{JOBS}/measured/metrics/n3", 404),
        ("/v2/shop:production/training-jobs/measured", 404),
        ("/v2/shop:development/jobs", 404),
        (f"{JOBS}?limit=51", 400),
        (f"{JOBS}?page=1", 400),
        (f"{JOBS}/measured/metrics/n0?step=61", 400),
        (f"{JOBS}/measured/metrics/n0?step=0", 400),
        (f"{JOBS}/measured/metrics/n0?from=x", 400),
        (f"{JOBS}/measured/metrics/n0?from=60&to=30", 400),
    ],
)
def test_an_error_has_the_body_of_modelarts(api: Served, path: str, status: int) -> None:
    answer = api.get(path)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, set(body)) == (status, {"error_code", "error_msg"})
    assert body["error_code"].startswith("ModelArts.0")
    assert "\n" not in body["error_msg"]
