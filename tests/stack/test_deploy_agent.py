"""The agent of a node, run beside a stand-in for Kubernetes' API: it delivers, samples, and identifies pods."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from otel_flyte import semconv
from otel_flyte.tasks.identity import Execution
from support import native
from support.kubernetes import DEPLOY
from support.receiver import Receiver

AGENT = DEPLOY / "kubernetes" / "agent" / "config.yaml"

POD = {
    "metadata": {
        "name": "spark-driver",
        "namespace": "flytesnacks-development",
        "uid": "7f5e",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        # Propeller's labels.
        "labels": {"project": "flytesnacks", "domain": "development", "execution-id": "f1c0ffee"},
    },
    "spec": {"nodeName": "node-1"},
    "status": {"podIP": "10.1.2.3", "phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
}
"""A pod whose telemetry has no identity."""


@contextlib.contextmanager
def api_server() -> Iterator[tuple[str, list[str]]]:
    """Serve Kubernetes' API with one pod; yield its URL and the list of requested paths."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            # A watch ends at once without events, and is started again.
            pods = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [POD]}
            body = b"" if "watch=true" in self.path else json.dumps(pods).encode()
            # A list by a watch is not supported.
            self.send_response(400 if "sendInitialEvents" in self.path else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requested
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def agent(folder: Path, gateway: Receiver, cluster: str, **variables: str) -> Iterator[tuple[str, native.Process]]:
    """Run the agent of `node-1`, which sends to a receiver in place of a gateway."""
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
    # Outside of a cluster there is no service account.
    outside = "yaml:processors::k8s_attributes::auth_type: kubeConfig"
    command = [str(native.binary("otelcol-flyte")), f"--config={AGENT}", f"--config={outside}"]
    ready = f"http://127.0.0.1:{health}"
    with native.Process(command, os.environ | known | variables, ready=ready, log=folder / "log") as process:
        yield f"http://127.0.0.1:{http}", process


EXECUTIONS = [Execution("flytesnacks", "development", f"f{number:019}") for number in range(400)]
USER_SCOPE = "user"


def spans_of(executions: Sequence[Execution]) -> bytes:
    """Return a request with one span of ours and one span of the user for each execution."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    scopes = request.resource_spans.add().scope_spans
    for scope in (semconv.SCOPE, USER_SCOPE):
        spans = scopes.add()
        spans.scope.name = scope
        for number, execution in enumerate(executions, 1):
            trace_id = execution.trace_id().to_bytes(16, "big")
            spans.spans.add(name=scope, trace_id=trace_id, span_id=number.to_bytes(8, "big"))
    return request.SerializeToString()


def send(endpoint: str, body: bytes) -> None:
    answer = requests.post(
        f"{endpoint}/v1/traces", body, headers={"Content-Type": "application/x-protobuf"}, timeout=30
    )
    answer.raise_for_status()


def is_sampled(trace_id: int, ratio: float) -> bool:
    """Return whether a trace is sampled, by the rule of https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/."""
    return trace_id & (2**56 - 1) >= (1 - ratio) * 2**56


@pytest.mark.parametrize("ratio", ["0.5", "0.1", "1", "0"])
def test_user_spans_are_sampled_by_execution_and_ours_are_all_kept(ratio: str, tmp_path: Path) -> None:
    kept = {one.trace_id() for one in EXECUTIONS if is_sampled(one.trace_id(), float(ratio))}
    with (
        Receiver() as gateway,
        api_server() as (cluster, _),
        agent(tmp_path, gateway, cluster, USER_SPANS_RATIO=ratio) as (endpoint, _),
    ):
        send(endpoint, spans_of(EXECUTIONS))
        gateway.wait_for(lambda it: len(it.spans()) >= len(EXECUTIONS) + len(kept))
        ours = [int(span.trace_id, 16) for span in gateway.spans(semconv.SCOPE)]
        users = [int(span.trace_id, 16) for span in gateway.spans(USER_SCOPE)]
    assert sorted(ours) == sorted(one.trace_id() for one in EXECUTIONS)
    assert sorted(users) == sorted(kept)


def test_acknowledged_spans_survive_a_kill_while_the_gateways_are_down(tmp_path: Path) -> None:
    with Receiver() as gateway, api_server() as (cluster, _):
        gateway.down()
        with agent(tmp_path, gateway, cluster) as (endpoint, process):
            for execution in EXECUTIONS[:50]:
                send(endpoint, spans_of([execution]))
            process.stop(signal.SIGKILL)
        gateway.up()
        with agent(tmp_path, gateway, cluster):
            gateway.wait_for(lambda it: len(it.spans()) >= 100)
        arrived = {(span.trace_id, span.name) for span in gateway.spans()}
    assert len(arrived) == 100


def test_a_pod_without_identity_is_identified_by_its_node_and_labels(tmp_path: Path) -> None:
    request = trace_service_pb2.ExportTraceServiceRequest()
    of_pod = request.resource_spans.add()
    # In a cluster the connection identifies the pod; here all connections come from loopback.
    of_pod.resource.attributes.add(key="k8s.pod.ip").value.string_value = "10.1.2.3"
    of_pod.scope_spans.add().spans.add(name="job", trace_id=b"t" * 16, span_id=b"s" * 8)
    with Receiver() as gateway, api_server() as (cluster, requested):
        with agent(tmp_path, gateway, cluster) as (endpoint, _):
            send(endpoint, request.SerializeToString())
            (span,) = gateway.wait_for(lambda it: it.spans())
        assert all(
            "fieldSelector=spec.nodeName%3Dnode-1" in path for path in requested if path.startswith("/api/v1/pods")
        )
    expected = {
        "k8s.pod.name": "spark-driver",
        "k8s.namespace.name": "flytesnacks-development",
        "k8s.node.name": "node-1",
        semconv.PROJECT: "flytesnacks",
        semconv.DOMAIN: "development",
        semconv.RUN_NAME: "f1c0ffee",
    }
    assert expected.items() <= span.resource.items()
