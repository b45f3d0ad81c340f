"""Certificates: the files for TLS, checked before gRPC and uvicorn, whose own errors name neither file nor remedy."""

import ssl
from pathlib import Path


class CertificateError(Exception):
    """A certificate or its key can't be used. The message is one line."""


def check(certificate: Path, key: Path) -> None:
    """Check that two files are a certificate and its key.

    Raises:
        CertificateError: a file can't be read, is not of its kind, or the key belongs to another certificate.
    """
    for path in (certificate, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(
                f"{path} can't be read ({error.strerror or error}): check the path and its permissions"
            ) from None
    _check_certificate(certificate)
    try:
        # Without the password, OpenSSL asks for that of an encrypted key on the terminal, and gRPC can't use one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        is_other = error.reason == "KEY_VALUES_MISMATCH"
        problem = "is the key of another certificate" if is_other else "is no key in PEM without a password"
        raise CertificateError(f"{key} {problem}: name the key of {certificate} by --tls-key") from None


def _check_certificate(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise CertificateError(f"{path} is no certificate in PEM: name one by --tls-cert") from None
