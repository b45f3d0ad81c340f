"""`otel-flyte stack`, natively: the real collector, Prometheus, Loki and Tempo, on ports that are free."""

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from re import MULTILINE
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
import requests
import yaml

from otel_flyte import semconv
from otel_flyte.run import identity
from otel_flyte.stack import binaries, files, links, processes, state
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.status import StackError
from support import programs, stack
from support.stack import Stack

T = TypeVar("T")
REAL = ("prometheus", "collector")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All that this machine has binaries for, started by somebody whose tasks send elsewhere."""
    with stack.running(
        tmp_path_factory.mktemp("stack"), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318"}
    ) as running:
        yield running


def test_it_says_how_it_runs_and_where_each_part_is(running: Stack) -> None:
    again = running.run("stack", "up")
    assert again.returncode == 0
    assert again.stdout.startswith("natively")
    for part in ("prometheus", "loki", "collector"):
        assert re.search(rf"^{part} +ready +{running.url(BY_NAME[part].ports[0])}$", again.stdout, MULTILINE)
    assert re.search("^grafana +missing: dashboards are not shown: no `grafana` on PATH", again.stdout, MULTILINE)
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={running.url('otlp_http')}" in again.stdout


def test_starting_it_twice_leaves_it_as_it_is(running: Stack) -> None:
    before = running.state
    again = running.run("stack", "up")
    assert again.returncode == 0
    assert "it runs already" in again.stdout.splitlines()
    assert running.state == before


def test_parts_are_told_in_the_same_order_whichever_is_ready_first(running: Stack) -> None:
    told = [re.findall(r"^\w+(?=  )", running.run("stack", each).stdout, MULTILINE) for each in ("up", "status")]
    assert told == [list(BY_NAME)] * 2


def test_two_that_start_it_at_once_start_it_once(tmp_path: Path) -> None:
    stack.needs(*REAL)
    new = stack.new(tmp_path, without=("loki", "tempo", "grafana"))
    command = [sys.executable, "-m", "otel_flyte", "stack", "up", "--native"]
    both = [subprocess.Popen(command, env=new.environ, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        said = [each.communicate(timeout=120)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0], said
        assert sum("another `otel-flyte stack` is at work" in each for each in said) <= 1
        started = [each for each in psutil.process_iter(["cmdline"]) if str(new.folder) in str(each.info["cmdline"])]
        assert [each.pid for each in started] == [new.pid("prometheus")]
    finally:
        new.run("stack", "down")


def test_it_does_not_run_with_other_ports_than_it_was_started_with(running: Stack) -> None:
    other = stack.new(running.folder.parents[2] / "other")
    moved = running.run("stack", "up", env={"OTEL_FLYTE_STACK_LOKI_PORT": str(other.settings.ports["loki"])})
    assert moved.returncode == 1
    assert moved.stderr.count("\n") == 1
    assert "it runs with other ports" in moved.stderr


def test_status_tells_of_each_part_and_what_is_missing(running: Stack) -> None:
    status = running.run("stack", "status")
    assert status.returncode == 0
    states = {line.split()[0]: line.split()[1] for line in status.stdout.splitlines()[1:]}
    assert states.pop("grafana") == "missing"
    assert states.pop("tempo") in ("ready", "missing")
    assert states == {"prometheus": "ready", "loki": "ready", "collector": "ready"}


def test_its_parts_send_nothing_to_where_the_tasks_of_its_user_do(running: Stack) -> None:
    for part in running.state["processes"]:
        environ = psutil.Process(running.pid(part)).environ()
        assert [name for name in environ if name.startswith("OTEL_EXPORTER")] == []


def test_what_is_sent_to_the_collector_is_found_in_each_backend(running: Stack) -> None:
    _send(running, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", _span("a1" * 16, "b2" * 8))]})
    _send(running, "logs", {"resourceLogs": [_resource("scopeLogs", "logRecords", _record("hello"))]})
    _send(running, "metrics", {"resourceMetrics": [_resource("scopeMetrics", "metrics", _gauge("flyte.task.answer"))]})

    labels = _until(lambda: _series(running, "flyte_task_answer"))[0]["metric"]
    assert labels["flyte_run_name"] == "f1"
    assert labels["service_name"] == "flyte"
    assert "some_attribute" not in labels

    (stream,) = _until(lambda: _lines(running, '{flyte_project="p"} | flyte_run_name="f1"'))
    assert stream["values"][0][1] == "hello"
    assert stream["stream"]["k8s_pod_name"] == "pod-1"
    index = requests.get(running.url("loki", "/loki/api/v1/labels"), timeout=10).json()["data"]
    assert "flyte_run_name" not in index
    assert "k8s_pod_name" not in index


def test_a_trace_is_found_by_its_id_by_search_and_in_traceql_metrics(running: Stack) -> None:
    stack.needs("tempo")
    _send(running, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", _span("c3" * 16, "d4" * 8))]})
    _until(lambda: _trace(running, "c3" * 16))
    found = _until(lambda: _search(running, '{ name = "task t" && resource.flyte.run_name = "f1" }'))
    assert found[0]["rootTraceName"] == "task t"
    rates = requests.get(
        running.url("tempo", "/api/metrics/query_range"),
        params={"q": "{} | rate() by (name)", "since": "5m"},
        timeout=10,
    ).json()
    assert rates["series"]


def test_a_stack_trace_is_kept_whole(running: Stack) -> None:
    stack.needs("tempo")
    attribute = {"key": "exception.stacktrace", "value": {"stringValue": "x" * 8191 + "!"}}
    span = {**_span("1f" * 16, "2e" * 8), "attributes": [attribute]}
    _send(running, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", span)]})
    _until(lambda: _trace(running, "1f" * 16))
    assert "x!" in _trace(running, "1f" * 16)


def test_a_log_record_with_long_attributes_and_a_long_line_is_kept(running: Stack) -> None:
    values = {f"user.{number}": "x" * 16_384 for number in range(6)}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    record = {**_record("y" * 300_000), "attributes": attributes}
    _send(running, "logs", {"resourceLogs": [_resource("scopeLogs", "logRecords", record)]})
    (stream,) = _until(lambda: _lines(running, '{flyte_project="p"} |= "yyy"'))
    assert stream["values"][0][1] == "y" * 300_000
    assert stream["stream"]["user_5"] == "x" * 16_384


def test_the_demo_fills_it_and_says_where_to_look(running: Stack, tmp_path: Path) -> None:
    demo = running.run("demo", "--stack", env={"OTEL_TRACES_EXPORTER": "none"}, cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    links = dict(re.findall(r"^  (\w+) +(http\S+)$", demo.stdout, MULTILINE))
    if "tempo" in running.state["processes"]:
        _until(lambda: "task demo.pipeline" in requests.get(links["trace"], timeout=10).text)
    found = _until(lambda: requests.get(links["metrics"], timeout=10).json()["data"]["result"])
    assert {each["metric"]["flyte_project"] for each in found} == {"demo"}
    lines = _until(lambda: requests.get(links["logs"], timeout=10).json()["data"]["result"])
    assert "demo.train" in {each["stream"]["flyte_task_name"] for each in lines}
    used = {each["metric"]["__name__"] for each in found if each["metric"].get("flyte_task_name") == "demo.train"}
    assert {"flyte_task_memory_usage_bytes", "flyte_task_cpu_usage"} <= used
    assert "not there: grafana" in demo.stdout


def test_a_run_of_ones_own_is_listed_by_its_name(running: Stack, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from flytekit import task\n\n\n@task\ndef my_task() -> None:\n    print('hello')\n"
    )
    ended = running.run("run", "own.py", "my_task", env=running.sender(), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (series,) = _until(lambda: _series(running, 'flyte_task_attempts_total{flyte_task_name="own.my_task"}'))
    assert (series["metric"]["flyte_project"], series["metric"]["flyte_domain"]) == ("local", "local")
    assert re.fullmatch(r"my-task-\d{8}t\d{6}", series["metric"]["flyte_run_name"])


def test_a_demo_that_the_stack_does_not_take_says_so(tmp_path: Path, refusing: str) -> None:
    demo = stack.new(tmp_path, {"XDG_STATE_HOME": refusing}).run("demo", "--stack", cwd=tmp_path)
    assert demo.returncode == 1
    assert "not all of it has arrived in the stack" in demo.stderr
    assert "In the stack, within" not in demo.stdout


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[str]:
    """The state of a stack whose collector is there, and asks everybody to come later."""

    class Later(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Later) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        new = stack.new(tmp_path)
        here = {**new.settings.ports, "health": server.server_port, "otlp_http": server.server_port}
        me = psutil.Process()
        collector = processes.Process(me.pid, me.create_time())
        state.folder(new.environ).path.mkdir(parents=True)
        settings = replace(new.settings, ports=here)
        state.folder(new.environ).save(state.State(state.NATIVE, settings, {"collector": collector}))
        yield new.environ["XDG_STATE_HOME"]
        server.shutdown()


def test_a_part_that_was_killed_is_shown_and_started_again(running: Stack) -> None:
    before = running.state["processes"]
    os.kill(running.pid("prometheus"), signal.SIGKILL)
    _until(lambda: not psutil.pid_exists(before["prometheus"]["pid"]))
    status = running.run("stack", "status")
    assert status.returncode == 1
    assert re.search(r"^prometheus +ended .*`otel-flyte stack up` starts it again$", status.stdout, MULTILINE)
    assert running.run("stack", "up").returncode == 0
    after = running.state["processes"]
    assert after.pop("prometheus") != before.pop("prometheus")
    assert after == before


def test_what_it_has_stored_outlives_it_until_it_is_to_be_deleted(tmp_path: Path) -> None:
    stack.needs("prometheus", "collector", "tempo")
    with stack.running(tmp_path, without=("loki", "grafana")) as first:
        _send(first, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", _span("e5" * 16, "f6" * 8))]})
        _until(lambda: _trace(first, "e5" * 16))
        down = first.run("stack", "down")
        assert set(down.stdout.removeprefix("stopped: ").strip().split(", ")) == {"prometheus", "tempo", "collector"}
        assert first.run("stack", "status").returncode == 1

        assert first.run("stack", "up", "--native").returncode == 0
        _until(lambda: _trace(first, "e5" * 16))
        deleted = first.run("stack", "down", "--delete")
        assert "its data is deleted" in deleted.stdout
        assert not (first.folder / "data").exists()
    assert first.run("stack", "down").stdout == "nothing was running\n"


def test_without_tempo_all_else_works_and_no_queue_fills_for_it(tmp_path: Path) -> None:
    with stack.running(tmp_path, without=("tempo", "loki", "grafana")) as running:
        said = running.run("stack", "status").stdout
        assert re.search(
            r"^tempo +missing +traces are not kept: no `tempo` on PATH, and OTEL_FLYTE_TEMPO", said, MULTILINE
        )
        _send(running, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", _span("a7" * 16, "b8" * 8))]})
        _send(running, "metrics", {"resourceMetrics": [_resource("scopeMetrics", "metrics", _gauge("still.here"))]})
        _until(lambda: _series(running, "still_here"))
        assert [path.name for path in (running.folder / "data" / "collector").iterdir() if "tempo" in path.name] == []


def test_a_tempo_that_comes_later_gets_the_traces(tmp_path: Path) -> None:
    stack.needs("tempo")
    tempo = stack.new(tmp_path / "all").environ.get("OTEL_FLYTE_TEMPO") or shutil.which("tempo")
    with stack.running(tmp_path, without=("tempo", "loki", "grafana")) as running:
        assert running.run("stack", "up", env={"OTEL_FLYTE_TEMPO": str(tempo)}).returncode == 0
        _send(running, "traces", {"resourceSpans": [_resource("scopeSpans", "spans", _span("c9" * 16, "d1" * 8))]})
        _until(lambda: _trace(running, "c9" * 16))


def test_a_port_in_use_is_named_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    stack.needs(*REAL)
    new = stack.new(tmp_path, without=("tempo", "loki", "grafana"))
    with socket.create_server(("127.0.0.1", new.settings.ports["otlp_http"])):
        up = new.run("stack", "up", "--native")
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert line.startswith(f"otel-flyte: port {new.settings.ports['otlp_http']} (OTLP over HTTP) is in use")
    assert line.endswith("set OTEL_FLYTE_STACK_OTLP_HTTP_PORT to move it")
    _nothing_is_left_of(new)


@pytest.mark.parametrize(
    ("script", "timeout", "said"),
    [
        ("echo level=info msg=starting; echo 'level=error msg=\"no such backend\"'; exit 3", "60", "no such backend"),
        ("exec sleep 300", "2", "not ready after 2 s"),
    ],
    ids=["it dies", "it is never ready"],
)
def test_where_a_part_does_not_come_up_nothing_is_left_running(
    tmp_path: Path, script: str, timeout: str, said: str
) -> None:
    stack.needs(*REAL)
    tempo = _program(tmp_path / "bin" / "tempo", script)
    new = stack.new(tmp_path, without=("tempo", "loki", "grafana"))
    up = new.run("stack", "up", "--native", "--timeout", timeout, env={"OTEL_FLYTE_TEMPO": str(tempo)})
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert line.startswith("otel-flyte: tempo")
    assert said in line
    _nothing_is_left_of(new)


def test_what_a_part_has_started_is_stopped_with_it(tmp_path: Path) -> None:
    stack.needs(*REAL)
    collector = binaries.find(BY_NAME["collector"], stack.ENVIRON)
    wrapper = _program(tmp_path / "bin" / "collector", f'"{collector}" "$@"\nexit $?')
    new = stack.new(tmp_path, {"OTEL_FLYTE_COLLECTOR": str(wrapper)}, without=("tempo", "loki", "grafana"))
    try:
        for died in (False, True):
            assert new.run("stack", "up", "--native").returncode == 0
            (child,) = psutil.Process(new.pid("collector")).children()
            if died:
                os.kill(new.pid("collector"), signal.SIGKILL)
            assert "collector" in new.run("stack", "down").stdout
            assert not child.is_running()
    finally:
        new.run("stack", "down")
    _nothing_is_left_of(new)


def test_it_starts_where_the_folder_of_its_user_is_gone(tmp_path: Path) -> None:
    stack.needs(*REAL)
    new = stack.new(tmp_path, without=("tempo", "loki", "grafana"))
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'rmdir "{gone}"; "{sys.executable}" -m otel_flyte stack up --native'
    try:
        up = subprocess.run(["/bin/sh", "-c", command], env=dict(new.environ), cwd=gone, timeout=120, check=False)
        assert up.returncode == 0
        assert {psutil.Process(new.pid(name)).cwd() for name in REAL} == {str(new.folder)}
    finally:
        new.run("stack", "down")


def test_an_address_of_another_machine_is_named_with_its_variable(tmp_path: Path) -> None:
    stack.needs(*REAL)
    new = stack.new(tmp_path, {"OTEL_FLYTE_STACK_HOST": "192.0.2.1"}, without=("tempo", "loki", "grafana"))
    up = new.run("stack", "up", "--native")
    assert up.returncode == 1
    assert up.stderr == "otel-flyte: OTEL_FLYTE_STACK_HOST=192.0.2.1 is no address of this machine: correct it\n"


def test_a_folder_that_cant_be_written_is_named_with_its_variable(tmp_path: Path) -> None:
    up = stack.new(tmp_path, {"XDG_STATE_HOME": "/proc/there"}).run("stack", "up", "--native")
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert line.startswith("otel-flyte: /proc/there/otel-flyte/stack can't be written: ")
    assert line.endswith("XDG_STATE_HOME moves it")


def test_a_full_disk_leaves_no_half_of_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *args: object, **kwargs: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    held = state.State(state.NATIVE, stack.new(tmp_path).settings, {})
    with pytest.raises(StackError, match=f"^{tmp_path} can't be written: No space left on device"):
        state.Folder(tmp_path).save(held)
    assert list(tmp_path.glob("state*")) == []


def test_a_relative_folder_for_state_is_ignored_as_its_specification_says(tmp_path: Path) -> None:
    assert state.folder({"XDG_STATE_HOME": "here"}).path == Path.home() / ".local" / "state" / "otel-flyte" / "stack"
    assert state.folder({"XDG_STATE_HOME": str(tmp_path)}).path == tmp_path / "otel-flyte" / "stack"


def test_a_list_of_exporters_that_is_none_is_said_with_what_is_wrong(tmp_path: Path) -> None:
    stack.needs(*REAL)
    new = stack.new(tmp_path, {"TRACES_EXPORTERS": "[otlp_http"}, without=("tempo", "loki", "grafana"))
    up = new.run("stack", "up", "--native")
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert "'service.pipelines[traces].exporters' source data must be an array or slice, got string" in line


def test_where_there_is_no_engine_and_no_collector_one_line_says_both(tmp_path: Path) -> None:
    new = stack.new(tmp_path, {"PATH": ""}, without=BY_NAME)
    up = new.run("stack", "up")
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert "neither by compose (no `docker` on PATH)" in line
    assert "no `otelcol-flyte` or `otelcol-contrib` on PATH" in line


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_FLYTE_STACK_LOKI_PORT", "many", "OTEL_FLYTE_STACK_LOKI_PORT=many is no port"),
        ("OTEL_FLYTE_STACK_LOKI_PORT", "3200", "are both 3200"),
        ("OTEL_FLYTE_STACK_HOST", "everywhere", "OTEL_FLYTE_STACK_HOST=everywhere is no IPv4 address"),
        ("OTEL_FLYTE_STACK_RETENTION", "14d", "OTEL_FLYTE_STACK_RETENTION=14d is no number of hours such as 336h"),
        ("OTEL_FLYTE_TEMPO", "/nowhere/tempo", "OTEL_FLYTE_TEMPO=/nowhere/tempo is no executable file"),
    ],
)
def test_a_variable_that_cant_be_used_is_said_in_one_line(tmp_path: Path, variable: str, value: str, said: str) -> None:
    ended = programs.run_command(
        [sys.executable, "-m", "otel_flyte", "stack", "up", "--native"], tmp_path, {variable: value}
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert said in line


def test_a_process_that_has_the_number_of_one_of_ours_is_left_alone(tmp_path: Path) -> None:
    new = stack.new(tmp_path)
    with subprocess.Popen(["sleep", "300"]) as stranger:
        try:
            held = {"pid": stranger.pid, "started": 1.0}
            settings = {"host": "127.0.0.1", "ports": new.settings.ports, "retention": "336h"}
            new.folder.mkdir(parents=True)
            state = {"mode": "native", "settings": settings, "processes": {"loki": held}}
            (new.folder / "state.json").write_text(json.dumps(state))
            assert new.run("stack", "down").stdout == "nothing was running\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_state_of_another_version_is_none(tmp_path: Path) -> None:
    new = stack.new(tmp_path)
    settings = {"host": "127.0.0.1", "ports": {"otlp_http": 4318}, "retention": "336h"}
    new.folder.mkdir(parents=True)
    (new.folder / "state.json").write_text(json.dumps({"mode": "native", "settings": settings, "processes": {}}))

    ended = new.run("stack", "status")
    assert ended.stderr == ""
    assert " ready " not in ended.stdout


def test_what_a_user_says_of_tasks_is_not_said_of_everything(tmp_path: Path) -> None:
    said = {semconv.RESOURCE_ATTRIBUTES: "flyte.project=mine", semconv.SERVICE_NAME: "mine"}
    with stack.running(tmp_path, said, without=("grafana", "tempo", "loki", "prometheus")) as running:
        environ = Path(f"/proc/{running.pid('collector')}/environ").read_text()

    assert semconv.RESOURCE_ATTRIBUTES not in environ
    assert "COLLECTOR_STORAGE=" in environ


def test_the_line_that_says_why_is_found_among_what_a_process_writes_last(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("level=info msg=begin\nlevel=error msg='no disk'\nlevel=info msg=bye\n\n")
    assert processes.last_error(log) == "level=error msg='no disk'"
    log.write_text("level=error msg='no disk'\nlevel=info msg='0 errors'\n")
    assert processes.last_error(log) == "level=error msg='no disk'"
    log.write_text("Error: the following error(s):\n\n'x' is no list\n")
    assert processes.last_error(log) == "Error: the following error(s): 'x' is no list"
    log.write_text("begin\nbye\n")
    assert processes.last_error(log) == "bye"


def test_a_run_that_is_sent_is_given_a_name_of_its_own() -> None:
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    named = r"flyte.project=local,flyte.domain=local,flyte.run_name=my-wf-\d{8}t\d{6}"
    assert re.fullmatch(named, identity.resource_attributes("my_wf", sent))
    assert identity.resource_attributes("my_wf", {}) == ""
    said = {semconv.RESOURCE_ATTRIBUTES: "flyte.run_name=mine,team=a"}
    mine = identity.resource_attributes("my_wf", sent | said)
    assert mine == "flyte.run_name=mine,team=a,flyte.project=local,flyte.domain=local"
    execution = (semconv.FLYTE_EXECUTION_NAME, semconv.FLYTE_EXECUTION_PROJECT, semconv.FLYTE_EXECUTION_DOMAIN)
    pod = {names[0]: "x" for names in execution}
    assert identity.resource_attributes("my_wf", sent | pod) == ""


def test_links_lead_to_the_dashboard_with_all_variables_that_it_has(tmp_path: Path) -> None:
    settings = stack.new(tmp_path).settings
    board = json.loads((files.root() / "grafana" / "dashboards" / "flyte-task.json").read_text())
    found = dict(links.of_run(settings, BY_NAME, ["ab" * 16], {"execution": "f1"}, 1_700_000_000_000))
    query = parse_qs(urlsplit(found["dashboard"]).query)
    variables = {each["name"] for each in board["templating"]["list"] if each["type"] != "datasource"}
    assert {name.removeprefix("var-") for name in query if name.startswith("var-")} == variables
    assert query["var-execution"] == ["f1"]
    assert urlsplit(found["dashboard"]).path == f"/d/{board['uid']}"


def test_links_lead_to_the_trace_by_the_source_that_grafana_is_given(tmp_path: Path) -> None:
    settings = stack.new(tmp_path).settings
    found = dict(links.of_run(settings, BY_NAME, ["ab" * 16], {"execution": "f1"}, 0))
    panes = json.loads(parse_qs(urlsplit(found["trace"]).query)["panes"][0])
    provisioned = (files.root() / "grafana" / "provisioning" / "datasources" / "stack.yaml").read_text()
    sources = {each["uid"]: each["type"] for each in yaml.safe_load(provisioned)["datasources"]}
    assert panes["a"]["queries"][0]["query"] == "ab" * 16
    assert sources[panes["a"]["datasource"]] == "tempo"


def test_grafana_opens_with_a_dashboard_that_is_there() -> None:
    ini = (files.root() / "backends" / "grafana.ini").read_text()
    (home,) = re.findall(r"^default_home_dashboard_path = \$__env\{GRAFANA_DASHBOARDS\}/(\S+)$", ini, MULTILINE)
    assert (files.root() / "grafana" / "dashboards" / home).exists()


DOCKER = """
echo "$@" >> "$DOCKER_CALLS"
case "$*" in
  version*|"compose version"*) echo 28 ;;
  *" up "*) [ -z "$DOCKER_HANGS" ] || exec sleep 300
            [ -z "$DOCKER_FAILS" ] || { echo "container otel-flyte-loki-1 is unhealthy" >&2; exit 1; } ;;
  *" ps "*) echo '{"Service": "collector", "State": "running", "Health": ""}'
            echo '{"Service": "collector-health", "State": "running", "Health": "healthy"}'
            echo '{"Service": "loki", "State": "running", "Health": "'"${DOCKER_FAILS:-healthy}"'"}' ;;
  *" logs "*) echo "mkdir /loki: no space left on device" ;;
esac
"""


@pytest.fixture
def engine(tmp_path: Path) -> Stack:
    """A stack beside a `docker` that says yes, and keeps what it is asked: no engine can run here."""
    _program(tmp_path / "engine" / "docker", DOCKER)
    path = f"{tmp_path / 'engine'}{os.pathsep}{os.defpath}"
    return stack.new(tmp_path, {"PATH": path, "DOCKER_CALLS": str(tmp_path / "calls")})


def test_where_an_engine_answers_it_runs_as_containers(engine: Stack, tmp_path: Path) -> None:
    up = engine.run("stack", "up")
    assert up.returncode == 0, up.stderr
    assert up.stdout.startswith("as containers")
    assert re.search("^collector +ready", up.stdout, MULTILINE)
    assert engine.run("stack", "down", "--volumes").returncode == 0
    calls = (tmp_path / "calls").read_text()
    assert re.search(r"compose --file \S+docker-compose.yml up --detach --wait", calls)
    assert re.search(r"down --remove-orphans --volumes$", calls, MULTILINE)


def test_a_container_that_does_not_come_up_is_named_with_its_last_line(engine: Stack, tmp_path: Path) -> None:
    up = engine.run("stack", "up", env={"DOCKER_FAILS": "unhealthy"})
    assert up.returncode == 1
    (line,) = up.stderr.splitlines()
    assert line == "otel-flyte: loki not ready: mkdir /loki: no space left on device"
    assert "down --remove-orphans\n" in (tmp_path / "calls").read_text()


def test_containers_that_were_removed_are_not_said_to_run(engine: Stack) -> None:
    assert engine.run("stack", "up").returncode == 0
    assert engine.run("stack", "up", env={"DOCKER_FAILS": "unhealthy"}).returncode == 1
    status = engine.run("stack", "status")
    assert status.returncode == 1
    assert status.stdout.startswith("the stack is not running")


def test_who_gives_up_waiting_for_containers_leaves_none_running(engine: Stack, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    up = subprocess.Popen(
        [sys.executable, "-m", "otel_flyte", "stack", "up"],
        env={**engine.environ, "DOCKER_HANGS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(lambda: calls.exists() and " up " in calls.read_text())
        up.send_signal(signal.SIGINT)
        assert up.wait(timeout=60) != 0
    finally:
        up.kill()
        up.wait()
    assert calls.read_text().endswith("down --remove-orphans\n")
    assert not (engine.folder / "state.json").exists()


def _nothing_is_left_of(stopped: Stack) -> None:
    assert not (stopped.folder / "state.json").exists()
    for number in stopped.settings.ports.values():
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", number))


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def _until(found: Callable[[], T], seconds: float = 60) -> T:
    """Wait until something is found."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, "it was never found"
        time.sleep(0.25)
    return result


def _send(running: Stack, signal_name: str, request: dict[str, Any]) -> None:
    answer = requests.post(running.url("otlp_http", f"/v1/{signal_name}"), json=request, timeout=10)
    assert answer.status_code == 200, answer.text


def _resource(scopes: str, records: str, record: dict[str, Any]) -> dict[str, Any]:
    identity = {
        "service.name": "flyte",
        "flyte.project": "p",
        "flyte.run_name": "f1",
        "k8s.pod.name": "pod-1",
        "some.attribute": "x",
    }
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in identity.items()]
    return {"resource": {"attributes": attributes}, scopes: [{"scope": {"name": "otel_flyte"}, records: [record]}]}


def _span(trace_id: str, span_id: str) -> dict[str, Any]:
    now = time.time_ns()
    times = {"startTimeUnixNano": str(now - 10**9), "endTimeUnixNano": str(now)}
    return {"traceId": trace_id, "spanId": span_id, "name": "task t", "kind": 1, **times}


def _record(body: str) -> dict[str, Any]:
    return {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": body}, "severityText": "INFO"}


def _gauge(name: str) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": [{"timeUnixNano": str(time.time_ns()), "asDouble": 42.0}]}}


def _series(running: Stack, query: str) -> Any:
    url = running.url("prometheus", "/api/v1/query")
    return requests.get(url, params={"query": query}, timeout=10).json()["data"]["result"]


def _lines(running: Stack, query: str) -> Any:
    url = running.url("loki", "/loki/api/v1/query_range")
    return requests.get(url, params={"query": query}, timeout=10).json()["data"]["result"]


def _trace(running: Stack, trace_id: str) -> str:
    """What Tempo has of a trace, nothing where it has none: it answers 200 for any id."""
    answer = requests.get(running.url("tempo", f"/api/v2/traces/{trace_id}"), timeout=10)
    return answer.text if "resourceSpans" in answer.text else ""


def _search(running: Stack, query: str) -> Any:
    now = int(time.time())
    params: dict[str, str | int] = {"q": query, "start": now - 600, "end": now + 60}
    return requests.get(running.url("tempo", "/api/search"), params=params, timeout=10).json()["traces"]
