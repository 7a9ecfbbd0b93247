"""Malformed and odd HTTP requests, made from a seed."""

import random
from collections.abc import Iterator

from tests.remote.limited_server import BODY, INFER

PATHS = (
    INFER,
    "/v2",
    "/v2/models/digits",
    "/v2/health/live",
    "/",
    "*",
    "//",
    "/%",
    "/%00",
    "/%ff%fe",
    "/v2/models/%2f/infer",
)
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "G\x00T", "P OST", "")
VERSIONS = (
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2",
    "HTTP/0.9",
    "HTTP/1.2",
    "HTTP/",
    "http/1.1",
    "",
    "HTTP/1.1 x",
    "HTTP/11.1",
)
VALUES = (
    "",
    "0",
    "1",
    "-1",
    "+5",
    "5, 5",
    "5, 6",
    "0x10",
    "1e3",
    "99999999999999999999",
    "5 5",
    "\u0660",
    "5\x00",
    "chunked",
)
NAMES = (
    *("Content-Length", "Transfer-Encoding", "Content-Encoding", "Inference-Header-Content-Length", "Host", "Expect"),
    *("Connection", "Upgrade", "Authorization", "Accept", "Bad Name", "Bad\tName", "Bad:", "", "\u00e9", "X" * 300),
)
CODINGS = (
    "chunked",
    "gzip",
    "chunked, chunked",
    "gzip, chunked",
    "identity",
    "Chunked",
    "chunked;x=1",
    "\x0bchunked",
    "x",
)
LINE_ENDS = ("\r\n", "\n", "\r", "\r\r\n", "\n\r", "\x00\r\n")
CHUNKS = (
    *(
        "0\r\n\r\n",
        "5\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabc",
        "fffffffffffffffff\r\nx",
        "-1\r\nx\r\n0\r\n\r\n",
        "g\r\n",
        "5\nabcde\n0\n\n",
    ),
    *(
        "5\r\nabcdeXX0\r\n\r\n",
        "0\r\nTrailer: x\r\n\r\n",
        "0\r\nBad Trailer\r\n\r\n",
        "5;ext=1\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n",
    ),
)


def malformed_requests(count: int, seed: int) -> Iterator[bytes]:
    """`count` requests: of odd parts, of valid requests with bytes changed, cut, doubled or spliced, and of noise."""
    chosen = random.Random(seed)
    kinds = (_odd_parts, _odd_parts, _mutated, _mutated, _cut, _spliced, _chunked, _noise)
    for _ in range(count):
        yield chosen.choice(kinds)(chosen)


def _valid(chosen: random.Random) -> bytes:
    if chosen.random() < 0.4:
        return f"GET {chosen.choice(PATHS[1:4])} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    return f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


def _odd_parts(chosen: random.Random) -> bytes:
    end = chosen.choice(LINE_ENDS) if chosen.random() < 0.2 else "\r\n"
    version = chosen.choice(VERSIONS) if chosen.random() < 0.4 else "HTTP/1.1"
    line = f"{chosen.choice(METHODS[:8] if chosen.random() < 0.7 else METHODS)} {chosen.choice(PATHS)} {version}"
    lines = [line, *(["Host: x"] if chosen.random() < 0.8 else [])]
    for _ in range(chosen.randrange(4)):
        name = chosen.choice(NAMES)
        value = chosen.choice(CODINGS if name == "Transfer-Encoding" else VALUES)
        lines.append(f"{name}{chosen.choice((': ', ':', ' : ', ' '))}{value}")
    if chosen.random() < 0.1:
        lines.insert(chosen.randrange(len(lines)), chosen.choice((" folded", "\tfolded", "", ":", "x" * 20_000)))
    return (end.join([*lines, "", ""]) + chosen.choice(("", "abcde", "x" * 3000))).encode("utf-8", "surrogateescape")


def _mutated(chosen: random.Random) -> bytes:
    content = bytearray(_valid(chosen))
    for _ in range(chosen.randrange(1, 6)):
        content[chosen.randrange(min(len(content), 120))] = chosen.randrange(256)
    return bytes(content)


def _cut(chosen: random.Random) -> bytes:
    content = _valid(chosen)
    return content[: chosen.randrange(1, len(content))]


def _spliced(chosen: random.Random) -> bytes:
    first, second = _valid(chosen), _valid(chosen)
    return first[: chosen.randrange(1, len(first))] + second[chosen.randrange(len(second)) :]


def _chunked(chosen: random.Random) -> bytes:
    coding = chosen.choice(CODINGS) if chosen.random() < 0.3 else "chunked"
    extra = "Content-Length: 5\r\n" if chosen.random() < 0.2 else ""
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n{extra}\r\n"
    return (head + "".join(chosen.choice(CHUNKS) for _ in range(chosen.randrange(1, 4)))).encode()


def _noise(chosen: random.Random) -> bytes:
    return chosen.randbytes(chosen.choice((1, 2, 20, 300, 20_000)))
