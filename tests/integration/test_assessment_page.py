"""The assessment's page in a real browser: it asks for nothing, complains of nothing, and shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloister.partition.assess.page import page
from unit.partition.assess.report_cases import HOSTILE, pictures, report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing; make setup")
from selenium.webdriver.chrome.service import Service  # noqa: E402  # after the skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="no chromium and chromedriver: tools/browser.sh installs them",
    ),
]
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--window-size=1280,1600",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("profile")
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def _opened(driver: Any, folder: Path, data: bytes) -> None:
    file = folder / "page.html"
    file.write_bytes(data)
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(file.as_uri())
    # Pictures in closed boxes are decoded when somebody opens them.
    driver.execute_script("document.querySelectorAll('details').forEach(box => box.open = true)")
    driver.execute_async_script(
        """const done = arguments[0];
        Promise.all([...document.images].map(image => { image.loading = 'eager';
            return image.decode() })).then(() => done(true), error => done(String(error)))"""
    )


def _asked(driver: Any) -> list[str]:
    """What pages asked for; what a browser asks for its own first tab comes when it likes."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [
        each["request"]["url"] for each in sent if not each["documentURL"].startswith("chrome:")
    ]


def test_it_shows_and_asks_for_nothing(driver: Any, tmp_path: Path) -> None:
    """No word in the console, no request but for the file, every picture decoded, on any width."""
    _opened(driver, tmp_path, page(report(), pictures(), {"cut/1": ("said",)}, {}))
    assert driver.get_log("browser") == []
    asked = _asked(driver)
    assert any(url.startswith("file:") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    images = driver.execute_script(
        "return [...document.images].map(image => [image.complete, image.naturalWidth])"
    )
    assert len(images) > 20
    assert all(complete and width > 0 for complete, width in images)
    heads = driver.execute_script(
        "return [...document.querySelectorAll('h1, h2')].map(head => head.textContent)"
    )
    assert heads[0] == "What the cuts of digits leak"
    assert "Cut at 4" in heads
    for width in (1280, 390):
        driver.set_window_size(width, 1600)
        over = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert over <= 0, f"{over} pixels too wide at {width}"
    lines = driver.execute_script(
        "return getComputedStyle(document.querySelector('.line.a')).strokeWidth"
    )
    assert lines == "2px", "the style sheet is not applied"


def test_words_of_the_model_do_nothing(driver: Any, tmp_path: Path) -> None:
    """Layers and a model that are named like markup run nothing, and are words of the title."""
    made = report(name=HOSTILE, layer=HOSTILE)
    _opened(driver, tmp_path, page(made, pictures(), {"cut/1": (HOSTILE,)}, {"cut/9": HOSTILE}))
    assert driver.title.startswith("What the cuts of </script>")
    assert driver.execute_script("return document.scripts.length") == 0
    assert driver.execute_script("return document.querySelectorAll('[onerror]').length") == 0
    assert driver.get_log("browser") == []
