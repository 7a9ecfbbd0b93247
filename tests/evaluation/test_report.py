import io

from rich.console import Console

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.counts import build_counts
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.canonical_json import from_json, to_json
from hybrid_batch.evaluation.output.terminal_report import print_report
from hybrid_batch.evaluation.report import build_report
from tests.factories.records import random_records, record


def printed(records: list[Record], width: int = 80) -> str:
    out = io.StringIO()
    # Read back from JSON, as the report of another process is.
    report = from_json(to_json(build_report(count_table(to_table(records)))))
    print_report(report, Console(file=out, width=width))
    return out.getvalue()


def test_the_report_reads_back_to_the_same_bytes() -> None:
    text = to_json(build_report(count_table(to_table(random_records(500, ["a", "é", "b"])))))
    assert text.isascii()
    assert "\n" not in text
    assert to_json(from_json(text)) == text


def test_bad_parts_are_told_in_a_fixed_order() -> None:
    counts = build_counts(bad_parts={"sentence": ["b", "a"], "parts": [1, 1]})
    assert build_report(counts)["bad_parts"] == ["a", "b"]


def test_a_small_matrix_is_printed_whole() -> None:
    text = printed([record()] * 3 + [record(prediction="b")] * 2 + [record(prediction=None, error="broken")])
    assert "accuracy   0.6000 (3 of 5), 95 % 0.2307 to 0.8824" in text
    assert "records    6 (1 with an error, 0 without a label)" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["a", "3", "2"] in rows
    assert ["b", "·", "·"] in rows
    assert "cut c001: 5 records, 500 B sent, 10.0% of the 5 kB of the images" in text
    assert ["latency", *["21", "µs"] * 7] in rows


def test_of_many_classes_the_worst_confusions_are_printed() -> None:
    right = [record(label=f"class {number}", prediction=f"class {number}") for number in range(30)]
    text = printed([*right, *[record(label="class 3", prediction="class 4")] * 3, record(label="class 5")])
    assert "worst 2 of 2 confusions among 31 classes" in text
    assert ["class", "3", "class", "4", "3", "75.0%"] in [line.split() for line in text.splitlines()]


def test_a_matrix_too_wide_for_the_terminal_is_not_squeezed() -> None:
    long = [record(label=f"{letter * 30}", prediction="x") for letter in "abc"]
    assert "confusion: a row for each label" in printed(long, width=200)
    narrow = printed(long, width=80)
    assert "worst 3 of 3 confusions among 4 classes" in narrow
    assert "a" * 30 in narrow


def test_every_class_right_leaves_no_confusion_to_print() -> None:
    text = printed([record(label=str(number), prediction=str(number)) for number in range(30)])
    assert "worst 0 of 0 confusions among 30 classes" in text
    assert "of the label" not in text


def test_labels_are_printed_as_they_are() -> None:
    assert "[bold]x[/bold]" in printed([record(label="[bold]x[/bold]")])


def test_without_labels_or_records_there_is_still_a_report() -> None:
    assert "unknown: no classified record has a label" in printed([record(label=None)])
    assert "records    0" in printed([])
