"""Runs the server: OTLP over HTTP and gRPC, the page and the API, in one process."""

import contextlib
import errno
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import uvicorn

from otel_flyte.server import tokens, web
from otel_flyte.server.live import Changes
from otel_flyte.server.receivers import follow, otlp_grpc, otlp_http
from otel_flyte.server.remote.backends import Backend
from otel_flyte.server.remote.opening import KEPT_BYTES, opened
from otel_flyte.server.source import Database, Source
from otel_flyte.server.store import schema
from otel_flyte.server.store.retention import Limits
from otel_flyte.server.store.writer import Writer

LOOPBACK = ("127.0.0.1", "::1", "localhost")

_BACKLOG = 512


class Options(NamedTuple):
    """The options of the server.

    Attributes:
        store: the database.
        host: the address to listen on.
        port: of the page and the API.
        otlp_http: the port of OTLP over HTTP.
        otlp_grpc: the port of OTLP over gRPC.
        limits: what is kept.
        token: that of readers, ``None`` for no check.
        otlp_token: that of senders, ``None`` for no check.
        tls: the files of certificate and key, ``None`` for plain text.
        source: recordings to serve instead of what is received, ``None`` for the latter.
        backends: those to serve instead, Tempo among them.
        default_domain: the domain of a project of ModelArts that names none.
    """

    store: Path
    host: str = "127.0.0.1"
    port: int = 7311
    otlp_http: int = 4318
    otlp_grpc: int = 4317
    limits: Limits = Limits()
    token: str | None = None
    otlp_token: str | None = None
    tls: tuple[Path, Path] | None = None
    source: Path | None = None
    backends: tuple[Backend, ...] = ()
    default_domain: str = "development"

    @property
    def receives(self) -> bool:
        """Whether telemetry is received; else the server reads what is somewhere else."""
        return self.source is None and not self.backends


class ServeError(Exception):
    """The server can't start. The message is one line: problem, then remedy."""


def serve(options: Options, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serve until a signal ends the process.

    Args:
        options: the options.
        say: prints a line once the server is ready.
        warn: prints a line about a backend that does not answer, or about a part of the source that can't be read.

    Raises:
        SystemExit: a signal ends the process, with code 0.
        ServeError: a port is taken.
        UnreadableError: the source is a file without OTLP.
        DatabaseError: the database can't be used.
    """
    with contextlib.ExitStack() as running:
        running.enter_context(_ended_by_signals())
        if options.source is not None:
            follow.check(options.source)
        if not options.receives:
            folder = running.enter_context(tempfile.TemporaryDirectory(prefix="otel-flyte-"))
            limits = Limits(size=KEPT_BYTES) if options.backends else options.limits
            options = options._replace(store=Path(folder, "telemetry.db"), limits=limits)
        running.enter_context(schema.lock(options.store))
        schema.create(options.store)
        sockets = [running.enter_context(_listening(options, port)) for port in _http_ports(options)]
        writer = Writer(options.store, options.limits)
        running.callback(writer.close)
        database = Database(options.store)
        running.callback(database.close)
        writer.changed.append(database.changed)
        source: Source = database
        if options.backends:
            source = running.enter_context(contextlib.closing(opened(options.backends, database, writer, warn)))
        changes = Changes(source)
        app: Any = web.app(
            source,
            changes,
            tokens.check(options.token),
            endpoint=_endpoint(options),
            # Without a token, only the name of the host tells a page of another site from a user.
            checks_host=options.host in LOOPBACK and options.token is None,
            default_domain=options.default_domain,
        )
        if options.receives:
            of_senders = tokens.check(options.otlp_token)
            running.enter_context(_grpc(options, writer, of_senders))
            receiver = otlp_http.app(writer, lambda request: of_senders(request.headers), options.port)
            app = _by_port(options.otlp_http, receiver, app)
        if options.source is not None:
            follower = follow.Follower(options.source, writer, warn)
            follower.start()
            running.callback(follower.close)
        for line in _lines(options):
            say(line)
        _Server(_config(options, app), changes.close).run(sockets=sockets)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn a signal into an exit, so that all is closed: uvicorn handles signals while it runs, and raises them again.

    Further signals are ignored while all is closed.
    """

    def end(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(0)

    before = {each: signal.signal(each, end) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _http_ports(options: Options) -> Sequence[int]:
    return (options.otlp_http, options.port) if options.receives else (options.port,)


def _listening(options: Options, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServeError(_unusable(options.host, port, error)) from None


def _unusable(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken: end the program that listens there, or choose another (see --help)"
    return f"{host} port {port} can't be used ({error.strerror or error}): choose another by --host and --port"


@contextlib.contextmanager
def _grpc(options: Options, writer: Writer, is_allowed: Callable[[Mapping[str, str]], bool]) -> Iterator[None]:
    server = otlp_grpc.server(writer, is_allowed)
    address = f"[{options.host}]:{options.otlp_grpc}" if ":" in options.host else f"{options.host}:{options.otlp_grpc}"
    # gRPC's own error does not tell whether the port is taken.
    _listening(options, options.otlp_grpc).close()
    if options.tls is None:
        server.add_insecure_port(address)
    else:
        certificate, key = (path.read_bytes() for path in options.tls)
        server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
    server.start()
    try:
        yield
    finally:
        server.stop(1).wait()


class _Server(uvicorn.Server):
    """A server that ends the streams of events first: they would go on for as long as their clients."""

    def __init__(self, config: uvicorn.Config, when_stopped: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_stopped = when_stopped

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._when_stopped()
        # uvicorn would report each request that it cancels now as an error with a traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def _config(options: Options, app: Any) -> uvicorn.Config:
    certificate, key = options.tls or (None, None)
    return uvicorn.Config(
        app,
        # It warns of each request that is not HTTP, and a client can send any number of them.
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        ssl_certfile=None if certificate is None else os.fspath(certificate),
        ssl_keyfile=None if key is None else os.fspath(key),
    )


def _by_port(otlp_port: int, receiver: Any, pages: Any) -> Any:
    """Return an application that sends each connection to the application of its port."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        server = scope.get("server")
        await (receiver if server is not None and server[1] == otlp_port else pages)(scope, receive, send)

    return app


def _lines(options: Options) -> Iterator[str]:
    origin = _origin(options)
    if options.receives:
        yield f"OTLP   {_endpoint(options)} (HTTP), {origin}:{options.otlp_grpc} (gRPC)"
    if options.backends:
        yield f"reads  {', '.join(map(str, options.backends))}"
    yield f"page   {origin}:{options.port}"


def _endpoint(options: Options) -> str:
    """Return where telemetry is received, empty where nothing is received."""
    return f"{_origin(options)}:{options.otlp_http}" if options.receives else ""


def _origin(options: Options) -> str:
    scheme = "http" if options.tls is None else "https"
    return f"{scheme}://[{options.host}]" if ":" in options.host else f"{scheme}://{options.host}"
