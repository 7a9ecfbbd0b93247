"""The options of `hybrid-batch serve` for authentication, TLS, and the limits of each client."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hybrid_batch.data.errors import WrongUsage

if TYPE_CHECKING:
    from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings
    from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits

Command = Callable[..., Any]
_OPTIONS = (
    click.option(
        "--token-file", metavar="FILE", help="Tokens that clients must send, one a line: TOKEN or NAME TOKEN."
    ),
    click.option("--tls-certificate", metavar="FILE", help="Certificate of the server (PEM); serves https."),
    click.option("--tls-key", metavar="FILE", help="Private key (PEM), unless the certificate's file holds it."),
    click.option("--tls-client-ca", metavar="FILE", help="Require client certificates of these authorities (PEM)."),
    click.option("--insecure", is_flag=True, help="Allow an address that other machines reach without authentication."),
    click.option(
        "--max-connections", type=click.IntRange(1, 65536), default=4096, show_default=True, help="Open connections."
    ),
    click.option(
        "--max-peer-connections",
        type=click.IntRange(1, 65536),
        help="Open connections from one address.  [default: half; all on loopback]",
    ),
    click.option(
        "--request-timeout",
        type=click.FloatRange(1),
        default=600,
        show_default=True,
        metavar="SECONDS",
        help="Time for a request to arrive, and for its reply to be read.",
    ),
    click.option("--client-rate", type=click.FloatRange(0.01), metavar="N", help="Requests a second of each client."),
    click.option(
        "--client-pending",
        type=click.IntRange(1),
        metavar="N",
        help="Requests of each client in progress.  [default: 3/4 of --max-pending; no limit on loopback]",
    ),
    click.option(
        "--client-mb", type=click.FloatRange(0.01), metavar="N", help="MiB a second of each client's requests."
    ),
)


def access_options(command: Command) -> Command:
    """Adds the options of access; `make_access` and `make_connections` take their values from the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_access(options: dict[str, Any]) -> "AccessSettings":
    """The settings of access. Raises WrongUsage for options that exclude one another."""
    from hybrid_batch.inference.serving.http.access.access_settings import AccessSettings, ClientLimits, TlsFiles

    certificate, key, client_ca = (options[name] for name in ("tls_certificate", "tls_key", "tls_client_ca"))
    if certificate is None and (key or client_ca):
        raise WrongUsage(f"{'--tls-key' if key else '--tls-client-ca'} needs --tls-certificate, the server's own.")
    megabytes = options["client_mb"]
    limits = ClientLimits(options["client_rate"], options["client_pending"], megabytes and megabytes * (1 << 20))
    tls = TlsFiles(certificate, key, client_ca) if certificate is not None else None
    return AccessSettings(options["token_file"], tls, limits, is_open=options["insecure"])


def make_connections(options: dict[str, Any]) -> "ConnectionLimits":
    """The limits of connections."""
    from hybrid_batch.inference.serving.http.connections.connection_limits import ConnectionLimits

    return ConnectionLimits(
        options["max_connections"], options["max_peer_connections"], request_s=options["request_timeout"]
    )
