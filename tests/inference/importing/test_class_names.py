"""Class names: one per line, also with the indices of Teachable Machine in front."""

from pathlib import Path

import pytest

from hybrid_batch.data.errors import BadLabels
from hybrid_batch.inference.model.importing.class_names import ClassNames, read_classes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.txt"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("0 Rock\n1 Paper\n2 Scissors\n", ("Rock", "Paper", "Scissors")),
        ("0  CATS \r\n1 big DOGS\r\n", ("CATS", "big DOGS")),
        ("\ufeff0 Class 1\n1 Class 2\n\n", ("Class 1", "Class 2")),
    ],
)
def test_the_indices_of_teachable_machine_are_removed(file: Path, content: str, names: tuple[str, ...]) -> None:
    file.write_text(content, encoding="utf-8")
    assert read_classes(file) == ClassNames(names, were_indexed=True)


@pytest.mark.parametrize(
    "content",
    [
        "0\n1\n2\n",  # digits
        "1 Rock\n2 Paper\n",  # the indices start at 0
        "0 Rock\n2 Paper\n",
        "0 Rock\nPaper\n",
        "1 Paper\n0 Rock\n",
        "00 Rock\n1 Paper\n",
        "0_Rock\n1_Paper\n",
    ],
)
def test_other_numbers_belong_to_the_names(file: Path, content: str) -> None:
    file.write_text(content)
    assert read_classes(file) == ClassNames(tuple(content.splitlines()))


def test_names_are_unique_without_their_indices(file: Path) -> None:
    file.write_text("0 Rock\n1 Rock\n")
    with pytest.raises(BadLabels, match="names the class 'Rock' twice"):
        read_classes(file)


def test_a_file_that_is_too_large_is_not_read_whole() -> None:
    with pytest.raises(
        BadLabels, match=r"^/dev/zero is larger than 4 MiB, too large for class names; check the path\.$"
    ):
        read_classes(Path("/dev/zero"))


@pytest.mark.parametrize("content", ['["cat", "dog"]', "cat,dog\n", '{"0": "cat"}'])
def test_a_list_on_one_line_is_reported(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(BadLabels, match=r"looks like JSON or a list with commas; write one class name per line\.$"):
        read_classes(file)
