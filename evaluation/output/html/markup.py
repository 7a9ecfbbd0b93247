"""Markup that is safe by construction: text becomes part of a page only through `element`, which escapes it."""

import re
from collections.abc import Iterable
from html import escape

# What neither HTML nor XML allows, and halves of characters, which UTF-8 cannot write.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is markup already. Made by this module's functions alone, and by constants of our own."""

    __slots__ = ()


Child = str | Iterable[str]


def element(name: str, *children: Child, **attributes: object) -> Markup:
    """`<name …>children</name>`, valid as HTML and as XML.

    Every child that is no Markup is escaped, and so is every attribute; those that are None are left out. In their
    names `_` stands for `-`, and one at the end is dropped (`class_`). Numbers are written with two decimals at most.
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
    """Children one after the other, escaped unless they are Markup."""
    parts = ([child] if isinstance(child, str) else child for child in children)
    return Markup("".join(part if isinstance(part, Markup) else _text(part) for some in parts for part in some))


_VOID = frozenset({"br", "col", "img", "meta", "circle", "line", "path", "polyline", "rect"})


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else _text(str(value))
