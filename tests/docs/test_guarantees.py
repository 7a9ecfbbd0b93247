"""Every promise names a test that exists, and every limit has the value of its constant in the code."""

import dataclasses
import importlib
import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.docs.pages import PAGES

PAGE = PAGES["docs/guarantees.md"]
UNITS = {
    "": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9, "million": 1e6,
    "s": 1, "ms": 1e-3, "minutes": 60, "hours": 3600, "images": 1, "requests": 1,
    "/s": 1, "kB/s": 1e3, "KiB/s": 1 << 10,
}  # fmt: skip
VALUE = re.compile(r"([\d,.]+) ?([A-Za-z/]*)")


def tables() -> Iterator[tuple[list[str], list[list[str]]]]:
    """The header and the rows of each table, as cells."""
    rows: list[list[str]] = []
    for line in [*PAGE.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            yield rows[0], rows[2:]
            rows = []


def limits() -> list[list[str]]:
    return [row for header, rows in tables() if header[0].strip() == "limit" for row in rows]


def test_every_promise_names_its_tests():
    promises = [row for header, rows in tables() if header[0].strip() == "promise" for row in rows]
    assert len(promises) >= 40
    for row in promises:
        assert len(row) == 2, row
        assert re.findall(r"`tests/[\w/]+\.py(?:::\w+)?`", row[1]), row


def test_every_test_that_is_named_exists():
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE))
    assert len(named) >= 50
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert re.search(rf"^(async )?def {name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE) or not name, name


@pytest.mark.parametrize("row", limits(), ids=lambda row: row[0])
def test_a_limit_is_that_of_the_code(row: list[str]):
    _, value, constant = row
    number, unit = VALUE.fullmatch(value).groups()
    stated = float(number.replace(",", "")) * UNITS[unit]
    path, name = re.fullmatch(r"`([\w/]+\.py)` `([\w.]+)`", constant).groups()
    found = importlib.import_module("hybrid_batch." + path.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        found = default_of(found, part)
    assert float(found) == pytest.approx(stated, rel=1e-9), f"{constant} is {found}"


def default_of(owner: object, name: str) -> object:
    """An attribute of a module, or the default of a field of a dataclass."""
    if dataclasses.is_dataclass(owner):
        fields = {field.name: field for field in dataclasses.fields(owner)}
        if name in fields and isinstance(owner, type):
            return fields[name].default
    return getattr(owner, name)
