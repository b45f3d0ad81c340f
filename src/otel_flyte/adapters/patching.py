"""Wraps functions of an engine, by a table of hooks, and restores them.

Most hooked functions are private to the engine. A hook whose target is missing is left out, and ``otel-flyte doctor``
names it. The drift test fails when a supported version lacks a target, or when the target's signature has changed.
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from otel_flyte.runtime.guard import guarded, logger

Function = Callable[..., Any]
NO_ALIASES: Mapping[str, str] = MappingProxyType({})


class Hook(NamedTuple):
    """One wrapped function.

    Attributes:
        module: name of the module that holds it.
        name: its name there, ``Class.method`` for a method.
        wrap: returns the wrapper of a function.
        parameters: names of the parameters that the wrapper relies on, separated by spaces; for the drift test.
        purpose: the purpose of the hook, for ``otel-flyte doctor``.
        optional: whether a supported version may lack the target.
    """

    module: str
    name: str
    wrap: Callable[[Function], Function]
    parameters: str
    purpose: str
    optional: bool = False


_lock = threading.RLock()
_known: set[tuple[str, str]] = set()
_undo: list[Callable[[], object]] = []
_pending: list[Hook] = []
_modules_seen = 0

_buried: dict[tuple[int, str], Any] = {}
"""Our wrappers that other code has wrapped, by the identity of their owner and their name: they can't be removed."""


def install(hooks: Iterable[Hook]) -> None:
    """Wrap the functions of imported modules; those of other modules are wrapped by :func:`install_pending`, later.

    Hooks that are installed already stay as they are.
    """
    global _modules_seen
    added = [hook for hook in hooks if (hook.module, hook.name) not in _known]
    _known.update((hook.module, hook.name) for hook in added)
    _pending.extend(added)
    _modules_seen = 0
    install_pending()


def install_pending(aliases: Mapping[str, str] = NO_ALIASES) -> None:
    """Wrap the functions of modules that have been imported since.

    Args:
        aliases: names under which modules run that are not imported by their own name, such as ``__main__``.
    """
    global _modules_seen
    # Every dispatch calls this: it must cost nothing where no module has been imported.
    if not _pending or (not aliases and _modules_seen == len(sys.modules)):
        return
    with _lock:
        _modules_seen = len(sys.modules)
        for hook in list(_pending):
            module = sys.modules.get(aliases.get(hook.module, hook.module))
            if module is not None:
                _pending.remove(hook)
                _install(hook, module)


def remove() -> None:
    """Restore every target exactly. A wrapper that other code has wrapped stays in place and does nothing."""
    while _undo:
        _undo.pop()()
    _pending.clear()
    _known.clear()


def on_removal(undo: Callable[[], object]) -> None:
    """Call a function when the hooks are removed."""
    _undo.append(undo)


def missing(hooks: Iterable[Hook]) -> list[Hook]:
    """Return the required hooks whose module is imported and lacks the target."""
    return [hook for hook in hooks if not hook.optional and hook.module in sys.modules and target(hook) is None]


def target(hook: Hook) -> Any:
    """Return the function that a hook wraps, as its module or class holds it; ``None`` where it is missing."""
    owner, name = _owner(hook, sys.modules[hook.module])
    return vars(owner).get(name) if owner is not None else None


@guarded
def _install(hook: Hook, module: Any) -> None:
    owner, name = _owner(hook, module)
    original = vars(owner).get(name) if owner is not None else None
    if original is None:
        logger.debug("otel-flyte: %s.%s is missing: no %s.", hook.module, hook.name, hook.purpose)
        return
    buried, wrapped = _buried.get((id(owner), name), (None, None))
    if buried is not None and original is not wrapped:
        _undo.append(functools.partial(_restore, owner, name, buried, wrapped))
        return
    function = original.__func__ if isinstance(original, staticmethod) else original
    wrapper: Any = functools.wraps(function)(hook.wrap(function))
    if isinstance(original, staticmethod):
        wrapper = staticmethod(wrapper)
    setattr(owner, name, wrapper)
    _undo.append(functools.partial(_restore, owner, name, wrapper, original))


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
