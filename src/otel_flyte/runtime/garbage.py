"""Python's search for cycles of garbage, paused while a recording is read and shown.

A recording has no cycles, and the search walks all of its objects again and again while they are made: with 100,000
spans it takes as long as all else.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Pause the search for cycles within the block, or the decorated function.

    Threads may do so at once: the search goes on when the first of them is done.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
