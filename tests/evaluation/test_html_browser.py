"""The page in a real browser: no errors, no requests, and visible charts, also on a phone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hybrid_batch.evaluation.output.html import write_html
from tests.chromium import Chromium
from tests.evaluation.test_html import HOSTILE, report, run_facts, webp_image
from tests.factories.records import random_records, record

EMPTY_CHARTS = """
[...document.querySelectorAll('svg')].filter(svg => svg.checkVisibility() && (
  svg.getBoundingClientRect().width < 10 || svg.getBoundingClientRect().height < 10 ||
  ![...svg.querySelectorAll('rect,path,polyline')].some(s => s.getBoundingClientRect().width > 1))).length
"""
# The smallest contrast (WCAG 2) of all text with the background of its nearest painted ancestor.
CONTRAST = """
(() => {
  const light = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = [...document.querySelectorAll('body *')].filter(node => !node.closest('datalist, title') &&
    [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  return Math.min(...texts.map(node => {
    const style = getComputedStyle(node);
    const pair = [light(node.closest('svg') ? style.fill : style.color), light(ground(node))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }));
})()
"""


# The pairs of texts of a chart that overlap, and the texts that leave the chart.
COLLISIONS = """
[...document.querySelectorAll('svg.chart')].filter(svg => svg.checkVisibility()).flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].map(node => [node.textContent, node.getBoundingClientRect()]);
  const outside = texts.filter(([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1);
  const pairs = texts.flatMap(([text, box], place) => texts.slice(place + 1).filter(([, other]) =>
    box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom
  ).map(([other]) => `${text} / ${other}`));
  return [...outside.map(([text]) => text), ...pairs];
})
"""
# By how many pixels the matrix is narrower than the content of its card.
MATRIX_GAP = """
(() => {
  const matrix = document.querySelector('.matrix'), card = matrix.closest('section');
  const style = getComputedStyle(card);
  const inside = card.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return Math.abs(inside - matrix.getBoundingClientRect().width);
})()
"""
# The largest number of lines of the name of a score.
LINES = """
Math.max(...[...document.querySelectorAll('.names tbody th')].map(node => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return new Set([...range.getClientRects()].map(box => box.top)).size;
}))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    hostile = [
        record(image=f"{HOSTILE}/{n}", label=f"{HOSTILE}{n % 3}", prediction=f"{HOSTILE}{n % 2}", cut=HOSTILE)
        for n in range(12)
    ]
    random = random_records(400, [f"class {n}" for n in range(10)])
    single = [record(image=f"{n}", label=f"class {n}", prediction=f"class {n // 3}") for n in range(1000)]
    records = {
        "plain": random,
        "hostile": hostile,
        "many": single[:90],
        "thousand": single,
        "unlabelled": [replace(entry, label=None) for entry in random],
        "failed": [*(replace(entry, prediction=None, error="broken") for entry in random[:300]), *random[300:]],
        "runs": [replace(entry, run_id="xy"[n % 2]) for n, entry in enumerate(random)],
    }
    facts = {"hostile": [run_facts(model=HOSTILE, images=f"/{HOSTILE}")], "runs": [run_facts(), run_facts(run_id="y")]}
    folder = tmp_path_factory.mktemp("pages")
    for name, some in records.items():
        text = write_html(report(some), lambda _: webp_image(), facts.get(name, [run_facts()]))
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["plain", "hostile", "many", "thousand", "unlabelled", "failed", "runs"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_page_renders_without_errors_and_without_requests(
    browser: Chromium, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.open(pages[name], width, scheme)
    assert browser.evaluate("Math.min(...[...document.images].map(image => image.naturalWidth))") == 8
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('svg').length") > 10
    assert browser.evaluate(EMPTY_CHARTS) == 0
    assert browser.evaluate(COLLISIONS) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CONTRAST) >= 4.5
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 29)"
    assert dark is (scheme == "dark")
    assert browser.console_messages == []
    assert [url for url in browser.requests if not url.startswith(("data:", pages[name].as_uri()))] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_matrix_fills_its_card_and_names_of_scores_have_one_line(
    browser: Chromium, pages: dict[str, Path], width: int
) -> None:
    browser.open(pages["plain"], width, "light")
    assert browser.evaluate(MATRIX_GAP) <= 1
    assert browser.evaluate(LINES) == 1
    if width > 900:
        browser.open(pages["many"], width, "light")
        assert browser.evaluate(MATRIX_GAP) <= 1


def test_tables_in_columns_begin_at_the_same_height(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["many"], 1280, "light")
    tops = "[...document.querySelectorAll('.columns')].map(columns => " + (
        "[...columns.children].map(child => child.getBoundingClientRect().top))"
    )
    found = browser.evaluate(tops)
    assert found
    assert all(len(set(row)) == 1 for row in found)


def test_title_and_header_name_the_run(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["plain"], 390, "light")
    assert browser.evaluate("document.title").startswith("emotions: 400 images of faces, 4 March 2026")
    shown = browser.evaluate("document.querySelector('header').innerText")
    for fact in ("emotions", "/data/faces", "4 March 2026, 05:06 UTC", "c001", "int8", "local", "2 cores", "x"):
        assert fact in shown


def test_without_labels_the_predictions_come_first(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["unlabelled"], 390, "light")
    heads = browser.evaluate("[...document.querySelectorAll('h2')].map(head => head.textContent)")
    assert heads[:4] == ["Notes", "Predictions", "Confidence", "Failed images"]


def test_the_policy_blocks_scripts_and_requests(browser: Chromium, pages: dict[str, Path], tmp_path: Path) -> None:
    """Proves that the test above would detect a script or an external image."""
    text = pages["plain"].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    evil = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'/></body>"
    broken.write_text(text.replace("</body>", evil), encoding="utf-8")
    browser.open(broken, 1200, "light")
    assert browser.evaluate("document.title") == "emotions: 400 images of faces, 4 March 2026, 05:06 UTC, run x"
    assert any("Content Security Policy" in line for line in browser.console_messages)
