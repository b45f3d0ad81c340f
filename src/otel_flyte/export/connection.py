"""Creates the transport that a plan names; the package of a protocol is imported when it is needed."""

from collections.abc import Mapping

from otel_flyte.config.endpoints import GRPC, SignalPlan
from otel_flyte.export.target import Target
from otel_flyte.export.transport import Transport
from otel_flyte.runtime.forks import importing


def connect(plan: SignalPlan, environ: Mapping[str, str]) -> Transport:
    """Return the transport for a signal. Nothing is sent yet.

    Raises:
        OSError, ValueError: a certificate can't be read.
        ImportError: the package of the protocol can't be imported.
        LookupError: the credential provider is not installed.
    """
    target = Target.of(plan, environ)
    if plan.protocol == GRPC:
        with importing:
            from otel_flyte.export.grpc_transport import GrpcTransport
        return GrpcTransport(target)
    with importing:
        from otel_flyte.export.http_transport import HttpTransport
    return HttpTransport(target)
