"""The README's picture is taken by one call, or says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from peel.errors import ConfigurationError
from peel.releases.picture import find_browser, take_picture

PAGE = "<!DOCTYPE html><html lang='en-GB'><title>A page</title><h1>A page</h1></html>"


@pytest.fixture
def html(tmp_path: Path) -> Path:
    path = tmp_path / "index.html"
    path.write_text(PAGE, "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium on PATH")
def test_a_picture_is_taken_by_one_call(html: Path, tmp_path: Path) -> None:
    target = tmp_path / "images" / "page.png"
    take_picture(html, target)
    png = target.read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1280


def test_a_picture_of_no_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such page"):
        take_picture(tmp_path / "index.html", tmp_path / "page.png")


def test_without_a_browser_the_picture_says_what_to_install(
    html: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"No Chromium was found on PATH\. Install one"):
        take_picture(html, tmp_path / "page.png")
