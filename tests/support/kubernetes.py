"""Kubernetes manifests as built by Kustomize, checked with the schemas of several Kubernetes versions.

No cluster is needed: `kubernetes-validate` has the schemas, and the Go module proxy those of the Prometheus operator.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml
from jsonschema import Draft202012Validator

from support.native import ROOT

DEPLOY = ROOT / "deploy"
HELM = DEPLOY / "helm"

VERSIONS = ("1.25", "1.32", "1.37")
"""The oldest version of Kubernetes that `kubernetes-validate` knows, the newest, and one between."""

PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.92.1"

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-flyte"

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which includes Kustomize, is missing"
)

Yaml = dict[str, Any]

# It reads a file of schemas for each resource otherwise.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


def documents(text: str) -> list[Any]:
    """Parse YAML, ten times as fast as :func:`yaml.safe_load_all`: schemas and charts are large."""
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


@cache
def built(folder: str) -> Sequence[Yaml]:
    """Return the resources of a folder of `deploy` as `kubectl apply -k` builds them."""
    command = ["kubectl", "kustomize", str(DEPLOY / folder)]
    return tuple(documents(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def errors(resources: Sequence[Yaml], schemas: Mapping[str, Yaml] | None = None) -> list[str]:
    """Return the errors that the API server of each version reports, and the resources without a schema.

    ``schemas`` are the schemas of kinds that Kubernetes itself does not have.
    """
    known = schemas or {}
    found = []
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] in known:
            problems = Draft202012Validator(known[resource["kind"]]).iter_errors(resource)
            found += [f"{name}: {problem.message}" for problem in problems]
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{name}: no schema")
                break
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name}, Kubernetes {version}: {error.message}")
    return found


def references(value: Any, key: str) -> Iterator[str]:
    """Yield the names that a resource refers to under a key such as `configMapRef`."""
    if isinstance(value, dict):
        for at, inner in value.items():
            if at == key and isinstance(inner, dict) and "name" in inner:
                yield inner["name"]
            yield from references(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner, key)


# --- Go modules ------------------------------------------------------------------------------------------------------


def go_module(module: str) -> Path:
    """Return the folder of a Go module. Skip the test if the module proxy cannot be reached."""
    if shutil.which("go") is None:
        pytest.skip(f"go is not on PATH: {module} cannot be downloaded")
    command = ["go", "mod", "download", "-json", module]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=DEPLOY)
    found = json.loads(answer.stdout or "{}")
    if "Dir" not in found:
        pytest.skip(f"{module} cannot be downloaded: {found.get('Error', answer.stderr.strip())}")
    return Path(found["Dir"])


def go_program(package: str) -> Path:
    """Return a program that Go builds from the module proxy, once into the user's cache."""
    name = package.partition("@")[0].rpartition("/")[2]
    folder = CACHE / "go" / package.replace("/", "-")
    if not (folder / name).exists():
        if shutil.which("go") is None:
            pytest.skip(f"go is not on PATH: {package} cannot be built")
        variables = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        answer = subprocess.run(["go", "install", package], env=variables, capture_output=True, text=True, check=False)
        if answer.returncode:
            pytest.skip(f"{package} cannot be built: {answer.stderr.strip().splitlines()[-1]}")
    return folder / name


@cache
def prometheus_operator_schema(kind: str) -> Yaml:
    """Return the schema of one of the Prometheus operator's kinds."""
    crds = go_module(PROMETHEUS_OPERATOR) / "example" / "prometheus-operator-crd"
    (crd,) = documents((crds / f"monitoring.coreos.com_{kind}.yaml").read_text())
    schema: Yaml = _closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return schema


def _closed(schema: Any) -> Any:
    """Forbid unknown properties of objects: the API server drops them without an error."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    has_properties = found.get("type") == "object" and "properties" in found
    return {"additionalProperties": False, **found} if has_properties else found
