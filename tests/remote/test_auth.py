"""Authentication: tokens, passwords and signatures as servers receive them."""

import hashlib
import hmac
import re
from base64 import b64decode
from urllib.parse import quote, unquote

import pytest
import urllib3
from urllib3.util import parse_url

from hybrid_batch.data.errors import TailRefused, WrongUsage
from hybrid_batch.inference.tails.access.auth import BasicAuth, BearerAuth, SigV4Auth, find_auth
from hybrid_batch.inference.tails.http import HttpTransport, open_http_tail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.scripted_server import error, reply

TOKEN = "HYBRID_BATCH_TAIL_TOKEN"  # noqa: S105 - its name
SECRET = "s3cret-token_0.9~+/="  # noqa: S105 - of a test
GATEWAYS = {
    "https://abc123.execute-api.eu-west-1.amazonaws.com": ("execute-api", "eu-west-1"),
    "https://abc123.execute-api.cn-north-1.amazonaws.com.cn/stage": ("execute-api", "cn-north-1"),
    "https://abcdef.lambda-url.us-east-2.on.aws/": ("lambda", "us-east-2"),
}
NO_GATEWAYS = [
    "https://example.com",
    "http://abc123.execute-api.eu-west-1.amazonaws.com",
    "https://abc123.execute-api.eu-west-1.amazonaws.com.evil.example",
    "https://evil.example/abc123.execute-api.eu-west-1.amazonaws.com",
    "https://execute-api.eu-west-1.amazonaws.com",
    "https://a.lambda-url.us-east-2.on.aws.evil.example",
]


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    return str(path)


@pytest.mark.parametrize("source", ["file", "variable", "both"])
def test_the_token_is_sent_with_every_request(scripted_server, bundle, monkeypatch, token_file, source):
    if source != "file":
        monkeypatch.setenv(TOKEN, SECRET if source == "variable" else "another")
    server = scripted_server(error(400, "enough"))
    settings = TailSettings(token_file=None if source == "variable" else token_file)
    with open_http_tail(server.url, bundle, settings) as tail, pytest.raises(TailRefused) as raised:
        tail.check("c000")
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in str(raised.value)


def test_without_a_token_no_authorization_is_sent(scripted_server, bundle):
    server = scripted_server(error(400, "enough"))
    with open_http_tail(server.url, bundle) as tail, pytest.raises(TailRefused):
        tail.check("c000")
    assert "authorization" not in server.requests[0].headers


def test_a_redirect_does_not_receive_the_token(scripted_server, bundle, token_file):
    other = scripted_server(reply(200, b"{}"))
    server = scripted_server(reply(307, b"", f"Location: {other.url}/v2/models/digits\r\n"))
    settings = TailSettings(token_file=token_file)
    with open_http_tail(server.url, bundle, settings) as tail, pytest.raises(TailRefused, match="307"):
        tail.check("c000")
    assert len(server.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize(("status", "message"), [(401, "Unauthorized"), (403, "Forbidden")])
def test_denied_access_names_the_token_options(scripted_server, bundle, status, message):
    server = scripted_server(reply(status, f'{{"message": "{message}"}}'.encode()))
    with (
        open_http_tail(server.url, bundle) as tail,
        pytest.raises(TailRefused, match=rf"\({status} {message}\); .*--token-file.*{TOKEN}.*AWS credentials"),
    ):
        tail.check("c000")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "does not hold a token"),
        (b"\n \n", "does not hold a token"),
        (b"two words", "does not hold a token"),
        (b"two\nlines", "does not hold a token"),
        (b"a\x00b", "does not hold a token"),
        ("ü".encode(), "does not hold a token"),
        (b"\xff\xfe", "not text"),
        (b"x" * 5000, "does not hold a token"),
        (None, "No such file"),
    ],
)
def test_token_files_without_a_token_are_wrong_usage(tmp_path, content, words):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUsage, match=words) as raised:
        find_auth(parse_url("https://host"), str(path))
    assert str(path) in str(raised.value)


def test_a_variable_without_a_token_is_wrong_usage(monkeypatch):
    monkeypatch.setenv(TOKEN, "two words")
    with pytest.raises(WrongUsage, match=TOKEN) as raised:
        find_auth(parse_url("https://host"), None)
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://example.com:8000", "http://10.0.0.1", "http://notlocalhost"])
def test_a_token_is_not_sent_unencrypted(token_file, address):
    with pytest.raises(WrongUsage, match=r"Refusing to send the token to .* unencrypted; use https://") as raised:
        find_auth(parse_url(address), token_file)
    assert SECRET not in str(raised.value)
    for safe in (
        "http://127.0.0.1:8000",
        "http://localhost",
        "http://api.localhost:80",
        "http://[::1]:1",
        "https://example.com",
    ):
        assert isinstance(find_auth(parse_url(safe), token_file), BearerAuth)


def test_a_password_is_not_sent_unencrypted():
    with pytest.raises(WrongUsage, match=r"Refusing to send the password to example\.com unencrypted") as raised:
        find_auth(parse_url("http://someone:hidden@example.com"), None)
    assert "hidden" not in str(raised.value)
    for safe in ("https://someone:hidden@example.com", "http://someone:hidden@127.0.0.1:1"):
        auth = find_auth(parse_url(safe), None)
        assert isinstance(auth, BasicAuth)
        assert "hidden" not in f"{auth} {auth!r}"
    assert find_auth(parse_url("http://example.com"), None) is None


@pytest.mark.parametrize("encoded", ["caf%C3%A9%3A%E2%82%AC", "café%3a€"])
def test_a_password_may_be_percent_encoded(scripted_server, bundle, encoded):
    server = scripted_server(error(400, "enough"))
    with open_http_tail(server.url.replace("://", f"://me:{encoded}@"), bundle) as tail, pytest.raises(TailRefused):
        tail.check("c000")
    sent = server.requests[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(sent).decode() == "me:café:€"


def test_secrets_are_not_printed(token_file, bundle, monkeypatch):
    auth = find_auth(parse_url("https://host"), token_file)
    assert SECRET not in f"{auth!r} {auth} {TailSettings(token_file=token_file)!r}"
    transport = HttpTransport("http://someone:hidden@127.0.0.1:1/?key=hidden")
    assert transport.name == "http://127.0.0.1:1/"
    transport.close()


@pytest.mark.parametrize(("address", "expected"), GATEWAYS.items())
def test_aws_gateways_get_a_signature_for_their_service_and_region(aws, token_file, address, expected):
    auth = find_auth(parse_url(address), None)
    assert isinstance(auth, SigV4Auth)
    assert (auth._service, auth._region) == expected
    assert isinstance(find_auth(parse_url(address), token_file), BearerAuth)


@pytest.mark.parametrize("address", NO_GATEWAYS)
def test_other_hosts_get_no_signature(aws, address):
    assert find_auth(parse_url(address), None) is None


@pytest.mark.parametrize("session", [None, "a session/token"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/models/d%20e"), ("POST", "/stage/v2/models/digits/infer")])
def test_the_signature_follows_the_specification(aws, scripted_server, monkeypatch, session, method, path):
    if session:
        monkeypatch.setenv("AWS_SESSION_TOKEN", session)
    server = scripted_server(reply(200, b"{}"))
    url, body = server.url + path, b"\x00frame" if method == "POST" else b""
    headers = SigV4Auth("execute-api", "eu-west-1").headers(method, url, body)
    urllib3.request(method, url, body=body, headers=headers)
    (request,) = server.requests
    signed = dict(re.findall(r"(\w+)=([^ ,]+)", request.headers["authorization"]))
    assert signed["Signature"] == sign(request, signed, "test")
    assert signed["Credential"].endswith("/eu-west-1/execute-api/aws4_request")
    assert {"host", "x-amz-date"} <= set(signed["SignedHeaders"].split(";"))
    assert ("x-amz-security-token" in signed["SignedHeaders"]) is bool(session)


def sign(request, signed, secret):
    """AWS Signature Version 4, by the steps of its specification:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    names = signed["SignedHeaders"].split(";")
    lines = [
        request.method,
        quote(quote(unquote(request.path))),
        "",
        *(f"{name}:{request.headers[name]}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(request.body).hexdigest(),
    ]
    _, *scope = signed["Credential"].split("/")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope), digest])
    key = f"AWS4{secret}".encode()
    for word in (*scope, text):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key.hex()


def test_without_credentials_requests_are_unsigned(aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert SigV4Auth("lambda", "us-east-1").headers("GET", "https://a.lambda-url.us-east-1.on.aws/v2", b"") == {}


def test_unavailable_credentials_are_one_sentence(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(TailRefused, match=r"cannot be signed .*nobody.*correct or renew"):
        find_auth(parse_url(next(iter(GATEWAYS))), None)
