"""A picture of a page, for the README: taken by a command, so that it never grows old."""

from __future__ import annotations

import shutil
from pathlib import Path

from peel.errors import ConfigurationError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The path of a Chromium on PATH, or ``None``."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def take_picture(html: Path, png: Path, *, width: int = 1280, height: int = 1150) -> None:
    """Take a picture of the top of a page with headless Chromium.

    Args:
        html: the page.
        png: where the picture goes; its folder is made.
        width: of the window, in CSS pixels.
        height: of the part that is pictured, in CSS pixels.

    Raises:
        ConfigurationError: the page, Playwright or Chromium is missing, or the browser did not start.
    """
    if not html.exists():
        raise ConfigurationError("There is no such page to picture.", file=str(html), do="Run a night first.")
    browser_path = find_browser()
    if browser_path is None:
        raise ConfigurationError(
            "No Chromium was found on PATH.", do="Install one; on Debian: apt-get install chromium"
        )
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise ConfigurationError(
            "Playwright is not installed.", do="It is a development dependency: run `make test` once."
        ) from None
    png.parent.mkdir(parents=True, exist_ok=True)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            try:
                page = browser.new_page(viewport={"width": width, "height": height}, java_script_enabled=False)
                page.goto(html.resolve().as_uri())
                page.screenshot(path=png, clip={"x": 0, "y": 0, "width": width, "height": height})
            finally:
                browser.close()
    except Error as error:
        raise ConfigurationError(f"Chromium did not take the picture ({type(error).__name__}).") from None
