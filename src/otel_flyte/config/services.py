"""Variables that Kubernetes sets in each pod for every Service of its namespace.

For a Service ``otel-flyte`` these are ``OTEL_FLYTE_SERVICE_HOST``, ``OTEL_FLYTE_PORT`` and so on. They are no settings:
https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables.
"""

import re

_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_NAME = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")


def is_address(value: str) -> bool:
    """Return whether a value is an address as Kubernetes writes it: ``tcp://10.0.0.1:4317``."""
    return _ADDRESS.fullmatch(value.strip()) is not None


def is_of_service(variable: str, value: str) -> bool:
    """Return whether Kubernetes has set a variable for a Service."""
    return _NAME.fullmatch(variable) is not None or (variable.endswith("_PORT") and is_address(value))
