"""Modules import lower layers or their own package, in no circle. CONTRIBUTING.md has the table of layers."""

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
def _layers() -> dict[str, int]:
    """Return the layer of each package, from the table in CONTRIBUTING.md: ``package | layer | purpose``."""
    rows = re.findall(r"^\| `([\w/.]+)` \| (\d+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return {package.rstrip("/").removesuffix(".py"): int(layer) for package, layer in rows}


@functools.cache
def _modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module, by its dotted name."""
    return {_name(path): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def _name(path: Path) -> str:
    dotted = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def _package(module: str) -> str:
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


def test_every_package_has_a_layer() -> None:
    assert {_package(module) for module in _modules()} == set(_layers())


@pytest.mark.parametrize("module", sorted(_modules()))
def test_a_module_imports_lower_layers_or_its_own_package(module: str) -> None:
    layers = _layers()
    upward = {
        target
        for target in _arrows(module, for_types=True)
        if _package(target) != _package(module) and layers[_package(target)] >= layers[_package(module)]
    }
    assert not upward, f"{module} imports {sorted(upward)}"


FOR_ITS_TYPE = ("otel_flyte.tasks.state", "otel_flyte.tasks.open_task")
"""The registry of open tasks names their class. It does not import it: that takes OpenTelemetry."""


def test_no_modules_import_each_other_in_a_circle() -> None:
    importer, imported = FOR_ITS_TYPE
    left = {module: _arrows(module, for_types=True) for module in _modules()}
    assert imported in left[importer] - _arrows(importer)
    left[importer].remove(imported)
    while ends := [module for module, arrows in left.items() if not arrows & left.keys()]:
        for module in ends:
            del left[module]
    # The remaining modules are in a circle or lead to one; those without arrows to them are in none.
    while starts := [module for module in left if not any(module in arrows for arrows in left.values())]:
        for module in starts:
            del left[module]
    assert not left, {module: sorted(arrows & left.keys()) for module, arrows in left.items()}


@pytest.mark.parametrize("module", sorted(_modules()))
def test_only_some_packages_import_engines_and_the_sdk(module: str) -> None:
    imported = set(_imports(module, for_types=False))
    if _package(module) not in MAY_NAME_ENGINES:
        assert not {name for name in imported if name.split(".")[0] in ENGINES}
    if _package(module) not in MAY_IMPORT_THE_SDK:
        assert not {name for name in imported if f"{name}.".startswith("opentelemetry.sdk.")}
