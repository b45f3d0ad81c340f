"""Write ``collectors.yaml``: the plain manifests of ``../kubernetes`` as resources of the OpenTelemetry operator.

The operator wants the collector's configuration within its resource, finds ports in it by itself, and takes nothing
but lists for a pipeline's exporters: variables of these are filled in with their defaults. When one of its sources has
changed: ``python deploy/operator/generate.py``.
"""

import re
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
MANIFESTS = HERE.parent / "kubernetes"
COLLECTOR = HERE.parent.parent / "collector"
TARGET = HERE / "collectors.yaml"

HEADER = "# Made by generate.py of ../kubernetes and ../../collector, where it is said why: change it there.\n"
CONFIG = "config"
"""The volume of the plain manifests that the operator makes itself."""

_ADDRESS = re.compile(r"\$\{env:OTEL_FLYTE_STACK_\w+:-([^}]*)\}")
_EXPORTERS = re.compile(r"\$\{env:\w+_EXPORTERS:-([^}]*)\}")
_OF_POD = ("priorityClassName", "tolerations", "topologySpreadConstraints", "terminationGracePeriodSeconds")
_OF_CONTAINER = ("image", "env", "envFrom", "resources", "securityContext")

Yaml = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Write what two resources share twice: each can be copied on its own."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def collectors() -> str:
    """Return what ``collectors.yaml`` should be."""
    stack = _read(COLLECTOR / "config.yaml")
    own = {part: _read(MANIFESTS / part / "config.yaml") for part in ("agent", "gateway", "scraper")}
    resources = [
        _resource("agent", own["agent"], isolated=True),
        _resource("gateway", merged(stack, own["gateway"]), isolated=True),
        # The operator's network policies let no UDP in, and so no statsd.
        _resource("scraper", merged(stack, _read(COLLECTOR / "kubernetes.yaml"), own["scraper"]), isolated=False),
    ]
    return HEADER + yaml.dump_all(resources, Dumper=_Plain, sort_keys=False, width=120)


def merged(base: Yaml, *overlays: Yaml) -> Yaml:
    """Merge configurations as the collector does: maps are merged, what else several have is the last one's."""
    result = dict(base)
    for overlay in overlays:
        for key, value in overlay.items():
            known = result.get(key)
            result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def _resource(part: str, config: Yaml, *, isolated: bool) -> Yaml:
    workload = _workload(MANIFESTS / part / f"{part}.yaml")
    spec = workload["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    found = {
        "mode": workload["kind"].lower(),
        **{key: spec[key] for key in ("replicas", "volumeClaimTemplates") if key in spec},
        **{key: container[key] for key in _OF_CONTAINER if key in container},
        **{key: pod[key] for key in _OF_POD if key in pod},
        "volumeMounts": _without_config(container["volumeMounts"]),
        "volumes": _without_config(pod["volumes"]),
        "config": config,
    }
    if "securityContext" in pod:
        found["podSecurityContext"] = pod["securityContext"]
    if "serviceAccountName" in pod:
        found["serviceAccount"] = pod["serviceAccountName"]
    if isolated:
        found["networkPolicy"] = {"enabled": True}
    found["env"] = [_renamed(variable) for variable in found["env"]]
    return {
        "apiVersion": "opentelemetry.io/v1beta1",
        "kind": "OpenTelemetryCollector",
        "metadata": {"name": workload["metadata"]["name"]},
        "spec": {key: value for key, value in found.items() if value},
    }


def _workload(path: Path) -> Yaml:
    """Return the first document, the DaemonSet or StatefulSet."""
    workload: Yaml = next(iter(yaml.safe_load_all(path.read_text())))
    return workload


def _renamed(variable: Yaml) -> Yaml:
    """Name the gateways' service as the operator does."""
    if variable["name"] != "GATEWAY_ENDPOINT":
        return variable
    return {**variable, "value": "otel-flyte-gateway-collector-headless.otel-flyte:4317"}


def _without_config(entries: list[Yaml]) -> list[Yaml]:
    return [entry for entry in entries if entry["name"] != CONFIG]


def _read(path: Path) -> Yaml:
    """Read a configuration, with addresses and exporters in place of their variables."""
    config: Yaml = yaml.safe_load(_ADDRESS.sub(_in_a_pod, path.read_text()))
    for pipeline in config.get("service", {}).get("pipelines", {}).values():
        found = _EXPORTERS.fullmatch(str(pipeline.get("exporters")))
        if found:
            pipeline["exporters"] = yaml.safe_load(found[1])
    return config


def _in_a_pod(found: re.Match[str]) -> str:
    # A pod that listens on loopback is heard by nobody.
    return found[1].replace("127.0.0.1", "0.0.0.0")  # noqa: S104


if __name__ == "__main__":
    TARGET.write_text(collectors())
