"""Who may use a server, and how much of it: tokens, TLS, client certificates, limits of each client."""

import hashlib
import os
import re
import signal
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.http

from hybrid_batch.cli import main
from hybrid_batch.data.errors import WrongUsage
from hybrid_batch.inference.serving.http.access.access_settings import ClientLimits
from hybrid_batch.inference.serving.http.access.client_meter import ClientMeter
from hybrid_batch.inference.serving.http.access.tokens import TokenFile
from hybrid_batch.inference.serving.http.connections.peers import is_loopback, peer_of
from hybrid_batch.inference.serving.replies import Overloaded
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import HANG_S
from tests.remote.limited_server import BODY, INFER, limited_server

ALICE, BOB, CAROL = "alice-0123456789abcdef", "bob-0123456789abcdef", "carol-0123456789abcdef"
HEALTH = ("/v2/health/live", "/v2/health/ready")
PROTECTED = ("/v2", "/v2/models/digits", "/v2/models/digits/ready", "/metrics")


def write_tokens(folder, *lines, mode=0o600):
    path = folder / "tokens"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(mode)
    return path


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_a_token_file_holds_names_hashes_and_comments(tmp_path):
    digest = hashlib.sha256(CAROL.encode()).hexdigest()
    tokens = TokenFile(str(write_tokens(tmp_path, "# users", "", ALICE, f"bob {BOB}", f"carol sha256:{digest}")))
    assert tokens.find(BOB) == "bob"
    assert tokens.find(CAROL) == "carol"
    assert tokens.find(ALICE) == hashlib.sha256(ALICE.encode()).hexdigest()[:12]
    for other in ("", "bob", BOB + "x", BOB[:-1], f"sha256:{digest}", digest, "#", "\u20ac", "x" * 5000):
        assert tokens.find(other) is None
    assert ALICE not in repr(vars(tokens)), "the file's tokens are kept in memory"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "holds no token"),
        (["# nothing"], "holds no token"),
        (["short"], "Line 1"),
        ([ALICE, "three words here-0123456789"], "Line 2"),
        ([f"bob sha256:{'0' * 63}g"], None),  # 71 characters are a token of their own
        (["x" * 5000], "Line 1"),
        (["caf\u00e9-0123456789abcdef"], "Line 1"),
        ([f"user{n} {ALICE}{n}" for n in range(1001)], "1001 tokens"),
    ],
)
def test_a_token_file_of_another_form_is_refused_without_quoting_it(tmp_path, lines, message):
    path = write_tokens(tmp_path, *lines)
    if message is None:
        TokenFile(str(path))
        return
    with pytest.raises(WrongUsage, match=message) as raised:
        TokenFile(str(path))
    assert not any(word in str(raised.value) for line in lines for word in line.split() if len(word) > 6)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_token_file_of_all_users_is_refused(tmp_path, mode, capfd):
    path = write_tokens(tmp_path, ALICE, mode=mode)
    assert main(["serve", "digits", "--token-file", str(path), "--port", "0"]) == 2
    said = capfd.readouterr().err
    assert "chmod 600" in said
    assert said.count("\n") == 1


def test_a_pipe_is_no_token_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(WrongUsage, match=r"regular file|cannot be read"):
            TokenFile(str(path))


def test_unusable_options_are_one_sentence_and_exit_code_2(tmp_path, capfd):
    certificate, tokens = str(tmp_path / "none.pem"), str(write_tokens(tmp_path, ALICE))
    for options, message in (
        (["--host", "0.0.0.0"], "--insecure"),  # noqa: S104
        (["--host", "::"], "--insecure"),
        (["--host", "0.0.0.0", "--tls-certificate", tokens], "cannot be used"),  # noqa: S104
        (["--tls-key", certificate], "--tls-certificate"),
        (["--tls-client-ca", certificate], "--tls-certificate"),
        (["--tls-certificate", certificate], "cannot be used"),
        (["--token-file", certificate], "cannot be read"),
    ):
        assert main(["serve", "digits", "--port", "0", *options]) == 2, options
        said = capfd.readouterr().err
        assert message in said, said
        assert said.count("\n") == 1, said


def test_loopback_addresses_and_peers():
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:127.0.0.1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "::ffff:10.0.0.1", ""))  # noqa: S104
    assert peer_of("2001:db8::1") == peer_of("2001:db8::ffff:1") != peer_of("2001:db8:0:1::1")
    assert peer_of("::ffff:10.0.0.1") == peer_of("10.0.0.1") != peer_of("10.0.0.2")


def test_a_client_has_a_rate_of_requests_and_bytes_and_a_concurrency():
    now = [0.0]
    meter = ClientMeter(ClientLimits(requests_per_s=2, concurrent=1, bytes_per_s=100), 9, lambda: now[0])

    def send(client="a", size=0):
        with meter.use(client, is_identified=True) as count:
            count(size)

    with meter.use("a", is_identified=True):
        with pytest.raises(Overloaded, match="the limit is 1"):
            send()
        send("b")
    send()
    with pytest.raises(Overloaded, match="2 requests a second"):
        send()
    now[0] = 10.0
    send(size=600)
    with pytest.raises(Overloaded, match="100 bytes a second") as raised:
        send()
    assert raised.value.retry_after_s == 5
    send("b")
    now[0] = 15.01
    send()


def test_clients_without_limits_are_not_counted_and_many_clients_are_forgotten():
    meter = ClientMeter(ClientLimits(), None, lambda: 0.0)
    with meter.use("a", is_identified=True), meter.use("a", is_identified=True):
        assert not meter._clients
    limited = ClientMeter(ClientLimits(concurrent=1), None, lambda: 0.0)
    with limited.use("first", is_identified=True):
        for number in range(10_100):
            with limited.use(str(number), is_identified=True):
                pass
        with pytest.raises(Overloaded), limited.use("first", is_identified=True):
            pass
    assert len(limited._clients) == 10_000


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("access"), f"alice {ALICE}", f"bob {BOB}")


@pytest.fixture(scope="module")
def guarded(token_file):
    """A server that requires a token and lets a client have two requests in progress."""
    settings = f"access=AccessSettings({str(token_file)!r}, limits=ClientLimits(requests_per_s=50))"
    with limited_server(settings) as server:
        yield server


@pytest.fixture
def http(guarded):
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=HANG_S) as client:
        yield client


@pytest.mark.slow
def test_everything_but_health_needs_a_token(http):
    for path in HEALTH:
        assert http.get(path).status_code == 200
    for path in PROTECTED:
        refused = http.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="hybrid-batch"'
        assert http.get(path, headers=bearer(BOB)).status_code == 200, path
    assert http.post(INFER, content=BODY).status_code == 401
    assert http.post(INFER, content=BODY, headers=bearer(ALICE)).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", f"Basic {ALICE}")],
        [("Authorization", ALICE)],
        [("Authorization", "Bearer")],
        [("Authorization", f"Bearer {ALICE} {BOB}")],
        [("Authorization", f"Bearer {ALICE[:-1]}")],
        [("Authorization", f"Bearer {ALICE}"), ("Authorization", f"Bearer {ALICE}")],
        [("Authorization", "Bearer alice")],
        [("X-Authorization", f"Bearer {ALICE}")],
        [("Cookie", f"Authorization=Bearer {ALICE}")],
    ],
)
def test_other_credentials_are_401(http, headers):
    assert http.get("/v2", headers=headers).status_code == 401


@pytest.mark.slow
def test_an_unauthorised_body_is_not_read(guarded):
    with guarded.connect() as client:
        client.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000000\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")


@pytest.mark.slow
def test_replies_have_security_headers_and_no_banner(http):
    for reply in (http.get("/v2/health/live"), http.get("/v2"), http.get("/nowhere", headers=bearer(ALICE))):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert not {"server", "x-powered-by", "via", "date"} & set(reply.headers)


@pytest.mark.slow
def test_each_token_has_its_own_rate(http):
    time.sleep(1)  # a full second's worth
    answers = [http.get("/v2", headers=bearer(ALICE)) for _ in range(150)]
    refused = [reply for reply in answers if reply.status_code == 429]
    assert refused
    assert refused[0].headers["Retry-After"] == "1"
    assert http.get("/v2", headers=bearer(BOB)).status_code == 200
    assert http.get("/v2/health/ready").status_code == 200


@pytest.mark.slow
def test_triton_and_our_client_send_their_token(guarded, token_file, tmp_path, bundle, pixels):
    client = tritonclient.http.InferenceServerClient(guarded.url.removeprefix("http://"))
    try:
        tensor = tritonclient.http.InferInput(bundle.input.name, [1, 8, 8, 1], "FP32")
        tensor.set_data_from_numpy(np.asarray(pixels[:1], np.float32))
        result = client.infer("digits", [tensor], headers=bearer(BOB))
        assert result.as_numpy(bundle.output.name).shape == (1, 10)
    finally:
        client.close()
    own = tmp_path / "token"
    own.write_text(ALICE)
    with open_http_tail(guarded.url, bundle, TailSettings(token_file=str(own))) as tail:
        tail.check("c004")


def await_handlers(pid, count):
    """Wait until so many child processes handle SIGHUP: the server is ready when the first of them is."""
    end, bit = time.monotonic() + HANG_S, 1 << (signal.SIGHUP - 1)
    while time.monotonic() < end:
        caught = [
            int(re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{child.pid}/status").read_text())[1], 16)
            for child in psutil.Process(pid).children()
        ]
        if sum(bool(signals & bit) for signals in caught) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} processes do not handle SIGHUP")


@pytest.mark.slow
def test_sighup_reads_the_tokens_again_and_keeps_them_if_the_file_is_invalid(tmp_path):
    path, processes = write_tokens(tmp_path, ALICE), 2
    with limited_server(f"access=AccessSettings({str(path)!r})", processes=processes) as server:

        def status(token):
            return httpx.get(f"{server.url}/v2", headers=bearer(token), trust_env=False, timeout=HANG_S).status_code

        def await_log(text, count):
            end = time.monotonic() + HANG_S
            while server.log().count(text) < count and time.monotonic() < end:
                time.sleep(0.05)
            assert server.log().count(text) >= count, server.log()

        await_handlers(server.process.pid, processes)
        assert (status(ALICE), status(BOB)) == (200, 401)
        write_tokens(tmp_path, BOB)
        server.process.send_signal(signal.SIGHUP)
        await_log("was read again", processes)
        assert {status(ALICE) for _ in range(4 * processes)} == {401}
        assert {status(BOB) for _ in range(4 * processes)} == {200}
        path.write_text("short\n")
        server.process.send_signal(signal.SIGHUP)
        await_log("stay as they were", processes)
        assert status(BOB) == 200


@pytest.mark.slow
def test_requests_of_web_pages_are_refused_without_tokens():
    """A page that a local user opens could otherwise use the server of that user."""
    with limited_server() as server, httpx.Client(base_url=server.url, trust_env=False, timeout=HANG_S) as client:
        assert client.post(INFER, content=BODY, headers={"Origin": "https://example.org"}).status_code == 403
        assert client.post(INFER, content=BODY).status_code == 200


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S607


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority, its certificates for 127.0.0.1 and for a client, and a foreign client's."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("ca", "foreign-ca"):
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        openssl(folder, "req", "-x509", *key, *files, "-subj", f"/CN={authority}", "-days", "2")
    for name, authority in (("server", "ca"), ("client", "ca"), ("foreign", "foreign-ca")):
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", "ext")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", "2", *signed)
        (folder / f"{name}.key").chmod(0o600)
    return folder


def tls(folder, *client):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    if client:
        context.load_cert_chain(*client)
    return httpx.Client(verify=context, trust_env=False, timeout=HANG_S)


@pytest.mark.slow
def test_tls_and_client_certificates(certificates, bundle, monkeypatch):
    files = [str(certificates / name) for name in ("server.pem", "server.key", "ca.pem")]
    with limited_server(f"access=AccessSettings(tls=TlsFiles(*{files!r})), {HEADER_S}") as server:
        assert server.url.startswith("https://")
        with tls(certificates, certificates / "client.pem", certificates / "client.key") as known:
            assert known.post(f"{server.url}{INFER}", content=BODY).status_code == 200
        with tls(certificates) as unknown:
            assert unknown.get(f"{server.url}/v2/health/ready").status_code == 200
            refused = unknown.post(f"{server.url}{INFER}", content=BODY)
            assert (refused.status_code, "certificate" in refused.json()["error"]) == (403, True)
        with (
            tls(certificates, certificates / "foreign.pem", certificates / "foreign.key") as foreign,
            pytest.raises(httpx.TransportError),
        ):
            foreign.get(f"{server.url}/v2/health/ready")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with server.connect() as raw, pytest.raises(OSError):
            old.wrap_socket(raw)
        silent = [server.connect() for _ in range(20)]  # handshakes that never begin have the deadline of a header
        for raw in silent:
            assert raw.recv(1) == b""
        with server.connect() as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in plain.recv(1000)
        assert server.log() == ""


HEADER_S = "connections=ConnectionLimits(header_s=1)"


@pytest.mark.slow
def test_our_client_trusts_the_authority_of_the_environment(certificates, token_file, tmp_path, bundle, monkeypatch):
    files = [str(certificates / name) for name in ("server.pem", "server.key")]
    own = tmp_path / "token"
    own.write_text(ALICE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    settings = f"access=AccessSettings({str(token_file)!r}, TlsFiles(*{files!r}))"
    with limited_server(settings) as server:
        with open_http_tail(server.url, bundle, TailSettings(token_file=str(own))) as tail:
            tail.check("c004")
        renewed = (certificates / "client.pem").read_bytes()  # another certificate of the same authority
        (certificates / "server.pem").write_bytes(renewed)
        (certificates / "server.key").write_bytes((certificates / "client.key").read_bytes())
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + HANG_S
        while ssl.get_server_certificate(server.address).encode() not in renewed and time.monotonic() < end:
            time.sleep(0.05)
        assert ssl.get_server_certificate(server.address).encode() in renewed
