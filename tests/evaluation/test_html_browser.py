"""The page in a real browser: no errors, no requests, and visible charts, also on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid_batch.evaluation.output.html import write_html
from tests.chromium import Chromium
from tests.evaluation.test_html import HOSTILE, report, webp_image
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
  const texts = [...document.querySelectorAll('body *')].filter(node => !node.closest('.map, title') &&
    [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()));
  return Math.min(...texts.map(node => {
    const style = getComputedStyle(node);
    const pair = [light(node.closest('svg') ? style.fill : style.color), light(ground(node))];
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }));
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    plain = random_records(400, [f"class {n}" for n in range(10)])
    hostile = [
        record(image=f"{HOSTILE}/{n}", label=f"{HOSTILE}{n % 3}", prediction=f"{HOSTILE}{n % 2}", cut=HOSTILE)
        for n in range(12)
    ]
    many = [record(image=f"{n}", label=f"class {n}", prediction=f"class {n // 3}") for n in range(90)]
    folder = tmp_path_factory.mktemp("pages")
    for name, records in {"plain": plain, "hostile": hostile, "many": many}.items():
        (folder / f"{name}.html").write_text(write_html(report(records), lambda _: webp_image()), encoding="utf-8")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["plain", "hostile", "many"])
@pytest.mark.parametrize(("width", "scheme"), [(375, "dark"), (1200, "light")])
def test_the_page_renders_without_errors_and_without_requests(
    browser: Chromium, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    browser.open(pages[name], width, scheme)
    assert browser.evaluate("Math.min(...[...document.images].map(image => image.naturalWidth))") == 8
    browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('svg').length") > 10
    assert browser.evaluate(EMPTY_CHARTS) == 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CONTRAST) >= 4.5
    dark = browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 29)"
    assert dark is (scheme == "dark")
    assert browser.console_messages == []
    assert [url for url in browser.requests if not url.startswith(("data:", pages[name].as_uri()))] == []


def test_the_policy_blocks_scripts_and_requests(browser: Chromium, pages: dict[str, Path], tmp_path: Path) -> None:
    """Proves that the test above would detect a script or an external image."""
    text = pages["plain"].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    evil = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'/></body>"
    broken.write_text(text.replace("</body>", evil), encoding="utf-8")
    browser.open(broken, 1200, "light")
    assert browser.evaluate("document.title") == "Evaluation of 400 records"
    assert any("Content Security Policy" in line for line in browser.console_messages)
