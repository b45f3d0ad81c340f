"""Parts of `otel-flyte stack` that need no running process: state, settings, links, names of local runs."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
import yaml

from otel_flyte import semconv
from otel_flyte.run import identity
from otel_flyte.stack import files, links, processes, settings, state
from otel_flyte.stack.parts import BY_NAME
from otel_flyte.stack.status import StackError


def test_a_full_disk_leaves_no_partial_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *args: object, **kwargs: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StackError, match=f"^{tmp_path} can't be written, No space left on device: set XDG_STATE_HOME"):
        state.Folder(tmp_path).save(state.State(state.NATIVE, settings.read({}), {}))
    assert list(tmp_path.glob("state*")) == []


def test_a_relative_state_folder_is_ignored_as_its_specification_says(tmp_path: Path) -> None:
    assert state.folder({"XDG_STATE_HOME": "here"}).path == Path.home() / ".local" / "state" / "otel-flyte" / "stack"
    assert state.folder({"XDG_STATE_HOME": str(tmp_path)}).path == tmp_path / "otel-flyte" / "stack"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("level=info msg=begin\nlevel=error msg='no disk'\nlevel=info msg=bye\n\n", "level=error msg='no disk'"),
        ("level=error msg='no disk'\nlevel=info msg='0 errors'\n", "level=error msg='no disk'"),
        ("Error: the following error(s):\n\n'x' is no list\n", "Error: the following error(s): 'x' is no list"),
        ("begin\ncannot open it\nbye\n", "cannot open it"),
        ("begin\nbye\n", "bye"),
        ("", "no output"),
    ],
)
def test_the_last_error_in_a_log_is_found(tmp_path: Path, text: str, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert processes.last_error(log) == line


def test_stopping_does_not_wait_for_a_parent_that_does_not_reap_its_child() -> None:
    source = """
import subprocess, time
print(subprocess.Popen(["sleep", "300"], start_new_session=True).pid, flush=True)
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout
            child = psutil.Process(int(parent.stdout.readline()))
            process = processes.Process(child.pid, child.create_time())
            assert processes.is_running(process)
            processes.stop({process: 30.0})
            assert child.status() == psutil.STATUS_ZOMBIE
            assert not processes.is_running(process)
        finally:
            parent.kill()


def test_a_local_run_that_is_exported_has_a_name_of_its_own() -> None:
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    named = r"flyte.project=local,flyte.domain=local,flyte.run_name=my-wf-\d{8}t\d{6}"
    assert re.fullmatch(named, identity.resource_attributes("my_wf", sent))
    assert identity.resource_attributes("my_wf", {}) == ""
    given = {semconv.RESOURCE_ATTRIBUTES: "flyte.run_name=mine,team=a"}
    mine = identity.resource_attributes("my_wf", sent | given)
    assert mine == "flyte.run_name=mine,team=a,flyte.project=local,flyte.domain=local"
    execution = (semconv.FLYTE_EXECUTION_NAME, semconv.FLYTE_EXECUTION_PROJECT, semconv.FLYTE_EXECUTION_DOMAIN)
    pod = {names[0]: "x" for names in execution}
    assert identity.resource_attributes("my_wf", sent | pod) == ""


# --- links -----------------------------------------------------------------------------------------------------------


def links_of(*parts: str) -> dict[str, str]:
    return dict(links.of_run(settings.read({}), parts, ["ab" * 16], {"execution": "f1"}, 1_700_000_000_000))


def test_the_dashboard_is_linked_with_all_of_its_variables() -> None:
    board = json.loads((files.root() / "grafana" / "dashboards" / "flyte-task.json").read_text())
    url = urlsplit(links_of(*BY_NAME)["dashboard"])
    query = parse_qs(url.query)
    variables = {each["name"] for each in board["templating"]["list"] if each["type"] != "datasource"}
    assert {name.removeprefix("var-") for name in query if name.startswith("var-")} == variables
    assert query["var-execution"] == ["f1"]
    assert url.path == f"/d/{board['uid']}"


def test_the_trace_is_linked_by_the_provisioned_data_source() -> None:
    panes = json.loads(parse_qs(urlsplit(links_of(*BY_NAME)["trace"]).query)["panes"][0])
    provisioned = (files.root() / "grafana" / "provisioning" / "datasources" / "stack.yaml").read_text()
    sources = {each["uid"]: each["type"] for each in yaml.safe_load(provisioned)["datasources"]}
    assert panes["a"]["queries"][0]["query"] == "ab" * 16
    assert sources[panes["a"]["datasource"]] == "tempo"


def test_without_grafana_the_apis_of_the_backends_are_linked() -> None:
    found = {label: urlsplit(url) for label, url in links_of("tempo", "prometheus", "loki").items()}
    assert {label: (url.port, url.path) for label, url in found.items()} == {
        "trace": (3200, f"/api/v2/traces/{'ab' * 16}"),
        "metrics": (9090, "/api/v1/query"),
        "logs": (3100, "/loki/api/v1/query_range"),
    }
    assert parse_qs(found["logs"].query)["query"] == ['{service_name=~".+"} | flyte_run_name="f1"']


def test_grafanas_home_dashboard_exists() -> None:
    ini = (files.root() / "backends" / "grafana.ini").read_text()
    (home,) = re.findall(r"^default_home_dashboard_path = \$__env\{GRAFANA_DASHBOARDS\}/(\S+)$", ini, re.MULTILINE)
    assert (files.root() / "grafana" / "dashboards" / home).exists()
