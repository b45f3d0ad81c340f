"""Records the imports of our threads in the file that a variable names."""

import os
import sys
import threading
from pathlib import Path


class Finder:
    """The first finder: it finds no module, and sees every import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Record a module that one of our threads imports while another thread may fork."""
        thread = threading.current_thread().name
        forks = sys.modules.get("otel_flyte.runtime.forks")
        if thread.startswith("otel-flyte") and forks is not None and not forks.importing.open_here:
            with Path(os.environ["NOTED_IMPORTS"]).open("a") as file:
                file.write(f"{thread}: {name}\n")


# Empty without recorded imports; missing if this module did not run.
Path(os.environ["NOTED_IMPORTS"]).touch()
sys.meta_path.insert(0, Finder())
