"""``pyflyte run`` in this process: its target, a check that the target exists, and its exit code."""

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
_LISTED = 8


class NotRunnableError(Exception):
    """There is nothing to run; the message is one line with the problem and the remedy."""


@dataclass(frozen=True, slots=True)
class Target:
    """A file, and the name of the workflow, task or launch plan in it."""

    file: str
    entity: str


def target(arguments: Sequence[str]) -> Target | None:
    """Return the target of the arguments of ``pyflyte run``; ``None`` for help and for targets outside a file.

    Raises:
        NotRunnableError: flytekit is not installed, or the file or the entity does not exist.
    """
    if importlib.util.find_spec("flytekit") is None:
        raise NotRunnableError("flytekit is not installed: run pip install 'flytekit>=1.15,<2'")
    # Without options before it the file comes first; only flytekit knows which of its options take a value.
    positional = list(arguments) if arguments and not arguments[0].startswith("-") else _positional(arguments)
    if not positional or positional[0] in _REMOTE_GROUPS or "://" in positional[0]:
        return None
    file = Path(positional[0])
    if file.is_dir():
        raise NotRunnableError(f"{file} is a folder: name a Python file")
    if not file.is_file():
        raise NotRunnableError(f"{file} does not exist: check the path")
    if len(positional) == 1 or positional[1].startswith("-"):
        return None
    _check(file, positional[1])
    return Target(positional[0], positional[1])


def invoke(arguments: Sequence[str]) -> int:
    """Run ``pyflyte run`` with these arguments, and return the exit code that it has as a program."""
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

    # click repeats its warnings about flytekit's options when `invoke` parses them.
    with warnings.catch_warnings(), click.Context(run, info_name="run", resilient_parsing=True) as context:
        warnings.simplefilter("ignore")
        options, positional, _ = run.make_parser(context).parse_args(list(arguments))
    return [] if options.get("help") else positional


def _check(file: Path, entity: str) -> None:
    """Look for the entity without running the file, which may be slow to import; any binding of the name suffices."""
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
        return  # The file may not even load: flytekit reports that.
    close = difflib.get_close_matches(entity, entities, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    more = f" and {len(entities) - _LISTED} more" if len(entities) > _LISTED else ""
    others = f"choose one of {', '.join(entities[:_LISTED])}{more}"
    raise NotRunnableError(f"{file} has no workflow or task {entity}{hint}: {others}")


def _bindings(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Return every name that the file binds anywhere; ``*`` where it may bind names that can't be read from it."""
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
