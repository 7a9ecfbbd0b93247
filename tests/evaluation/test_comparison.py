"""Two runs joined by image: numbers computed by hand, independent of parts, buckets and order."""

from collections.abc import Sequence
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_batch.data.errors import BadLabels, NotARun, WrongUsage
from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.comparison import run_join
from hybrid_batch.evaluation.comparison.comparison import Comparison, build_comparison
from hybrid_batch.evaluation.comparison.run_join import JoinCounts
from hybrid_batch.evaluation.counting.columns import NotRecords
from hybrid_batch.evaluation.counting.counts import decode_table, encode_table
from hybrid_batch.evaluation.output.canonical_json import to_json
from tests.factories.records import random_records, record


def joined(a: Sequence[Record], b: Sequence[Record], by: Sequence[str] = ()) -> JoinCounts:
    return run_join.merge_join_counts(
        [run_join.join_and_count(*(run_join.select_columns(to_table(side), by) for side in (a, b)))]
    )


def compared(a: Sequence[Record], b: Sequence[Record], by: Sequence[str] = ()) -> Comparison:
    return build_comparison(joined(a, b, by))


def test_outcomes_by_hand() -> None:
    words = {"both": "tt", "only a": "tf", "only b": "ft", "neither": "ff", "agreeing": "gg"}
    a = [record(image=f"x/{name}", label="t", prediction=pair[0]) for name, pair in words.items()]
    b = [record(image=f"x/{name}", label="t", prediction=pair[1]) for name, pair in reversed(words.items())]
    overall = compared(a, b)["overall"]
    assert (overall["images"], overall["labelled"]) == (5, 5)
    assert (overall["only_a_right"], overall["only_b_right"]) == (1, 1)
    assert overall["agreement"]["value"] == 0.6
    assert overall["accuracy_a"]["value"] == overall["accuracy_b"]["value"] == 0.4
    assert overall["difference"]["value"] == 0.0
    assert overall["exact_p"] == pytest.approx(1.0)
    assert overall["mid_p"] == pytest.approx(1.0)


def test_the_difference_and_its_interval_are_b_minus_a() -> None:
    a = [record(image=f"{n}", prediction="a" if n < 90 else "b") for n in range(100)]
    b = [record(image=f"{n}", prediction="a" if n < 70 else "b") for n in range(100)]
    overall = compared(a, b)["overall"]
    difference = overall["difference"]
    assert difference["value"] == pytest.approx(-0.2)
    assert overall["mid_p"] == pytest.approx(2.0**-20)
    # The standard error of 20 of 100 discordant pairs is 0.04.
    assert difference["low"] == pytest.approx(-0.2 - 1.96 * 0.04, abs=0.012)
    assert difference["high"] == pytest.approx(-0.2 + 1.96 * 0.04, abs=0.012)


def test_images_of_one_run_and_errors_are_counted_and_not_compared() -> None:
    failed = {"prediction": None, "error": "cannot identify image file"}
    a = [record(image="x"), record(image="y", **failed), record(image="z"), record(image="w", **failed)]
    a += [record(image=f"only/{n:02d}") for n in range(15)]
    b = [record(image="x"), record(image="y"), record(image="z", **failed), record(image="w", **failed)]
    b += [record(image="b")]
    coverage = compared(a, b)["coverage"]
    assert coverage["only_a_images"] == [f"only/{n:02d}" for n in range(10)]
    assert coverage["only_b_images"] == ["b"]
    counts = {name: value for name, value in coverage.items() if isinstance(value, int)}
    assert counts == {
        "both": 4,
        "only_a": 15,
        "only_b": 1,
        "errors_a": 2,
        "errors_b": 2,
        "classified": 1,
        "labelled": 1,
        "changed": 0,
    }


def test_slices_are_by_label_by_folder_and_by_requested_columns() -> None:
    a = [record(image=f"f/{n}", label="ab"[n % 2], prediction="a", cut="c001") for n in range(8)]
    b = [record(image=f"f/{n}", label="ab"[n % 2], prediction="ab"[n % 2], cut="c002") for n in range(8)]
    slices = compared(a, b, ["cut", "codec"])["slices"]
    assert {column: [entry["value"] for entry in entries] for column, entries in slices.items()} == {
        "label": ["a", "b"],
        "folder": ["f"],
        "cut": ["c001 → c002"],
        "codec": ["fp32"],
    }
    of_a, of_b = slices["label"]
    assert (of_a["mid_p"], of_a["holm_p"]) == (1.0, 1.0)
    assert (of_b["only_a_right"], of_b["only_b_right"]) == (0, 4)
    assert of_b["mid_p"] == 0.0625
    assert of_b["holm_p"] == 0.125
    assert of_b["difference"] == {"value": 1.0, "low": pytest.approx(0.0202, abs=1e-4), "high": 1.0}


def test_without_labels_there_is_agreement_but_no_accuracy() -> None:
    a = [record(image=f"{n}", label=None, prediction="a") for n in range(4)]
    b = [record(image=f"{n}", label=None, prediction="ab"[n % 2]) for n in range(4)]
    overall = compared(a, b)["overall"]
    assert overall["agreement"]["value"] == 0.5
    assert overall["accuracy_a"]["value"] is overall["difference"]["value"] is overall["mid_p"] is None


def test_a_label_of_one_run_applies_to_both() -> None:
    comparison = compared([record(image="x", label=None)], [record(image="x", label="a")])
    assert comparison["overall"]["accuracy_a"]["value"] == 1.0


def test_times_and_bytes_cover_only_images_that_both_runs_classified() -> None:
    a = [record(image="x", tail_us=100, sent_bytes=50), record(image="y", tail_us=300, sent_bytes=50)]
    b = [record(image="x", tail_us=200, sent_bytes=20), record(image="y", tail_us=200, sent_bytes=5)]
    a += [record(image="alone", tail_us=10**6, sent_bytes=10**6)]
    comparison = compared(a, b)
    tail = comparison["stages"]["tail"]
    assert tail["mean_us"] == {"a": 200.0, "b": 200.0, "ratio": 1.0}
    assert tail["p50_us"] == {"a": 100.0, "b": 200.0, "ratio": 2.0}
    assert comparison["cuts"]["c001"] == comparison["stages"]
    assert comparison["bytes"]["sent_bytes"] == {"a": 100, "b": 25, "ratio": 0.25}


def test_only_cuts_of_both_runs_are_compared_by_cut() -> None:
    a = [record(image="x", cut="c001"), record(image="y", cut="c002", tail_us=0)]
    b = [record(image="x", cut="c003"), record(image="y", cut="c002", tail_us=7)]
    comparison = compared(a, b)
    assert list(comparison["cuts"]) == ["c002"]
    assert comparison["cuts"]["c002"]["tail"]["mean_us"] == {"a": 0.0, "b": 7.0, "ratio": None}
    assert comparison["stages"]["tail"]["mean_us"]["a"] == 3.0


def test_different_labels_are_an_error_with_examples() -> None:
    a = [record(image=f"{n}", label="cat") for n in range(5)]
    b = [record(image=f"{n}", label="dog" if n else "cat") for n in range(5)]
    with pytest.raises(BadLabels) as raised:
        compared(a, b)
    sentence = str(raised.value)
    assert sentence.startswith("The runs have different labels for 4 images (1 is 'cat' in A and 'dog' in B, ")
    assert ", …)" in sentence


def test_a_repeated_image_in_a_run_is_an_error_with_its_name() -> None:
    once, twice = [record(image="x"), record(image="y")], [record(image="x"), record(image="y"), record(image="x")]
    with pytest.raises(NotARun, match=r"Run B has more than one record of 1 image \(x\)"):
        compared(once, twice)
    with pytest.raises(NotARun, match=r"Run A has more than one record of 1 image \(x\)"):
        compared(twice, once)


def test_runs_without_a_common_image_are_an_error() -> None:
    with pytest.raises(WrongUsage, match=r"no image in common \(A: x, …; B: y, …\)"):
        compared([record(image="x")], [record(image="y")])


def test_a_column_with_too_many_values_has_a_note_instead_of_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_join, "MAX_VALUES", 3)
    a = [record(image=f"{n}/x", label="ab"[n % 2]) for n in range(4)]
    halves = [joined(a[:2], a[:2]), joined(a[2:], a[2:])]
    comparison = build_comparison(run_join.merge_join_counts(halves))
    assert list(comparison["slices"]) == ["label"]
    assert comparison["notes"] == ["No slices by folder: it has too many values."]
    later = [record(image="more/x")]
    more = build_comparison(run_join.merge_join_counts([run_join.merge_join_counts(halves), joined(later, later)]))
    assert (list(more["slices"]), more["notes"]) == (["label"], comparison["notes"])


def test_a_table_without_records_is_rejected() -> None:
    table = to_table([record()])
    with pytest.raises(NotRecords, match="no column image"):
        run_join.select_columns(table.drop_columns(["image"]))
    with pytest.raises(NotRecords, match="no column colour"):
        run_join.select_columns(table, ["colour"])
    with pytest.raises(NotRecords, match="have no tail_us"):
        run_join.select_columns(to_table([record(tail_us=None)]))
    with pytest.raises(NotRecords, match="it holds no records: "):
        run_join.select_columns(table.set_column(table.column_names.index("tail_us"), "tail_us", [["soon"]]))
    with pytest.raises(NotRecords, match="have no image"):
        run_join.select_columns(table.set_column(0, "image", [pa.nulls(1, pa.string())]))
    assert run_join.select_columns(to_table([record(tail_us=None, error="broken")])).num_rows == 1
    assert run_join.select_columns(table, ["codec"]).schema == run_join.empty_table(["codec"]).schema


A = random_records(300, ["cat", "dog", "é\t"], seed=1)
B = [
    record(
        image=entry.image,
        label=entry.label,
        prediction=other.prediction,
        error=other.error,
        cut=other.cut,
        latency_us=other.latency_us,
        tail_us=0 if entry.label else 5,
    )
    for entry, other in zip(A[20:], random_records(280, ["cat", "dog", "é\t"], seed=2), strict=True)
]
EXPECTED = to_json(compared(A, B, ["cut"]))


@pytest.mark.slow
@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), buckets=st.integers(1, 7), parts=st.integers(1, 12))
def test_the_comparison_does_not_depend_on_parts_buckets_or_order(seed: int, buckets: int, parts: int) -> None:
    random = Random(seed)
    pieces_of: dict[int, dict[str, list[bytes]]] = {n: {"a": [], "b": []} for n in range(buckets)}
    for side, records in (("a", random.sample(A, len(A))), ("b", random.sample(B, len(B)))):
        for start in range(parts):
            if some := records[start::parts]:
                for bucket, piece in run_join.partition(run_join.select_columns(to_table(some), ["cut"]), buckets):
                    pieces_of[bucket][side].append(encode_table(piece))
    counts = []
    for sides in pieces_of.values():
        tables = [
            pa.concat_tables([run_join.empty_table(["cut"]), *map(decode_table, pieces)]) for pieces in sides.values()
        ]
        counts.append(run_join.decode_join_counts(run_join.encode_join_counts(run_join.join_and_count(*tables))))
    random.shuffle(counts)
    middle = random.randint(0, len(counts))
    assert (
        to_json(
            build_comparison(
                run_join.merge_join_counts(
                    [run_join.merge_join_counts(counts[:middle]), run_join.merge_join_counts(counts[middle:])]
                )
            )
        )
        == EXPECTED
    )
