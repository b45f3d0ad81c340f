"""The program of ``support.fork_server``: it imports flytekit once and forks a process for each request.

Plugins of flytekit are the last thing that ``import flytekit`` imports, and this project is one of them. It is imported
in the forked process alone: hooks, providers and settings are those of a process that has just started.

Nothing but the standard library is imported before flytekit, and nothing but flytekit stays imported.
"""

import contextlib
import gc
import importlib.metadata
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any


def serve(requests: socket.socket) -> dict[str, Any]:
    """Fork a process for each request; return in that process, with its request."""
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        _reap(wait=not content)
        if not content:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            request: dict[str, Any] = json.loads(content)
            _watch(descriptors[2])
            _take_over(request, *descriptors[:2])
            return request
        for descriptor in descriptors:
            os.close(descriptor)


def _reap(*, wait: bool) -> None:
    """Wait for ended watchers, or for all: their usage becomes usage of this process."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0 if wait else os.WNOHANG) != (0, 0):
            pass


def _watch(status: int) -> None:
    """Fork again, and report the exit status of the child, which only its parent receives."""
    os.setsid()
    child = os.fork()
    if child == 0:
        os.close(status)
        return
    os.closerange(3, status)
    os.write(status, f"{os.getpid()} {child}\n".encode())
    _, ended = os.waitpid(child, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def _take_over(request: dict[str, Any], stdout: int, stderr: int) -> None:
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    own_path = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(request["environment"])
    _replace_path(own_path, os.environ.get("PYTHONPATH", ""))
    os.chdir(request["directory"])
    sys.argv[:] = request["arguments"]
    tempfile.tempdir = None


def _replace_path(old: str, new: str) -> None:
    """Search for modules where a process with another ``PYTHONPATH`` does, and customise it as such a process."""
    folders = list(filter(None, new.split(os.pathsep)))
    sys.path[1 : 1 + len(list(filter(None, old.split(os.pathsep))))] = folders
    if new != old and any((Path(folder) / "sitecustomize.py").exists() for folder in folders):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")


def import_flytekit() -> None:
    """Import flytekit as if this project were no plugin of it."""
    (plugin,) = importlib.metadata.entry_points(group="flytekit.plugins", name="otel_flyte")
    sys.modules[plugin.module] = ModuleType(plugin.module)
    importlib.import_module("flytekit")
    del sys.modules[plugin.module]


def _load_plugins() -> None:
    flytekit: Any = sys.modules["flytekit"]
    persistence: Any = sys.modules["flytekit.core.data_persistence"]
    # flytekit makes this folder as it is imported.
    folder = Path(tempfile.mkdtemp(prefix="flyte-"))
    persistence.flyte_tmp_dir = str(folder)
    persistence.default_local_file_access_provider.__init__(str(folder / "sandbox"), str(folder / "raw"))
    flytekit.load_implicit_plugins()


def _run_script(path: str) -> None:
    script: Any = ModuleType("__main__")
    script.__file__ = path
    sys.path[0] = str(Path(path).parent)
    sys.modules["__main__"] = script
    exec(compile(Path(path).read_bytes(), path, "exec"), vars(script))


if __name__ == "__main__":
    descriptor, sys.path[0] = int(sys.argv[1]), sys.argv[2]
    import_flytekit()
    gc.freeze()
    _asked = serve(socket.socket(fileno=descriptor))
    _itself = sys.modules["__main__"]
    _load_plugins()
    _run_script(_asked["arguments"][0])
