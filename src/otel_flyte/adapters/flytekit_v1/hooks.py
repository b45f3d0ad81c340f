"""Every function of flytekit that is wrapped, and one of Python's ``logging``, in one table."""

from otel_flyte.adapters.flytekit_v1.wrappers import data, launches, pods, signals, tasks
from otel_flyte.adapters.flytekit_v1.wrappers.pods import ENTRYPOINT
from otel_flyte.adapters.patching import Hook

_BASE = "flytekit.core.base_task"
_SHIM = "flytekit.core.shim_task"
_FUNCTION = "flytekit.core.python_function_task"
_MAP = "flytekit.core.array_node_map_task"
_OLD_MAP = "flytekit.core.legacy_map_task"
_DECK = "flytekit.deck.deck"
_UTILS = "flytekit.core.utils"
_DATA = "flytekit.core.data_persistence"
_WORKFLOW = "flytekit.core.workflow"
_CACHE = "flytekit.core.local_cache"
_QUEUE = "flytekit.core.worker_queue"
_REMOTE = "flytekit.remote.remote"
_FAST = "flytekit.tools.fast_registration"
_LOADER = "flytekit.tools.module_loader"
_STATS = "flytekit.interfaces.stats.taggable"
_MOCK_STATS = "flytekit.core.mock_stats"
_LAUNCHER = "torch.distributed.launcher.api"
_ERRORS = "torch.distributed.elastic.multiprocessing.errors.error_handler"

_DISPATCH = "self ctx input_literal_map"
_INPUT, _OUTPUT = "self literal_map ctx", "self native_outputs ctx"
_DECKS = "self native_inputs native_outputs_as_map ctx new_user_params"
_GET, _PUT = "self remote_path local_path", "self local_path remote_path"
_ENTRY = "ctx load_task inputs_path output_prefix"
_COUNT, _GAUGE = "self metric count tags", "self metric value tags"

_REQUIRED = (
    Hook(_BASE, "PythonTask.dispatch_execute", tasks.dispatch, _DISPATCH, "task span"),
    Hook(_BASE, "PythonTask._literal_map_to_python_input", tasks.translate_input, _INPUT, "input translation"),
    Hook(_BASE, "PythonTask._output_to_literal_map", tasks.translate_output, _OUTPUT, "output metadata"),
    Hook(_BASE, "PythonTask._write_decks", tasks.write_decks, _DECKS, "deck"),
    Hook(_SHIM, "ExecutableTemplateShimTask.dispatch_execute", tasks.dispatch_shim, _DISPATCH, "span of a shim task"),
    Hook(_SHIM, "ExecutableTemplateShimTask.execute", tasks.execute_shim, "self kwargs", "user code of a shim task"),
    Hook(_FUNCTION, "PythonFunctionTask._write_decks", tasks.write_decks, _DECKS, "deck of a function task"),
    Hook(_DECK, "_get_deck", tasks.render_decks, "new_user_params", "deck of telemetry"),
    Hook(_MAP, "ArrayNodeMapTask._literal_map_to_python_input", tasks.translate_input, _INPUT, "inputs of a map task"),
    Hook(_MAP, "ArrayNodeMapTask._raw_execute", tasks.execute_items, "self kwargs", "items of a local map task"),
    Hook(_UTILS, "timeit.__enter__", tasks.enter_timeit, "self", "begin of user code and output translation"),
    Hook(_UTILS, "timeit.__exit__", tasks.leave_timeit, "self exc_type exc_val exc_tb", "end of these phases"),
    Hook(_UTILS, "write_proto_to_file", pods.write_proto, "proto path", "Flyte's decision on a failure"),
    Hook(_DATA, "FileAccessProvider.get_data", data.get, _GET, "download"),
    Hook(_DATA, "FileAccessProvider.put_data", data.put, _PUT, "upload"),
    Hook(_DATA, "FileAccessProvider.async_get_data", data.async_get, _GET, "downloads of type transformers"),
    Hook(_DATA, "FileAccessProvider.async_put_data", data.async_put, _PUT, "uploads of type transformers"),
    Hook(_DATA, "FileAccessProvider.async_put_raw_data", data.async_put_raw, "self lpath", "uploads of raw data"),
    Hook(_WORKFLOW, "WorkflowBase.local_execute", tasks.execute_workflow, "self ctx kwargs", "local workflow"),
    Hook(_CACHE, "LocalTaskCache.get", tasks.get_cached, "task_name cache_version", "span of a cached call"),
    Hook(_QUEUE, "WorkItem.__post_init__", launches.create_work_item, "self", "context of an eager submission"),
    Hook(_QUEUE, "Controller.add", launches.add_child, "self entity input_kwargs", "submission span of an eager child"),
    Hook(_QUEUE, "Controller.launch_execution", launches.launch_child, "self wi idx", "context of an eager launch"),
    Hook(_QUEUE, "Controller.get_env", launches.get_child_env, "self", "TRACEPARENT for an eager child"),
    Hook(_REMOTE, "FlyteRemote._execute", launches.execute_remote, "self entity envs", "submission span of a launch"),
    Hook(_FAST, "download_distribution", pods.download_code, "additional_distribution destination", "code download"),
    Hook(_LOADER, "load_object_from_module", pods.load_object, "object_location", "hooks of the entrypoint"),
    Hook(ENTRYPOINT, "_dispatch_execute", pods.run_attempt, _ENTRY, "task span of a pod"),
    Hook(ENTRYPOINT, "_output_deck", pods.upload_deck, "task_name new_user_params", "deck upload"),
    Hook(ENTRYPOINT, "get_traceback_str", pods.format_traceback, "e", "error.pb without our frames"),
    Hook("logging", "Logger.callHandlers", signals.call_handlers, "self record", "log records of a task"),
    Hook(_STATS, "TaggableStats.__init__", signals.create_stats, "self client full_prefix prefix tags", "user metrics"),
    Hook(_MOCK_STATS, "MockStats.incr", signals.call_mock_stats, _COUNT, "user metrics of a local run"),
    Hook(_MOCK_STATS, "MockStats.decr", signals.call_mock_stats, _COUNT, "user metrics of a local run"),
    Hook(_MOCK_STATS, "MockStats.gauge", signals.call_mock_stats, _GAUGE, "user metrics of a local run"),
)
_OPTIONAL = (
    Hook(_FUNCTION, "EagerFailureHandlerTask.dispatch_execute", tasks.dispatch, _DISPATCH, "span of an eager clean-up"),
    Hook(_OLD_MAP, "MapPythonTask._raw_execute", tasks.execute_items, "self kwargs", "items of a legacy map task"),
    Hook(_LAUNCHER, "elastic_launch.__init__", launches.start_ranks, "self config entrypoint", "rank spans"),
    Hook(_ERRORS, "ErrorHandler.record_exception", launches.record_rank_error, "self e", "errors of ranks"),
)

HOOKS = (*_REQUIRED, *(hook._replace(optional=True) for hook in _OPTIONAL))
