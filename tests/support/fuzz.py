"""Coverage-guided fuzzing of one target: `python tests/support/fuzz.py TARGET FOLDER [OPTION OF LIBFUZZER]...`.

The targets are the tests of hypothesis: atheris writes the bytes from which hypothesis makes their values. Without
arguments, their names are printed.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("test_fuzzed_files", "test_fuzzed_values")
TESTS = Path(__file__).parent.parent


def targets() -> dict[str, Callable[[bytes], object]]:
    """Return the targets by the names of their tests."""
    found: dict[str, Any] = {}
    for module in map(import_module, MODULES):
        found |= {name: test for name, test in vars(module).items() if hasattr(test, "hypothesis")}
    return {name: test.hypothesis.fuzz_one_input for name, test in found.items()}


def main(arguments: list[str]) -> None:
    """Print the targets, or fuzz one until it crashes or its time is over."""
    if not arguments:
        print("\n".join(targets()))  # noqa: T201
        return
    import atheris

    name, folder, *options = arguments
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["otel_flyte"]):
        target = targets()[name]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/{name}-", *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    main(sys.argv[1:])
