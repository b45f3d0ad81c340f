"""What a platform team copies: Kubernetes takes the manifests, collectors their configurations, charts the values."""

import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml
from grafana.generate import links
from jsonschema import Draft202012Validator
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from otel_flyte import semconv
from otel_flyte.tasks.identity import Execution
from support import native
from support.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
HELM = DEPLOY / "helm"
AGENT = DEPLOY / "kubernetes" / "agent" / "config.yaml"

KUBERNETES = ("1.25", "1.32", "1.37")
"""The oldest, one between and the newest that `kubernetes-validate` knows."""

WITHOUT_SCHEMA = {"OpenTelemetryCollector", "Instrumentation"}
"""The operator's, whose schemas no registry has: their collector configurations are validated by the collector."""

FLYTE = "github.com/flyteorg/flyte@v1.16.8"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.92.1"
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
"""What propeller fills in, of Flyte 1.16.8: for attempts
https://github.com/flyteorg/flyte/blob/v1.16.8/flyteplugins/go/tasks/pluginmachinery/tasklog/template.go, for subtasks
https://github.com/flyteorg/flyte/blob/v1.16.8/flytepropeller/pkg/controller/nodes/array/event_recorder.go.
"""

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte"

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl, which has Kustomize in it")

Yaml = dict[str, Any]


# --- manifests -------------------------------------------------------------------------------------------------------


def built(folder: str) -> list[Yaml]:
    """Build a folder of `deploy` as `kubectl apply -k` does."""
    command = ["kubectl", "kustomize", str(DEPLOY / folder)]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def refused(resources: Sequence[Yaml], schemas: Mapping[str, Yaml] | None = None) -> list[str]:
    """Say what the API server of each version would not take, or has no schema for here."""
    known = schemas or {}
    complaints = []
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] in known:
            found = Draft202012Validator(known[resource["kind"]]).iter_errors(resource)
            complaints += [f"{name}: {error.message}" for error in found]
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                complaints.append(f"{name}: no schema")
                break
            except kubernetes_validate.ValidationError as error:
                complaints.append(f"{name}, Kubernetes {version}: {error.message}")
    return complaints


def names_in(value: Any, key: str) -> Iterator[str]:
    """Find what a resource refers to by name, such as by `configMapRef`."""
    if isinstance(value, dict):
        for at, inner in value.items():
            if at == key and isinstance(inner, dict) and "name" in inner:
                yield inner["name"]
            yield from names_in(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner, key)


@needs_kubectl
@pytest.mark.parametrize("folder", ["kubernetes", "operator"])
def test_kubernetes_takes_all_that_kustomize_builds(folder: str) -> None:
    resources = built(folder)
    foreign = [resource for resource in resources if resource["kind"] in WITHOUT_SCHEMA]
    assert refused([resource for resource in resources if resource not in foreign]) == []
    print(f"{folder}: {len(resources)} resources, no schema for", sorted(one["kind"] for one in foreign))  # noqa: T201


@needs_kubectl
@pytest.mark.parametrize("folder", ["kubernetes", "operator"])
def test_what_a_collector_is_configured_by_is_there(folder: str) -> None:
    resources = built(folder)
    there = {resource["metadata"]["name"] for resource in resources if resource["kind"] == "ConfigMap"}
    wanted = {name for one in resources for key in ("configMap", "configMapRef") for name in names_in(one, key)}
    assert wanted
    assert wanted <= there


@needs_kubectl
def test_every_service_and_policy_finds_its_pods_and_their_ports() -> None:
    resources = built("kubernetes")
    pods = [one["spec"]["template"] for one in resources if one["kind"] in ("DaemonSet", "StatefulSet")]
    for one in resources:
        match one["kind"]:
            case "Service":
                wanted = one["spec"]["selector"]
                ports = {port["targetPort"] for port in one["spec"]["ports"]}
            case "NetworkPolicy":
                wanted = one["spec"]["podSelector"]["matchLabels"]
                ports = {port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]}
            case _:
                continue
        (pod,) = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        assert ports <= {port["name"] for port in pod["spec"]["containers"][0]["ports"]}, one["metadata"]["name"]


@needs_kubectl
def test_every_container_is_bounded_probed_and_unprivileged() -> None:
    containers = [
        container
        for resource in built("kubernetes")
        if resource["kind"] in ("DaemonSet", "StatefulSet")
        for container in resource["spec"]["template"]["spec"]["containers"]
    ]
    assert len(containers) == 3
    for container in containers:
        assert set(container["resources"]) == {"requests", "limits"}
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_resources_of_the_operator_are_those_of_the_manifests() -> None:
    generator = runpy.run_path(str(DEPLOY / "operator" / "generate.py"))
    committed = (DEPLOY / "operator" / "collectors.yaml").read_text()
    assert committed == generator["collectors"](), "stale: run `python deploy/operator/generate.py`"


# --- collectors ------------------------------------------------------------------------------------------------------


def configurations() -> dict[str, list[Path]]:
    """Which files each collector of the manifests is started with."""
    stack, cluster = (ROOT / "collector" / name for name in ("config.yaml", "kubernetes.yaml"))
    own = {part: DEPLOY / "kubernetes" / part / "config.yaml" for part in ("agent", "gateway", "scraper")}
    return {
        "agent": [own["agent"]],
        "gateway": [stack, own["gateway"]],
        "scraper": [stack, cluster, own["scraper"]],
    }


def environment(part: str) -> dict[str, str]:
    """What a collector of the manifests finds in its environment, as far as it is told there."""
    resources = built("kubernetes")
    (workload,) = [
        one
        for one in resources
        if one["kind"] in ("DaemonSet", "StatefulSet") and one["metadata"]["name"] == f"otel-flyte-{part}"
    ]
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    maps = {one["metadata"]["name"]: one["data"] for one in resources if one["kind"] == "ConfigMap"}
    found = {
        key: value
        for source in names_in(container.get("envFrom", []), "configMapRef")
        for key, value in maps[source].items()
    }
    return found | {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def validated(files: Sequence[Path], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(native.binary("otelcol-flyte")), "validate", *(f"--config={file}" for file in files)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, str]:
    """What a collector finds in its pod beside what the manifests say."""
    for name in ("token", "ca.crt"):
        (tmp_path / name).touch()
    return {"COLLECTOR_STORAGE": str(tmp_path), "K8S_NODE_NAME": "node-1", "SERVICE_ACCOUNT": str(tmp_path)}


@needs_kubectl
@pytest.mark.parametrize("part", configurations())
def test_the_collector_takes_its_configuration(part: str, pod: dict[str, str]) -> None:
    answer = validated(configurations()[part], environment(part) | pod)
    assert answer.returncode == 0, answer.stderr


def test_the_collector_takes_what_the_operator_is_given(tmp_path: Path, pod: dict[str, str]) -> None:
    for resource in yaml.safe_load_all((DEPLOY / "operator" / "collectors.yaml").read_text()):
        file = tmp_path / f"{resource['metadata']['name']}.yaml"
        config = resource["spec"]["config"]
        # The operator's schema has no variables here.
        assert all(isinstance(pipeline["exporters"], list) for pipeline in config["service"]["pipelines"].values())
        file.write_text(yaml.safe_dump(config))
        answer = validated([file], pod)
        assert answer.returncode == 0, answer.stderr


def test_a_gateway_takes_the_largest_batch_of_an_agent() -> None:
    batch = yaml.safe_load(AGENT.read_text())["exporters"]["otlp_grpc"]["sending_queue"]["batch"]
    takes = yaml.safe_load(native.CONFIG.read_text())["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"]
    assert batch["sizer"] == "bytes"
    assert batch["max_size"] < takes * 2**20


def test_a_configuration_of_components_that_are_not_tested_says_so_in_its_first_line() -> None:
    listed = subprocess.run(
        [native.binary("otelcol-flyte"), "components"], check=True, capture_output=True, text=True
    ).stdout
    tested = {
        component["name"]
        for kind in ("receivers", "processors", "exporters", "connectors", "extensions")
        for component in yaml.safe_load(listed)[kind]
    }
    for file in sorted(DEPLOY.glob("kubernetes/**/config.yaml")):
        config = yaml.safe_load(file.read_text())
        kinds = ("receivers", "processors", "exporters", "connectors", "extensions")
        used = {name.partition("/")[0] for kind in kinds for name in config.get(kind, {})}
        assert used <= tested or "outside of the tested set" in file.read_text().splitlines()[0], file


POD = {
    "metadata": {
        "name": "spark-driver",
        "namespace": "flytesnacks-development",
        "uid": "7f5e",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        # What propeller labels its pods with.
        "labels": {"project": "flytesnacks", "domain": "development", "execution-id": "f1c0ffee"},
    },
    "spec": {"nodeName": "node-1"},
    "status": {"podIP": "10.1.2.3", "phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
}
"""A pod that tells nothing of itself."""


@contextlib.contextmanager
def api_server() -> Iterator[tuple[str, list[str]]]:
    """Answer as Kubernetes' API does when it is asked for pods, of which there is one; keep what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            # A watch of which nothing comes ends at once, and is begun again.
            pods = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [POD]}
            body = b"" if "watch=true" in self.path else json.dumps(pods).encode()
            # What it does not have, a list by way of a watch, is a bad request.
            self.send_response(400 if "sendInitialEvents" in self.path else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def agent(folder: Path, gateway: Receiver, cluster: str, **variables: str) -> Iterator[tuple[str, native.Process]]:
    """Run the agent of `node-1`, which sends to a receiver in a gateway's place."""
    health, http, grpc, metrics = native.free_ports(4)
    known = {
        "COLLECTOR_STORAGE": str(folder / "queue"),
        "GATEWAY_ENDPOINT": gateway.endpoint("grpc").removeprefix("http://"),
        "OTEL_FLYTE_STACK_HEALTH_PORT": str(health),
        "OTEL_FLYTE_STACK_OTLP_HTTP_PORT": str(http),
        "OTEL_FLYTE_STACK_OTLP_GRPC_PORT": str(grpc),
        "OTEL_FLYTE_STACK_METRICS_PORT": str(metrics),
        "K8S_NODE_NAME": "node-1",
        "KUBECONFIG": str(folder / "kubeconfig"),
    }
    (folder / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "here", "cluster": {"server": cluster}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": ""}}],
                "current-context": "here",
            }
        )
    )
    # Nobody has a service account outside of a cluster.
    outside = "yaml:processors::k8s_attributes::auth_type: kubeConfig"
    command = [str(native.binary("otelcol-flyte")), f"--config={AGENT}", f"--config={outside}"]
    ready = f"http://127.0.0.1:{health}"
    with native.Process(command, os.environ | known | variables, ready=ready, log=folder / "log") as process:
        yield f"http://127.0.0.1:{http}", process


EXECUTIONS = [Execution("flytesnacks", "development", f"f{number:019}") for number in range(400)]
USERS_SCOPE = "users.own"


def spans_of(executions: Sequence[Execution]) -> bytes:
    """Make of each execution one span of ours and one of its user's."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    scopes = request.resource_spans.add().scope_spans
    for scope in (semconv.SCOPE, USERS_SCOPE):
        spans = scopes.add()
        spans.scope.name = scope
        for number, execution in enumerate(executions, 1):
            trace_id = execution.trace_id().to_bytes(16, "big")
            spans.spans.add(name=scope, trace_id=trace_id, span_id=number.to_bytes(8, "big"))
    return request.SerializeToString()


def sent(endpoint: str, body: bytes) -> None:
    answer = requests.post(
        f"{endpoint}/v1/traces", body, headers={"Content-Type": "application/x-protobuf"}, timeout=30
    )
    answer.raise_for_status()


def is_kept(trace_id: int, ratio: float) -> bool:
    """The rule of https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/, in its own terms."""
    return trace_id & (2**56 - 1) >= (1 - ratio) * 2**56


@pytest.mark.parametrize("ratio", ["0.5", "0.1", "1", "0"])
def test_spans_of_ours_are_all_kept_and_those_of_users_by_the_execution(ratio: str, tmp_path: Path) -> None:
    kept = {one.trace_id() for one in EXECUTIONS if is_kept(one.trace_id(), float(ratio))}
    with (
        Receiver() as gateway,
        api_server() as (cluster, _),
        agent(tmp_path, gateway, cluster, USER_SPANS_RATIO=ratio) as (endpoint, _),
    ):
        sent(endpoint, spans_of(EXECUTIONS))
        gateway.wait_for(lambda it: len(it.spans()) >= len(EXECUTIONS) + len(kept))
        ours = [int(span.trace_id, 16) for span in gateway.spans(semconv.SCOPE)]
        users = [int(span.trace_id, 16) for span in gateway.spans(USERS_SCOPE)]
    assert sorted(ours) == sorted(one.trace_id() for one in EXECUTIONS)
    assert sorted(users) == sorted(kept)


def test_what_an_agent_has_acknowledged_survives_its_death_while_the_gateways_are_away(tmp_path: Path) -> None:
    with Receiver() as gateway, api_server() as (cluster, _):
        gateway.down()
        with agent(tmp_path, gateway, cluster) as (endpoint, process):
            for execution in EXECUTIONS[:50]:
                sent(endpoint, spans_of([execution]))
            process.stop(signal.SIGKILL)
        gateway.up()
        with agent(tmp_path, gateway, cluster):
            gateway.wait_for(lambda it: len(it.spans()) >= 100)
        arrived = {(span.trace_id, span.name) for span in gateway.spans()}
    assert len(arrived) == 100


def test_a_pod_that_says_nothing_of_itself_is_known_by_its_node_and_its_labels(tmp_path: Path) -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_pod = request.resource_spans.add()
    # A cluster knows it by the connection; here all of them come from loopback.
    of_pod.resource.attributes.add(key="k8s.pod.ip").value.string_value = "10.1.2.3"
    of_pod.scope_spans.add().spans.add(name="job", trace_id=b"t" * 16, span_id=b"s" * 8)
    with Receiver() as gateway, api_server() as (cluster, asked):
        with agent(tmp_path, gateway, cluster) as (endpoint, _):
            sent(endpoint, request.SerializeToString())
            (span,) = gateway.wait_for(lambda it: it.spans())
        assert all("fieldSelector=spec.nodeName%3Dnode-1" in path for path in asked if path.startswith("/api/v1/pods"))
    expected = {
        "k8s.pod.name": "spark-driver",
        "k8s.namespace.name": "flytesnacks-development",
        "k8s.node.name": "node-1",
        semconv.PROJECT: "flytesnacks",
        semconv.DOMAIN: "development",
        semconv.RUN_NAME: "f1c0ffee",
    }
    assert expected.items() <= span.resource.items()


# --- Flyte's Helm charts ---------------------------------------------------------------------------------------------


def go_module(module: str) -> Path:
    """Return the folder of a Go module, from Go's own cache or the module proxy."""
    if shutil.which("go") is None:
        pytest.skip(f"no Go, whose module proxy has {module}")
    command = ["go", "mod", "download", "-json", module]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT / "deploy")
    found = json.loads(answer.stdout or "{}")
    if "Dir" not in found:
        pytest.skip(f"{module} can't be had: {found.get('Error', answer.stderr.strip())}")
    return Path(found["Dir"])


def go_program(package: str) -> Path:
    """Return a program that Go builds from the module proxy, kept in the user's cache."""
    name = package.partition("@")[0].rpartition("/")[2]
    folder = CACHE / "go" / package.replace("/", "-")
    if not (folder / name).exists():
        if shutil.which("go") is None:
            pytest.skip(f"no Go, which builds {package}")
        variables = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        answer = subprocess.run(["go", "install", package], env=variables, capture_output=True, text=True, check=False)
        if answer.returncode:
            pytest.skip(f"{package} can't be built: {answer.stderr.strip().splitlines()[-1]}")
    return folder / name


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flyte's charts, with what they depend on."""
    helm = go_program(HELM_PROGRAM)
    folder = tmp_path_factory.mktemp("flyte") / "charts"
    shutil.copytree(go_module(FLYTE) / "charts", folder, copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    for chart in CHARTS:
        subprocess.run([helm, "dependency", "build", folder / chart], check=True, capture_output=True)
    return folder


def templated(charts: Path, chart: str, *values: str) -> list[Yaml]:
    """What Helm would install of a chart, with values of ours and Flyte's own scheduler."""
    command = [str(go_program(HELM_PROGRAM)), "template", "flyte", str(charts / chart), "--namespace", "flyte"]
    command += [argument for name in values for argument in ("--values", str(HELM / name))]
    if chart == "flyte-core":
        command += ["--set", "workflow_scheduler.enabled=true", "--set", "workflow_scheduler.type=native"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [one for one in yaml.safe_load_all(text) if one]


@pytest.fixture(scope="session")
def without_operator(charts: Path) -> dict[str, list[Yaml]]:
    """What a user gets who upgrades with our values, by chart."""
    return {chart: templated(charts, chart, f"{chart}.yaml") for chart in CHARTS}


@pytest.fixture(scope="session")
def rendered(charts: Path, without_operator: dict[str, list[Yaml]]) -> dict[str, list[Yaml]]:
    """What a user gets who has a Prometheus operator besides."""
    monitor = yaml.safe_load((HELM / "flyte-binary-service-monitor.yaml").read_text())
    return {
        "flyte-core": templated(charts, "flyte-core", "flyte-core.yaml", "flyte-core-service-monitors.yaml"),
        "flyte-binary": [*without_operator["flyte-binary"], monitor],
    }


def configuration(resources: Sequence[Yaml], *names: str) -> Yaml:
    """Merge the files of Flyte's ConfigMaps as Flyte does: maps are merged, the later file's lists and values win."""
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
def test_every_value_is_one_that_the_chart_has(chart: str, values: str, charts: Path) -> None:
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
                break  # What is below is Flyte's to take, or any label.


@pytest.mark.parametrize("chart", CHARTS)
def test_every_key_of_flytes_configuration_is_in_flytes_own_reference(chart: str, charts: Path) -> None:
    values = yaml.safe_load((HELM / f"{chart}.yaml").read_text())
    ours = values["configmap"] if chart == "flyte-core" else values["configuration"]["inline"]
    reference = "".join(
        page.read_text() for page in (go_module(FLYTE) / "docs/deployment/configuration/generated").glob("*.rst")
    )
    keys = {key for path in paths(ours) for key in path} - {"k8s", "task_logs", "core"}  # Files of the chart.
    unknown = {
        key for key in keys if not re.search(rf"^(Section: )?{re.escape(key)}( \(|:|$)", reference, re.MULTILINE)
    }
    assert unknown == set()


def of_prometheus_operator(kind: str) -> Yaml:
    """Return the schema of one of its kinds."""
    crds = go_module(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    crd = yaml.safe_load((crds / f"monitoring.coreos.com_{kind}.yaml").read_text())
    schema: Yaml = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return schema


def closed(schema: Any) -> Any:
    """Have objects of named properties take no others: the API server drops them, and so what was meant by them."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    of_names = found.get("type") == "object" and "properties" in found
    return {"additionalProperties": False, **found} if of_names else found


@pytest.mark.parametrize("chart", CHARTS)
def test_kubernetes_takes_what_the_chart_makes_of_our_values(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    ours = [one for one in rendered[chart] if one["kind"] in ("ConfigMap", "Service", "ServiceMonitor")]
    assert refused(ours, {"ServiceMonitor": of_prometheus_operator("servicemonitors")}) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_where_no_prometheus_operator_is_nothing_of_its_kinds_is_installed(
    chart: str, without_operator: dict[str, list[Yaml]]
) -> None:
    assert [one for one in without_operator[chart] if one["apiVersion"].startswith("monitoring.coreos.com")] == []


@pytest.mark.parametrize(("chart", "monitors"), [("flyte-core", 4), ("flyte-binary", 1)])
def test_every_monitor_finds_a_service_and_its_port_and_has_the_label_of_its_release(
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
def test_what_flyte_sends_goes_to_services_that_are_there(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    there = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}:{port['port']}"
        for one in built("kubernetes")
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    found = propellers(rendered[chart])
    variables = {key: value for entry in found["plugins"]["k8s"]["default-env-vars"] for key, value in entry.items()}
    assert urllib.parse.urlsplit(variables[semconv.ENDPOINT]).netloc in there
    assert found["otel"]["type"] == "otlpgrpc"
    assert urllib.parse.urlsplit(found["otel"]["otlpgrpc"]["endpoint"]).netloc in there
    assert set(variables) <= {value for value in vars(semconv).values() if isinstance(value, str)}


@needs_kubectl
def test_what_is_scraped_is_there_with_our_values(without_operator: dict[str, list[Yaml]]) -> None:
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
    """Return the links of attempts and of subtasks, by what users see."""
    plugins = found["plugins"]
    configs = {"attempt": plugins["logs"], "subtask": plugins["k8s-array"]["logs"]["config"]}
    assert all(config["kubernetes-enabled"] is False for config in configs.values())
    return {
        of: {link["displayName"]: link["templateUris"][0] for link in config["templates"]}
        for of, config in configs.items()
    }


@pytest.mark.parametrize("chart", CHARTS)
def test_log_links_reach_flyte_with_variables_that_it_fills_in(chart: str, rendered: dict[str, list[Yaml]]) -> None:
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
def test_utilization_leads_to_the_dashboard_of_the_attempt_and_of_the_subtask(
    chart: str, rendered: dict[str, list[Yaml]]
) -> None:
    found = {of: urls["Utilization"] for of, urls in log_links(propellers(rendered[chart])).items()}
    wanted = {"attempt": links.UTILIZATION, "subtask": links.UTILIZATION_SUBTASK}
    assert found == {of: f"https://grafana.example.com{path}" for of, path in wanted.items()}


def explored(url: str) -> Yaml:
    """Read what Grafana's Explore is asked, the place of each variable marked by `<name>`."""
    marked = re.sub(r"\{\{\.(\w+)\}\}", r"<\1>", url)
    (pane,) = json.loads(urllib.parse.parse_qs(urllib.parse.urlsplit(marked).query)["panes"][0]).values()
    return pane  # type: ignore[no-any-return]


@pytest.mark.parametrize("chart", CHARTS)
def test_logs_and_trace_ask_the_data_sources_for_the_attempt(chart: str, rendered: dict[str, list[Yaml]]) -> None:
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


def test_flyte_binary_has_one_page_of_metrics_named_as_with_flyte_core(rendered: dict[str, list[Yaml]]) -> None:
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
def test_each_of_flytes_services_exports_its_own_traces(service: str, rendered: dict[str, list[Yaml]]) -> None:
    assert configuration(rendered["flyte-core"], service)["otel"]["type"] == "otlpgrpc"


@pytest.mark.parametrize("chart", CHARTS)
def test_links_of_decks_lead_to_the_trace(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    variables = propellers(rendered[chart])["plugins"]["k8s"]["default-env-vars"]
    (url,) = [entry[semconv.OTEL_FLYTE_TRACE_URL] for entry in variables if semconv.OTEL_FLYTE_TRACE_URL in entry]
    asked = explored(url.replace("{trace_id}", "0123abcd"))
    assert asked["datasource"] == "tempo"
    assert asked["queries"][0]["query"] == "0123abcd"


@pytest.mark.parametrize("chart", CHARTS)
def test_the_default_pod_template_is_the_one_that_is_there(chart: str, rendered: dict[str, list[Yaml]]) -> None:
    template = yaml.safe_load((HELM / "pod-template.yaml").read_text())
    assert refused([template]) == []
    k8s = propellers(rendered[chart])["plugins"]["k8s"]
    assert k8s["default-pod-template-name"] == template["metadata"]["name"]
    # Propeller looks in its own namespace where that of the task has none.
    assert template["metadata"]["namespace"] == "flyte"


def test_the_pod_template_tells_a_task_what_its_resource_is_made_of() -> None:
    template = yaml.safe_load((HELM / "pod-template.yaml").read_text())
    (container,) = template["template"]["spec"]["containers"]
    # The name by which Flyte merges it into every container:
    # https://github.com/flyteorg/flyte/blob/v1.16.8/flyteplugins/go/tasks/pluginmachinery/flytek8s/pod_helper.go
    assert container["name"] == "default"
    variables = {variable["name"] for variable in container["env"]}
    assert all(variables & set(names) for names in semconv.K8S_VARIABLES.values())
    assert {"name": semconv.OTEL_FLYTE_CAPTURE_OUTPUT, "value": "true"} in container["env"]


# --- backends --------------------------------------------------------------------------------------------------------


def docs_command(*words: str) -> str:
    """Return the one block of shell in docs/deploy.md that has these words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    found: str
    (found,) = [block for block in blocks if all(word in block for word in words)]
    return found


def applied(command: str, folder: Path) -> list[Yaml]:
    """Run a command of the docs with a `kubectl apply` that keeps what it is given, and return that."""
    kept = folder / "applied.yaml"
    stub = folder / "kubectl"
    stub.write_text(
        f'#!/bin/sh\ncase " $* " in *" apply "*) cat >> {kept} ;; *) exec {shutil.which("kubectl")} "$@" ;; esac\n'
    )
    stub.chmod(0o755)
    variables = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", command], cwd=ROOT, env=variables, check=True, capture_output=True)
    return [one for one in yaml.safe_load_all(kept.read_text()) if one]


def test_a_prometheus_of_the_operator_is_told_what_the_stacks_own_is() -> None:
    values = yaml.safe_load((HELM / "kube-prometheus-stack.yaml").read_text())
    spec = values["prometheus"]["prometheusSpec"]
    resource = {"kind": "Prometheus", "metadata": {"name": "kube-prometheus-stack"}, "spec": spec}
    assert refused([resource], {"Prometheus": of_prometheus_operator("prometheuses")}) == []
    own = yaml.safe_load((ROOT / "backends" / "prometheus.yaml").read_text())
    assert spec["otlp"] == {
        "translationStrategy": own["otlp"]["translation_strategy"],
        "promoteResourceAttributes": own["otlp"]["promote_resource_attributes"],
    }
    assert spec["tsdb"]["outOfOrderTimeWindow"] == own["storage"]["tsdb"]["out_of_order_time_window"]
    assert spec["exemplars"]["maxSize"] == own["storage"]["exemplars"]["max_exemplars"]


def test_pods_have_the_labels_by_which_alerts_and_dashboards_know_them() -> None:
    values = yaml.safe_load((HELM / "kube-prometheus-stack.yaml").read_text())
    (allowed,) = values["kube-state-metrics"]["metricLabelsAllowlist"]
    labels = {f"label_{name.replace('-', '_')}" for name in re.findall(r"[\w-]+(?=[,\]])", allowed)}
    files = [*(ROOT / "backends" / "rules").glob("*.yaml"), *(ROOT / "grafana" / "dashboards").glob("*.json")]
    used = {name for file in files for name in re.findall(r"\blabel_\w+", file.read_text())}
    assert used - {"label_replace", "label_values", "label_join"} <= labels


@needs_kubectl
def test_every_dashboard_is_in_what_the_docs_have_grafanas_sidecar_find(tmp_path: Path) -> None:
    (found,) = applied(docs_command("grafana/dashboards", "grafana_dashboard"), tmp_path)
    assert refused([found]) == []
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert found["data"] == {file.name: file.read_text() for file in (ROOT / "grafana" / "dashboards").glob("*.json")}
    assert len(json.dumps(found)) < 2**20, "more than Kubernetes takes"


@needs_kubectl
def test_every_rule_is_in_what_the_docs_have_a_prometheus_operator_find(tmp_path: Path) -> None:
    found = applied(docs_command("backends/rules", "PrometheusRule"), tmp_path)
    assert refused(found, {"PrometheusRule": of_prometheus_operator("prometheusrules")}) == []
    files = sorted((ROOT / "backends" / "rules").glob("*.yaml"))
    assert [one["spec"] for one in found] == [yaml.safe_load(file.read_text()) for file in files]
    assert {one["metadata"]["labels"]["release"] for one in found} == {"kube-prometheus-stack"}


# --- images ----------------------------------------------------------------------------------------------------------


def test_the_image_spec_is_a_workflow_that_runs_and_an_image_with_us_in_it(tmp_path: Path) -> None:
    from flytekit.image_spec.default_builder import create_docker_context

    example = runpy.run_path(str(DEPLOY / "image" / "image_spec.py"))
    assert example["pipeline"](n=10) == 45
    create_docker_context(example["image"], tmp_path)
    installed = "".join(path.read_text() for path in tmp_path.glob("requirements*.txt")).split()
    assert "otel-flyte" in installed
    assert any(name.startswith("flytekit") for name in installed)


def test_the_dockerfile_leaves_the_entrypoint_to_the_image_it_begins_with() -> None:
    lines = (DEPLOY / "image" / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert instructions == ["ARG", "FROM", "USER", "RUN", "USER"]
    assert "pip install --no-cache-dir otel-flyte" in "\n".join(lines)
