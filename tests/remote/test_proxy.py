"""Proxies and certificates that the environment sets."""

import ssl
import subprocess
from base64 import b64encode

import pytest
from urllib3.util import parse_url

from hybrid_batch.data.errors import TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.tails.access.proxy import find_proxy
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.settings import RetryPolicy, TailSettings
from tests.conftest import HANG_S
from tests.scripted_server import error

FAR = "http://tail.invalid:8000/stage"
ONCE = TailSettings(retries=RetryPolicy(connect_timeout_s=HANG_S, response_timeout_s=HANG_S, attempts=1))
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_receives_the_full_url(scripted_server, bundle, monkeypatch, variable):
    server = scripted_server(error(400, "enough"))
    monkeypatch.setenv(variable, server.url.replace("://", "://me:secret%E2%82%AC@"))
    with open_http_tail(FAR, bundle, ONCE) as tail, pytest.raises(TailRefused, match="enough") as raised:
        tail.check("c000")
    (request,) = server.requests
    assert request.path == f"{FAR}/v2/models/digits"
    assert request.headers["host"] == "tail.invalid:8000"
    assert request.headers["proxy-authorization"] == f"Basic {b64encode('me:secret€'.encode()).decode()}"
    assert "secret" not in str(raised.value)


def test_https_passes_the_proxy_in_a_tunnel(scripted_server, bundle, monkeypatch, tmp_path):
    """The proxy sees neither the request nor its token."""
    server = scripted_server(error(407, "no"))
    token = tmp_path / "token"
    token.write_text("hidden-token")
    monkeypatch.setenv("https_proxy", server.url)
    settings = TailSettings(token_file=str(token), retries=ONCE.retries)
    with open_http_tail("https://tail.invalid", bundle, settings) as tail, pytest.raises(TailUnreachable, match="407"):
        tail.check("c000")
    (request,) = server.requests
    assert (request.method, request.path) == ("CONNECT", "tail.invalid:443")
    assert "hidden-token" not in str(request)


def test_no_proxy_is_used_for_excluded_hosts(monkeypatch):
    monkeypatch.setenv("http_proxy", "proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "inside.example,10.0.0.7")
    found = find_proxy(parse_url(FAR))
    assert found is not None
    assert found.url == "http://proxy.invalid:3128"
    for excluded in ("inside.example", "a.inside.example:8000", "10.0.0.7", "127.0.0.1:1", "[::1]:1", "localhost"):
        assert find_proxy(parse_url(f"http://{excluded}")) is None
    assert find_proxy(parse_url("https://tail.invalid")) is None


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "http://:secret:x@"])
def test_an_invalid_proxy_is_one_sentence(bundle, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        WrongUsage, match=r"tail\.invalid:8000 is not http://HOST:PORT; .*HTTP_PROXY.*NO_PROXY"
    ) as raised:
        open_http_tail(FAR, bundle)
    assert "secret" not in str(raised.value)


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate of 127.0.0.1, and its key."""
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=tail", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl, which makes the certificate, is not installed")
    return path, key


@pytest.fixture
def tls_port(scripted_server, certificate):
    """The port of a server with the certificate that rejects every request."""
    server = scripted_server(error(400, "bad request"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # clients that do not trust the certificate close the connection
    return server.server_address[1]


@pytest.mark.parametrize(
    ("host", "kind", "message"),
    [("127.0.0.1", TailRefused, "bad request"), ("localhost", TailUnreachable, "valid for")],
)
def test_a_certificate_in_the_environment_is_trusted_for_its_host(
    bundle, monkeypatch, certificate, tls_port, host, kind, message
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with open_http_tail(f"https://{host}:{tls_port}", bundle, ONCE) as tail, pytest.raises(kind, match=message):
        tail.check("c000")


def test_other_certificates_are_not_trusted(bundle, tls_port):
    with (
        open_http_tail(f"https://127.0.0.1:{tls_port}", bundle, ONCE) as tail,
        pytest.raises(TailUnreachable, match=r"certificate verify failed.*self-signed"),
    ):
        tail.check("c000")
