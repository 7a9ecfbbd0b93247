"""Mutations of frames, replies and JSON bodies by a seeded generator: in bytes, and in the JSON of the header."""

import json
from random import Random
from typing import Any

_TOKENS = (
    b"9" * 18, b"[[", b"]", b"{", b"}", b"null", b"-1", b"1e9", b"1e999", b"NaN", b'"', b"\\", b"\\ud800", b",", b":",
    b"\xff", b"\x00", b"\xed\xa0\x80", b'"binary_data_size":', b'"data":', b'"shape":', b"[]," * 300, b"0," * 500,
)  # fmt: skip
_HOSTILE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 2**31 - 1, 2**31, 2**63, 2**64, 10**400, 1.5, 1e308,
    float("inf"), float("nan"),
    "", "x" * 2000, "\ud800", "\x1b[2J", "BYTES", "FP32", "FP16", "UINT8", "INT64", "BOOL", "image", "int8", "q2", "q6",
    "calibrated", "errors", "c000", [], {}, [[]] * 50, [0] * 300, [2**31 - 1] * 8, [-1], [0], [1], [1024], [{}],
    ["a"] * 40, {"": {}}, {"binary_data_size": 2**40}, {"codec": []}, {"shape": [1, 8, 8, 12]},
)  # fmt: skip
_LEVELS = 6


def mutate(chance: Random, body: bytes, header_bytes: int | None) -> tuple[bytes, int | None]:
    """Return a mutated body and the length of its header as the sender declares it: most often the right one, so that
    the mutation reaches what is read after the header."""
    if chance.random() < 0.5:
        body, header_bytes = _mutate_json(chance, body, header_bytes)
    if chance.random() < 0.6:
        text = bytearray(body)
        before = len(text)
        for _ in range(chance.randint(1, 4)):
            _mutate_bytes(chance, text)
        body = bytes(text)
        if header_bytes is not None and chance.random() < 0.5:
            header_bytes += len(body) - before
    if chance.random() < 0.05:
        header_bytes = chance.choice((None, 0, -1, 1, len(body), len(body) + 1, 1 << 20, chance.randrange(1 << 12)))
    return body, header_bytes


def _mutate_bytes(chance: Random, body: bytearray) -> None:
    start = chance.randrange(len(body) + 1)
    end = min(len(body), start + chance.choice((0, 1, 1, 2, 4, 9, 64)))
    match chance.randrange(6):
        case 0:
            for at in range(start, end):
                body[at] ^= 1 << chance.randrange(8)
        case 1:
            del body[start:end]
        case 2:
            body[start:end] = chance.choice(_TOKENS)
        case 3:
            body[start:start] = body[start:end] * chance.choice((1, 2, 40))
        case 4:
            del body[start:]
        case _:
            body[start:end] = chance.randbytes(end - start)


def _mutate_json(chance: Random, body: bytes, header_bytes: int | None) -> tuple[bytes, int | None]:
    end = len(body) if header_bytes is None else max(0, header_bytes)
    try:
        document = json.loads(body[:end])
    except (ValueError, RecursionError):
        return body, header_bytes
    for _ in range(chance.randint(1, 2)):
        document = _replace_somewhere(chance, document, _LEVELS)
    text = json.dumps(document).encode()
    return text + body[end:], None if header_bytes is None else len(text)


def _replace_somewhere(chance: Random, value: Any, levels: int) -> Any:
    """Replace, remove, double or rename one value of a JSON document."""
    if not levels or not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return _nested(chance) if chance.random() < 0.03 else chance.choice(_HOSTILE)
    if isinstance(value, list):
        value = list(value)
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                del value[at]
            case 1:
                value.extend(value[at : at + 1] * chance.choice((1, 2, 70)))
            case _:
                value[at] = _replace_somewhere(chance, value[at], levels - 1)
        return value
    value = dict(value)
    key = chance.choice(list(value))
    match chance.randrange(10):
        case 0:
            del value[key]
        case 1:
            value[chance.choice(("", "x" * 1500, "data", "parameters", "\udc00"))] = value[key]
        case _:
            value[key] = _replace_somewhere(chance, value[key], levels - 1)
    return value


def _nested(chance: Random) -> Any:
    value: Any = 0
    for _ in range(chance.choice((20, 200))):
        value = [value] if chance.random() < 0.7 else {"a": value}
    return value
