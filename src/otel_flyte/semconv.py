"""Every name that users see: spans, attributes, metrics, events and environment variables.

Names follow the semantic conventions where one exists (``code.*``, ``error.*``, ``k8s.*``), and are ``flyte.*``
otherwise. Names of ``flyteplugins-otel`` for Flyte 2 are kept, so that one query serves both: ``flyte.run_name`` is the
name of the execution, and ``flyte.action_name`` is the unique node id of flyteadmin.

This module imports nothing, because every process that imports flytekit imports it. It is also the
``opentelemetry_environment_variables`` entry point, which reads its attributes that begin with ``OTEL_``: only
variables of this project may have such names here.
"""

SCOPE = "otel_flyte"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
DEFAULT_SERVICE_NAME = "flyte"

# --- environment variables of this project ---------------------------------------------------------------------------

OTEL_FLYTE_ENABLED = "OTEL_FLYTE_ENABLED"
"""``false`` switches the instrumentation off. Default: ``true``."""

OTEL_FLYTE_MAP_NESTED = "OTEL_FLYTE_MAP_NESTED"
"""Map subtasks with this index or a higher one have a trace of their own. Default: 500."""

OTEL_FLYTE_CONTROL_PLANE = "OTEL_FLYTE_CONTROL_PLANE"
"""``true``: the spans of the control plane are exported. Its attempt span is then the parent of the task span, unless
``TRACEPARENT`` names another parent."""

OTEL_FLYTE_LAUNCHED_BY = "OTEL_FLYTE_LAUNCHED_BY"
"""W3C ``traceparent`` of the span that launched this execution; its tasks link to it. Set by
``FlyteRemote.execute``."""

OTEL_FLYTE_EXIT_TIMEOUT = "OTEL_FLYTE_EXIT_TIMEOUT"
"""The most seconds that telemetry may add to the end of a process. Default: 2."""

OTEL_FLYTE_SPOOL = "OTEL_FLYTE_SPOOL"
"""Folder, or URL that fsspec can write, for records that could not be delivered; ``otel-flyte replay`` sends them.

Default: none."""

OTEL_FLYTE_SAMPLE_INTERVAL = "OTEL_FLYTE_SAMPLE_INTERVAL"
"""Seconds between two samples of the resources in use; 0 switches sampling off. Default: 1."""

OTEL_FLYTE_CAPTURE_OUTPUT = "OTEL_FLYTE_CAPTURE_OUTPUT"
"""``true`` makes log records of stdout and stderr. Default: ``true`` for ``otel-flyte run``, ``false`` in a pod."""

OTEL_FLYTE_CAPTURE_VALUES = "OTEL_FLYTE_CAPTURE_VALUES"
"""``true`` puts the values of inputs and outputs on spans, bounded. They may be secrets. Default: ``false``."""

OTEL_FLYTE_DECK = "OTEL_FLYTE_DECK"
"""``false``: a task with decks enabled has no deck "Telemetry". Default: ``true``."""

OTEL_FLYTE_TRACE_URL = "OTEL_FLYTE_TRACE_URL"
"""URL of a trace in your backend, with ``{trace_id}`` and ``{span_id}``, for links in the deck and the page.

Default: none."""

STACK_VARIABLES = tuple(
    f"OTEL_FLYTE_{part}" for part in ("STACK_", "COLLECTOR", "TEMPO", "PROMETHEUS", "LOKI", "GRAFANA")
)
"""Prefixes of the bundled stack's variables, which `otel_flyte.stack.settings` reads."""

# Internal: one process of an attempt passes values to the next, and this project's tests make faults visible.
CODE_DOWNLOAD = "_OTEL_FLYTE_CODE_DOWNLOAD"
RAISE_INTERNAL_ERRORS = "_OTEL_FLYTE_RAISE"
EXEC_PIPE = "_OTEL_FLYTE_EXEC"
CAPTURED_OUTPUT = "_OTEL_FLYTE_OUTPUT"

# --- standard environment variables ----------------------------------------------------------------------------------

SDK_DISABLED = "OTEL_SDK_DISABLED"
DISABLED_INSTRUMENTATIONS = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
CONFIG_FILE = "OTEL_CONFIG_FILE"
ID_GENERATOR = "OTEL_PYTHON_ID_GENERATOR"
TRACER_PROVIDER = "OTEL_PYTHON_TRACER_PROVIDER"
SERVICE_NAME = "OTEL_SERVICE_NAME"
EXPORTER = "OTEL_{signal}_EXPORTER"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SIGNAL_ENDPOINT = "OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
SIGNAL_PROTOCOL = "OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
CERTIFICATE = "OTEL_EXPORTER_OTLP_CERTIFICATE"
CLIENT_KEY = "OTEL_EXPORTER_OTLP_CLIENT_KEY"
CLIENT_CERTIFICATE = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Of ``requests``: the file or folder of the trusted authorities."""
COMPRESSION = "OTEL_EXPORTER_OTLP_COMPRESSION"
TIMEOUT = "OTEL_EXPORTER_OTLP_TIMEOUT"
INSECURE = "OTEL_EXPORTER_OTLP_INSECURE"
TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
HISTOGRAM_AGGREGATION = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
RESOURCE_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
RESOURCE_DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
PROPAGATORS = "OTEL_PROPAGATORS"
SAMPLER = "OTEL_TRACES_SAMPLER"
SAMPLER_ARG = "OTEL_TRACES_SAMPLER_ARG"
EXEMPLAR_FILTER = "OTEL_METRICS_EXEMPLAR_FILTER"
METRIC_EXPORT_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
METRIC_EXPORT_TIMEOUT = "OTEL_METRIC_EXPORT_TIMEOUT"
BATCH_DELAY = "OTEL_{batch}_SCHEDULE_DELAY"
BATCH_TIMEOUT = "OTEL_{batch}_EXPORT_TIMEOUT"
BATCH_QUEUE = "OTEL_{batch}_MAX_QUEUE_SIZE"
BATCH_SIZE = "OTEL_{batch}_MAX_EXPORT_BATCH_SIZE"
BATCHES = ("BSP", "BLRP")
"""The batch processors of spans and of log records, in names of variables."""
ATTRIBUTE_COUNT_LIMIT = "OTEL_ATTRIBUTE_COUNT_LIMIT"
ATTRIBUTE_LENGTH_LIMIT = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
SPAN_ATTRIBUTE_COUNT_LIMIT = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"
SPAN_ATTRIBUTE_LENGTH_LIMIT = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"
SPAN_EVENT_COUNT_LIMIT = "OTEL_SPAN_EVENT_COUNT_LIMIT"
SPAN_LINK_COUNT_LIMIT = "OTEL_SPAN_LINK_COUNT_LIMIT"
EVENT_ATTRIBUTE_COUNT_LIMIT = "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"
LINK_ATTRIBUTE_COUNT_LIMIT = "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"
LOG_ATTRIBUTE_COUNT_LIMIT = "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"
LOG_ATTRIBUTE_LENGTH_LIMIT = "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"
INTERNAL_METRICS = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
EXCEPTION_SIGNAL = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
EXCEPTION_SIGNAL_LOGS = "logs"
EXCEPTION_SIGNAL_BOTH = "logs/dup"
OTLP_OPTION = "OTEL_EXPORTER_OTLP_{option}"
OTLP_SIGNAL_OPTION = "OTEL_EXPORTER_OTLP_{signal}_{option}"
CREDENTIAL_PROVIDER = "OTEL_PYTHON_EXPORTER_OTLP_{protocol}_CREDENTIAL_PROVIDER"
TRACEPARENT = "TRACEPARENT"
TRACESTATE = "TRACESTATE"

K8S_VARIABLES = {
    "k8s.pod.name": ("K8S_POD_NAME", "POD_NAME", "OTEL_RESOURCE_ATTRIBUTES_POD_NAME"),
    "k8s.namespace.name": ("K8S_NAMESPACE_NAME", "K8S_POD_NAMESPACE", "POD_NAMESPACE"),
    "k8s.node.name": ("K8S_NODE_NAME", "NODE_NAME", "OTEL_RESOURCE_ATTRIBUTES_NODE_NAME"),
}
"""Variables that pod templates commonly fill from the downward API; the first that is set wins."""

# --- Flyte's own environment variables, the first that is set wins (flytekit reads them in the same order) ------------

FLYTE_EXECUTION_NAME = ("FLYTE_INTERNAL_EXECUTION_ID", "_F_NM")
FLYTE_EXECUTION_PROJECT = ("FLYTE_INTERNAL_EXECUTION_PROJECT", "_F_PRJ")
FLYTE_EXECUTION_DOMAIN = ("FLYTE_INTERNAL_EXECUTION_DOMAIN", "_F_DM")
FLYTE_EXECUTION_WORKFLOW = ("FLYTE_INTERNAL_EXECUTION_WORKFLOW", "_F_WF")
FLYTE_EXECUTION_LAUNCH_PLAN = ("FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN", "_F_LP")
FLYTE_TASK_NAME = ("FLYTE_INTERNAL_TASK_NAME", "_F_TK_NM", "FLYTE_INTERNAL_NAME")
FLYTE_TASK_VERSION = ("FLYTE_INTERNAL_TASK_VERSION", "_F_TK_V", "FLYTE_INTERNAL_VERSION")
FLYTE_ATTEMPT_NUMBER = ("FLYTE_ATTEMPT_NUMBER",)
FLYTE_EXECUTION_URL = ("FLYTE_EXECUTION_URL",)
FLYTE_REPLICA = ("FLYTE_INTERNAL_WORKER_NAME", "_F_WN", "RANK", "OMPI_COMM_WORLD_RANK")
FLYTE_ARRAY_INDEX_VARIABLE = "BATCH_JOB_ARRAY_INDEX_VAR_NAME"
FLYTE_ARRAY_INDEX_OFFSET = "BATCH_JOB_ARRAY_INDEX_OFFSET"

# --- spans -----------------------------------------------------------------------------------------------------------

SPAN_TASK = "task {name}"
SPAN_WORKFLOW = "workflow {name}"
SPAN_MAP_ITEM = "map item"
SPAN_RANK = "rank"
SPAN_SUBMIT = "submit {name}"
SPAN_RUNNING = "running"

PHASE_CODE_DOWNLOAD = "code download"
PHASE_LOAD = "load"
PHASE_DOWNLOAD = "download"
PHASE_SETUP = "setup"
PHASE_INPUT = "input translation"
PHASE_USER_CODE = "user code"
PHASE_OUTPUT = "output translation"
PHASE_UPLOAD = "upload"
PHASE_DECK = "deck"
PHASE_DECK_UPLOAD = "deck upload"
PHASES = (
    PHASE_CODE_DOWNLOAD,
    PHASE_LOAD,
    PHASE_DOWNLOAD,
    PHASE_SETUP,
    PHASE_INPUT,
    PHASE_USER_CODE,
    PHASE_OUTPUT,
    PHASE_DECK,
    PHASE_UPLOAD,
    PHASE_DECK_UPLOAD,
)
"""In the order of an attempt."""

SPAN_GET_DATA = "get data"
SPAN_PUT_DATA = "put data"
SPAN_DOCTOR = "otel-flyte doctor"

# --- attributes: the role of a span ----------------------------------------------------------------------------------

SPAN_ROLE = "flyte.span.role"
"""The role of every span of ours. Readers go by it; recordings from before it have names only."""
SPAN_ROLE_EXECUTION = "execution"
SPAN_ROLE_NODE = "node"
SPAN_ROLE_ATTEMPT = "attempt"
SPAN_ROLE_PHASE = "phase"
SPAN_ROLE_TRANSFER = "transfer"
SPAN_ROLE_ITEM = "item"
SPAN_ROLE_SUBMISSION = "submission"
SPAN_ROLE_PENDING = "pending"
"""A span that represents a running task until the task's own span arrives."""

# --- attributes: identity --------------------------------------------------------------------------------------------

RUN_NAME = "flyte.run_name"
ACTION_NAME = "flyte.action_name"
ORG = "flyte.org"
PROJECT = "flyte.project"
DOMAIN = "flyte.domain"
TASK_NAME = "flyte.task_name"
TASK_VERSION = "flyte.task_version"
WORKFLOW_NAME = "flyte.workflow_name"
LAUNCH_PLAN_NAME = "flyte.launch_plan_name"
NODE_PATH = "flyte.node_path"
ATTEMPT = "flyte.attempt"
ARRAY_INDEX = "flyte.array_index"
REPLICA = "flyte.replica"
EXECUTION_URL = "flyte.execution_url"

SERVICE_INSTANCE_ID = "service.instance.id"
IDENTITY = (
    RUN_NAME,
    ACTION_NAME,
    ORG,
    PROJECT,
    DOMAIN,
    TASK_NAME,
    TASK_VERSION,
    WORKFLOW_NAME,
    LAUNCH_PLAN_NAME,
    NODE_PATH,
    ATTEMPT,
    ARRAY_INDEX,
    REPLICA,
    EXECUTION_URL,
)
"""Attributes that identify one attempt."""

# --- attributes: declarations ----------------------------------------------------------------------------------------

TASK_KIND = "flyte.task.kind"
TASK_TYPE = "flyte.task.type"
TASK_METADATA = "flyte.task.{field}"
TASK_TIMEOUT = "flyte.task.timeout"
TASK_LABEL = "flyte.task.label.{key}"
TASK_ANNOTATION = "flyte.task.annotation.{key}"
RESOURCES_REQUEST = "flyte.resources.request.{name}"
RESOURCES_LIMIT = "flyte.resources.limit.{name}"
ACCELERATOR = "flyte.resources.accelerator"
SHARED_MEMORY = "flyte.resources.shared_memory"
CODE_FUNCTION_NAME = "code.function.name"
CODE_FILE_PATH = "code.file.path"
CODE_LINE_NUMBER = "code.line.number"
CODE_STACKTRACE = "code.stacktrace"

# --- attributes: outcome ---------------------------------------------------------------------------------------------

RESULT = "flyte.result"
RESULT_SUCCESS = "success"
RESULT_FAILURE = "failure"
RESULT_CANCELLATION = "cancellation"
RESULT_SKIP = "skip"
ERROR_TYPE = "error.type"
ERROR_OOM_KILLED = "OOMKilled"
"""The reason that Kubernetes gives."""
ERROR_CODE = "flyte.error.code"
ERROR_KIND = "flyte.error.kind"
ERROR_RECOVERABLE = "RECOVERABLE"
ERROR_NON_RECOVERABLE = "NON_RECOVERABLE"
ERROR_ORIGIN = "flyte.error.origin"
EVENT_EXCEPTION = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
CACHE_STATUS = "flyte.cache.status"
CACHE_HIT = "hit"
CACHE_MISS = "miss"

SIGNAL_NAME = "flyte.signal.name"
PROCESS_EXIT_CODE = "process.exit.code"
PHASE = "flyte.phase"
PHASE_ELAPSED = "flyte.phase.elapsed"
PENDING_PARENT = "flyte.pending.parent_span_id"
PENDING_START = "flyte.pending.start_time"
MARKER = "flyte.marker"
"""Marks pending spans in recordings that were made before ``SPAN_ROLE``."""

EVENT_SIGNAL = "flyte.signal"
EVENT_PHASE = "flyte.phase"
EVENT_HEARTBEAT = "flyte.heartbeat"
EVENT_NAME = "event.name"

# --- attributes: usage -----------------------------------------------------------------------------------------------

QUOTA_CPU_LIMIT = "flyte.quota.cpu.limit"
QUOTA_CPU_REQUEST = "flyte.quota.cpu.request"
QUOTA_CPU_CGROUP = "flyte.quota.cpu.cgroup"
QUOTA_CPU_SOURCE = "flyte.quota.cpu.source"
QUOTA_MEMORY_LIMIT = "flyte.quota.memory.limit"
QUOTA_MEMORY_REQUEST = "flyte.quota.memory.request"
QUOTA_MEMORY_CGROUP = "flyte.quota.memory.cgroup"
QUOTA_MEMORY_SOURCE = "flyte.quota.memory.source"
QUOTA_GPU_REQUEST = "flyte.quota.gpu.request"
QUOTA_DECLARED = "declared"
QUOTA_OF_CGROUP = "cgroup"
QUOTA_OF_HOST = "host"

USAGE_SOURCE = "flyte.usage.source"
USAGE_CPU_SOURCE = "flyte.usage.cpu.source"
USAGE_MEMORY_SOURCE = "flyte.usage.memory.source"
USAGE_IO_SOURCE = "flyte.usage.io.source"
USAGE_OF_CONTAINER = "container"
USAGE_OF_PROCESSES = "processes"
USAGE_SHARED = "flyte.usage.shared"
USAGE_SAMPLES = "flyte.usage.samples"
USAGE_CPU_TIME = "flyte.usage.cpu.time"
USAGE_CPU_MEAN = "flyte.usage.cpu.cores.mean"
USAGE_CPU_PEAK = "flyte.usage.cpu.cores.peak"
USAGE_CPU_OF_LIMIT = "flyte.usage.cpu.of_limit"
USAGE_CPU_OF_REQUEST = "flyte.usage.cpu.of_request"
USAGE_CPU_THROTTLED = "flyte.usage.cpu.throttled"
USAGE_CPU_DELAYED = "flyte.usage.cpu.delayed"
USAGE_CPU_PRESSURE = "flyte.usage.cpu.pressure"
USAGE_MEMORY_MEAN = "flyte.usage.memory.mean"
USAGE_MEMORY_PEAK = "flyte.usage.memory.peak"
USAGE_MEMORY_BEFORE = "flyte.usage.memory.before"
USAGE_MEMORY_GROWTH = "flyte.usage.memory.growth"
USAGE_MEMORY_LEFT = "flyte.usage.memory.left"
USAGE_MEMORY_LAST = "flyte.usage.memory.last"
USAGE_MEMORY_OF_LIMIT = "flyte.usage.memory.of_limit"
USAGE_MEMORY_OF_REQUEST = "flyte.usage.memory.of_request"
USAGE_MEMORY_WITH_CACHE = "flyte.usage.memory.peak_with_page_cache"
USAGE_OOM_KILLS = "flyte.usage.oom_kills"
USAGE_IO_READ = "flyte.usage.io.read"
USAGE_IO_WRITE = "flyte.usage.io.write"
USAGE_ENERGY = "flyte.usage.energy"
USAGE_GPU_OF_REQUEST = "flyte.usage.gpu.of_request"
USAGE_DEVICE_NAME = "flyte.usage.{kind}.{index}.name"
USAGE_DEVICE_LAST = "flyte.usage.{kind}.{index}.utilization.last"
USAGE_DEVICE_MEMORY_LAST = "flyte.usage.{kind}.{index}.memory.last"
USAGE_DEVICE_MEAN = "flyte.usage.{kind}.{index}.utilization.mean"
USAGE_DEVICE_PEAK = "flyte.usage.{kind}.{index}.utilization.peak"
USAGE_DEVICE_MEMORY_PEAK = "flyte.usage.{kind}.{index}.memory.peak"
USAGE_DEVICE_MEMORY_LIMIT = "flyte.usage.{kind}.{index}.memory.limit"
USAGE_DEVICE_OWN_MEAN = "flyte.usage.{kind}.{index}.own.utilization.mean"
USAGE_DEVICE_OWN_MEMORY_PEAK = "flyte.usage.{kind}.{index}.own.memory.peak"
USAGE_DEVICE_OWN_UNKNOWN = "flyte.usage.{kind}.own.unknown"
USAGE_DEVICE_ENERGY = "flyte.usage.{kind}.{index}.energy"
USAGE_STEP = "flyte.usage.step"
USAGE_SERIES = "flyte.usage.series.{name}"
USAGE_CURVE_STEP = "flyte.usage.curve.step"
USAGE_CURVE_CPU = "flyte.usage.curve.cpu"
USAGE_CURVE_MEMORY = "flyte.usage.curve.memory"
USAGE_CURVE_DEVICE = "flyte.usage.curve.{kind}.utilization"
USAGE_CURVE_DEVICE_MEMORY = "flyte.usage.curve.{kind}.memory"
CURVE_UNKNOWN = "-"
CURVE_OF_ALL = "all"
"""Stands for the index of a device in the curve of more devices than have one each."""

DEVICE_GPU = "gpu"
DEVICE_NPU = "npu"

HW_ERROR_CORRECTED = "corrected"
HW_ERROR_UNCORRECTED = "uncorrected"
HW_ERROR_XID = "xid"

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
NVIDIA_VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
ASCEND_RT_VISIBLE_DEVICES = "ASCEND_RT_VISIBLE_DEVICES"
ASCEND_VISIBLE_DEVICES = "ASCEND_VISIBLE_DEVICES"
ACCELERATOR_GROUP = "otel_flyte_accelerator"

SERIES_CPU = "cpu_usage"
SERIES_MEMORY = "mem_usage"
SERIES_GPU = "gpu_util"
SERIES_GPU_MEMORY = "gpu_mem_usage"
SERIES_NPU = "npu_util"
SERIES_NPU_MEMORY = "npu_mem_usage"
SERIES_CORES = "cpu_cores"
SERIES_BYTES = "mem_bytes"
SERIES = (
    SERIES_CPU,
    SERIES_MEMORY,
    SERIES_GPU,
    SERIES_GPU_MEMORY,
    SERIES_NPU,
    SERIES_NPU_MEMORY,
    SERIES_CORES,
    SERIES_BYTES,
)
"""The six of ModelArts in its order, in percent, then cores and bytes."""

# --- log records of stdout and stderr ---------------------------------------------------------------------------------

LOG_IOSTREAM = "log.iostream"
STDOUT = "stdout"
STDERR = "stderr"
OUTPUT_TRUNCATED = "flyte.output.truncated"
OUTPUT_LEFT_OUT = "flyte.output.left_out"
EVENT_OUTPUT_LIMIT = "flyte.output.limit"

# --- metrics ---------------------------------------------------------------------------------------------------------

BEFORE_COLLECTION = "otel_flyte.before_collection"
"""An instrument that has no values: its callback runs before each collection."""

METRIC_TASK_DURATION = "flyte.task.duration"
METRIC_TASK_ATTEMPTS = "flyte.task.attempts"
METRIC_TASK_CACHE = "flyte.task.cache.lookups"
METRIC_TASK_CPU_USAGE = "flyte.task.cpu.usage"
METRIC_TASK_CPU_OF_LIMIT = "flyte.task.cpu.limit.utilization"
METRIC_TASK_CPU_OF_REQUEST = "flyte.task.cpu.request.utilization"
METRIC_TASK_CPU_WAITING = "flyte.task.cpu.waiting"
METRIC_TASK_CPU_THROTTLED = "flyte.task.cpu.throttled"
METRIC_TASK_OOM_KILLS = "flyte.task.oom_kills"
METRIC_TASK_MEMORY_USAGE = "flyte.task.memory.usage"
METRIC_TASK_MEMORY_PEAK = "flyte.task.memory.peak"
METRIC_TASK_MEMORY_ALLOCATED = "flyte.task.memory.allocated"
METRIC_TASK_MEMORY_OF_LIMIT = "flyte.task.memory.limit.utilization"
METRIC_TASK_MEMORY_OF_REQUEST = "flyte.task.memory.request.utilization"
METRIC_TASK_GPU_OF_REQUEST = "flyte.task.gpu.request.utilization"
METRIC_TASK_SERIES = "flyte.task.usage.{name}"
METRIC_PROCESS_CPU_TIME = "process.cpu.time"
METRIC_PROCESS_CPU_UTILIZATION = "process.cpu.utilization"
METRIC_PROCESS_MEMORY_USAGE = "process.memory.usage"
METRIC_PROCESS_MEMORY_VIRTUAL = "process.memory.virtual"
METRIC_PROCESS_DISK_IO = "process.disk.io"
METRIC_CONTAINER_CPU_TIME = "container.cpu.time"
METRIC_CONTAINER_CPU_USAGE = "container.cpu.usage"
METRIC_CONTAINER_MEMORY_USAGE = "container.memory.usage"
METRIC_CONTAINER_MEMORY_AVAILABLE = "container.memory.available"
METRIC_CONTAINER_MEMORY_RSS = "container.memory.rss"
METRIC_CONTAINER_MEMORY_WORKING_SET = "container.memory.working_set"
METRIC_K8S_QUOTA = "k8s.container.{resource}.{side}.{kind}"
METRIC_HW_GPU_UTILIZATION = "hw.gpu.utilization"
METRIC_HW_GPU_MEMORY_UTILIZATION = "hw.gpu.memory.utilization"
METRIC_HW_GPU_MEMORY_USAGE = "hw.gpu.memory.usage"
METRIC_HW_GPU_MEMORY_LIMIT = "hw.gpu.memory.limit"
METRIC_HW_GPU_IO = "hw.gpu.io"
METRIC_HW_ERRORS = "hw.errors"
METRIC_HW_STATUS = "hw.status"
METRIC_HW_POWER = "hw.power"
METRIC_HW_ENERGY = "hw.energy"
METRIC_HW_TEMPERATURE = "hw.temperature"
METRIC_ACCELERATOR_UTILIZATION = "flyte.accelerator.utilization"
METRIC_ACCELERATOR_MEMORY_USAGE = "flyte.accelerator.memory.usage"
METRIC_ACCELERATOR_MEMORY_LIMIT = "flyte.accelerator.memory.limit"
METRIC_ACCELERATOR_MEMORY_UTILIZATION = "flyte.accelerator.memory.utilization"
CPU_MODE = "cpu.mode"
DISK_IO_DIRECTION = "disk.io.direction"
NETWORK_IO_DIRECTION = "network.io.direction"
HW_ID = "hw.id"
HW_NAME = "hw.name"
HW_TYPE = "hw.type"
HW_STATE = "hw.state"
HW_GPU_TASK = "hw.gpu.task"

METRIC_USER = "flyte.user.{name}"
METRIC_USER_DECREMENTS = "{name}.decr"
USER_WORKFLOW = "wf"
USER_TASK = "task"
USER_LAUNCH_PLAN = "lp"
"""Flyte's own labels of metrics: https://github.com/flyteorg/flyte/blob/master/flytestdlib/contextutils/context.go"""

METRIC_OVERFLOW = "otel.metric.overflow"

METRIC_SPANS_EXPORTED = "otel.sdk.exporter.span.exported"
METRIC_DATA_POINTS_EXPORTED = "otel.sdk.exporter.metric_data_point.exported"
METRIC_LOGS_EXPORTED = "otel.sdk.exporter.log.exported"

# --- attributes: data ------------------------------------------------------------------------------------------------

DATA_URI = "flyte.data.uri"
INPUT_URI = "flyte.input.{variable}.uri"
INPUT_PROPERTY = "flyte.input.{variable}.{property}"
OUTPUT_PROPERTY = "flyte.output.{variable}.{property}"
"""Facts are ``type``, ``size``, ``length`` and ``value``."""
OUTPUT_ARTIFACT = "flyte.output.{variable}.artifact"
OUTPUT_PARTITION = "flyte.output.{variable}.partition.{key}"
OUTPUT_TIME_PARTITION = "flyte.output.{variable}.time_partition"
OUTPUT_ITEM = "flyte.output.{variable}.item.{key}"

# --- attributes: submissions and links -------------------------------------------------------------------------------

SUBMITTED_NAME = "flyte.submitted.name"
SUBMITTED_RUN_NAME = "flyte.submitted.run_name"
LINK = "flyte.link"
LINK_LAUNCHED_BY = "launched_by"
LINK_LAUNCHED = "launched"
LINK_EXECUTION = "execution"
LINK_TRACEPARENT = "traceparent"
LINK_INPUT = "input"
LINK_VARIABLE = "flyte.link.variable"

# --- task kinds ------------------------------------------------------------------------------------------------------

KIND_SYNC = "sync"
KIND_ASYNC = "async"
KIND_MAP = "map"
KIND_DYNAMIC = "dynamic"
KIND_EAGER = "eager"
KIND_EAGER_CLEANUP = "eager cleanup"
KIND_SHIM = "shim"
KIND_PLUGIN = "plugin"
