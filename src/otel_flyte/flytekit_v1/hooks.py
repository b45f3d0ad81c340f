"""Every place where flytekit's code is wrapped, and Python's `logging`, in one table.

Most of it is private to flytekit. A row whose target is not there is left out, and said by ``otel-flyte doctor``; the
drift test fails when a row is missing or its signature has changed in a supported version.
"""

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from otel_flyte.flytekit_v1 import wrappers
from otel_flyte.guard import guarded, logger

Function = Callable[..., Any]

ENTRYPOINT = "flytekit.bin.entrypoint"
"""It runs as a module, by its console scripts, and as a script, by Spark and MPI: it is wrapped where it runs."""


class Hook(NamedTuple):
    """One wrapped function.

    Attributes:
        module: the module that holds it.
        name: its name there, ``Class.method`` for a method.
        wrap: makes the wrapper.
        parameters: the parameters that the wrapper relies on, for the drift test.
        purpose: what it is wrapped for.
        optional: whether a supported version may lack it.
    """

    module: str
    name: str
    wrap: Callable[[Function], Function]
    parameters: tuple[str, ...]
    purpose: str
    optional: bool = False


HOOKS = (
    Hook(
        "flytekit.core.base_task",
        "PythonTask.dispatch_execute",
        wrappers.dispatch_execute,
        ("self", "ctx", "input_literal_map"),
        "task span",
    ),
    Hook(
        "flytekit.core.shim_task",
        "ExecutableTemplateShimTask.dispatch_execute",
        wrappers.shim_dispatch_execute,
        ("self", "ctx", "input_literal_map"),
        "task span and the translations of a shim task",
    ),
    Hook(
        "flytekit.core.python_function_task",
        "EagerFailureHandlerTask.dispatch_execute",
        wrappers.dispatch_execute,
        ("self", "ctx", "input_literal_map"),
        "task span of the clean-up after a failed eager task",
        optional=True,
    ),
    Hook(
        "flytekit.core.base_task",
        "PythonTask._literal_map_to_python_input",
        wrappers.literal_map_to_python_input,
        ("self", "literal_map", "ctx"),
        "input translation",
    ),
    Hook(
        "flytekit.core.array_node_map_task",
        "ArrayNodeMapTask._literal_map_to_python_input",
        wrappers.literal_map_to_python_input,
        ("self", "literal_map", "ctx"),
        "input translation of a map task, which does not call the base",
    ),
    Hook(
        "flytekit.core.utils",
        "timeit.__enter__",
        wrappers.timeit_enter,
        ("self",),
        "begin of user code and output translation, whichever class overrides `execute`",
    ),
    Hook(
        "flytekit.core.utils",
        "timeit.__exit__",
        wrappers.timeit_exit,
        ("self", "exc_type", "exc_val", "exc_tb"),
        "end of user code and output translation",
    ),
    Hook(
        "flytekit.core.shim_task",
        "ExecutableTemplateShimTask.execute",
        wrappers.shim_execute,
        ("self", "kwargs"),
        "user code of a shim task",
    ),
    Hook(
        "flytekit.core.base_task",
        "PythonTask._output_to_literal_map",
        wrappers.output_to_literal_map,
        ("self", "native_outputs", "ctx"),
        "output metadata",
    ),
    Hook(
        "flytekit.core.base_task",
        "PythonTask._write_decks",
        wrappers.write_decks,
        ("self", "native_inputs", "native_outputs_as_map", "ctx", "new_user_params"),
        "deck",
    ),
    Hook(
        "flytekit.core.python_function_task",
        "PythonFunctionTask._write_decks",
        wrappers.write_decks,
        ("self", "native_inputs", "native_outputs_as_map", "ctx", "new_user_params"),
        "deck of a function task, which adds source code and dependencies",
    ),
    Hook(
        "flytekit.core.array_node_map_task",
        "ArrayNodeMapTask._raw_execute",
        wrappers.raw_execute,
        ("self", "kwargs"),
        "one span for each item of a map task that runs locally",
    ),
    Hook(
        "flytekit.core.legacy_map_task",
        "MapPythonTask._raw_execute",
        wrappers.raw_execute,
        ("self", "kwargs"),
        "the same for the map task of older code",
        optional=True,
    ),
    Hook(
        "flytekit.core.data_persistence",
        "FileAccessProvider.get_data",
        wrappers.get_data,
        ("self", "remote_path", "local_path"),
        "download",
    ),
    Hook(
        "flytekit.core.data_persistence",
        "FileAccessProvider.put_data",
        wrappers.put_data,
        ("self", "local_path", "remote_path"),
        "upload",
    ),
    Hook(
        "flytekit.core.data_persistence",
        "FileAccessProvider.async_get_data",
        wrappers.async_get_data,
        ("self", "remote_path", "local_path"),
        "downloads of type transformers",
    ),
    Hook(
        "flytekit.core.data_persistence",
        "FileAccessProvider.async_put_data",
        wrappers.async_put_data,
        ("self", "local_path", "remote_path"),
        "uploads of type transformers",
    ),
    Hook(
        "flytekit.core.data_persistence",
        "FileAccessProvider.async_put_raw_data",
        wrappers.async_put_raw_data,
        ("self", "lpath"),
        "uploads of files and pickles",
    ),
    Hook(
        "flytekit.core.utils",
        "write_proto_to_file",
        wrappers.write_proto_to_file,
        ("proto", "path"),
        "the verdict that Flyte writes about a failure",
    ),
    Hook(
        "flytekit.core.workflow",
        "WorkflowBase.local_execute",
        wrappers.workflow_local_execute,
        ("self", "ctx", "kwargs"),
        "workflow span of a local run",
    ),
    Hook(
        "flytekit.core.local_cache",
        "LocalTaskCache.get",
        wrappers.local_cache_get,
        ("task_name", "cache_version"),
        "task span of a cached call, which is never dispatched",
    ),
    Hook(
        "flytekit.core.worker_queue",
        "WorkItem.__post_init__",
        wrappers.work_item_post_init,
        ("self",),
        "context of an eager submission, across to the controller's thread",
    ),
    Hook(
        "flytekit.core.worker_queue",
        "Controller.add",
        wrappers.controller_add,
        ("self", "entity", "input_kwargs"),
        "submission span of an eager task's child",
    ),
    Hook(
        "flytekit.core.worker_queue",
        "Controller.launch_execution",
        wrappers.controller_launch_execution,
        ("self", "wi", "idx"),
        "context of the launch, in the controller's thread",
    ),
    Hook(
        "flytekit.core.worker_queue",
        "Controller.get_env",
        wrappers.controller_get_env,
        ("self",),
        "TRACEPARENT for an eager task's child",
    ),
    Hook(
        "flytekit.remote.remote",
        "FlyteRemote._execute",
        wrappers.remote_execute,
        ("self", "entity", "envs"),
        "submission span, and the caller's context for the execution",
    ),
    Hook(
        "flytekit.tools.fast_registration",
        "download_distribution",
        wrappers.download_distribution,
        ("additional_distribution", "destination"),
        "code download of pyflyte-fast-execute",
    ),
    Hook(
        "flytekit.tools.module_loader",
        "load_object_from_module",
        wrappers.load_object_from_module,
        ("object_location",),
        "the entrypoint's first call after its definition, be it a module or a script",
    ),
    Hook(
        ENTRYPOINT,
        "_dispatch_execute",
        wrappers.entrypoint_dispatch_execute,
        ("ctx", "load_task", "inputs_path", "output_prefix"),
        "task span of a pod, from load to upload",
    ),
    Hook(
        ENTRYPOINT,
        "_output_deck",
        wrappers.entrypoint_output_deck,
        ("task_name", "new_user_params"),
        "deck upload",
    ),
    Hook(
        ENTRYPOINT,
        "get_traceback_str",
        wrappers.get_traceback_str,
        ("e",),
        "keeps our frames out of error.pb",
    ),
    Hook(
        "logging",
        "Logger.callHandlers",
        wrappers.call_handlers,
        ("self", "record"),
        "log records of a task, whichever handlers there are",
    ),
    Hook(
        "flytekit.interfaces.stats.taggable",
        "TaggableStats.__init__",
        wrappers.taggable_stats_init,
        ("self", "client", "full_prefix", "prefix", "tags"),
        "user metrics in a pod",
    ),
    Hook(
        "flytekit.core.mock_stats",
        "MockStats.incr",
        wrappers.mock_stats_method,
        ("self", "metric", "count", "tags"),
        "user metrics of a local run",
    ),
    Hook(
        "flytekit.core.mock_stats",
        "MockStats.decr",
        wrappers.mock_stats_method,
        ("self", "metric", "count", "tags"),
        "user metrics of a local run",
    ),
    Hook(
        "flytekit.core.mock_stats",
        "MockStats.gauge",
        wrappers.mock_stats_method,
        ("self", "metric", "value", "tags"),
        "user metrics of a local run, and what its timers come to",
    ),
    Hook(
        "torch.distributed.launcher.api",
        "elastic_launch.__init__",
        wrappers.elastic_launch_init,
        ("self", "config", "entrypoint"),
        "rank spans of torch elastic, whose workers never dispatch",
        optional=True,
    ),
    Hook(
        "torch.distributed.elastic.multiprocessing.errors.error_handler",
        "ErrorHandler.record_exception",
        wrappers.elastic_record_exception,
        ("self", "e"),
        "keeps our frames out of what torch elastic says of a failed worker",
        optional=True,
    ),
)

_undo: list[Callable[[], object]] = []
_pending: list[Hook] = []
_modules_seen = 0
_lock = threading.Lock()

_buried: dict[tuple[int, str], Any] = {}
"""Our wrappers that somebody else has wrapped, by the identity of their owner and their name: they can't be removed."""


def install() -> Callable[[], None]:
    """Wrap what is imported; what is not yet is wrapped when it is. Returns what restores every target exactly."""
    global _modules_seen
    _pending.extend(HOOKS)
    _modules_seen = 0
    install_pending()
    return remove


def install_pending(namespace: dict[str, Any] | None = None) -> None:
    """Wrap what has been imported since, and the entrypoint's names where its namespace is given."""
    global _modules_seen
    # Every dispatch asks: one that follows no import must not pay for the answer.
    if not _pending or (namespace is None and _modules_seen == len(sys.modules)):
        return
    with _lock:
        _modules_seen = len(sys.modules)
        for hook in list(_pending):
            module = sys.modules.get(hook.module)
            if hook.module == ENTRYPOINT and namespace is not None and _is_entrypoint(namespace):
                module = sys.modules.get(namespace["__name__"])
            if module is not None:
                _pending.remove(hook)
                _install(hook, module)


def _is_entrypoint(namespace: dict[str, Any]) -> bool:
    return namespace.get("__name__") in (ENTRYPOINT, "__main__") and "fast_execute_task_cmd" in namespace


def remove() -> None:
    """Restore every target exactly. Where somebody has wrapped our wrapper, it stays below theirs and does nothing."""
    while _undo:
        _undo.pop()()
    _pending.clear()


def on_removal(undo: Callable[[], object]) -> None:
    """Call a function when the hooks are removed: it takes back what was changed since they were set."""
    _undo.append(undo)


def missing() -> list[Hook]:
    """Return the hooks whose target this version of flytekit lacks."""
    return [hook for hook in HOOKS if not hook.optional and hook.module in sys.modules and target(hook) is None]


def target(hook: Hook) -> Any:
    """Return what a hook wraps, as its module or class holds it; ``None`` where it is not there."""
    owner, name = _owner(hook, sys.modules[hook.module])
    return vars(owner).get(name) if owner is not None else None


@guarded
def _install(hook: Hook, module: Any) -> bool:
    owner, name = _owner(hook, module)
    original = vars(owner).get(name) if owner is not None else None
    if original is None:
        logger.debug("otel-flyte: flytekit has no %s.%s: no %s.", hook.module, hook.name, hook.purpose)
        return True
    buried, wrapped = _buried.get((id(owner), name), (None, None))
    if buried is not None and original is not wrapped:
        _undo.append(functools.partial(_restore, owner, name, buried, wrapped))
        return True
    function = original.__func__ if isinstance(original, staticmethod) else original
    wrapper: Any = functools.wraps(function)(hook.wrap(function))
    if isinstance(original, staticmethod):
        wrapper = staticmethod(wrapper)
    setattr(owner, name, wrapper)
    _undo.append(functools.partial(_restore, owner, name, wrapper, original))
    return True


def _owner(hook: Hook, module: Any) -> tuple[Any, str]:
    *path, name = hook.name.split(".")
    owner = module
    for part in path:
        owner = getattr(owner, part, None)
    return owner, name


def _restore(owner: Any, name: str, wrapper: Any, original: Any) -> None:
    if vars(owner).get(name) is wrapper:
        setattr(owner, name, original)
    elif vars(owner).get(name) is not original:
        _buried[id(owner), name] = wrapper, original
