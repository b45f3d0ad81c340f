"""The options of a server that reads backends: those that do not fit are one line."""

import subprocess
from pathlib import Path

import pytest

from support.server import command, environment

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

TEMPO = ("--tempo", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--loki", "http://x"), "--loki needs traces: give --tempo, too"),
        (("--prometheus", "http://x"), "--prometheus needs traces: give --tempo, too"),
        (("--backend-header", "A: b"), "--backend-header has no backend: give --tempo, too"),
        ((*TEMPO, "."), "SOURCE can't be used with --tempo, which receives and keeps nothing: remove one of them"),
        *(
            (
                (*TEMPO, *given),
                f"{given[0]} can't be used with --tempo, which receives and keeps nothing: remove one of them",
            )
            for given in (
                ("--store", "x.db"),
                ("--keep", "1d"),
                ("--keep-bytes", "1GiB"),
                ("--otlp-http-port", "4318"),
                ("--otlp-grpc-port", "4317"),
            )
        ),
        (("--tempo", "tempo:3200"), "--tempo is no URL: write it as http://HOST:PORT"),
        (("--tempo", "ftp://u:secret@x"), "--tempo is no URL: write it as http://HOST:PORT"),
        (("--tempo", "http://u:secret@x:y"), "--tempo is no URL: write it as http://HOST:PORT"),
        ((*TEMPO, "--loki", "/tmp"), "--loki is no URL: write it as http://HOST:PORT"),
        (("--tempo", "http://x/?q=1"), "--tempo has a query: give the base of the API, as http://HOST:PORT"),
        ((*TEMPO, "--backend-header", "secret"), "--backend-header number 1 is no header: write it as 'NAME: VALUE'"),
        (
            (*TEMPO, "--backend-header", "A: b\r\nsecret: c"),
            "--backend-header number 1 is no header: write it as 'NAME: VALUE'",
        ),
        ((*TEMPO, "--backend-header", "Host: x"), "--backend-header Host is set for each request: remove it"),
        ((*TEMPO, "--host", "0.0.0.0"), "0.0.0.0 can be reached from other machines: give --token-file, or --insecure"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path: Path, options: tuple[str, ...], line: str) -> None:
    ended = subprocess.run(
        command(*options), cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, f"otel-flyte: {line}\n", "")
