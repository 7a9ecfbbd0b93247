"""The HTML page: well-formed, complete, limited in size, and safe for any text in the log."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output import units
from hybrid_batch.evaluation.output.html import no_thumbnail, write_html
from hybrid_batch.evaluation.output.html.charts.confusion_table import MAX_CLASSES_DRAWN
from hybrid_batch.evaluation.output.html.charts.plot import LETTER, Tick, count_ticks, spaced
from hybrid_batch.evaluation.output.html.charts.short_count import short_count
from hybrid_batch.evaluation.output.html.markup import element, join
from hybrid_batch.evaluation.output.html.sections.gallery import MAX_THUMBNAILS, MAX_THUMBNAILS_BYTES, Thumbnail
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import STAGE_NOTE, Report
from hybrid_batch.evaluation.run_facts import RunFacts
from tests.factories.records import random_records, record
from tests.factories.version_1 import to_table_1

HOSTILE = "<script>alert(1)</script>\"'&\x00\x1b\u202e"


def report(records: Sequence[Record]) -> Report:
    return build_report(count_table(to_table(records)))


def run_facts(**changes: str | None) -> RunFacts:
    facts = RunFacts(
        run="/logs/run=x",
        run_id="x",
        model="emotions",
        bundle="0123456789abcdef",
        images="/data/faces",
        machine="2 cores, 25.3 GB, x86_64, Linux",
        created_at="2026-03-04T05:06:07+00:00",
        weights=None,
        cut="add_1",
        codec="fp32",
        tail="local",
        labels="folder",
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


def webp_image(size: int = 8) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(target, "WEBP")
    return target.getvalue()


def page(
    records: Sequence[Record], thumbnail: Thumbnail = no_thumbnail, facts: Sequence[RunFacts] = ()
) -> ElementTree.Element:
    """The page as a tree; parsing it as XML checks that elements are closed and characters are allowed."""
    first, _, rest = write_html(report(records), thumbnail, facts).partition("\n")
    assert first == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)  # noqa: S314


def heads(tree: ElementTree.Element) -> list[str | None]:
    return [head.text for head in tree.iter("h2")]


def words(tree: ElementTree.Element) -> str:
    return " ".join(" ".join(tree.itertext()).split())


def test_the_page_has_the_headline_of_the_report() -> None:
    text = words(page([record()] * 3 + [record(prediction="b")] + [record(prediction=None, error="broken")]))
    assert "Evaluation of 5 images" in text
    assert "accuracy 75.0% 95 %: 30.1 to 95.4" in text
    assert "images 5 1 failed" in text
    assert "cut c001 codec fp32 tail local" in text
    assert "median latency 21 µs 95 % within 21 µs" in text
    assert "a → b 1 4 25.0%" in text


def test_bytes_at_the_cut_and_over_the_network_are_two_figures() -> None:
    local = words(page([record(image_bytes=1000, cut_bytes=100, sent_bytes=0, received_bytes=0)] * 5))
    assert "at the cut 100 B per image, 0.1 x its file" in local
    assert "over the network 0 B head and tail in one process" in local
    remote = words(page([record(image_bytes=1000, cut_bytes=100, sent_bytes=300, received_bytes=10)] * 5))
    assert "over the network 300 B per image, 0.3 x its file" in remote
    assert "image file 1 kB 1 at the cut 100 B 0.1 sent 300 B 0.3 received 10 B 0.01" in remote


def test_the_parts_of_the_latency_add_up_to_it() -> None:
    waits = {"batch_wait_us": 700, "head_wait_us": 200, "encode_wait_us": 30, "send_wait_us": 49, "latency_us": 1000}
    tree = page([record(**waits)] * 5)
    text = words(tree)
    assert "wait for the batch 700 µs 70.0% 700 µs 700 µs" in text
    assert "sum of the parts 1 ms 100.0% latency 1 ms" in text
    assert STAGE_NOTE in text
    strips = [list(node) for node in tree.iter("svg") if node.get("class") == "bar"]
    (parts,) = (shapes for shapes in strips if any(shape.get("class") == "fill-wait-0" for shape in shapes))
    widths = [float(str(shape.get("width"))) for shape in parts if shape.get("class") != "track"]
    assert sum(widths) == pytest.approx(100, abs=0.1)


def test_a_log_without_waits_is_named_as_such() -> None:
    counts = count_table(to_table_1([record()] * 5))
    assert "does not hold the times of waiting" in write_html(build_report(counts))


def test_title_and_header_name_the_run() -> None:
    tree = page([record()] * 5, facts=[run_facts()])
    assert tree.findtext("head/title") == "emotions: 5 images of faces, 4 March 2026, 05:06 UTC, run x"
    text = words(tree)
    for fact in (
        *("emotions: 5 images", "images /data/faces", "date 4 March 2026, 05:06 UTC", "cut c001, add_1", "codec fp32"),
        *("tail local", "labels the names of the folders", "machine 2 cores, 25.3 GB, x86_64, Linux", "run x"),
        "bundle 0123456789ab",
    ):
        assert fact in text


def test_the_date_of_a_run_without_one_is_that_of_its_first_record() -> None:
    assert "date 1 January 2026, 00:00 UTC" in words(page([record()], facts=[run_facts(created_at=None)]))


def test_several_runs_are_a_table_of_what_differs() -> None:
    records = [record(run_id="x")] * 3 + [record(run_id="y", codec="int8", prediction="b")]
    tree = page(records, facts=[run_facts(), run_facts(run="/logs/run=y", run_id="y", machine="64 cores")])
    text = words(tree)
    assert "emotions: 2 runs, 4 images" in text
    first = words(next(tree.iter("table")))
    assert first == (
        "run cut codec tail machine images counted accuracy "
        "x c001, add_1 fp32 local 2 cores, 25.3 GB, x86_64, Linux 3 100.0% y c001, add_1 int8 local 64 cores 1 0.0%"
    )


def test_the_records_of_runs_of_the_same_name_are_attributed_to_none_of_them() -> None:
    tree = page([record(run_id="x")] * 4, facts=[run_facts(), run_facts(run="/other/run=x", codec="int8")])
    assert "emotions: 2 runs, 4 images" in words(tree)
    assert words(next(tree.iter("table"))) == (
        "run cut codec tail images counted accuracy /logs/run=x add_1 fp32 local — — /other/run=x add_1 int8 local — —"
    )


def test_the_top_5_of_few_classes_and_latencies_by_folder_are_not_shown() -> None:
    tree = page([record(image="a/1.png"), record(image="b/1.png", prediction="b")] * 5)
    assert "top-5 accuracy" not in words(tree)
    heads = {words(table.findall(".//tr")[0]) for table in tree.iter("table")}
    assert "folder images failed 0% 100% accuracy at the cut" in heads
    assert "prediction images failed 0% 100% accuracy p50 p95 at the cut" in heads
    assert "top-5 accuracy" in words(page([record(label=f"{n}") for n in range(20)]))


def test_notes_about_the_runs_are_on_the_page() -> None:
    text = write_html(report([record()]), notes=["/logs/run=x is unfinished: 906 of its 1,006 images are missing."])
    assert "<li>/logs/run=x is unfinished: 906 of its 1,006 images are missing.</li>" in text


def test_the_gallery_counts_all_wrong_predictions_and_names_the_remedy_for_missing_images() -> None:
    records = [record(image=f"{n}.png", prediction="b") for n in range(9)]
    assert "3 of 9 wrong predictions, by descending confidence; at most 5 of each pair." in words(
        page(records, lambda name: webp_image() if name < "3" else None)
    )
    text = words(page(records))
    assert "5 of 9 wrong predictions" in text
    assert "name their folder with hybrid-batch report --images DIR" in text


def test_every_section_exists_and_every_chart_has_a_title() -> None:
    random = random_records(500, ["cat", "dog", "é"])
    records = [entry for entry in random if entry.top5 and entry.confidence is not None]
    tree = page(records, lambda _: webp_image())
    assert heads(tree) == [
        *("Scores", "Calibration", "Confusion", "Most frequent confusions", "Classes"),
        *("Where the time goes", "Latency", "Bytes per image", "Most confident wrong predictions", "Slices"),
    ]
    for drawing in tree.iter("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.find("title") is not None
        assert any(True for shape in drawing.iter() if shape.tag in ("rect", "path", "polyline"))
    for image in tree.iter("img"):
        assert image.get("alt")
    assert len(list(tree.iter("table"))) >= 9
    lines = [line.get("points", "").split() for line in tree.iter("polyline")]
    assert len(lines) == 3  # one line for each cut
    for line in lines:
        heights = [float(point.partition(",")[2]) for point in line]
        assert heights == sorted(heights, reverse=True)
        assert (heights[0], heights[-1]) == (230.0, 12.0)  # from 0 to 100 % of the images


def test_without_labels_the_page_leads_with_the_predictions() -> None:
    records = [record(label=None, prediction="cat", confidence=0.25)] * 3 + [record(label=None, prediction="dog")]
    tree = page([*records, record(label=None, prediction=None, error="broken")])
    assert heads(tree) == [
        *("Notes", "Predictions", "Confidence", "Failed images"),
        *("Where the time goes", "Latency", "Bytes per image", "Slices"),
    ]
    text = words(tree)
    assert "most predicted cat 75.0% of the classified images" in text
    assert "4 images classified as 2 classes. predicted class images share cat 3 75.0% dog 1 25.0%" in text
    assert "Mean confidence 37.5%; 75.0% of the classified images have less than 50 %." in text
    assert "Failed images 20.0% of the images failed;" in text


def test_failed_images_are_listed_by_reason_and_shown() -> None:
    errors = ["truncated (5 bytes)", "truncated (17 bytes)", "no image", None]
    failed = [record(image=f"bad/{n}.png", prediction=None, error=error) for n, error in enumerate(errors)]
    tree = page([record()] * 4 + failed, lambda name: webp_image() if name == "bad/1.png" else None)
    text = words(tree)
    assert "Failed images 50.0% of the images failed;" in text
    assert "reason images truncated (… bytes) 2 no image 1 no prediction 1" in text
    assert "All 4 files image reason bad/0.png truncated (5 bytes)" in text
    assert [image.get("alt") for image in tree.iter("img")] == ["failed image bad/1.png"]


@pytest.mark.parametrize("records", [[], [record(prediction=None, error="broken")] * 3])
def test_a_run_without_classified_records_has_a_page(records: list[Record]) -> None:
    assert f"Evaluation of {len(records)} images" in words(page(records))


def test_markup_in_the_log_is_escaped() -> None:
    hostile = [
        record(
            image=f"{HOSTILE}/{n}", label=f"{HOSTILE}{n % 3}", prediction=f"{HOSTILE}{n % 2}", cut=HOSTILE, tail=HOSTILE
        )
        for n in range(12)
    ]
    text = write_html(report(hostile))
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    tree = page(hostile, lambda _: webp_image())
    assert {node.tag for node in tree.iter()} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "footer"),
        *("h1", "h2", "p", "dl", "dt", "dd", "small", "strong", "ul", "li", "br", "bdi", "details", "summary"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img"),
        *("svg", "g", "rect", "path", "line", "circle", "polyline", "text", "span", "code"),
    }
    for node in tree.iter():
        assert not [name for name in node.attrib if name.startswith("on") or name in ("href", "style")]
        assert node.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,")
    assert "<script>alert(1)</script>\"'&\ufffd\ufffd" in words(tree)


def test_the_policy_permits_only_the_own_style() -> None:
    (policy,) = (meta.get("content") for meta in page([record()]).iter("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_a_matrix_of_more_than_a_hundred_classes_is_a_list_of_confusions() -> None:
    few = [record(label=f"{n}", prediction=f"{n}") for n in range(MAX_CLASSES_DRAWN)]
    drawn = page([*few, record(label="7", prediction="8")])
    (matrix,) = (node for node in drawn.iter("table") if "matrix" in str(node.get("class")))
    cells = [cell.get("class") for cell in matrix.iter("td")]
    assert len(cells) == MAX_CLASSES_DRAWN**2
    assert (cells.count("right-10"), cells.count("right-7"), cells.count("wrong-7")) == (99, 1, 1)
    twice = [record(label="7", prediction="8")] * 2
    many = words(page([*few, record(label="more"), *twice]))
    assert "The matrix of 102 classes is too large to draw" in many
    assert "7 → 8 2 3 66.7%" in many


def test_a_confusion_that_occurs_once_is_not_listed_as_frequent() -> None:
    records = [record(label=f"{n:03d}", prediction=f"{n + 1:03d}") for n in range(200)]
    assert "200 images were misclassified, and no pair of classes was confused twice." in words(page(records))


def test_many_classes_are_listed_where_their_images_show_something() -> None:
    bad = [record(label="bad", prediction=f"class {n:03d}") for n in range(40)]
    good = [record(label="good", prediction="good")] * 40
    rare = [record(label=f"class {n:03d}", prediction=f"class {n:03d}") for n in range(100)]
    tree = page([*bad, *good, *rare])
    captions = [words(caption) for caption in tree.iter("caption")]
    assert "Clearly worse than the mean: 1 class" in captions
    assert "Clearly better than the mean: 1 class" in captions
    (field,) = tree.iter("input")
    (names,) = tree.iter("datalist")
    assert (field.get("list"), len(names)) == (names.get("id"), 102)
    values = [option.get("value") for option in names]
    assert "good: 40 labels, precision 100.0%, recall 100.0%, F1 100.0%" in values
    summaries = [words(summary) for summary in tree.iter("summary")]
    groups = [text for text in summaries if " to " in text]
    assert groups == ["bad to class 048", "class 049 to class 098", "class 099 to good"]
    assert "hybrid-batch evaluate writes all figures of all classes as per_class.csv." in words(tree)


def test_one_image_a_class_is_no_list_of_classes_without_success() -> None:
    tree = page([record(label=f"{n}", prediction=f"{n + n % 2}") for n in range(200)])
    text = words(tree)
    assert "200 classes have labels: 1 label each." in text
    assert "No class differs from the mean F1 by more than chance" in text
    assert not [caption for caption in tree.iter("caption") if "Clearly" in words(caption)]


@pytest.mark.parametrize(
    ("confidence", "sentence"),
    [
        (0.99, "The model is too confident: mean confidence 99.0%, accuracy 50.0%."),
        (0.01, "The model is not confident enough: mean confidence 1.0%, accuracy 50.0%."),
        (0.5, "No miscalibration beyond chance: mean confidence 50.0%, accuracy 50.0%."),
    ],
)
def test_the_calibration_is_stated_before_it_is_drawn(confidence: float, sentence: str) -> None:
    tree = page([record(confidence=confidence), record(confidence=confidence, prediction="b")] * 50)
    (section,) = (node for node in tree.iter("section") if node.findtext("h2") == "Calibration")
    assert words(section[1]) == sentence
    assert [node.tag for node in section][:4] == ["h2", "p", "p", "svg"]


def test_a_page_of_thousands_of_classes_and_errors_stays_small() -> None:
    records = [record(image=f"{n}.png", label=f"{n}", prediction=f"{n // 2}", tail=f"{n}") for n in range(5000)]
    text = write_html(report(records), lambda _: webp_image())
    assert len(text) < 2_000_000
    assert text.count("<img") == MAX_THUMBNAILS


def test_the_total_size_of_thumbnails_is_limited() -> None:
    records = [record(image=f"{n}.png", label=f"{n}") for n in range(20)]
    tree = page(records, lambda image: bytes(MAX_THUMBNAILS_BYTES // 4 + 1) if image != "3.png" else None)
    assert len(list(tree.iter("img"))) == 3
    assert words(page(records, lambda _: None)).count(".png") == 20


def test_everything_but_markup_is_escaped() -> None:
    inner = element("b", "<", title='"')
    assert inner == '<b title="&quot;">&lt;</b>'
    assert element("p", inner, "&", [inner, ">"], class_="x", aria_label=None, width=1 / 3) == (
        f'<p class="x" width="0.33">{inner}&amp;{inner}&gt;</p>'
    )
    assert element("br") == "<br/>"
    assert join("a", inner) == f"a{inner}"


def test_labels_of_an_axis_do_not_touch_and_the_first_rank_remains() -> None:
    ticks = [Tick(20.0 * place, "100 ms", rank=place % 5 > 0) for place in range(20)]
    kept = spaced(ticks)
    assert {tick.at for tick in ticks if not tick.rank} <= {tick.at for tick in kept}
    assert all(right.at - left.at >= 6 * LETTER for left, right in pairwise(kept[1:-1]))


@pytest.mark.parametrize("most", [1, 2, 3, 7, 99, 460, 12_345])
@pytest.mark.parametrize("parts", [2, 3])
def test_counts_have_few_round_ticks_from_zero_to_the_most(most: int, parts: int) -> None:
    ticks = count_ticks(most, parts)
    assert ticks[0] == 0
    assert ticks[-2] < most <= ticks[-1]
    assert 2 <= len(ticks) <= parts + 1
    assert len({right - left for left, right in pairwise(ticks)}) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1234, "1.2k"), (9960, "10k"), (999_499, "999k"), (999_500, "1M")],
)
def test_a_count_has_at_most_four_characters(count: int, text: str) -> None:
    assert short_count(count) == text


def test_a_score_has_no_negative_zero_and_one_thing_no_plural() -> None:
    assert units.score(-0.0001) == "0.000"
    assert units.score(-0.01) == "-0.010"
    tree = page([record(label=None)])
    assert "1 image classified as 1 class." in words(tree)
    assert tree.findtext("head/title") == "Evaluation of 1 image"
