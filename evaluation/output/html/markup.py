"""Markup that is safe by construction: only `element` and `join` add text to a page, and they escape it."""

import re
from collections.abc import Iterable
from html import escape

# Characters that HTML or XML does not allow, and surrogates, which UTF-8 cannot encode.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# A line of a page never begins with text of a log, so that another program cannot read a page as its own file format.
_LINE_ENDS = re.compile("\r\n|[\n\r\u2028\u2029]")


class Markup(str):
    """Escaped text or markup. Only this module's functions and constants of this package create it."""

    __slots__ = ()


Child = str | Iterable[str]


def element(name: str, *children: Child, **attributes: object) -> Markup:
    """`<name …>children</name>`, valid as HTML and as XML.

    Children that are not Markup are escaped, and so are attributes; an attribute that is None is omitted. In the names
    of attributes `_` becomes `-`, and a final `_` is removed (`class_`). Floats are written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = join(*children)
    if not inside and name in _VOID:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{inside}</{name}>")


def join(*children: Child) -> Markup:
    """The concatenation of children, escaped unless they are Markup."""
    parts = ([child] if isinstance(child, str) else child for child in children)
    return Markup("".join(part if isinstance(part, Markup) else _text(part) for some in parts for part in some))


_VOID = frozenset({"br", "col", "img", "meta", "circle", "line", "path", "polyline", "rect"})


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", _LINE_ENDS.sub("\u21b5", text)))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else _text(str(value))
