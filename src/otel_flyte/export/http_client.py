"""HTTP requests with the proxies and certificates that ``requests`` uses, without passwords from ``.netrc``.

Tests of users replace parts of ``requests`` and connections of ``urllib3`` to answer or record what a task sends.
Deliveries are none of that, so they use pools of their own. The session of a credential provider is used as it is.
"""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import requests
from requests.utils import (
    DEFAULT_CA_BUNDLE_PATH,
    get_auth_from_url,
    get_environ_proxies,
    prepend_scheme_if_needed,
    select_proxy,
)
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager
from urllib3.util.retry import Retry

from otel_flyte import semconv
from otel_flyte.export.target import Target
from otel_flyte.runtime.forks import importing

_NO_RETRIES = Retry(0, read=False)


class Response(NamedTuple):
    """The answer to a request; the names of its headers are in any case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Client(Protocol):
    """Posts to the address of a target over a connection that is kept alive."""

    def post(self, body: bytes, timeout: float) -> Response:
        """Post once without following redirects. It raises any error of its library."""

    def close(self) -> None:
        """Close the connection."""


class HttpPool(HTTPConnectionPool):
    """Connections that recorders of traffic do not replace, as they replace the attribute of the base class."""

    ConnectionCls = HTTPConnection


class HttpsPool(HTTPSConnectionPool):
    """The same with TLS."""

    ConnectionCls = HTTPSConnection


class OwnClient:
    """A client whose credentials are the target's only: its headers and its address."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        parts = urlsplit(target.address)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        self._headers = {**headers, **_basic("authorization", target.address)}
        self._target = target
        self._managers: dict[tuple[str, str], PoolManager] = {}

    def post(self, body: bytes, timeout: float) -> Response:
        """Post once without following redirects."""
        # A task may set a proxy after it has begun.
        way = _proxy(self._url), _authorities(self._target)
        manager = self._managers.get(way)
        if manager is None:
            manager = self._managers[way] = _manager(*way, self._target)
        answer: Any = manager.urlopen(
            "POST", self._url, body=body, headers=self._headers, redirect=False, retries=_NO_RETRIES, timeout=timeout
        )
        return Response(answer.status, answer.reason or "", answer.headers, answer.data)

    def close(self) -> None:
        """Close the connections."""
        for manager in self._managers.values():
            manager.clear()


class SessionClient:
    """A client that uses the session of a credential provider."""

    def __init__(self, target: Target, headers: Mapping[str, str], session: requests.Session) -> None:
        session.headers.update(headers)
        self._session = session
        self._target = target

    def post(self, body: bytes, timeout: float) -> Response:
        """Post once without following redirects."""
        target, session = self._target, self._session
        answer = session.post(
            target.address,
            data=body,
            timeout=timeout,
            allow_redirects=False,
            verify=target.certificate or True,
            cert=(target.client_certificate, target.client_key) if target.client_key else target.client_certificate,
            # Without one, `requests` takes a password from `.netrc`.
            auth=None if session.auth else _add_credentials_of_address,
        )
        return Response(answer.status_code, answer.reason or "", answer.headers, answer.content)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _proxy(url: str) -> str:
    """Return the URL of the proxy that the environment names for a URL, empty for none."""
    proxy = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(proxy, "http") if proxy else ""


def _authorities(target: Target) -> str:
    """Return the file or folder of the trusted authorities."""
    chosen = (os.environ.get(variable) for variable in semconv.CA_BUNDLES)
    return target.certificate or next(filter(None, chosen), DEFAULT_CA_BUNDLE_PATH)


def _manager(proxy: str, authorities: str, target: Target) -> PoolManager:
    options: dict[str, Any] = {"num_pools": 1, "maxsize": 1}
    if target.address.lower().startswith("https:"):
        options |= _tls(authorities, target)
    if proxy.lower().startswith("socks"):
        return _socks_manager(proxy, options)
    manager = (
        ProxyManager(proxy, proxy_headers=_basic("proxy-authorization", proxy), **options)
        if proxy
        else PoolManager(**options)
    )
    manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}
    return manager


def _socks_manager(proxy: str, options: Mapping[str, Any]) -> PoolManager:
    try:
        with importing:
            from urllib3.contrib.socks import SOCKSProxyManager
    except ImportError as error:
        raise OSError("a SOCKS proxy requires PySocks, run pip install pysocks") from error
    user, password = get_auth_from_url(proxy)
    return SOCKSProxyManager(proxy, username=user, password=password, **options)


def _tls(authorities: str, target: Target) -> dict[str, Any]:
    for file in filter(None, (authorities, target.client_certificate, target.client_key)):
        if not Path(file).exists():
            raise OSError(f"could not find the TLS certificate file {file}")
    return {
        "cert_reqs": "CERT_REQUIRED",
        "ca_cert_dir" if Path(authorities).is_dir() else "ca_certs": authorities,
        "cert_file": target.client_certificate or None,
        "key_file": target.client_key or None,
    }


def _basic(name: str, url: str) -> dict[str, str]:
    """Return the header for the user and password of a URL, if it has any."""
    user_and_password = get_auth_from_url(url)
    if not any(user_and_password):
        return {}
    return {name: f"Basic {base64.b64encode(':'.join(user_and_password).encode()).decode()}"}


def _add_credentials_of_address(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers.update(_basic("Authorization", request.url or ""))
    return request
