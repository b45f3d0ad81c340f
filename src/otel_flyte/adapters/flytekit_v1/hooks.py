"""Every function of flytekit that is wrapped, and one of Python's ``logging``, in one table."""

from collections.abc import Callable, Iterator

from otel_flyte.adapters.flytekit_v1.wrappers import data, launches, pods, signals, tasks
from otel_flyte.adapters.flytekit_v1.wrappers.pods import ENTRYPOINT
from otel_flyte.adapters.patching import Function, Hook

_Row = tuple[str, Callable[[Function], Function], str, str]

_CORE = "flytekit.core"
_ELASTIC = "torch.distributed.elastic.multiprocessing.errors.error_handler"
_DISPATCH = "self ctx input_literal_map"
_INPUT = "self literal_map ctx"
_DECKS = "self native_inputs native_outputs_as_map ctx new_user_params"
_ITEMS = "one span for each item of a {} map task"
_STATS = "user metrics of a local run"


def _in(module: str, *rows: _Row, optional: bool = False) -> Iterator[Hook]:
    for name, wrap, parameters, purpose in rows:
        yield Hook(module, name, wrap, parameters, purpose, optional)


HOOKS = (
    *_in(
        f"{_CORE}.base_task",
        ("PythonTask.dispatch_execute", tasks.dispatch_execute, _DISPATCH, "task span"),
        ("PythonTask._literal_map_to_python_input", tasks.literal_map_to_python_input, _INPUT, "input translation"),
        (
            "PythonTask._output_to_literal_map",
            tasks.output_to_literal_map,
            "self native_outputs ctx",
            "output metadata",
        ),
        ("PythonTask._write_decks", tasks.write_decks, _DECKS, "deck"),
    ),
    *_in(
        f"{_CORE}.shim_task",
        ("ExecutableTemplateShimTask.dispatch_execute", tasks.shim_dispatch_execute, _DISPATCH, "span of a shim task"),
        ("ExecutableTemplateShimTask.execute", tasks.shim_execute, "self kwargs", "user code of a shim task"),
    ),
    *_in(
        f"{_CORE}.python_function_task",
        ("PythonFunctionTask._write_decks", tasks.write_decks, _DECKS, "deck of a function task"),
    ),
    *_in(
        f"{_CORE}.python_function_task",
        ("EagerFailureHandlerTask.dispatch_execute", tasks.dispatch_execute, _DISPATCH, "span of an eager clean-up"),
        optional=True,
    ),
    *_in(
        f"{_CORE}.array_node_map_task",
        (
            "ArrayNodeMapTask._literal_map_to_python_input",
            tasks.literal_map_to_python_input,
            _INPUT,
            "input translation of a map task",
        ),
        ("ArrayNodeMapTask._raw_execute", tasks.raw_execute, "self kwargs", _ITEMS.format("local")),
    ),
    *_in(
        f"{_CORE}.legacy_map_task",
        ("MapPythonTask._raw_execute", tasks.raw_execute, "self kwargs", _ITEMS.format("legacy")),
        optional=True,
    ),
    *_in(
        f"{_CORE}.utils",
        ("timeit.__enter__", tasks.timeit_enter, "self", "begin of user code and output translation"),
        (
            "timeit.__exit__",
            tasks.timeit_exit,
            "self exc_type exc_val exc_tb",
            "end of user code and output translation",
        ),
        ("write_proto_to_file", pods.write_proto_to_file, "proto path", "Flyte's decision on a failure"),
    ),
    *_in(
        f"{_CORE}.data_persistence",
        ("FileAccessProvider.get_data", data.get_data, "self remote_path local_path", "download"),
        ("FileAccessProvider.put_data", data.put_data, "self local_path remote_path", "upload"),
        (
            "FileAccessProvider.async_get_data",
            data.async_get_data,
            "self remote_path local_path",
            "downloads of type transformers",
        ),
        (
            "FileAccessProvider.async_put_data",
            data.async_put_data,
            "self local_path remote_path",
            "uploads of type transformers",
        ),
        (
            "FileAccessProvider.async_put_raw_data",
            data.async_put_raw_data,
            "self lpath",
            "uploads of files and pickles",
        ),
    ),
    *_in(
        f"{_CORE}.workflow",
        ("WorkflowBase.local_execute", tasks.workflow_local_execute, "self ctx kwargs", "workflow span of a local run"),
    ),
    *_in(
        f"{_CORE}.local_cache",
        ("LocalTaskCache.get", tasks.local_cache_get, "task_name cache_version", "task span of a cached call"),
    ),
    *_in(
        f"{_CORE}.worker_queue",
        ("WorkItem.__post_init__", launches.work_item_post_init, "self", "context of an eager submission"),
        ("Controller.add", launches.controller_add, "self entity input_kwargs", "submission span of an eager child"),
        (
            "Controller.launch_execution",
            launches.controller_launch_execution,
            "self wi idx",
            "context of an eager launch",
        ),
        ("Controller.get_env", launches.controller_get_env, "self", "TRACEPARENT for an eager child"),
    ),
    *_in(
        "flytekit.remote.remote",
        (
            "FlyteRemote._execute",
            launches.remote_execute,
            "self entity envs",
            "submission span and context of a launch",
        ),
    ),
    *_in(
        "flytekit.tools.fast_registration",
        (
            "download_distribution",
            pods.download_distribution,
            "additional_distribution destination",
            "code download of pyflyte-fast-execute",
        ),
    ),
    *_in(
        "flytekit.tools.module_loader",
        ("load_object_from_module", pods.load_object_from_module, "object_location", "hooks of the entrypoint"),
    ),
    *_in(
        ENTRYPOINT,
        (
            "_dispatch_execute",
            pods.dispatch_execute,
            "ctx load_task inputs_path output_prefix",
            "task span of a pod",
        ),
        ("_output_deck", pods.output_deck, "task_name new_user_params", "deck upload"),
        ("get_traceback_str", pods.get_traceback_str, "e", "error.pb without our frames"),
    ),
    *_in(
        "logging",
        ("Logger.callHandlers", signals.call_handlers, "self record", "log records of a task"),
    ),
    *_in(
        "flytekit.interfaces.stats.taggable",
        (
            "TaggableStats.__init__",
            signals.taggable_stats_init,
            "self client full_prefix prefix tags",
            "user metrics in a pod",
        ),
    ),
    *_in(
        f"{_CORE}.mock_stats",
        ("MockStats.incr", signals.mock_stats_method, "self metric count tags", _STATS),
        ("MockStats.decr", signals.mock_stats_method, "self metric count tags", _STATS),
        ("MockStats.gauge", signals.mock_stats_method, "self metric value tags", f"{_STATS}, timers included"),
    ),
    *_in(
        "torch.distributed.launcher.api",
        ("elastic_launch.__init__", launches.elastic_launch_init, "self config entrypoint", "rank spans"),
        optional=True,
    ),
    *_in(
        _ELASTIC,
        ("ErrorHandler.record_exception", launches.elastic_record_exception, "self e", "errors without our frames"),
        optional=True,
    ),
)
