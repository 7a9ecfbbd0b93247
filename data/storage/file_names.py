r"""Names of local files as text that Arrow and UTF-8 can hold.

File systems allow any bytes, for example names from old archives. Bytes that are not UTF-8 become `\xNN`. A backslash
before text that reads like such an escape becomes `\x5c`, so that every name has one text, and every text one name.
"""

import os
import re

_ESCAPE = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
_LOOKS_ESCAPED = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")
_ESCAPED_BACKSLASH = re.compile(r"\\x5c(?=x(?:5c|[89a-f][0-9a-f]))")


def to_text(name: str) -> str:
    """Return the text of a name as `os.listdir` gives it."""
    if "\\" in name:
        name = _LOOKS_ESCAPED.sub(r"\\x5c", name)
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def to_file_name(text: str) -> str:
    """Return the name, for functions of `os`, that has this text."""
    return os.fsdecode(_ESCAPE.sub(_unescape, text.encode())) if "\\x" in text else text


def to_former_text(text: str) -> str:
    r"""Return the text that logs before escapes of `\` have for the name with this text."""
    return _ESCAPED_BACKSLASH.sub(r"\\", text) if "\\x5c" in text else text


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode())
