"""The page of a report: well-formed, whole, bounded, and harmless whatever stands in the log."""

import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from PIL import Image

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.html import write_html
from hybrid_batch.evaluation.output.html.gallery import PICTURES, PICTURES_BYTES, Thumbnail
from hybrid_batch.evaluation.output.html.heat_map import MOST_CLASSES
from hybrid_batch.evaluation.output.html.markup import element, join
from hybrid_batch.evaluation.report import build
from hybrid_batch.evaluation.report_schema import Report
from tests.made_records import random_records, record

HOSTILE = "<script>alert(1)</script>\"'&\x00\x1b\u202e"


def report(records: Sequence[Record]) -> Report:
    return build(count_table(to_table(records)))


def picture(size: int = 8) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(target, "WEBP")
    return target.getvalue()


def page(records: Sequence[Record], thumbnail: Thumbnail | None = None) -> ElementTree.Element:
    """The page as a tree: that it parses as XML proves every element closed and every character allowed."""
    text = write_html(report(records), thumbnail) if thumbnail else write_html(report(records))
    first, _, rest = text.partition("\n")
    assert first == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)  # noqa: S314


def words(tree: ElementTree.Element) -> str:
    return " ".join(" ".join(tree.itertext()).split())


def test_the_headline_is_that_of_the_report() -> None:
    text = words(page([record()] * 3 + [record(prediction="b")] + [record(prediction=None, error="broken")]))
    assert "Evaluation of 5 records" in text
    assert "accuracy 75.0% 95 %: 30.1 to 95.4" in text
    assert "records 5 1 errors, 0 without label" in text
    assert "cut c001, codec fp32, tail local" in text
    assert "latency, median 21 µs p95 21 µs" in text
    assert "bytes sent 10.0% of the 4 kB of the images" in text
    assert "a → b 1 25.0%" in text


def test_every_section_is_there_with_a_table_or_a_title_to_its_charts() -> None:
    records = [made for made in random_records(500, ["cat", "dog", "é"]) if made.top5 and made.confidence is not None]
    tree = page(records, lambda _: picture())
    heads = [head.text for head in tree.iter("h2")]
    assert heads == [
        *("Scores", "Confidence", "Confusion", "Classes", "Where the time goes", "Latency", "Bytes"),
        *("Most confident errors", "Slices"),
    ]
    for drawing in tree.iter("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing.find("title") is not None
        assert any(True for shape in drawing.iter() if shape.tag in ("rect", "path", "polyline"))
    for image in tree.iter("img"):
        assert image.get("alt")
    assert len(list(tree.iter("table"))) >= 9
    lines = [line.get("points", "").split() for line in tree.iter("polyline")]
    assert len(lines) == 3  # a line for each cut
    for line in lines:
        heights = [float(point.partition(",")[2]) for point in line]
        assert heights == sorted(heights, reverse=True)
        assert (heights[0], heights[-1]) == (240.0, 10.0)  # from none of the records to all


def test_without_labels_there_is_no_word_of_accuracy_but_its_absence() -> None:
    tree = page([record(label=None)] * 5)
    assert "accuracy — no labels" in words(tree)
    assert [head.text for head in tree.iter("h2")][-3:] == ["Where the time goes", "Latency", "Bytes"]


@pytest.mark.parametrize("records", [[], [record(prediction=None, error="broken")] * 3])
def test_nothing_classified_is_a_page_too(records: list[Record]) -> None:
    assert f"Evaluation of {len(records)} records" in words(page(records))


def test_what_stands_in_the_log_stays_text() -> None:
    hostile = [
        record(
            image=f"{HOSTILE}/{n}", label=f"{HOSTILE}{n % 3}", prediction=f"{HOSTILE}{n % 2}", cut=HOSTILE, tail=HOSTILE
        )
        for n in range(12)
    ]
    text = write_html(report(hostile))
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    tree = page(hostile, lambda _: picture())
    assert {found.tag for found in tree.iter()} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "div", "footer"),
        *("h1", "h2", "p", "dl", "dt", "dd", "small", "strong", "ul", "li", "br", "bdi", "details", "summary"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img"),
        *("svg", "g", "rect", "path", "line", "circle", "polyline", "text"),
    }
    for found in tree.iter():
        assert not [name for name in found.attrib if name.startswith("on") or name in ("href", "style")]
        assert found.get("src", "data:image/webp;base64,").startswith("data:image/webp;base64,")
    assert "<script>alert(1)</script>\"'&\ufffd\ufffd" in words(tree)


def test_the_policy_lets_nothing_in_but_its_own_style() -> None:
    (policy,) = (meta.get("content") for meta in page([record()]).iter("meta") if meta.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_up_to_a_hundred_classes_are_drawn_and_beyond_that_the_worst_confusions_listed() -> None:
    few = [record(label=f"{n}", prediction=f"{n}") for n in range(MOST_CLASSES)]
    drawn = page([*few, record(label="7", prediction="8")])
    (cells,) = (found for found in drawn.iter("svg") if found.get("class") == "map fine")
    assert len([cell for cell in cells.iter("rect") if cell.get("class") in ("right", "wrong")]) == MOST_CLASSES + 1
    many = words(page([*few, record(label="more"), record(label="7", prediction="8")]))
    assert "102 classes are too many to draw" in many
    assert "7 → 8 1 50.0%" in many


def test_a_page_of_thousands_of_classes_and_errors_stays_small() -> None:
    records = [record(image=f"{n}.png", label=f"{n}", prediction=f"{n // 2}", tail=f"{n}") for n in range(5000)]
    text = write_html(report(records), lambda _: picture())
    assert len(text) < 2_000_000
    assert text.count("<img") == PICTURES


def test_pictures_are_bounded_together() -> None:
    records = [record(image=f"{n}.png", label=f"{n}") for n in range(20)]
    tree = page(records, lambda image: bytes(PICTURES_BYTES // 4 + 1) if image != "3.png" else None)
    assert len(list(tree.iter("img"))) == 3
    assert words(page(records, lambda _: None)).count(".png") == 20


def test_markup_escapes_all_but_itself() -> None:
    inner = element("b", "<", title='"')
    assert inner == '<b title="&quot;">&lt;</b>'
    assert element("p", inner, "&", [inner, ">"], class_="x", aria_label=None, width=1 / 3) == (
        f'<p class="x" width="0.33">{inner}&amp;{inner}&gt;</p>'
    )
    assert element("br") == "<br/>"
    assert join("a", inner) == f"a{inner}"
