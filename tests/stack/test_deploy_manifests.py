"""The manifests of `deploy/`: Kubernetes accepts them, and collectors accept the configurations in them."""

import os
import runpy
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from support import native
from support.kubernetes import DEPLOY, built, errors, needs_kubectl, references
from support.native import ROOT

AGENT = DEPLOY / "kubernetes" / "agent" / "config.yaml"

WITHOUT_SCHEMA = {"OpenTelemetryCollector", "Instrumentation"}
"""Kinds of the OpenTelemetry operator. No registry has their schemas; the collector validates their configurations."""

KINDS = ("receivers", "processors", "exporters", "connectors", "extensions")


@needs_kubectl
@pytest.mark.parametrize("folder", ["kubernetes", "operator"])
def test_kubernetes_accepts_the_built_manifests(folder: str) -> None:
    resources = built(folder)
    unchecked = [resource for resource in resources if resource["kind"] in WITHOUT_SCHEMA]
    assert errors([resource for resource in resources if resource not in unchecked]) == []
    print(f"{folder}: {len(resources)} resources, no schema for", sorted(one["kind"] for one in unchecked))  # noqa: T201


@needs_kubectl
@pytest.mark.parametrize("folder", ["kubernetes", "operator"])
def test_every_config_map_of_a_collector_exists(folder: str) -> None:
    resources = built(folder)
    existing = {resource["metadata"]["name"] for resource in resources if resource["kind"] == "ConfigMap"}
    wanted = {name for one in resources for key in ("configMap", "configMapRef") for name in references(one, key)}
    assert wanted
    assert wanted <= existing


@needs_kubectl
def test_every_service_and_policy_selects_pods_with_its_ports() -> None:
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
def test_every_container_is_limited_probed_and_unprivileged() -> None:
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


def test_the_operators_resources_are_generated_from_the_manifests() -> None:
    generator = runpy.run_path(str(DEPLOY / "operator" / "generate.py"))
    committed = (DEPLOY / "operator" / "collectors.yaml").read_text()
    assert committed == generator["collectors"](), "stale: run `python deploy/operator/generate.py`"


# --- collectors ------------------------------------------------------------------------------------------------------


def configurations() -> dict[str, list[Path]]:
    """Return the configuration files of each collector in the manifests."""
    stack, cluster = (ROOT / "collector" / name for name in ("config.yaml", "kubernetes.yaml"))
    own = {part: DEPLOY / "kubernetes" / part / "config.yaml" for part in ("agent", "gateway", "scraper")}
    return {
        "agent": [own["agent"]],
        "gateway": [stack, own["gateway"]],
        "scraper": [stack, cluster, own["scraper"]],
    }


def environment(part: str) -> dict[str, str]:
    """Return the environment that the manifests give to a collector."""
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
        for source in references(container.get("envFrom", []), "configMapRef")
        for key, value in maps[source].items()
    }
    return found | {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def validated(files: Sequence[Path], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(native.binary("otelcol-flyte")), "validate", *(f"--config={file}" for file in files)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, str]:
    """The environment that a collector has in its pod besides that of the manifests."""
    for name in ("token", "ca.crt"):
        (tmp_path / name).touch()
    return {"COLLECTOR_STORAGE": str(tmp_path), "K8S_NODE_NAME": "node-1", "SERVICE_ACCOUNT": str(tmp_path)}


@needs_kubectl
@pytest.mark.parametrize("part", configurations())
def test_the_collector_accepts_its_configuration(part: str, pod: dict[str, str]) -> None:
    answer = validated(configurations()[part], environment(part) | pod)
    assert answer.returncode == 0, answer.stderr


def test_the_collector_accepts_the_operators_configurations(tmp_path: Path, pod: dict[str, str]) -> None:
    for resource in yaml.safe_load_all((DEPLOY / "operator" / "collectors.yaml").read_text()):
        file = tmp_path / f"{resource['metadata']['name']}.yaml"
        config = resource["spec"]["config"]
        # The operator's schema does not allow variables here.
        assert all(isinstance(pipeline["exporters"], list) for pipeline in config["service"]["pipelines"].values())
        file.write_text(yaml.safe_dump(config))
        answer = validated([file], pod)
        assert answer.returncode == 0, answer.stderr


def test_a_gateway_accepts_the_largest_batch_of_an_agent() -> None:
    batch = yaml.safe_load(AGENT.read_text())["exporters"]["otlp_grpc"]["sending_queue"]["batch"]
    limit = yaml.safe_load(native.CONFIG.read_text())["receivers"]["otlp"]["protocols"]["grpc"]["max_recv_msg_size_mib"]
    assert batch["sizer"] == "bytes"
    assert batch["max_size"] < limit * 2**20


def test_a_configuration_with_untested_components_has_a_notice_in_its_first_line() -> None:
    listed = subprocess.run(
        [native.binary("otelcol-flyte"), "components"], check=True, capture_output=True, text=True
    ).stdout
    tested = {component["name"] for kind in KINDS for component in yaml.safe_load(listed)[kind]}
    for file in sorted(DEPLOY.glob("kubernetes/**/config.yaml")):
        config = yaml.safe_load(file.read_text())
        used = {name.partition("/")[0] for kind in KINDS for name in config.get(kind, {})}
        assert used <= tested or "outside of the tested set" in file.read_text().splitlines()[0], file
