"""Small text files that a user gives are read up to a limit, and every failure is one sentence."""

from pathlib import Path

import pytest
from urllib3.util import parse_url

from hybrid_batch.data.errors import BadLabels, NotABundle, WrongUsage
from hybrid_batch.data.storage.text_file import read_text_file
from hybrid_batch.inference.model.bundle import read_bundle
from hybrid_batch.inference.planner.plan.prices import read_prices
from hybrid_batch.inference.tails.access.auth import find_auth


def test_a_file_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "names"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert read_text_file(file, "names", limit_bytes=6) == "abc"
    with pytest.raises(BadLabels, match=r"names is larger than 0 KiB, too large for names; check the path\.$"):
        read_text_file(file, "names", limit_bytes=5, refusal=BadLabels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^Cannot read the names in .*: No such file or directory; check the path\.$"),
        (b"\xff", r"^Cannot read the names in .*: it is not UTF-8 \(.*\); convert the file\.$"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "names"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WrongUsage, match=message):
        read_text_file(file, "names")


def test_every_file_of_a_user_has_a_limit(tmp_path: Path) -> None:
    endless = Path("/dev/zero")
    with pytest.raises(WrongUsage, match=r"/dev/zero is larger than 1 MiB, too large for prices; check the path\.$"):
        read_prices(endless)
    with pytest.raises(WrongUsage, match=r"The token file /dev/zero does not hold a token"):
        find_auth(parse_url("https://host"), str(endless))
    with (tmp_path / "bundle.json").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(NotABundle, match=r"bundle\.json is larger than 64 MiB, so it does not describe a bundle\.$"):
        read_bundle(tmp_path)
