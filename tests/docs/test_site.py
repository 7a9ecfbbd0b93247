"""The site builds strictly, loads nothing from other hosts, and no page has a dead link."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chromium import Chromium
from tests.conftest import ROOT
from tests.docs.pages import PAGES

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A copy of what the site is built from."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    return tmp_path


def build_site(project: Path) -> "subprocess.CompletedProcess[str]":
    command = [Path(sys.executable).parent / "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_the_site_holds_every_page_and_loads_nothing_from_other_hosts(project):
    done = build_site(project)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {page.stem: page.read_text(encoding="utf-8") for page in (project / "site").glob("*.html")}
    assert {Path(name).stem for name in PAGES if name.startswith("docs/")} <= built.keys()
    for html in built.values():
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href|srcset)=\"([^\"]+)", html)
        assert loaded
        assert not [address for address in loaded if "//" in address]
    for style in (project / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()[\"' ]*(https?:)?//", style.read_text(encoding="utf-8"))


def test_a_browser_asks_no_other_host_for_anything(project, tmp_path_factory):
    assert build_site(project).returncode == 0
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    try:
        browser.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        for page in ("index", "evaluation", "decisions"):
            browser.open(project / "site" / f"{page}.html", 1280, "light")
            browser.evaluate("new Promise(done => setTimeout(done, 500))")
            assert len(browser.requests) > 3
            assert not [url for url in browser.requests if not url.startswith(("file:", "data:"))]
    finally:
        browser.close()


@pytest.mark.parametrize("link", ["[x](gone.md)", "[x](run.md#gone)", "[x](#gone)"])
def test_a_dead_link_fails_the_site(project, link):
    with (project / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{link}\n")
    assert build_site(project).returncode == 1


def dead_links(project: Path) -> list[str]:
    """What `make lint` reports, after whether it fails."""
    done = subprocess.run([sys.executable, project / "docs" / "links.py"], capture_output=True, text=True, check=False)
    assert (done.returncode == 1) == bool(done.stderr)
    return [line.rpartition(": ")[2] for line in done.stderr.splitlines()]


def test_no_page_has_a_dead_link(project):
    assert dead_links(ROOT) == []


def test_dead_links_and_missing_images_of_every_page_are_reported(project):
    dead = ["gone.md", "docs/run.md#gone", "gone.png", "#gone", "#not-one"]
    alive = ["docs/run.md", "docs/run.md#log", "#a-title-in-code", "https://example.org/gone"]
    lines = ["# A title, in `code`", *(f"![x]({link})" for link in dead + alive), "`[x](gone.md)`"]
    block = ["```", "[x](gone.md)", "# not-one", "```"]
    (project / "README.md").write_text("\n".join([*lines, *block]) + "\n", encoding="utf-8")
    kinds = ["file", "heading", "file", "heading", "heading"]
    assert dead_links(project) == [f"no {kind} {link}" for kind, link in zip(kinds, dead, strict=True)]
