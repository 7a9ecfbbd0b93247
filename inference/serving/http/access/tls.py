"""The TLS of a server."""

import os
import ssl

from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.serving.http.access.access_settings import TlsFiles
from hybrid_batch.inference.serving.http.access.tokens import check_private


def make_tls_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later with the server's certificate. With `client_ca`, a client that shows a certificate must show one
    of these authorities; the application decides which requests need one. Raises WrongUsage for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make the server repeat the expensive part
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, files)
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise WrongUsage(f"--tls-client-ca {files.client_ca} cannot be used ({_reason(error)}).") from error
    return context


def load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load certificate and key, again after they have been replaced. Raises WrongUsage for unusable files."""
    key = files.key or files.certificate
    try:
        check_private(key, os.stat(key).st_mode)  # noqa: PTH116 - the path as given, for the message
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:
        pair = " and ".join(path for path in (files.certificate, files.key) if path)
        raise WrongUsage(f"The certificate and key in {pair} cannot be used ({_reason(error)}).") from error


def _no_password() -> str:
    raise ValueError("the key has a password; give one without")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
