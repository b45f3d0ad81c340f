"""The order of the stack's tests."""

import pytest

LONGEST = "test_whole_stack.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest. With pytest-xdist this needs ``--no-loadscope-reorder``."""
    items.sort(key=lambda item: item.path.name != LONGEST)
