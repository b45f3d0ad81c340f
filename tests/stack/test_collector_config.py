"""The collector takes what is sent to it, makes it what backends expect, and loses none of it."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from otel_flyte import semconv
from otel_flyte.supervisor import ending
from support import flyte_pages, native, pods
from support.native import CONFIG, ROOT, Process
from support.prometheus import Prometheus
from support.receiver import Receiver

KUBERNETES = CONFIG.with_name("kubernetes.yaml")
TASK = "traced_logs.count"

PORTS = {
    name: f"OTEL_FLYTE_STACK_{name.upper()}_PORT" for name in ("otlp_grpc", "otlp_http", "statsd", "health", "metrics")
}
EXISTING = {
    **dict.fromkeys(("TRACES_EXPORTERS", "METRICS_EXPORTERS", "LOGS_EXPORTERS"), "[otlp_http/existing]"),
    "EXISTING_BACKEND_HEADERS": "{X-Tenant: flyte}",
}
OF_EVERY_SERIES = {"__name__", "job", "instance", "service_name", "service_instance_id", "k8s_node_name"}


@dataclass(frozen=True)
class Collector:
    process: Process
    ports: Mapping[str, int]

    def send(self, signal: str, message: Mapping[str, Any]) -> None:
        """Send OTLP, as JSON; it has been taken once this returns."""
        url = f"http://127.0.0.1:{self.ports['otlp_http']}/v1/{signal}"
        requests.post(url, json=message, timeout=10).raise_for_status()

    def count(self, *lines: str) -> None:
        """Send lines of statsd."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for line in lines:
                client.sendto(line.encode(), ("127.0.0.1", self.ports["statsd"]))


@contextmanager
def collecting(folder: Path, env: Mapping[str, str]) -> Iterator[Collector]:
    binary = native.binary("otelcol-flyte")
    ports = dict(zip(PORTS, native.free_ports(len(PORTS)), strict=True))
    variables = {PORTS[name]: str(port) for name, port in ports.items()}
    variables |= {"COLLECTOR_STORAGE": str(folder / "queues"), "STATSD_INTERVAL": "1s", "SPAN_METRICS_INTERVAL": "1s"}
    ready = f"http://127.0.0.1:{ports['health']}/"
    command = [str(binary), f"--config={CONFIG}"]
    with Process(command, variables | dict(env), ready=ready, log=folder / "collector.log") as process:
        yield Collector(process, ports)


@dataclass(frozen=True)
class Stack:
    collector: Collector
    prometheus: Prometheus
    prometheus_process: Process

    def eventually(self, query: str, count: int = 1) -> list[dict[str, Any]]:
        """The series of a query, once there are as many."""

        def found() -> list[dict[str, Any]]:
            series = self.prometheus.now(query)
            return series if len(series) >= count else []

        return native.wait_until(found, f"{query} has less than {count} series: {self.prometheus.now(query)}")

    def value(self, query: str, expected: float) -> None:
        """Wait until a query has one series with this value."""

        def holds() -> bool:
            return [float(series["value"][1]) for series in self.prometheus.now(query)] == [expected]

        native.wait_until(holds, f"{query} is never {expected}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Collector and Prometheus with the files of the stack; Flyte's pages are scraped."""
    folder = tmp_path_factory.mktemp("stack")
    (port,) = native.free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [
        *(str(native.binary("prometheus")), f"--config.file={ROOT / 'backends' / 'prometheus.yaml'}"),
        *(f"--storage.tsdb.path={folder / 'prometheus'}", f"--web.listen-address={address}"),
        *("--web.enable-otlp-receiver", "--enable-feature=exemplar-storage"),
    ]
    with ExitStack() as opened:
        ready = f"http://{address}/-/ready"
        prometheus = opened.enter_context(Process(command, {}, ready=ready, log=folder / "prometheus.log"))
        pages = opened.enter_context(flyte_pages.serving())
        env = {
            "PROMETHEUS_OTLP_ENDPOINT": f"http://{address}/api/v1/otlp",
            "TRACES_EXPORTERS": "[nop]",
            "LOGS_EXPORTERS": "[nop]",
            "FLYTE_SCRAPE_INTERVAL": "1s",
            "FLYTE_SCRAPE_TIMEOUT": "1s",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=of-the-collector,service.name=not-said",
            **flyte_pages.collector_variables(pages),
        }
        collector = opened.enter_context(collecting(folder, env))
        yield Stack(collector, Prometheus(f"http://{address}"), prometheus)


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"OTEL_FLYTE_STACK_HOST": "0.0.0.0", PORTS["otlp_grpc"]: "14317"}, id="another address"),
        pytest.param(EXISTING, id="another backend instead"),
        pytest.param({"TRACES_EXPORTERS": "[otlp_http/tempo, otlp_grpc/existing]"}, id="another backend besides"),
        pytest.param({"TRACES_EXPORTERS": "[nop]", "LOGS_EXPORTERS": "[debug]"}, id="no backend"),
        pytest.param(dict.fromkeys(flyte_pages.VARIABLES.values(), "[a:10254, b:10254]"), id="pages of Flyte"),
        pytest.param({"FLYTE_SCRAPE_INTERVAL": "15s", "FLYTE_SCRAPE_TIMEOUT": "5s"}, id="scraped more often"),
        pytest.param({"COLLECTOR_MEMORY_MIB": "2000", "COLLECTOR_QUEUE_BYTES": "5000000000"}, id="more room"),
    ],
)
@pytest.mark.parametrize("files", [(CONFIG,), (CONFIG, KUBERNETES)], ids=["config", "kubernetes"])
def test_a_collector_takes_the_configuration(files: tuple[Path, ...], env: dict[str, str], tmp_path: Path) -> None:
    for name in ("token", "ca.crt"):
        (tmp_path / name).touch()
    folders = {"COLLECTOR_STORAGE": str(tmp_path / "queues"), "SERVICE_ACCOUNT": str(tmp_path)}

    ended = subprocess.run(
        [native.binary("otelcol-flyte"), "validate", *(f"--config={file}" for file in files)],
        env=folders | env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_every_exporter_keeps_what_it_has_on_disk_and_never_gives_up() -> None:
    exporters = yaml.safe_load(CONFIG.read_text())["exporters"]

    sending = {name: of for name, of in exporters.items() if name not in ("nop", "debug")}
    assert all(of["sending_queue"]["storage"] == "file_storage" for of in sending.values())
    assert all(of["retry_on_failure"]["max_elapsed_time"] == "0s" for of in sending.values())


def test_what_is_asked_of_a_kubelet_is_kept_of_its_page() -> None:
    (job,) = yaml.safe_load(KUBERNETES.read_text())["receivers"]["prometheus/kubelet"]["config"]["scrape_configs"]
    (keep,) = job["metric_relabel_configs"]

    for name in flyte_pages.names(flyte_pages.recorded("cadvisor")) | {"container_oom_events_total"}:
        assert re.fullmatch(keep["regex"], name)
    assert not re.fullmatch(keep["regex"], "container_tasks_state")


# --- statsd ----------------------------------------------------------------------------------------------------------


def test_what_flytekit_sends_by_statsd_is_named_as_what_comes_by_otlp(stack: Stack, tmp_path: Path) -> None:
    env = {
        "FLYTE_SECRETS_HOST": "127.0.0.1",  # flytekit reads the section of its statsd settings as "secrets".
        "FLYTE_SECRETS_PORT": str(stack.collector.ports["statsd"]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{stack.collector.ports['otlp_http']}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    pod = pods.execute(tmp_path, TASK, {"value": 3}, env=env)
    assert pod.outputs is not None, pod.stderr

    here = f'{{__name__=~"flyte_user_.+", instance="{socket.gethostname()}", task=~"mine|{TASK}"}}'
    by_statsd = names(stack.eventually(here, count=40))
    by_otlp = names(stack.eventually(here.replace("instance=", "instance!="), count=40))

    # The receiver of statsd knows no sets.
    assert by_otlp - by_statsd == {"flyte_user_users"}
    assert by_statsd <= by_otlp


def test_tags_in_the_name_are_labels_as_flyte_has_them(stack: Stack) -> None:
    stack.collector.count(named("labelled", "5|c"))

    (series,) = stack.eventually("flyte_user_labelled_total")
    assert labels(series) == {
        "flyte_project": "p",
        "flyte_domain": "d",
        semconv.USER_WORKFLOW: "p:d:a_b_c",
        semconv.USER_LAUNCH_PLAN: "p:d:lp",
        semconv.USER_TASK: "my.mod.task",
    }


def test_a_tag_of_the_user_has_the_last_word(stack: Stack) -> None:
    stack.collector.count(named("own", "1|c", wf="mine", table='sp"am', path="a=b"))

    (series,) = stack.eventually("flyte_user_own_total")
    assert {"wf": "mine", "table": "sp_am", "path": "a=b", "task": "my.mod.task"}.items() <= labels(series).items()


def test_counts_of_all_pods_add_up_over_time(stack: Stack) -> None:
    for _ in range(3):
        stack.collector.count(named("summed", "2|c"))
        stack.collector.count(named("summed", "2|c|@0.5"))
        stack.value("flyte_user_summed_total % 6", 0)
    stack.value("flyte_user_summed_total", 18)


def test_what_is_subtracted_has_a_counter_of_its_own(stack: Stack) -> None:
    stack.collector.count(named("stock", "-4|c"))

    stack.value("flyte_user_stock_decr_total", 4)


def test_a_timer_is_a_histogram_of_seconds_with_the_buckets_of_otlp(stack: Stack) -> None:
    stack.collector.count(named("step", "3|ms"), named("step", "1500|ms"), named("step", "7200000|ms"))

    stack.value("flyte_user_step_seconds_count{task='my.mod.task'}", 3)
    buckets = stack.prometheus.now("flyte_user_step_seconds_bucket{task='my.mod.task'}")
    counts = {float(bucket["metric"]["le"]): int(bucket["value"][1]) for bucket in buckets}
    assert [counts[bound] for bound in (0.0025, 0.005, 1, 2.5, 3600, float("inf"))] == [0, 1, 1, 2, 2, 3]
    stack.value("flyte_user_step_seconds_sum{task='my.mod.task'}", 7201.503)


def test_lines_that_are_not_of_flytekit_keep_their_name(stack: Stack) -> None:
    stack.collector.count("app.requests:4|c|#color:red")

    (series,) = stack.eventually("app_requests_total")
    assert labels(series) == {"color": "red"}


# --- what is scraped -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(flyte_pages.VARIABLES))
def test_the_names_of_flytes_pages_are_those_in_prometheus(page: str, stack: Stack) -> None:
    job = {"admin": "flyteadmin", "propeller": "flytepropeller", "scheduler": "flytescheduler"}.get(page, page)
    on_page = flyte_pages.names(flyte_pages.recorded(page))
    series = f'{{job="{job}", __name__!~"up|scrape_.+|target_info"}}'

    native.wait_until(lambda: names(stack.prometheus.now(series)) >= on_page, f"not all of {page} has arrived")

    assert names(stack.prometheus.now(series)) == on_page


def test_a_scraped_counter_has_a_rate(stack: Stack) -> None:
    stack.eventually("rate(flyte:admin:admin:create_execution:success[10s]) > 0")


def test_labels_of_a_page_stay_as_they_are(stack: Stack) -> None:
    (first, *_) = stack.eventually('{__name__=~"flyte:propeller:all:node:queueing_latency_ms", wf!=""}')

    assert re.fullmatch(r"[^:]+:[^:]+:.+", labels(first)["wf"])
    assert {"project", "domain", "wf", "quantile"} <= set(labels(first))


def test_the_collector_tells_of_itself(stack: Stack) -> None:
    (series,) = stack.eventually('otelcol_exporter_queue_size{data_type="metrics"}')

    assert (series["metric"]["job"], series["metric"]["instance"]) == ("otel-flyte-collector", socket.gethostname())
    stack.eventually("otelcol_exporter_sent_metric_points > 0")


# --- what comes by OTLP ----------------------------------------------------------------------------------------------


def test_delta_sums_arrive_as_what_prometheus_takes(stack: Stack) -> None:
    for count in (1, 2, 3):
        stack.collector.send("metrics", metric("delta.count", {"sum": a_sum(count, temporality=1)}))

    stack.value("delta_count_total", 6)


def test_pods_of_a_task_are_one_series_of_span_metrics(stack: Stack) -> None:
    for pod in ("a", "b"):
        resource = {"service.name": "spans", "service.instance.id": pod, semconv.RUN_NAME: pod}
        stack.collector.send("traces", spans(1, resource, {semconv.TASK_NAME: "t"}))

    stack.value('traces_span_metrics_calls_total{service_name="spans"}', 2)
    (series,) = stack.prometheus.now('traces_span_metrics_calls_total{service_name="spans"}')
    assert series["metric"]["instance"] == socket.gethostname()
    assert series["metric"]["flyte_task_name"] == "t"


def test_a_bucket_of_span_metrics_leads_to_a_trace(stack: Stack) -> None:
    stack.collector.send("traces", spans(1, {"service.name": "exemplars"}, {}))
    query = {"query": 'traces_span_metrics_duration_milliseconds_bucket{service_name="exemplars"}'}
    window = {"start": str(time.time() - 60), "end": str(time.time() + 60)}

    def found() -> list[Any]:
        answer = requests.get(f"{stack.prometheus.url}/api/v1/query_exemplars", query | window, timeout=10)
        return answer.json()["data"]  # type: ignore[no-any-return]

    (series, *_) = native.wait_until(found, "no exemplar has arrived")
    assert series["exemplars"][0]["labels"]["trace_id"] == "0" * 31 + "1"


def test_what_the_collector_knows_of_its_place_is_said_of_all_and_overrides_nothing(stack: Stack) -> None:
    stack.collector.send("metrics", metric("placed", {"gauge": {"dataPoints": [{"asInt": "1", **now()}]}}))

    (series,) = stack.eventually("placed")
    assert series["metric"]["k8s_node_name"] == "of-the-collector"
    assert series["metric"]["service_name"] == "sender"


def test_a_restart_of_prometheus_loses_nothing(stack: Stack) -> None:
    for number in range(60):
        if number == 20:
            stack.prometheus_process.stop(signal.SIGKILL)
        if number == 40:
            stack.prometheus_process.start()
        attributes = otlp({"number": str(number)})
        points = {"gauge": {"dataPoints": [{"asInt": "1", "attributes": attributes, **now()}]}}
        stack.collector.send("metrics", metric("restarted", points))

    stack.value("count(last_over_time(restarted[1h]))", 60)


# --- a backend that is there already ---------------------------------------------------------------------------------


@pytest.fixture
def existing(receiver: Receiver, tmp_path: Path) -> Iterator[Collector]:
    """A collector that sends all to a backend that is there already."""
    with collecting(tmp_path, {**EXISTING, "EXISTING_BACKEND_ENDPOINT": receiver.endpoint()}) as collector:
        yield collector


def test_nothing_is_lost_while_the_backend_is_away_and_the_collector_is_killed(
    existing: Collector, receiver: Receiver
) -> None:
    numbers = iter(range(10_000))
    sent = {"traces": 0, "logs": 0, "metrics": 0}

    def send(times: int) -> None:
        for number in [next(numbers) for _ in range(times)]:
            existing.send("traces", spans(5, {"service.name": "load"}, {"number": number}, first=5 * number + 1))
            existing.send("logs", log({"number": number}))
            existing.send("metrics", metric("load", {"sum": a_sum(1, temporality=2, number=number)}))
            for name, count in (("traces", 5), ("logs", 1), ("metrics", 1)):
                sent[name] += count

    def stored() -> dict[str, int]:
        return {
            "traces": len({span.span_id for span in receiver.spans()}),
            "logs": len({record.attributes["number"] for record in receiver.logs()}),
            "metrics": len({point.attributes["number"] for point in receiver.metrics("load")}),
        }

    send(10)
    receiver.down()
    send(10)
    existing.process.stop(signal.SIGKILL)
    existing.process.start()
    send(10)
    existing.process.stop(signal.SIGTERM)
    existing.process.start()
    receiver.up()
    send(10)

    native.wait_until(lambda: stored() == sent, f"sent {sent}")
    assert sent == {"traces": 200, "logs": 40, "metrics": 40}


def test_a_backend_that_is_there_already_is_sent_the_headers_that_it_wants(
    existing: Collector, receiver: Receiver
) -> None:
    existing.send("logs", log({}))

    receiver.wait_for(lambda received: received.logs())
    assert {request.headers["x-tenant"] for request in receiver.requests("logs")} == {"flyte"}


def test_another_backend_besides_gets_the_same_by_grpc(receiver: Receiver, tmp_path: Path) -> None:
    with Receiver() as tempo:
        env = {
            "TRACES_EXPORTERS": "[otlp_http/tempo, otlp_grpc/existing]",
            "TEMPO_OTLP_ENDPOINT": tempo.endpoint(),
            "EXISTING_BACKEND_ENDPOINT": receiver.endpoint("grpc"),
            "EXISTING_BACKEND_INSECURE": "true",
            "METRICS_EXPORTERS": "[nop]",
        }
        with collecting(tmp_path, env) as collector:
            collector.send("traces", spans(3, {"service.name": "besides"}, {}))
            for backend in (tempo, receiver):
                backend.wait_for(lambda received: len(received.spans()) == 3)

    assert [request.protocol for request in receiver.requests("traces")] == ["grpc"]
    assert receiver.spans() == tempo.spans()


def test_secrets_go_no_further_and_values_are_no_longer_than_backends_take(
    existing: Collector, receiver: Receiver
) -> None:
    told = {
        "http.request.header.authorization": "Bearer x",
        "flyte.input.api_key.value": "x",
        "gen_ai.usage.input_tokens": "12",
    }
    existing.send("traces", spans(1, {"service.name": "clean", "aws.secret": "x"}, {**told, "long": "x" * 20_000}))
    existing.send("logs", log({**told, "long": "x" * 20_000}))

    (span, *_) = receiver.wait_for(lambda received: received.spans())
    (record, *_) = receiver.wait_for(lambda received: received.logs())
    kept = {"gen_ai.usage.input_tokens": "12", "long": "x" * 16_384}
    assert span.attributes == record.attributes == kept
    assert span.resource == {"service.name": "clean"}


def test_names_that_a_user_makes_up_for_each_span_are_one_series_and_take_no_room_of_a_tasks_own(stack: Stack) -> None:
    limit = yaml.safe_load(CONFIG.read_text())["connectors"]["span_metrics"]["aggregation_cardinality_limit"]
    resource = {"service.name": "names", semconv.TASK_NAME: "t"}
    killed = {semconv.ERROR_TYPE: ending.OUT_OF_MEMORY}
    stack.collector.send("traces", spans(limit + 500, resource, {}, name="item {}", scope="user"))
    stack.collector.send("traces", spans(1, resource, killed, name="task t", scope=semconv.SCOPE))

    calls = 'traces_span_metrics_calls_total{service_name="names"'
    stack.value(f'{calls}, span_name="user"}}', limit + 500)
    # As the alert asks for it.
    stack.value(f'{calls}, error_type="OOMKilled", span_name=~"task .*"}}', 1)
    assert len(stack.prometheus.now(f"{calls}}}")) == 2


def test_a_task_with_ever_new_kinds_of_spans_has_no_more_series_than_it_may(
    existing: Collector, receiver: Receiver
) -> None:
    limit = yaml.safe_load(CONFIG.read_text())["connectors"]["span_metrics"]["aggregation_cardinality_limit"]
    resource = {"service.name": "names"}
    existing.send("traces", spans(limit + 500, resource, {}, name="item {}", scope=semconv.SCOPE))

    def sets() -> set[str]:
        points = receiver.metrics("traces.span.metrics.calls")
        return {json.dumps(point.attributes, sort_keys=True) for point in points}

    receiver.wait_for(lambda _: any(semconv.METRIC_OVERFLOW in one for one in sets()))
    assert len(sets()) == limit + 1


# --- what is sent and found ------------------------------------------------------------------------------------------


def names(series: list[dict[str, Any]]) -> set[str]:
    return {one["metric"]["__name__"] for one in series}


def labels(series: Mapping[str, Any]) -> dict[str, str]:
    """What tells a series from others of its name, but for where it comes from."""
    return {name: value for name, value in series["metric"].items() if name not in OF_EVERY_SERIES}


def named(name: str, value: str, **tags: str) -> str:
    """A line as flytekit writes it."""
    given = {"api_version": "1_16", "exec_domain": "d", "exec_launchplan": "p_d_lp"}
    given |= {"exec_project": "p", "exec_workflow": "p_d_a_b_c", **tags}
    in_name = "".join(f".__{key}={given[key]}" for key in sorted(given))
    return f"registered.dev.my.mod.task.user_stats.{name}{in_name}:{value}"


def otlp(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": str(value)}} for key, value in attributes.items()]


def now() -> dict[str, str]:
    return {"timeUnixNano": str(time.time_ns())}


def a_sum(value: int, *, temporality: int, **attributes: Any) -> dict[str, Any]:
    end = time.time_ns()
    point = {"asInt": str(value), "timeUnixNano": str(end), "startTimeUnixNano": str(end - 1)}
    points = [{**point, "attributes": otlp(attributes)}]
    return {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": points}


def metric(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    resource = {"attributes": otlp({"service.name": "sender", "service.instance.id": "one"})}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [{"name": name, **data}]}]}]}


def log(attributes: Mapping[str, Any]) -> dict[str, Any]:
    record = {"body": {"stringValue": "line"}, "attributes": otlp(attributes), **now()}
    resource = {"attributes": otlp({"service.name": "sender"})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}


def spans(
    count: int,
    resource: Mapping[str, Any],
    attributes: Mapping[str, Any],
    *,
    first: int = 1,
    name: str = "work",
    scope: str = "",
) -> dict[str, Any]:
    end = time.time_ns()
    common = {"kind": 1, "startTimeUnixNano": str(end - 20_000_000), "endTimeUnixNano": str(end)}
    made = [
        {
            **common,
            "name": name.format(number),
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "attributes": otlp(attributes),
        }
        for number in range(first, first + count)
    ]
    scopes = [{"scope": {"name": scope}, "spans": made}]
    return {"resourceSpans": [{"resource": {"attributes": otlp(resource)}, "scopeSpans": scopes}]}
