"""Getting in: tokens and signatures, checked by servers that were not written by whoever made them."""

import hashlib
import hmac
import re
from base64 import b64decode
from urllib.parse import quote, unquote

import pytest
import urllib3
from urllib3.util import parse_url

from hybrid_batch.data.errors import TailRefused, WrongUsage
from hybrid_batch.inference.tails.auth import BearerToken, Password, Signature, find_access
from hybrid_batch.inference.tails.http import HttpExchange, http_tail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.scripted import error, reply

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


@pytest.mark.parametrize("how", ["file", "variable", "both"])
def test_the_token_is_shown_with_every_request(script, bundle, monkeypatch, token_file, how):
    if how != "file":
        monkeypatch.setenv(TOKEN, SECRET if how == "variable" else "another")
    server = script(error(400, "enough"))
    settings = TailSettings(token_file=None if how == "variable" else token_file)
    with http_tail(server.url, bundle, settings) as tail, pytest.raises(TailRefused) as raised:
        tail.check("c000")
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in str(raised.value)


def test_without_a_token_none_is_shown(script, bundle):
    server = script(error(400, "enough"))
    with http_tail(server.url, bundle) as tail, pytest.raises(TailRefused):
        tail.check("c000")
    assert "authorization" not in server.requests[0].headers


def test_a_token_does_not_follow_to_another_server(script, bundle, token_file):
    other = script(reply(200, b"{}"))
    server = script(reply(307, b"", f"Location: {other.url}/v2/models/digits\r\n"))
    settings = TailSettings(token_file=token_file)
    with http_tail(server.url, bundle, settings) as tail, pytest.raises(TailRefused, match="307"):
        tail.check("c000")
    assert len(server.requests) == 1
    assert other.requests == []


@pytest.mark.parametrize(("status", "message"), [(401, "Unauthorized"), (403, "Forbidden")])
def test_a_closed_door_is_told_with_what_opens_it(script, bundle, status, message):
    server = script(reply(status, f'{{"message": "{message}"}}'.encode()))
    with (
        http_tail(server.url, bundle) as tail,
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
def test_files_that_hold_no_token(tmp_path, content, words):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUsage, match=words) as raised:
        find_access(parse_url("https://host"), str(path))
    assert str(path) in str(raised.value)


def test_a_variable_that_holds_no_token(monkeypatch):
    monkeypatch.setenv(TOKEN, "two words")
    with pytest.raises(WrongUsage, match=TOKEN) as raised:
        find_access(parse_url("https://host"), None)
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize("address", ["http://example.com:8000", "http://10.0.0.1", "http://notlocalhost"])
def test_a_token_does_not_travel_in_clear(token_file, address):
    with pytest.raises(WrongUsage, match=r"for all to read; use https://") as raised:
        find_access(parse_url(address), token_file)
    assert SECRET not in str(raised.value)
    for near in (
        "http://127.0.0.1:8000",
        "http://localhost",
        "http://api.localhost:80",
        "http://[::1]:1",
        "https://example.com",
    ):
        assert isinstance(find_access(parse_url(near), token_file), BearerToken)


def test_a_password_does_not_either():
    with pytest.raises(WrongUsage, match=r"password would travel to example\.com for all to read") as raised:
        find_access(parse_url("http://someone:hidden@example.com"), None)
    assert "hidden" not in str(raised.value)
    for near in ("https://someone:hidden@example.com", "http://someone:hidden@127.0.0.1:1"):
        access = find_access(parse_url(near), None)
        assert isinstance(access, Password)
        assert "hidden" not in f"{access} {access!r}"
    assert find_access(parse_url("http://example.com"), None) is None


@pytest.mark.parametrize("spelt", ["caf%C3%A9%3A%E2%82%AC", "café%3a€"])
def test_a_password_may_have_any_letters(script, bundle, spelt):
    server = script(error(400, "enough"))
    with http_tail(server.url.replace("://", f"://me:{spelt}@"), bundle) as tail, pytest.raises(TailRefused):
        tail.check("c000")
    shown = server.requests[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(shown).decode() == "me:café:€"


def test_nothing_that_is_printed_tells_secrets(token_file, bundle, monkeypatch):
    access = find_access(parse_url("https://host"), token_file)
    assert SECRET not in f"{access!r} {access} {TailSettings(token_file=token_file)!r}"
    exchange = HttpExchange("http://someone:hidden@127.0.0.1:1/?key=hidden")
    assert exchange.name == "http://127.0.0.1:1/"
    exchange.close()


@pytest.mark.parametrize(("address", "meant"), GATEWAYS.items())
def test_gateways_of_aws_get_a_signature_for_their_service_and_region(aws, token_file, address, meant):
    access = find_access(parse_url(address), None)
    assert isinstance(access, Signature)
    assert (access._service, access._region) == meant
    assert isinstance(find_access(parse_url(address), token_file), BearerToken)


@pytest.mark.parametrize("address", NO_GATEWAYS)
def test_nobody_else_gets_one(aws, address):
    assert find_access(parse_url(address), None) is None


@pytest.mark.parametrize("session", [None, "a session/token"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v2/models/d%20e"), ("POST", "/stage/v2/models/digits/infer")])
def test_the_signature_is_that_of_the_specification(aws, script, monkeypatch, session, method, path):
    if session:
        monkeypatch.setenv("AWS_SESSION_TOKEN", session)
    server = script(reply(200, b"{}"))
    url, body = server.url + path, b"\x00frame" if method == "POST" else b""
    headers = Signature("execute-api", "eu-west-1").headers(method, url, body)
    urllib3.request(method, url, body=body, headers=headers)
    (request,) = server.requests
    told = dict(re.findall(r"(\w+)=([^ ,]+)", request.headers["authorization"]))
    assert told["Signature"] == sign(request, told, "test")
    assert told["Credential"].endswith("/eu-west-1/execute-api/aws4_request")
    assert {"host", "x-amz-date"} <= set(told["SignedHeaders"].split(";"))
    assert ("x-amz-security-token" in told["SignedHeaders"]) is bool(session)


def sign(request, told, secret):
    """Signature Version 4, as AWS describes it step by step:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html"""
    names = told["SignedHeaders"].split(";")
    lines = [
        request.method,
        quote(quote(unquote(request.path))),
        "",
        *(f"{name}:{request.headers[name]}" for name in names),
        "",
        ";".join(names),
        hashlib.sha256(request.body).hexdigest(),
    ]
    _, *scope = told["Credential"].split("/")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope), digest])
    key = f"AWS4{secret}".encode()
    for word in (*scope, text):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key.hex()


def test_without_credentials_requests_go_unsigned(aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert Signature("lambda", "us-east-1").headers("GET", "https://a.lambda-url.us-east-1.on.aws/v2", b"") == {}


def test_credentials_that_cannot_be_had_are_told(aws, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(TailRefused, match=r"cannot be signed .*nobody.*correct or renew"):
        find_access(parse_url(next(iter(GATEWAYS))), None)
