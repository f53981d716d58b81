"""The pages as people meet them: with a screen reader, on a phone, on paper. axe-core finds no violation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from peel.releases.dictionary import Column, Table
from peel.releases.draft import prepare
from peel.releases.picture import find_browser
from tests.accessibility.invented_mart import rows, snapshot

pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium on PATH")

DESKTOP, PHONE, PAPER = (1280, 900), (390, 844), (794, 1123)
WAYS = [("desktop", DESKTOP, "screen"), ("phone", PHONE, "screen"), ("print", PAPER, "print")]
PAGES = ("index.html", "dictionary.html")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = (Column("area_code", "text", "ONS code of the area."), Column("a_rather_long_column_name", "text", ""))
    tables = [Table(name, layer, "one area", "Areas.", columns) for layer in ("mart", "core") for name in ("a", "b")]
    place = tmp_path_factory.mktemp("draft")
    for name, text in prepare(snapshot(rows()), tables).files.items():
        (place / name).write_text(text, "utf-8")
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield made
        made.close()


@needs_browser
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("way", "size", "media"), WAYS, ids=[way for way, _, _ in WAYS])
def test_axe_finds_no_violation(
    browser: Any, folder: Path, name: str, way: str, size: tuple[int, int], media: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.emulate_media(media=media)
    page.goto((folder / name).as_uri())
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": TAGS}}).response
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found["violations"]] == []
    assert len(found["passes"]) > 10
    page.close()


@needs_browser
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_scrolls_sideways(browser: Any, folder: Path, name: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((folder / name).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@needs_browser
def test_wide_tables_scroll_in_named_regions_that_the_keyboard_reaches(browser: Any, folder: Path) -> None:
    page = browser.new_page(viewport={"width": PHONE[0], "height": PHONE[1]})
    page.goto((folder / "index.html").as_uri())
    regions = page.locator("div.scroll")
    assert regions.count() == page.locator("table").count() == 10
    for region in regions.all():
        assert region.get_attribute("role") == "region"
        assert region.get_attribute("tabindex") == "0"
        caption = page.locator(f"#{region.get_attribute('aria-labelledby')}")
        assert caption.evaluate("node => node.tagName") == "CAPTION"
        assert caption.bounding_box()["width"] <= PHONE[0]
    page.close()


@needs_browser
def test_the_first_thing_the_keyboard_reaches_skips_to_the_content(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the main content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.close()


@needs_browser
def test_the_page_is_whole_without_script_and_asks_for_nothing(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((folder / "index.html").as_uri())
    assert page.locator("table").count() == 10
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("img", name="Tile map of London:").count() == 1
    assert asked == [(folder / "index.html").as_uri()]
    context.close()


@needs_browser
def test_headings_step_down_one_level_at_a_time(browser: Any, folder: Path) -> None:
    page = browser.new_page()
    for name in PAGES:
        page.goto((folder / name).as_uri())
        levels = [
            int(tag[1])
            for tag in page.locator("h1, h2, h3, h4").evaluate_all("nodes => nodes.map(node => node.tagName)")
        ]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
    page.close()


@needs_browser
def test_the_draft_mark_is_seen_first_and_printed(browser: Any, folder: Path) -> None:
    for way, size, media in WAYS:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.emulate_media(media=media)
        page.goto((folder / "index.html").as_uri())
        box = page.get_by_text("DRAFT", exact=True).bounding_box()
        assert box["y"] < 100, way
        assert page.get_by_label("Status of this page").is_visible()
        assert "simulated force, not real" in page.get_by_label("Status of this page").inner_text()
        page.close()
