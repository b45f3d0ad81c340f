"""Flyte's Helm charts with our values: Kubernetes accepts them, Flyte has the settings, links lead to dashboards."""

import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.generate import links

from otel_flyte import semconv
from support.kubernetes import (
    DEPLOY,
    HELM,
    Yaml,
    built,
    documents,
    errors,
    go_module,
    go_program,
    needs_kubectl,
    prometheus_operator_schema,
)

FLYTE = "github.com/flyteorg/flyte@v1.16.8"
HELM_PROGRAM = "helm.sh/helm/v3/cmd/helm@v3.17.3"
CHARTS = ("flyte-core", "flyte-binary")

TEMPLATE_VARIABLES = {
    *("executionProject", "executionDomain", "executionName", "nodeID", "taskRetryAttempt"),
    *("podUnixStartTime", "podUnixFinishTime", "podName", "namespace", "generatedName", "taskID", "taskVersion"),
}
SUBTASK_VARIABLES = {
    *("executionProject", "executionDomain", "executionName", "nodeID", "taskRetryAttempt"),
    *("subtaskExecutionIndex", "subtaskRetryAttempt", "podName", "namespace", "generatedName", "taskID", "taskVersion"),
}
"""The variables that propeller of Flyte 1.16.8 fills in: for attempts
https://github.com/flyteorg/flyte/blob/v1.16.8/flyteplugins/go/tasks/pluginmachinery/tasklog/template.go, for subtasks
https://github.com/flyteorg/flyte/blob/v1.16.8/flytepropeller/pkg/controller/nodes/array/event_recorder.go.
"""


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flyte's charts with their dependencies."""
    helm = go_program(HELM_PROGRAM)
    folder = tmp_path_factory.mktemp("flyte") / "charts"
    shutil.copytree(go_module(FLYTE) / "charts", folder, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    for chart in CHARTS:
        subprocess.run([helm, "dependency", "build", folder / chart], check=True, capture_output=True)
    return folder


def templated(charts: Path, chart: str, *values: str) -> list[Yaml]:
    """Return the resources of a chart with values of ours and Flyte's own scheduler."""
    command = [str(go_program(HELM_PROGRAM)), "template", "flyte", str(charts / chart), "--namespace", "flyte"]
    command += [argument for name in values for argument in ("--values", str(HELM / name))]
    if chart == "flyte-core":
        command += ["--set", "workflow_scheduler.enabled=true", "--set", "workflow_scheduler.type=native"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return documents(text)


@pytest.fixture(scope="session")
def without_operator(charts: Path) -> dict[str, list[Yaml]]:
    """The resources of each chart with our values."""
    return {chart: templated(charts, chart, f"{chart}.yaml") for chart in CHARTS}


@pytest.fixture(scope="session")
def rendered(charts: Path, without_operator: dict[str, list[Yaml]]) -> dict[str, list[Yaml]]:
    """The resources of each chart with our values and those for a Prometheus operator."""
    monitor = yaml.safe_load((HELM / "flyte-binary-service-monitor.yaml").read_text())
    return {
        "flyte-core": templated(charts, "flyte-core", "flyte-core.yaml", "flyte-core-service-monitors.yaml"),
        "flyte-binary": [*without_operator["flyte-binary"], monitor],
    }


def configuration(resources: Sequence[Yaml], *names: str) -> Yaml:
    """Merge the files of Flyte's ConfigMaps as Flyte does: maps are merged, lists and values of a later file win."""
    found: Yaml = {}
    for resource in resources:
        if resource["kind"] == "ConfigMap" and resource["metadata"]["name"] in names:
            for _, text in sorted(resource["data"].items()):
                merge(found, yaml.safe_load(text) or {})
    return found


def merge(base: Yaml, overlay: Yaml) -> None:
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def propellers(resources: Sequence[Yaml]) -> Yaml:
    return configuration(resources, "flyte-propeller-config", "flyte-flyte-binary-config", "flyte-binary-config")


def paths(values: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from paths(value, (*prefix, key))
    else:
        yield prefix


@pytest.mark.parametrize(
    ("chart", "values"), [*((chart, chart) for chart in CHARTS), ("flyte-core", "flyte-core-service-monitors")]
)
def test_the_chart_has_every_value(chart: str, values: str, charts: Path) -> None:
    known = yaml.safe_load((charts / chart / "values.yaml").read_text())
    for path in paths(yaml.safe_load((HELM / f"{values}.yaml").read_text())):
        at: Any = known
        for depth, key in enumerate(path):
            assert key in at, f"{'.'.join(path)}: no such value in {chart} of {FLYTE}"
            at = at[key]
            if (
                path[: depth + 1] == ("configuration", "inline")
                or key == "labels"
                or (path[0] == "configmap" and depth)
            ):
                break  # Below are keys of Flyte's own configuration, or labels.


@pytest.mark.parametrize("chart", CHARTS)
def test_flytes_reference_has_every_configuration_key(chart: str, charts: Path) -> None:
    values = yaml.safe_load((HELM / f"{chart}.yaml").read_text())
    ours = values["configmap"] if chart == "flyte-core" else values["configuration"]["inline"]
    reference = "".join(
        page.read_text() for page in (go_module(FLYTE) / "docs/deployment/configuration/generated").glob("*.rst")
    )
    keys = {key for path in paths(ours) for key in path} - {"k8s", "task_logs", "core"}  # Names of files in the chart.
    unknown = {
        key for key in keys if not re.search(rf"^(Section: )?{re.escape(key)}( \(|:|$)", reference, re.MULTILINE)
    }
    assert unknown == set()


@pytest.mark.parametrize("chart", CHARTS)
def test_kubernetes_accepts_the_chart_with_our_values(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    ours = [one for one in rendered[chart] if one["kind"] in ("ConfigMap", "Service", "ServiceMonitor")]
    assert errors(ours, {"ServiceMonitor": prometheus_operator_schema("servicemonitors")}) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_without_a_prometheus_operator_none_of_its_kinds_are_installed(
    chart: str, without_operator: dict[str, list[Yaml]]
) -> None:
    assert [one for one in without_operator[chart] if one["apiVersion"].startswith("monitoring.coreos.com")] == []


@pytest.mark.parametrize(("chart", "monitors"), [("flyte-core", 4), ("flyte-binary", 1)])
def test_every_monitor_selects_one_service_with_its_port_and_has_the_release_label(
    chart: str, monitors: int, rendered: dict[str, list[Yaml]]
) -> None:
    services = [one for one in rendered[chart] if one["kind"] == "Service"]
    found = [one for one in rendered[chart] if one["kind"] == "ServiceMonitor"]
    assert len(found) == monitors
    for monitor in found:
        assert monitor["metadata"]["labels"] == {"release": "kube-prometheus-stack"}
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        matching = [one for one in services if wanted <= one["metadata"].get("labels", {}).items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        with_port = [one for one in matching for port in one["spec"]["ports"] if port["name"] == endpoint["port"]]
        assert len(with_port) == 1, monitor["metadata"]["name"]


@needs_kubectl
@pytest.mark.parametrize("chart", CHARTS)
def test_flyte_sends_to_existing_services(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    existing = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}:{port['port']}"
        for one in built("kubernetes")
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    found = propellers(rendered[chart])
    variables = {key: value for entry in found["plugins"]["k8s"]["default-env-vars"] for key, value in entry.items()}
    assert urllib.parse.urlsplit(variables[semconv.ENDPOINT]).netloc in existing
    assert found["otel"]["type"] == "otlpgrpc"
    assert urllib.parse.urlsplit(found["otel"]["otlpgrpc"]["endpoint"]).netloc in existing
    assert set(variables) <= {value for value in vars(semconv).values() if isinstance(value, str)}


@needs_kubectl
def test_every_scraped_address_exists_with_our_values(without_operator: dict[str, list[Yaml]]) -> None:
    def addresses(chart: str) -> set[str]:
        services = [one for one in without_operator[chart] if one["kind"] == "Service"]
        return {f"{one['metadata']['name']}.flyte:{port['port']}" for one in services for port in one["spec"]["ports"]}

    (targets,) = [
        one["data"]
        for one in built("kubernetes")
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("otel-flyte-targets")
    ]
    scraped = [
        target for name, value in targets.items() if name.startswith("FLYTE_") for target in yaml.safe_load(value)
    ]
    assert len(scraped) == 4
    assert set(scraped) <= addresses("flyte-core")
    text = (DEPLOY / "kubernetes" / "common" / "kustomization.yaml").read_text()
    (of_binary,) = re.findall(r"flyte-binary: FLYTE_ADMIN_TARGETS=(\[.*?\])", text)
    assert set(yaml.safe_load(of_binary)) <= {
        address.replace("flyte-flyte-binary", "flyte-binary") for address in addresses("flyte-binary")
    }


def log_links(found: Yaml) -> dict[str, dict[str, str]]:
    """Return the links of attempts and of subtasks by their displayed names."""
    plugins = found["plugins"]
    configs = {"attempt": plugins["logs"], "subtask": plugins["k8s-array"]["logs"]["config"]}
    assert all(config["kubernetes-enabled"] is False for config in configs.values())
    return {
        of: {link["displayName"]: link["templateUris"][0] for link in config["templates"]}
        for of, config in configs.items()
    }


@pytest.mark.parametrize("chart", CHARTS)
def test_log_links_use_variables_that_flyte_fills_in(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    found = propellers(rendered[chart])
    assert found["propeller"]["array-node-config"]["use-map-plugin-logs"] is True
    known = {"attempt": TEMPLATE_VARIABLES, "subtask": SUBTASK_VARIABLES}
    for of, urls in log_links(found).items():
        assert list(urls) == ["Logs", "Trace", "Utilization"]
        for url in urls.values():
            assert set(re.findall(r"\{\{\s*\.(\w+)\s*\}\}", url)) <= known[of]
            filled = re.sub(r"\{\{\s*\.\w+\s*\}\}", "x", url)
            assert not re.search(r"[{}`\s\"]", filled), url


@pytest.mark.parametrize("chart", CHARTS)
def test_utilization_links_to_the_dashboard_of_the_attempt_and_of_the_subtask(
    chart: str, rendered: dict[str, list[Yaml]]
) -> None:
    found = {of: urls["Utilization"] for of, urls in log_links(propellers(rendered[chart])).items()}
    wanted = {"attempt": links.UTILIZATION, "subtask": links.UTILIZATION_SUBTASK}
    assert found == {of: f"https://grafana.example.com{path}" for of, path in wanted.items()}


def explored(url: str) -> Yaml:
    """Return the query for Grafana's Explore in a URL, with each variable as `<name>`."""
    marked = re.sub(r"\{\{\.(\w+)\}\}", r"<\1>", url)
    (pane,) = json.loads(urllib.parse.parse_qs(urllib.parse.urlsplit(marked).query)["panes"][0]).values()
    return pane  # type: ignore[no-any-return]


@pytest.mark.parametrize("chart", CHARTS)
def test_logs_and_trace_query_the_data_sources_for_the_attempt(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    found = log_links(propellers(rendered[chart]))
    execution = (
        '{flyte_project="<executionProject>",flyte_domain="<executionDomain>"} | flyte_run_name="<executionName>"'
    )
    logs = {of: explored(urls["Logs"]) for of, urls in found.items()}
    assert {one["datasource"] for one in logs.values()} == {"loki"}
    assert logs["attempt"]["queries"][0]["expr"] == (
        f'{execution} | flyte_action_name="<nodeID>" | flyte_attempt="<taskRetryAttempt>"'
    )
    # A subtask's node is `{node of the map}-{its attempt}-n{index}`.
    assert logs["subtask"]["queries"][0]["expr"] == (
        f'{execution} | flyte_action_name=~"<nodeID>(-[0-9]+-n[0-9]+)?"'
        ' | flyte_array_index="<subtaskExecutionIndex>" | flyte_attempt="<subtaskRetryAttempt>"'
    )
    of_execution = " && ".join(
        f'resource.{name}="<{variable}>"'
        for name, variable in (
            (semconv.PROJECT, "executionProject"),
            (semconv.DOMAIN, "executionDomain"),
            (semconv.RUN_NAME, "executionName"),
        )
    )
    traces = {of: explored(urls["Trace"]) for of, urls in found.items()}
    assert {one["datasource"] for one in traces.values()} == {"tempo"}
    assert traces["attempt"]["queries"][0]["query"] == f"{{{of_execution}}}"
    index = f"resource.{semconv.ARRAY_INDEX}=<subtaskExecutionIndex>"
    assert traces["subtask"]["queries"][0]["query"] == f"{{{of_execution} && {index}}}"


def test_flyte_binary_has_one_metrics_page_with_the_names_of_flyte_core(rendered: dict[str, list[Yaml]]) -> None:
    found = propellers(rendered["flyte-binary"])
    ports = {
        found["propeller"]["prof-port"],
        found["flyteadmin"]["profilerPort"],
        found["scheduler"]["profilerPort"],
        found["datacatalog"]["profiler-port"],
    }
    prefixes = [
        found["propeller"]["metrics-prefix"],
        found["flyteadmin"]["metricsScope"],
        found["datacatalog"]["metrics-scope"],
    ]
    core = rendered["flyte-core"]
    assert ports == {propellers(core)["propeller"]["prof-port"]}
    assert [prefix.rstrip(":") for prefix in prefixes] == [
        propellers(core)["propeller"]["metrics-prefix"],
        configuration(core, "flyte-admin-base-config")["flyteadmin"]["metricsScope"].rstrip(":"),
        configuration(core, "datacatalog-config")["datacatalog"]["metrics-scope"],
    ]


@pytest.mark.parametrize("service", ["flyte-propeller-config", "flyte-admin-base-config", "datacatalog-config"])
def test_each_service_of_flyte_exports_its_own_traces(service: str, rendered: dict[str, list[Yaml]]) -> None:
    assert configuration(rendered["flyte-core"], service)["otel"]["type"] == "otlpgrpc"


@pytest.mark.parametrize("chart", CHARTS)
def test_decks_link_to_the_trace(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    variables = propellers(rendered[chart])["plugins"]["k8s"]["default-env-vars"]
    (url,) = [entry[semconv.OTEL_FLYTE_TRACE_URL] for entry in variables if semconv.OTEL_FLYTE_TRACE_URL in entry]
    asked = explored(url.replace("{trace_id}", "0123abcd"))
    assert asked["datasource"] == "tempo"
    assert asked["queries"][0]["query"] == "0123abcd"


@pytest.mark.parametrize("chart", CHARTS)
def test_the_default_pod_template_exists(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    template = yaml.safe_load((HELM / "pod-template.yaml").read_text())
    assert errors([template]) == []
    k8s = propellers(rendered[chart])["plugins"]["k8s"]
    assert k8s["default-pod-template-name"] == template["metadata"]["name"]
    # Propeller uses the template of its own namespace if the task's namespace has none.
    assert template["metadata"]["namespace"] == "flyte"


def test_the_pod_template_sets_the_variables_of_the_resource() -> None:
    template = yaml.safe_load((HELM / "pod-template.yaml").read_text())
    (container,) = template["template"]["spec"]["containers"]
    # Flyte merges the container of this name into every container:
    # https://github.com/flyteorg/flyte/blob/v1.16.8/flyteplugins/go/tasks/pluginmachinery/flytek8s/pod_helper.go
    assert container["name"] == "default"
    variables = {variable["name"] for variable in container["env"]}
    assert all(variables & set(names) for names in semconv.K8S_VARIABLES.values())
    assert {"name": semconv.OTEL_FLYTE_CAPTURE_OUTPUT, "value": "true"} in container["env"]
