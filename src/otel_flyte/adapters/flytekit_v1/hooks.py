"""Every function of flytekit that is wrapped, and one of Python's ``logging``, in one table."""

from collections.abc import Callable, Iterator

from otel_flyte.adapters.flytekit_v1 import wrappers
from otel_flyte.adapters.flytekit_v1.wrappers import ENTRYPOINT
from otel_flyte.adapters.patching import Function, Hook

_Row = tuple[str, Callable[[Function], Function], str, str]


def _in(module: str, *rows: _Row, optional: bool = False) -> Iterator[Hook]:
    for name, wrap, parameters, purpose in rows:
        yield Hook(module, name, wrap, parameters, purpose, optional)


HOOKS = (
    *_in(
        "flytekit.core.base_task",
        ("PythonTask.dispatch_execute", wrappers.dispatch_execute, "self ctx input_literal_map", "task span"),
        (
            "PythonTask._literal_map_to_python_input",
            wrappers.literal_map_to_python_input,
            "self literal_map ctx",
            "input translation",
        ),
        (
            "PythonTask._output_to_literal_map",
            wrappers.output_to_literal_map,
            "self native_outputs ctx",
            "output metadata",
        ),
        (
            "PythonTask._write_decks",
            wrappers.write_decks,
            "self native_inputs native_outputs_as_map ctx new_user_params",
            "deck",
        ),
    ),
    *_in(
        "flytekit.core.shim_task",
        (
            "ExecutableTemplateShimTask.dispatch_execute",
            wrappers.shim_dispatch_execute,
            "self ctx input_literal_map",
            "task span of a shim task",
        ),
        ("ExecutableTemplateShimTask.execute", wrappers.shim_execute, "self kwargs", "user code of a shim task"),
    ),
    *_in(
        "flytekit.core.python_function_task",
        (
            "PythonFunctionTask._write_decks",
            wrappers.write_decks,
            "self native_inputs native_outputs_as_map ctx new_user_params",
            "deck of a function task",
        ),
    ),
    *_in(
        "flytekit.core.python_function_task",
        (
            "EagerFailureHandlerTask.dispatch_execute",
            wrappers.dispatch_execute,
            "self ctx input_literal_map",
            "task span of an eager clean-up",
        ),
        optional=True,
    ),
    *_in(
        "flytekit.core.array_node_map_task",
        (
            "ArrayNodeMapTask._literal_map_to_python_input",
            wrappers.literal_map_to_python_input,
            "self literal_map ctx",
            "input translation of a map task",
        ),
        (
            "ArrayNodeMapTask._raw_execute",
            wrappers.raw_execute,
            "self kwargs",
            "one span for each item of a local map task",
        ),
    ),
    *_in(
        "flytekit.core.utils",
        ("timeit.__enter__", wrappers.timeit_enter, "self", "begin of user code and output translation"),
        (
            "timeit.__exit__",
            wrappers.timeit_exit,
            "self exc_type exc_val exc_tb",
            "end of user code and output translation",
        ),
        ("write_proto_to_file", wrappers.write_proto_to_file, "proto path", "Flyte's verdict on a failure"),
    ),
    *_in(
        "flytekit.core.legacy_map_task",
        (
            "MapPythonTask._raw_execute",
            wrappers.raw_execute,
            "self kwargs",
            "one span for each item of a legacy map task",
        ),
        optional=True,
    ),
    *_in(
        "flytekit.core.data_persistence",
        ("FileAccessProvider.get_data", wrappers.get_data, "self remote_path local_path", "download"),
        ("FileAccessProvider.put_data", wrappers.put_data, "self local_path remote_path", "upload"),
        (
            "FileAccessProvider.async_get_data",
            wrappers.async_get_data,
            "self remote_path local_path",
            "downloads of type transformers",
        ),
        (
            "FileAccessProvider.async_put_data",
            wrappers.async_put_data,
            "self local_path remote_path",
            "uploads of type transformers",
        ),
        (
            "FileAccessProvider.async_put_raw_data",
            wrappers.async_put_raw_data,
            "self lpath",
            "uploads of files and pickles",
        ),
    ),
    *_in(
        "flytekit.core.workflow",
        (
            "WorkflowBase.local_execute",
            wrappers.workflow_local_execute,
            "self ctx kwargs",
            "workflow span of a local run",
        ),
    ),
    *_in(
        "flytekit.core.local_cache",
        ("LocalTaskCache.get", wrappers.local_cache_get, "task_name cache_version", "task span of a cached call"),
    ),
    *_in(
        "flytekit.core.worker_queue",
        ("WorkItem.__post_init__", wrappers.work_item_post_init, "self", "context of an eager submission"),
        ("Controller.add", wrappers.controller_add, "self entity input_kwargs", "submission span of an eager child"),
        (
            "Controller.launch_execution",
            wrappers.controller_launch_execution,
            "self wi idx",
            "context of an eager launch",
        ),
        ("Controller.get_env", wrappers.controller_get_env, "self", "TRACEPARENT for an eager child"),
    ),
    *_in(
        "flytekit.remote.remote",
        (
            "FlyteRemote._execute",
            wrappers.remote_execute,
            "self entity envs",
            "submission span and context of a launch",
        ),
    ),
    *_in(
        "flytekit.tools.fast_registration",
        (
            "download_distribution",
            wrappers.download_distribution,
            "additional_distribution destination",
            "code download of pyflyte-fast-execute",
        ),
    ),
    *_in(
        "flytekit.tools.module_loader",
        (
            "load_object_from_module",
            wrappers.load_object_from_module,
            "object_location",
            "hooks of the entrypoint, as a module or a script",
        ),
    ),
    *_in(
        ENTRYPOINT,
        (
            "_dispatch_execute",
            wrappers.entrypoint_dispatch_execute,
            "ctx load_task inputs_path output_prefix",
            "task span of a pod",
        ),
        ("_output_deck", wrappers.entrypoint_output_deck, "task_name new_user_params", "deck upload"),
        ("get_traceback_str", wrappers.get_traceback_str, "e", "error.pb without our frames"),
    ),
    *_in(
        "logging",
        ("Logger.callHandlers", wrappers.call_handlers, "self record", "log records of a task"),
    ),
    *_in(
        "flytekit.interfaces.stats.taggable",
        (
            "TaggableStats.__init__",
            wrappers.taggable_stats_init,
            "self client full_prefix prefix tags",
            "user metrics in a pod",
        ),
    ),
    *_in(
        "flytekit.core.mock_stats",
        ("MockStats.incr", wrappers.mock_stats_method, "self metric count tags", "user metrics of a local run"),
        ("MockStats.decr", wrappers.mock_stats_method, "self metric count tags", "user metrics of a local run"),
        (
            "MockStats.gauge",
            wrappers.mock_stats_method,
            "self metric value tags",
            "user metrics of a local run, timers included",
        ),
    ),
    *_in(
        "torch.distributed.launcher.api",
        (
            "elastic_launch.__init__",
            wrappers.elastic_launch_init,
            "self config entrypoint",
            "rank spans of torch elastic",
        ),
        optional=True,
    ),
    *_in(
        "torch.distributed.elastic.multiprocessing.errors.error_handler",
        (
            "ErrorHandler.record_exception",
            wrappers.elastic_record_exception,
            "self e",
            "torch elastic's errors without our frames",
        ),
        optional=True,
    ),
)
