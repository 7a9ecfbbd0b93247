"""A token belongs to one host: files of strangers, other tails, redirects and lists with mistakes do not receive it."""

import json
from pathlib import Path

import pytest
from urllib3.util import parse_url

from hybrid_batch.cli import main
from hybrid_batch.data.errors import InvalidFrame, TailRefused, WrongUsage
from hybrid_batch.inference.protocol.codecs import wire_tensors
from hybrid_batch.inference.protocol.spill import SPILL_HEADER
from hybrid_batch.inference.protocol.wire import Frame
from hybrid_batch.inference.tails.access.auth import find_auth
from hybrid_batch.inference.tails.access.tokens import TOKEN_VARIABLE, find_token
from hybrid_batch.inference.tails.http import open_http_tail
from hybrid_batch.inference.tails.settings import TailSettings
from tests.conftest import ROOT
from tests.scripted_server import error, reply

IMAGES = str(ROOT / "data/digits/images/3")
MINE, OTHER = "token-of-a.example", "token-of-b.example"


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    """The user's configuration folder; the working folder is beside it."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    folder = tmp_path / "settings" / "hybrid-batch"
    folder.mkdir(parents=True)
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return folder


def write_private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def credentials(settings):
    """The tokens of two hosts: one in the list, one in a file that it names."""
    write_private(settings / "b.token", f"{OTHER}\n")
    text = f'["a.example"]\ntoken = "{MINE}"\n["B.example:8443"]\ntoken-file = "b.token"\n'
    return Path(write_private(settings / "credentials.toml", text))


def test_a_file_in_the_working_folder_sends_nothing(scripted_server, capsys, monkeypatch):
    folder = Path.cwd()
    """The attack: the folder names a tail, and the user's token or a file of one line as the token."""
    server = scripted_server(error(400, "caught"))
    monkeypatch.setenv("HYBRID_BATCH_TAIL_TOKEN", MINE)
    (folder / "hybrid-batch.toml").write_text(f"[run]\ntail = '{server.url}'\nsplit = 'c005'\n")
    assert main(["run", IMAGES]) == 2
    (folder / "hybrid-batch.toml").write_text(f"[run]\ntoken_file = '/etc/hostname'\nTAIL = '{server.url}'\n")
    assert main(["run", IMAGES]) == 2
    assert server.requests == []
    assert sorted(path.name for path in folder.iterdir()) == ["hybrid-batch.toml"]


def token(url: str, token_file: str | None = None) -> str | None:
    return find_token(parse_url(url), token_file)


def test_a_listed_token_is_found_by_host_and_port(credentials, monkeypatch, tmp_path):
    assert token("https://a.example") == token("https://A.example:443/stage") == MINE
    assert token("https://b.example:8443") == OTHER
    for other in (
        "https://b.example",
        "https://a.example:8443",
        "https://a.example.evil.example",
        "https://evil.example/a.example",
        "https://a.example@evil.example",
        "http://a.example",
        "https://aa.example",
        "https://sub.a.example",
        "https://a.example.",
    ):
        assert token(other) is None, other
    monkeypatch.setenv(TOKEN_VARIABLE, "variable")
    assert token("https://a.example") == MINE, "the list names the host, the variable does not"
    assert token("https://c.example") == "variable"
    assert token("https://a.example", write_private(tmp_path / "file", "typed")) == "typed"


def test_a_token_of_one_host_is_refused_for_another(credentials, monkeypatch, tmp_path):
    monkeypatch.setenv(TOKEN_VARIABLE, OTHER)
    with pytest.raises(WrongUsage, match=r"Refusing to send the token of b\.example:8443 to c\.example; "):
        token("https://c.example")
    path = write_private(tmp_path / "file", MINE)
    with pytest.raises(WrongUsage, match=r"Refusing to send the token of a\.example to b\.example; ") as raised:
        token("https://b.example", path)
    assert MINE not in str(raised.value)
    assert token("https://a.example", path) == MINE


def test_a_listed_token_reaches_its_server(settings, scripted_server, bundle):
    server = scripted_server(error(400, "enough"))
    host = server.url.removeprefix("http://")
    write_private(settings / "credentials.toml", f'["{host}"]\ntoken = "{MINE}"\n')
    with open_http_tail(server.url, bundle) as tail, pytest.raises(TailRefused):
        tail.check("c000")
    assert server.requests[0].headers["authorization"] == f"Bearer {MINE}"


def test_a_redirect_to_a_listed_host_is_not_followed(settings, scripted_server, bundle):
    other = scripted_server(reply(200, b"{}"))
    server = scripted_server(reply(302, b"", f"Location: {other.url}/v2/models/digits\r\n"))
    write_private(settings / "credentials.toml", f'["{other.url.removeprefix("http://")}"]\ntoken = "{MINE}"\n')
    with open_http_tail(server.url, bundle) as tail, pytest.raises(TailRefused, match="302"):
        tail.check("c000")
    assert "authorization" not in server.requests[0].headers
    assert other.requests == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.example = 'token'", "has no token for 'a'"),
        ("['a.example']\ntoken = 'x'\ntoken-file = 'y'", "has no token for 'a.example'"),
        ("['a.example']", "has no token for 'a.example'"),
        ("['a.example']\ntoken = 3", "has no token for 'a.example'"),
        ("['a.example']\ntoken = 'two words'", "The entry of a.example"),
        ("['a.example']\ntoken-file = '/etc/passwd'", "does not hold a token"),
        ("['a.example']\ntoken-file = 'absent'", "cannot be read (No such file"),
        ("[", "is not valid TOML"),
    ],
)
def test_a_list_with_a_mistake_is_one_sentence(settings, text, words):
    write_private(settings / "credentials.toml", text)
    with pytest.raises(WrongUsage) as raised:
        token("https://a.example")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_secrets_that_others_can_read_or_write_are_refused(credentials, settings):
    credentials.chmod(0o640)
    with pytest.raises(WrongUsage, match="can be read by other users; run `chmod 600"):
        token("https://a.example")
    credentials.chmod(0o602)
    with pytest.raises(WrongUsage, match="can be written by other users; run `chmod go-w"):
        token("https://a.example")
    credentials.chmod(0o600)
    (settings / "b.token").chmod(0o644)
    with pytest.raises(WrongUsage, match=r"b\.token can be read by other users"):
        token("https://b.example:8443")


@pytest.mark.parametrize(
    "content", ["root:x:0:0:root:/root:/bin/sh", '{"key":1}', "a=b", "export,X", "t\u00f6ken", "x" * 4097, "[profile]"]
)
def test_a_line_that_is_no_bearer_token_is_not_sent(tmp_path, content):
    """The characters of b64token in RFC 6750."""
    with pytest.raises(WrongUsage, match="does not hold a token"):
        find_auth(parse_url("https://a.example"), write_private(tmp_path / "file", content))


def test_a_token_file_that_others_can_read_is_a_warning(scripted_server, tmp_path, capsys):
    server, path = scripted_server(error(400, "enough"), error(400, "enough")), tmp_path / "token"
    arguments = ["run", IMAGES, "--split", "c005", "--token-file", str(path), "--tail", server.url]
    path.write_text(MINE)
    path.chmod(0o644)
    assert main(arguments) == 1
    warning = f"Warning: other users can read the token file {path}; run `chmod 600 {path}`.\n"
    assert warning in capsys.readouterr().err
    path.chmod(0o600)
    assert main(arguments) == 1
    assert "Warning" not in capsys.readouterr().err


def test_the_token_of_a_configuration_file_is_for_its_tail(settings, scripted_server, tmp_path, capsys, monkeypatch):
    """A tail on the command line is another one; and a variable does not name the tail of the file."""
    server = scripted_server(error(400, "enough"), error(400, "enough"))
    path = write_private(tmp_path / "token", MINE)
    config = settings / "config.toml"
    config.write_text(f"[run]\ntail = '{server.url}'\ntoken-file = '{path}'\nsplit = 'c005'\n")
    assert main(["run", IMAGES]) == 1
    assert server.requests[0].headers["authorization"] == f"Bearer {MINE}"
    other = scripted_server(error(400, "enough"))
    assert main(["run", IMAGES, "--tail", other.url]) == 1
    assert "authorization" not in other.requests[0].headers
    config.write_text(f"[run]\ntail = '{server.url}'\nsplit = 'c005'\n")
    monkeypatch.setenv(TOKEN_VARIABLE, MINE)
    capsys.readouterr()
    assert main(["run", IMAGES]) == 2
    assert (
        f"{TOKEN_VARIABLE} names no host, and a configuration file names the tail 127.0.0.1:" in capsys.readouterr().err
    )
    assert main(["run", IMAGES, "--tail", server.url]) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize("has_file", [True, False])
def test_one_token_is_not_sent_to_two_hosts(scripted_server, tmp_path, capsys, monkeypatch, has_file):
    servers = [scripted_server(error(400, "enough")) for _ in range(2)]
    arguments = ["bench", "tails", "digits", IMAGES, *(f"--tail={server.url}" for server in servers), "--users", "none"]
    if has_file:
        arguments[3:3] = ["--token-file", write_private(tmp_path / "token", MINE)]
    else:
        monkeypatch.setenv(TOKEN_VARIABLE, MINE)
    assert main(arguments) == 2
    assert "would be sent to 2 hosts, 127.0.0.1:" in capsys.readouterr().err
    assert [server.requests for server in servers] == [[], []]


def test_a_tail_that_announces_a_bucket_receives_nothing_by_it(scripted_server, bundle, monkeypatch):
    """Metadata and replies of a hostile tail name a bucket of its own: the client asks S3 for nothing."""
    s3 = scripted_server(reply(200, b""))
    for name, value in (("ENDPOINT_URL", s3.url), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(f"AWS_{name}", value)
    theirs = "s3://attacker/prefix"
    metadata = {"sha256": bundle.sha256, "max_request_bytes": 10, "spill": theirs}
    spilled = reply(200, b"", f"{SPILL_HEADER}: {theirs}/{'0' * 32}\r\n")
    server = scripted_server(reply(200, json.dumps({"parameters": metadata}).encode()), reply(200, b"{}"), spilled)
    frame = Frame(wire_tensors.encode_images(bundle.input, [next(Path(IMAGES).glob("*.png")).read_bytes()]))
    with open_http_tail(server.url, bundle) as tail:
        tail.check("c000")
        with pytest.raises(TailRefused, match="exceeds the 10 that"):
            tail.infer("c000", frame)
    server = scripted_server(spilled)
    with open_http_tail(server.url, bundle) as tail, pytest.raises(TailRefused, match="stored an oversized reply"):
        tail.infer("c000", frame)
    own = TailSettings(spill="s3://mine/prefix")
    with (
        open_http_tail(scripted_server(spilled).url, bundle, own) as tail,
        pytest.raises(InvalidFrame, match="s3://mine"),
    ):
        tail.infer("c000", frame)
    assert s3.requests == []
