"""Proxies of the environment, and whom to trust behind https."""

import ssl
import subprocess
from base64 import b64encode

import pytest
from urllib3.util import parse_url

from hybrid_batch.data.errors import TailRefused, TailUnreachable, WrongUsage
from hybrid_batch.inference.tails.http import http_tail
from hybrid_batch.inference.tails.proxy import find_proxy
from hybrid_batch.inference.tails.retry_policy import Patience
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S
from tests.scripted import error

FAR = "http://tail.invalid:8000/stage"
ONCE = TailSettings(patience=Patience(connect_s=HANG_S, answer_s=HANG_S, attempts=1))
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_is_told_whom_to_ask(script, bundle, monkeypatch, variable):
    server = script(error(400, "enough"))
    monkeypatch.setenv(variable, server.url.replace("://", "://me:secret%E2%82%AC@"))
    with http_tail(FAR, bundle, ONCE) as tail, pytest.raises(TailRefused, match="enough") as raised:
        tail.check("c000")
    (request,) = server.requests
    assert request.path == f"{FAR}/v2/models/digits"
    assert request.headers["host"] == "tail.invalid:8000"
    assert request.headers["proxy-authorization"] == f"Basic {b64encode('me:secret€'.encode()).decode()}"
    assert "secret" not in str(raised.value)


def test_before_https_it_only_lets_through(script, bundle, monkeypatch, tmp_path):
    """What is asked, and with which token, the proxy never sees."""
    server = script(error(407, "no"))
    token = tmp_path / "token"
    token.write_text("hidden-token")
    monkeypatch.setenv("https_proxy", server.url)
    settings = TailSettings(token_file=str(token), patience=ONCE.patience)
    with http_tail("https://tail.invalid", bundle, settings) as tail, pytest.raises(TailUnreachable, match="407"):
        tail.check("c000")
    (request,) = server.requests
    assert (request.method, request.path) == ("CONNECT", "tail.invalid:443")
    assert "hidden-token" not in str(request)


def test_none_stands_before_hosts_that_want_none(monkeypatch):
    monkeypatch.setenv("http_proxy", "proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "inside.example,10.0.0.7")
    found = find_proxy(parse_url(FAR))
    assert found is not None
    assert found.url == "http://proxy.invalid:3128"
    for near in ("inside.example", "a.inside.example:8000", "10.0.0.7", "127.0.0.1:1", "[::1]:1", "localhost"):
        assert find_proxy(parse_url(f"http://{near}")) is None
    assert find_proxy(parse_url("https://tail.invalid")) is None


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "http://:secret:x@"])
def test_a_proxy_that_cannot_be_used_is_told(bundle, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        WrongUsage, match=r"tail\.invalid:8000 is no http://HOST:PORT; .*HTTP_PROXY.*NO_PROXY"
    ) as raised:
        http_tail(FAR, bundle)
    assert "secret" not in str(raised.value)


@pytest.fixture
def certificate(tmp_path):
    """Of 127.0.0.1, signed by itself."""
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
        pytest.skip("there is no openssl to make a certificate with")
    return path, key


@pytest.fixture
def tls_port(script, certificate):
    """The port of a server that refuses every request, behind that certificate."""
    server = script(error(400, "a word in confidence"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # clients that do not trust it hang up
    return server.server_address[1]


@pytest.mark.parametrize(
    ("host", "kind", "says"),
    [("127.0.0.1", TailRefused, "a word in confidence"), ("localhost", TailUnreachable, "valid for")],
)
def test_a_certificate_that_is_named_is_trusted_under_its_own_name(
    bundle, monkeypatch, certificate, tls_port, host, kind, says
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with http_tail(f"https://{host}:{tls_port}", bundle, ONCE) as tail, pytest.raises(kind, match=says):
        tail.check("c000")


def test_others_are_not_trusted(bundle, tls_port):
    with (
        http_tail(f"https://127.0.0.1:{tls_port}", bundle, ONCE) as tail,
        pytest.raises(TailUnreachable, match=r"certificate verify failed.*self-signed"),
    ):
        tail.check("c000")
