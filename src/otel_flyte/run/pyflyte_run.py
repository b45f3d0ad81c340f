"""``pyflyte run`` in this process: what it is asked to run, whether that is there, and its own exit code."""

import ast
import difflib
import importlib.util
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_REMOTE_GROUPS = ("remote-launchplan", "remote-workflow", "remote-task")
_LATE_BINDERS = ("globals", "exec", "setattr", "__getattr__")
_NAMED = 8


class NotRunnableError(Exception):
    """There is nothing to run; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the arguments of ``pyflyte run`` ask for: a file, and the workflow, task or launch plan in it."""

    file: str
    entity: str


def target(arguments: Sequence[str]) -> Target | None:
    """Find out what is to be run; ``None`` where the arguments ask for help, or for something that is not in a file.

    Raises:
        NotRunnableError: flytekit is not installed, or the file or the entity is not there.
    """
    if importlib.util.find_spec("flytekit") is None:
        raise NotRunnableError("flytekit is not installed here: pip install 'flytekit>=1.15,<2'")
    # Without options before it the file comes first; only flytekit knows which of its options take a value.
    positional = list(arguments) if arguments and not arguments[0].startswith("-") else _positional(arguments)
    if not positional or positional[0] in _REMOTE_GROUPS or "://" in positional[0]:
        return None
    file = Path(positional[0])
    if not file.is_file():
        raise NotRunnableError(f"{file} is a folder: name a Python file" if file.is_dir() else f"{file}: no such file")
    if len(positional) == 1 or positional[1].startswith("-"):
        return None
    _check(file, positional[1])
    return Target(positional[0], positional[1])


def invoke(arguments: Sequence[str]) -> int:
    """Run ``pyflyte run`` with these arguments, and return the exit code that it would have had on its own."""
    from flytekit.clis.sdk_in_container.pyflyte import main

    try:
        main.main(args=["run", *arguments], prog_name="pyflyte")
    except SystemExit as exit_:
        if exit_.code is None or isinstance(exit_.code, int):
            return exit_.code or 0
        print(exit_.code, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _positional(arguments: Sequence[str]) -> list[str]:
    import click
    from flytekit.clis.sdk_in_container.run import run

    # What click has to say about flytekit's options it says again when they are parsed in earnest.
    with warnings.catch_warnings(), click.Context(run, info_name="run", resilient_parsing=True) as context:
        warnings.simplefilter("ignore")
        options, positional, _ = run.make_parser(context).parse_args(list(arguments))
    return [] if options.get("help") else positional


def _check(file: Path, entity: str) -> None:
    """Look for the entity without running the file, which may be slow to import: whatever may be it, will do."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    bindings: dict[str, list[ast.AST]] = defaultdict(list)
    for name, node in _bindings(tree):
        bindings[name].append(node)
    if "*" in bindings or entity in bindings:
        return
    entities = [name for name, nodes in bindings.items() if any(map(_is_decorated, nodes))]
    if not entities:
        return  # The file may not even load: flytekit says why.
    close = difflib.get_close_matches(entity, entities, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    others = f": it has {', '.join(entities[:_NAMED])}"
    more = f" and {len(entities) - _NAMED} more" if len(entities) > _NAMED else ""
    raise NotRunnableError(f"{file} has no workflow or task {entity}{meant}{others}{more}")


def _bindings(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Give every name that the file binds anywhere; ``*`` where it may bind names that can't be read from it."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield "*" if name in _LATE_BINDERS else name, node
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node
            case ast.Name(id=name) if name in _LATE_BINDERS:
                yield "*", node
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0], node


def _is_decorated(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and bool(node.decorator_list)
