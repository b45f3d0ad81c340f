"""Imports go to a lower floor or stay in the room, in no circle; the table of floors stands in CONTRIBUTING.md."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

ROOT = Path(__file__).parents[1]
PACKAGE = "otel_flyte"
SOURCE = ROOT / "src" / PACKAGE
ENGINES = ("flytekit", "flytekitplugins", "flyteidl", "flyte")
MAY_NAME_ENGINES = ("adapters", "control_plane", "run", "examples")
MAY_IMPORT_THE_SDK = ("sdk", "export")


@functools.cache
def _floors() -> dict[str, int]:
    """Return the floor of each room, from the table in CONTRIBUTING.md: ``room | floor | purpose``."""
    rows = re.findall(r"^\| `([\w/.]+)` \| (\d+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return {room.rstrip("/").removesuffix(".py"): int(floor) for room, floor in rows}


@functools.cache
def _modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module, by its dotted name."""
    return {_name(path): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def _name(path: Path) -> str:
    dotted = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def _imports(module: str, *, for_types: bool) -> Iterator[str]:
    """Return the names that a module imports anywhere, and modules of this package that a string names."""
    tree = _modules()[module]
    only_for_types = {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inside in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not for_types and id(node) in only_for_types:
            continue
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(source), names=names, level=0):
                for name in names:
                    full = f"{source}.{name.name}"
                    yield full if full in _modules() else source
            case ast.Constant(value=str(text)) if text in _modules() and text != PACKAGE:
                yield text


def _arrows(module: str, *, for_types: bool = False) -> set[str]:
    return {name for name in _imports(module, for_types=for_types) if name in _modules()} - {module, PACKAGE}


def test_every_room_has_a_floor() -> None:
    assert {_room(module) for module in _modules()} == set(_floors())


@pytest.mark.parametrize("module", sorted(_modules()))
def test_imports_go_down_or_stay_in_the_room(module: str) -> None:
    floors = _floors()
    upward = {
        target
        for target in _arrows(module, for_types=True)
        if _room(target) != _room(module) and floors[_room(target)] >= floors[_room(module)]
    }
    assert not upward, f"{module} imports {sorted(upward)}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: _arrows(module) for module in _modules()}
    while ends := [module for module, arrows in left.items() if not arrows & left.keys()]:
        for module in ends:
            del left[module]
    # The remaining modules are in a circle or lead to one; those without arrows to them are in none.
    while starts := [module for module in left if not any(module in arrows for arrows in left.values())]:
        for module in starts:
            del left[module]
    assert not left, {module: sorted(arrows & left.keys()) for module, arrows in left.items()}


@pytest.mark.parametrize("module", sorted(_modules()))
def test_engines_and_the_sdk_stay_in_their_rooms(module: str) -> None:
    imported = set(_imports(module, for_types=False))
    if _room(module) not in MAY_NAME_ENGINES:
        assert not {name for name in imported if name.split(".")[0] in ENGINES}
    if _room(module) not in MAY_IMPORT_THE_SDK:
        assert not {name for name in imported if f"{name}.".startswith("opentelemetry.sdk.")}
