"""The HTML page: well-formed, complete, limited in size, and safe for any text in the log."""

import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest
from PIL import Image

from hybrid_batch.data.log.records import Record, to_table
from hybrid_batch.evaluation.counting.record_counter import count_table
from hybrid_batch.evaluation.output.html import write_html
from hybrid_batch.evaluation.output.html.gallery import MAX_THUMBNAILS, MAX_THUMBNAILS_BYTES, Thumbnail
from hybrid_batch.evaluation.output.html.heat_map import MAX_CLASSES_DRAWN
from hybrid_batch.evaluation.output.html.markup import element, join
from hybrid_batch.evaluation.report import build_report
from hybrid_batch.evaluation.report_schema import Report
from tests.factories.records import random_records, record

HOSTILE = "<script>alert(1)</script>\"'&\x00\x1b\u202e"


def report(records: Sequence[Record]) -> Report:
    return build_report(count_table(to_table(records)))


def webp_image(size: int = 8) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(target, "WEBP")
    return target.getvalue()


def page(records: Sequence[Record], thumbnail: Thumbnail | None = None) -> ElementTree.Element:
    """The page as a tree; parsing it as XML checks that elements are closed and characters are allowed."""
    text = write_html(report(records), thumbnail) if thumbnail else write_html(report(records))
    first, _, rest = text.partition("\n")
    assert first == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)  # noqa: S314


def words(tree: ElementTree.Element) -> str:
    return " ".join(" ".join(tree.itertext()).split())


def test_the_page_has_the_headline_of_the_report() -> None:
    text = words(page([record()] * 3 + [record(prediction="b")] + [record(prediction=None, error="broken")]))
    assert "Evaluation of 5 records" in text
    assert "accuracy 75.0% 95 %: 30.1 to 95.4" in text
    assert "records 5 1 errors, 0 without a label" in text
    assert "cut c001, codec fp32, tail local" in text
    assert "latency, median 21 µs p95 21 µs" in text
    assert "bytes sent 10.0% of the 4 kB of the images" in text
    assert "a → b 1 25.0%" in text


def test_every_section_exists_and_every_chart_has_a_title() -> None:
    random = random_records(500, ["cat", "dog", "é"])
    records = [entry for entry in random if entry.top5 and entry.confidence is not None]
    tree = page(records, lambda _: webp_image())
    heads = [head.text for head in tree.iter("h2")]
    assert heads == [
        *("Scores", "Confidence", "Confusion", "Classes", "Time by stage", "Latency", "Bytes"),
        *("Most confident errors", "Slices"),
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
        assert (heights[0], heights[-1]) == (240.0, 10.0)  # from 0 to 100 % of the records


def test_without_labels_the_page_has_no_accuracy_sections() -> None:
    tree = page([record(label=None)] * 5)
    assert "accuracy — no labels" in words(tree)
    assert [head.text for head in tree.iter("h2")][-3:] == ["Time by stage", "Latency", "Bytes"]


@pytest.mark.parametrize("records", [[], [record(prediction=None, error="broken")] * 3])
def test_a_run_without_classified_records_has_a_page(records: list[Record]) -> None:
    assert f"Evaluation of {len(records)} records" in words(page(records))


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
        *("svg", "g", "rect", "path", "line", "circle", "polyline", "text"),
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
    (cells,) = (node for node in drawn.iter("svg") if node.get("class") == "map fine")
    assert (
        len([cell for cell in cells.iter("rect") if cell.get("class") in ("right", "wrong")]) == MAX_CLASSES_DRAWN + 1
    )
    many = words(page([*few, record(label="more"), record(label="7", prediction="8")]))
    assert "102 classes are too many to draw" in many
    assert "7 → 8 1 50.0%" in many


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
