"""Settings of access: tokens, TLS files, and the limits of each client."""

from dataclasses import dataclass

from hybrid_batch.data.errors import WrongUsage


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a server: its certificate chain, its private key (if the certificate's file does not hold it), and
    the authorities whose client certificates it requires."""

    certificate: str
    key: str | None = None
    client_ca: str | None = None


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of each client: `requests_per_s`, `concurrent` requests, and `bytes_per_s` of request bodies. None is
    no limit, except for `concurrent`: a client with a token, a certificate or an address that is not a loopback address
    gets three quarters of the server's pending requests, so that one client leaves room for others."""

    requests_per_s: float | None = None
    concurrent: int | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may use a server. With `is_open` any client that reaches its address may."""

    token_file: str | None = None
    tls: TlsFiles | None = None
    limits: ClientLimits = ClientLimits()
    is_open: bool = False

    @property
    def authenticates(self) -> bool:
        """Whether a client needs a token or a certificate."""
        return self.token_file is not None or (self.tls is not None and self.tls.client_ca is not None)

    def check_address(self, host: str, *, is_loopback: bool) -> None:
        """Raises WrongUsage for an address that other machines reach if clients need neither token nor certificate."""
        if not (is_loopback or self.authenticates or self.is_open):
            raise WrongUsage(
                f"Refusing to serve on {host} without authentication; give --token-file or --tls-client-ca, or "
                "--insecure to let any client use the server."
            )
