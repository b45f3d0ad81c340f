"""The collector's configuration: accepted values, and the metrics from statsd, scraped pages and OTLP."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from otel_flyte import semconv
from support import collector, flyte_pages, native, otlp, pods
from support.collector import EXISTING, PORTS, Collector, spans
from support.native import CONFIG, ROOT, Process
from support.prometheus import Prometheus

KUBERNETES = CONFIG.with_name("kubernetes.yaml")
TASK = "traced_logs.count"
OF_EVERY_SERIES = {"__name__", "job", "instance", "service_name", "service_instance_id", "k8s_node_name"}


@dataclass(frozen=True)
class Stack:
    collector: Collector
    prometheus: Prometheus
    prometheus_process: Process

    def wait_for(self, query: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the series of a query once there are as many."""

        def found() -> list[dict[str, Any]]:
            series = self.prometheus.now(query)
            return series if len(series) >= count else []

        return native.wait_until(found, f"{query} has less than {count} series: {self.prometheus.now(query)}")

    def wait_for_value(self, query: str, expected: float) -> None:
        """Wait until a query has one series with this value."""

        def holds() -> bool:
            return [float(series["value"][1]) for series in self.prometheus.now(query)] == [expected]

        native.wait_until(holds, f"{query} is never {expected}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A collector and a Prometheus with the stack's files; Flyte's pages are scraped."""
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
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.node.name=of-the-collector,service.name=not-used",
            **flyte_pages.collector_variables(pages),
        }
        running = opened.enter_context(collector.running(folder, env))
        yield Stack(running, Prometheus(f"http://{address}"), prometheus)


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"OTEL_FLYTE_STACK_HOST": "0.0.0.0", PORTS["otlp_grpc"]: "14317"}, id="another address"),
        pytest.param(EXISTING, id="another backend instead"),
        pytest.param({"TRACES_EXPORTERS": "[otlp_http/tempo, otlp_grpc/existing]"}, id="another backend besides"),
        pytest.param({"TRACES_EXPORTERS": "[nop]", "LOGS_EXPORTERS": "[debug]"}, id="no backend"),
        pytest.param(dict.fromkeys(flyte_pages.VARIABLES.values(), "[a:10254, b:10254]"), id="pages of Flyte"),
        pytest.param({"FLYTE_SCRAPE_INTERVAL": "15s", "FLYTE_SCRAPE_TIMEOUT": "5s"}, id="scraped more often"),
        pytest.param({"COLLECTOR_MEMORY_MIB": "2000", "COLLECTOR_QUEUE_BYTES": "5000000000"}, id="more memory"),
    ],
)
@pytest.mark.parametrize("files", [(CONFIG,), (CONFIG, KUBERNETES)], ids=["config", "kubernetes"])
def test_the_collector_accepts_the_configuration(files: tuple[Path, ...], env: dict[str, str], tmp_path: Path) -> None:
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


def test_every_exporter_has_a_queue_on_disk_and_retries_forever() -> None:
    exporters = yaml.safe_load(CONFIG.read_text())["exporters"]

    sending = {name: of for name, of in exporters.items() if name not in ("nop", "debug")}
    assert all(of["sending_queue"]["storage"] == "file_storage" for of in sending.values())
    assert all(of["retry_on_failure"]["max_elapsed_time"] == "0s" for of in sending.values())


def test_the_queried_metrics_of_a_kubelet_are_kept() -> None:
    (job,) = yaml.safe_load(KUBERNETES.read_text())["receivers"]["prometheus/kubelet"]["config"]["scrape_configs"]
    (keep,) = job["metric_relabel_configs"]

    for name in flyte_pages.names(flyte_pages.recorded("cadvisor")) | {"container_oom_events_total"}:
        assert re.fullmatch(keep["regex"], name)
    assert not re.fullmatch(keep["regex"], "container_tasks_state")


# --- statsd ----------------------------------------------------------------------------------------------------------


def test_statsd_metrics_of_flytekit_have_the_names_that_they_have_by_otlp(stack: Stack, tmp_path: Path) -> None:
    env = {
        "FLYTE_SECRETS_HOST": "127.0.0.1",  # flytekit reads the section of its statsd settings as "secrets".
        "FLYTE_SECRETS_PORT": str(stack.collector.ports["statsd"]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.collector.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    pod = pods.execute(tmp_path, TASK, {"value": 3}, env=env)
    assert pod.outputs is not None, pod.stderr

    here = f'{{__name__=~"flyte_user_.+", instance="{socket.gethostname()}", task=~"mine|{TASK}"}}'
    by_statsd = names(stack.wait_for(here, count=40))
    by_otlp = names(stack.wait_for(here.replace("instance=", "instance!="), count=40))

    # The statsd receiver does not support sets.
    assert by_otlp - by_statsd == {"flyte_user_users"}
    assert by_statsd <= by_otlp


def test_tags_in_a_statsd_name_become_labels_as_flyte_has_them(stack: Stack) -> None:
    stack.collector.send_statsd(named("labelled", "5|c"))

    (series,) = stack.wait_for("flyte_user_labelled_total")
    assert labels(series) == {
        "flyte_project": "p",
        "flyte_domain": "d",
        semconv.USER_WORKFLOW: "p:d:a_b_c",
        semconv.USER_LAUNCH_PLAN: "p:d:lp",
        semconv.USER_TASK: "my.mod.task",
    }


def test_a_tag_of_the_user_overrides_a_label_of_ours(stack: Stack) -> None:
    stack.collector.send_statsd(named("own", "1|c", wf="mine", table='sp"am', path="a=b"))

    (series,) = stack.wait_for("flyte_user_own_total")
    assert {"wf": "mine", "table": "sp_am", "path": "a=b", "task": "my.mod.task"}.items() <= labels(series).items()


def test_statsd_counts_of_all_pods_add_up_over_time(stack: Stack) -> None:
    for _ in range(3):
        stack.collector.send_statsd(named("summed", "2|c"))
        stack.collector.send_statsd(named("summed", "2|c|@0.5"))
        stack.wait_for_value("flyte_user_summed_total % 6", 0)
    stack.wait_for_value("flyte_user_summed_total", 18)


def test_decrements_have_a_counter_of_their_own(stack: Stack) -> None:
    stack.collector.send_statsd(named("stock", "-4|c"))

    stack.wait_for_value("flyte_user_stock_decr_total", 4)


def test_a_statsd_timer_is_a_histogram_of_seconds_with_the_buckets_of_otlp(stack: Stack) -> None:
    stack.collector.send_statsd(named("step", "3|ms"), named("step", "1500|ms"), named("step", "7200000|ms"))

    stack.wait_for_value("flyte_user_step_seconds_count{task='my.mod.task'}", 3)
    buckets = stack.prometheus.now("flyte_user_step_seconds_bucket{task='my.mod.task'}")
    counts = {float(bucket["metric"]["le"]): int(bucket["value"][1]) for bucket in buckets}
    assert [counts[bound] for bound in (0.0025, 0.005, 1, 2.5, 3600, float("inf"))] == [0, 1, 1, 2, 2, 3]
    stack.wait_for_value("flyte_user_step_seconds_sum{task='my.mod.task'}", 7201.503)


def test_statsd_lines_of_other_programs_keep_their_names(stack: Stack) -> None:
    stack.collector.send_statsd("app.requests:4|c|#color:red")

    (series,) = stack.wait_for("app_requests_total")
    assert labels(series) == {"color": "red"}


# --- scraped pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(flyte_pages.VARIABLES))
def test_prometheus_has_the_names_of_flytes_pages(page: str, stack: Stack) -> None:
    job = {"admin": "flyteadmin", "propeller": "flytepropeller", "scheduler": "flytescheduler"}.get(page, page)
    on_page = flyte_pages.names(flyte_pages.recorded(page))
    series = f'{{job="{job}", __name__!~"up|scrape_.+|target_info"}}'

    native.wait_until(lambda: names(stack.prometheus.now(series)) >= on_page, f"not all of {page} has arrived")

    assert names(stack.prometheus.now(series)) == on_page


def test_a_scraped_counter_has_a_rate(stack: Stack) -> None:
    stack.wait_for("rate(flyte:admin:admin:create_execution:success[10s]) > 0")


def test_labels_of_a_page_are_unchanged(stack: Stack) -> None:
    (first, *_) = stack.wait_for('{__name__=~"flyte:propeller:all:node:queueing_latency_ms", wf!=""}')

    assert re.fullmatch(r"[^:]+:[^:]+:.+", labels(first)["wf"])
    assert {"project", "domain", "wf", "quantile"} <= set(labels(first))


def test_the_collector_exports_metrics_of_its_own(stack: Stack) -> None:
    (series,) = stack.wait_for('otelcol_exporter_queue_size{data_type="metrics"}')

    assert (series["metric"]["job"], series["metric"]["instance"]) == ("otel-flyte-collector", socket.gethostname())
    stack.wait_for("otelcol_exporter_sent_metric_points > 0")


# --- OTLP ------------------------------------------------------------------------------------------------------------


def test_delta_sums_become_cumulative(stack: Stack) -> None:
    for count in (1, 2, 3):
        stack.collector.send("metrics", otlp.counter("delta.count", count, temporality=1))

    stack.wait_for_value("delta_count_total", 6)


def test_span_metrics_of_all_pods_of_a_task_are_one_series(stack: Stack) -> None:
    for pod in ("a", "b"):
        resource = {"service.name": "spans", "service.instance.id": pod, semconv.RUN_NAME: pod}
        stack.collector.send("traces", *spans(1, {semconv.TASK_NAME: "t"}), resource=resource)

    stack.wait_for_value('traces_span_metrics_calls_total{service_name="spans"}', 2)
    (series,) = stack.prometheus.now('traces_span_metrics_calls_total{service_name="spans"}')
    assert series["metric"]["instance"] == socket.gethostname()
    assert series["metric"]["flyte_task_name"] == "t"


def test_a_bucket_of_span_metrics_has_an_exemplar(stack: Stack) -> None:
    stack.collector.send("traces", *spans(1, {}), resource={"service.name": "exemplars"})
    query = {"query": 'traces_span_metrics_duration_milliseconds_bucket{service_name="exemplars"}'}
    window = {"start": str(time.time() - 60), "end": str(time.time() + 60)}

    def found() -> list[Any]:
        answer = requests.get(f"{stack.prometheus.url}/api/v1/query_exemplars", query | window, timeout=10)
        return answer.json()["data"]  # type: ignore[no-any-return]

    (series, *_) = native.wait_until(found, "no exemplar has arrived")
    assert series["exemplars"][0]["labels"]["trace_id"] == "0" * 31 + "1"


def test_resource_attributes_of_the_collector_are_added_and_override_nothing(stack: Stack) -> None:
    stack.collector.send("metrics", otlp.gauge("placed"))

    (series,) = stack.wait_for("placed")
    assert series["metric"]["k8s_node_name"] == "of-the-collector"
    assert series["metric"]["service_name"] == "sender"


def test_user_defined_span_names_are_one_series_and_do_not_count_against_a_tasks_limit(stack: Stack) -> None:
    limit = cardinality_limit()
    resource = {"service.name": "names", semconv.TASK_NAME: "t"}
    killed = spans(1, {semconv.ERROR_TYPE: semconv.ERROR_OOM_KILLED}, name="task t")
    stack.collector.send("traces", *spans(limit + 500, {}, name="item {}"), resource=resource, scope="user")
    stack.collector.send("traces", *killed, resource=resource, scope=semconv.SCOPE)

    calls = 'traces_span_metrics_calls_total{service_name="names"'
    stack.wait_for_value(f'{calls}, span_name="user"}}', limit + 500)
    # As in the alert's expression.
    stack.wait_for_value(f'{calls}, error_type="OOMKilled", span_name=~"task .*"}}', 1)
    assert len(stack.prometheus.now(f"{calls}}}")) == 2


def test_a_restart_of_prometheus_loses_nothing(stack: Stack) -> None:
    for number in range(60):
        if number == 20:
            stack.prometheus_process.stop(signal.SIGKILL)
        if number == 40:
            stack.prometheus_process.start()
        stack.collector.send("metrics", otlp.gauge("restarted", number=number))

    stack.wait_for_value("count(last_over_time(restarted[1h]))", 60)


def cardinality_limit() -> int:
    return int(yaml.safe_load(CONFIG.read_text())["connectors"]["span_metrics"]["aggregation_cardinality_limit"])


def names(series: list[dict[str, Any]]) -> set[str]:
    return {one["metric"]["__name__"] for one in series}


def labels(series: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of a series, without those of its origin."""
    return {name: value for name, value in series["metric"].items() if name not in OF_EVERY_SERIES}


def named(name: str, value: str, **tags: str) -> str:
    """Return a line as flytekit writes it."""
    given = {"api_version": "1_16", "exec_domain": "d", "exec_launchplan": "p_d_lp"}
    given |= {"exec_project": "p", "exec_workflow": "p_d_a_b_c", **tags}
    in_name = "".join(f".__{key}={given[key]}" for key in sorted(given))
    return f"registered.dev.my.mod.task.user_stats.{name}{in_name}:{value}"
