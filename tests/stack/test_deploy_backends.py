"""Backends and images of `deploy/`: values for an existing Prometheus, the commands of the docs, the image examples."""

import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import yaml

from support.kubernetes import DEPLOY, HELM, Yaml, errors, needs_kubectl, prometheus_operator_schema
from support.native import ROOT
from support.stack import executable


def docs_command(*words: str) -> str:
    """Return the one shell block in docs/deploy.md with these words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    found: str
    (found,) = [block for block in blocks if all(word in block for word in words)]
    return found


def applied(command: str, folder: Path) -> list[Yaml]:
    """Run a command of the docs, and return the resources that it passes to `kubectl apply`."""
    output = folder / "applied.yaml"
    real = shutil.which("kubectl")
    executable(folder / "kubectl", f'case " $* " in *" apply "*) cat >> {output} ;; *) exec {real} "$@" ;; esac')
    variables = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", command], cwd=ROOT, env=variables, check=True, capture_output=True)
    return [one for one in yaml.safe_load_all(output.read_text()) if one]


def test_an_operators_prometheus_has_the_settings_of_the_stacks_own() -> None:
    values = yaml.safe_load((HELM / "kube-prometheus-stack.yaml").read_text())
    spec = values["prometheus"]["prometheusSpec"]
    resource = {"kind": "Prometheus", "metadata": {"name": "kube-prometheus-stack"}, "spec": spec}
    assert errors([resource], {"Prometheus": prometheus_operator_schema("prometheuses")}) == []
    own = yaml.safe_load((ROOT / "backends" / "prometheus.yaml").read_text())
    assert spec["otlp"] == {
        "translationStrategy": own["otlp"]["translation_strategy"],
        "promoteResourceAttributes": own["otlp"]["promote_resource_attributes"],
    }
    assert spec["tsdb"]["outOfOrderTimeWindow"] == own["storage"]["tsdb"]["out_of_order_time_window"]
    assert spec["exemplars"]["maxSize"] == own["storage"]["exemplars"]["max_exemplars"]


def test_kube_state_metrics_exports_the_pod_labels_that_alerts_and_dashboards_use() -> None:
    values = yaml.safe_load((HELM / "kube-prometheus-stack.yaml").read_text())
    (allowed,) = values["kube-state-metrics"]["metricLabelsAllowlist"]
    labels = {f"label_{name.replace('-', '_')}" for name in re.findall(r"[\w-]+(?=[,\]])", allowed)}
    files = [*(ROOT / "backends" / "rules").glob("*.yaml"), *(ROOT / "grafana" / "dashboards").glob("*.json")]
    used = {name for file in files for name in re.findall(r"\blabel_\w+", file.read_text())}
    assert used - {"label_replace", "label_values", "label_join"} <= labels


@needs_kubectl
def test_the_command_in_the_docs_installs_every_dashboard(tmp_path: Path) -> None:
    (found,) = applied(docs_command("grafana/dashboards", "grafana_dashboard"), tmp_path)
    assert errors([found]) == []
    assert found["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert found["data"] == {file.name: file.read_text() for file in (ROOT / "grafana" / "dashboards").glob("*.json")}
    assert len(json.dumps(found)) < 2**20, "larger than Kubernetes allows"


@needs_kubectl
def test_the_command_in_the_docs_installs_every_rule(tmp_path: Path) -> None:
    found = applied(docs_command("backends/rules", "PrometheusRule"), tmp_path)
    assert errors(found, {"PrometheusRule": prometheus_operator_schema("prometheusrules")}) == []
    files = sorted((ROOT / "backends" / "rules").glob("*.yaml"))
    assert [one["spec"] for one in found] == [yaml.safe_load(file.read_text()) for file in files]
    assert {one["metadata"]["labels"]["release"] for one in found} == {"kube-prometheus-stack"}


# --- images ----------------------------------------------------------------------------------------------------------


def test_the_image_spec_example_runs_and_its_image_installs_this_package(tmp_path: Path) -> None:
    from flytekit.image_spec.default_builder import create_docker_context

    example = runpy.run_path(str(DEPLOY / "image" / "image_spec.py"))
    assert example["pipeline"](n=10) == 45
    create_docker_context(example["image"], tmp_path)
    installed = "".join(path.read_text() for path in tmp_path.glob("requirements*.txt")).split()
    assert "otel-flyte" in installed
    assert any(name.startswith("flytekit") for name in installed)


def test_the_dockerfile_does_not_change_the_entrypoint() -> None:
    lines = (DEPLOY / "image" / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert instructions == ["ARG", "FROM", "USER", "RUN", "USER"]
    assert "pip install --no-cache-dir otel-flyte" in "\n".join(lines)
