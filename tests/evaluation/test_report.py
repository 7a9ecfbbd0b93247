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
    assert "accuracy    0.6000 (3 of 5), 95 % 0.2307 to 0.8824" in text
    assert "records     6: 5 classified with a label, 0 classified without a label, 1 failed" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["a", "3", "2"] in rows
    assert ["b", "·", "·"] in rows
    assert "cut c001: 5 records, 500 B at the cut, 10.0% of the 5 kB of the images; 500 B sent" in text
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
    unlabelled = printed([record(label=None), record(label=None, prediction="b"), record(label=None)])
    assert "Note: No classified record has a label, so accuracy and confusions are unknown." in unlabelled
    assert "confidence  0.7500 on average" in unlabelled
    assert "predictions: the 2 most frequent of 2 predicted classes" in unlabelled
    assert ["a", "2", "66.7%"] in [line.split() for line in unlabelled.splitlines()]
    assert "records     0" in printed([])


def test_the_waits_complete_the_latency_and_stages_are_called_batch_means() -> None:
    text = printed([record(batch_wait_us=60, head_wait_us=19, latency_us=100, tail="http://tail")] * 2)
    rows = [line.split() for line in text.splitlines()]
    assert ["batch", "wait", *["60", "µs"] * 7] in rows
    assert rows.index(["batch", "wait", *["60", "µs"] * 7]) < rows.index(["head", "wait", *["19", "µs"] * 7])
    assert "stages and waits add up to 100 µs, 100.0% of the latency of 100 µs" in text
    assert "percentiles of stages are of batch means" in text
    assert not [row for row in rows if row[:2] == ["send", "wait"]], "it took no time"


def test_bytes_at_the_cut_and_on_a_network_are_two_figures() -> None:
    near = printed([record(sent_bytes=0, received_bytes=0, cut_bytes=1850)] * 2)
    assert "2 records, 3.7 kB at the cut, 185.0% of the 2 kB of the images; nothing sent over a network" in near
    far = printed([record(tail="http://tail", sent_bytes=120, received_bytes=10, cut_bytes=110)] * 2)
    assert "220 B at the cut, 11.0% of the 2 kB of the images; 240 B sent over a network, 20 B received" in far


def test_failures_are_printed_by_reason() -> None:
    failed = [
        record(image=f"{n}.png", prediction=None, error="empty file" if n else "no known image format")
        for n in range(3)
    ]
    text = printed([*failed, record()])
    assert "failed: 3 images" in text
    assert [line.split() for line in text.splitlines() if ".png" in line] == [
        ["empty", "file", "2", "1.png"],
        ["no", "known", "image", "format", "1", "0.png"],
    ]


def test_tables_of_single_records_are_not_printed() -> None:
    records = [record(image=f"{n}/x.png", label=str(n), prediction=str(n if n % 3 else n + 1)) for n in range(60)]
    text = printed(records)
    assert "20 confusions among 60 classes, of one record each; confusion.csv lists them" in text
    assert "by folder: 60 values with fewer than 5 records each; report.json has them" in text
    assert "100.0%" not in text.partition("cut c001")[0]


def test_each_of_a_few_classes_has_its_precision_recall_and_f1() -> None:
    text = printed([record()] * 3 + [record(prediction="b")] + [record(label="b", prediction="b")] * 2)
    assert ["a", "4", "3", "1.0000", "0.7500", "0.8571"] in [line.split() for line in text.splitlines()]


def test_folders_have_no_latency_because_it_follows_the_order_of_the_run() -> None:
    text = printed([record(image=f"{n % 2}/{n}.png", codec=f"c{n % 2}") for n in range(20)])
    heads = {line.split()[0]: line for line in text.splitlines() if "95 % interval" in line}
    assert "p50" in heads["codec"]
    assert "p50" not in heads["folder"]


def test_a_column_that_was_asked_for_is_printed_with_one_value() -> None:
    report = build_report(count_table(to_table([record()] * 6), ["batch"]))
    out = io.StringIO()
    print_report(report, Console(file=out, width=80))
    assert "by batch" in out.getvalue()
    assert "by codec" not in out.getvalue()


def exchanged(predictions: str) -> list[str]:
    records = [record(label="abcd"[n % 4], prediction=predictions[n % 4]) for n in range(40)]
    notes = build_report(count_table(to_table(records)))["notes"]
    return [note for note in notes if "exchanged" in note]


def test_exchanged_names_of_classes_are_noticed() -> None:
    assert exchanged("abcd") == []
    assert exchanged("aacd") == []
    assert exchanged("acbd") == [
        "The names of 2 classes look exchanged (b → c, c → b): corrected, the accuracy would be 1.0000; check that the "
        "classes given at import are in the output's order."
    ]
    assert "The names of 3 classes look exchanged (a → c, b → a, c → b)" in exchanged("bcad")[0]


def test_one_record_without_a_confidence_is_singular() -> None:
    text = printed([record()] * 4 + [record(confidence=None)])
    assert "1 of the 5 labelled records has no confidence in [0, 1] and is not calibrated." in text
