"""The API does what its OpenAPI document says, whatever the values: schemathesis asks a server with executions."""

import subprocess
from pathlib import Path

import pytest

from support import pods, served_runs
from support.server import Served, environment

pytestmark = pytest.mark.newest_only

SCHEMATHESIS = Path(pods.SCRIPTS, "schemathesis")
EXAMPLES, SEED = 10, 1


def test_it_answers_as_the_document_says(served: Served, tmp_path: Path) -> None:
    served_runs.send_all(served)
    config = Path(__file__).with_name("schemathesis.toml")
    options = [
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        str(SEED),
        "--no-color",
        "--continue-on-failure",
        "--no-shrink",
    ]
    # The stream of events has no end.
    options += ["--phases", "examples,coverage,fuzzing", "--exclude-path-regex", "/events$", "--request-timeout", "60"]
    ended = subprocess.run(
        [SCHEMATHESIS, "--config-file", config, "run", f"{served.url}/api/v1/openapi.json", *options],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, "\n".join(line[:300] for line in (ended.stdout + ended.stderr).splitlines())
