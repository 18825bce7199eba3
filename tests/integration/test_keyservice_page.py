"""The page in a real browser: against the real service, and against one that lies.

Between browser and service stands a proxy that a test can have change answers: that is a service
that lies about everything but the page itself.
"""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from integration.test_keyservice_http import Running

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing; make setup")
from selenium.webdriver.chrome.service import Service  # noqa: E402  # after the skip
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402  # likewise

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
    "--window-size=1280,1400",
)
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
Change = Callable[[str, bytes], bytes]


class Proxy:
    """Passes GET requests on to a service, and answers through `change`."""

    def __init__(self, port: int) -> None:
        """Listen on a port of its own."""
        self.change: Change = lambda _path, body: body
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            """One request."""

            def do_GET(self) -> None:
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                headers = {"Authorization": self.headers.get("Authorization", "")}
                client.request("GET", self.path, headers=headers)
                answer = client.getresponse()
                body = proxy.change(self.path, answer.read())
                client.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name != "content-length":
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Browser:
    """A browser on the page."""

    def __init__(self, driver: Any, url: str) -> None:
        """Open the page and wait until it has looked."""
        self.driver = driver
        driver.get(url)
        self.wait(1)

    def wait(self, looks: int) -> None:
        """Wait until the page has looked so often."""
        WebDriverWait(self.driver, 40).until(
            lambda driver: (
                int(driver.execute_script("return document.body.dataset.looked ?? 0")) >= looks
            )
        )

    def enter(self, token: str) -> None:
        """Give the page a token and wait for what it finds."""
        looks = int(self.driver.execute_script("return document.body.dataset.looked"))
        self.driver.find_element("id", "token").send_keys(token)
        self.driver.find_element("id", "use").click()
        self.wait(looks + 1)

    def states(self) -> dict[str, str]:
        """What was checked, and how it came out."""
        script = """return Object.fromEntries([...document.querySelectorAll('#checks li')].map(
            line => [line.children[1].textContent, line.dataset.state]))"""
        found = self.driver.execute_script(script)
        assert isinstance(found, dict)
        return found

    def text(self, name: str) -> str:
        """The visible text of a part."""
        return str(self.driver.find_element("id", name).text)

    def complaints(self) -> list[str]:
        """What the browser's console has: errors, and violations of the policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """The real service."""
    running = Running(tmp_path)
    yield running
    running.close()


@pytest.fixture
def proxy(running: Running) -> Iterator[Proxy]:
    """What stands before it."""
    proxy = Proxy(running.port)
    yield proxy
    proxy.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Any]:
    """A browser with a profile of its own."""
    options = webdriver.ChromeOptions()
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def open_policy(browser: Browser) -> str:
    """Open the one policy; returns what is shown of it."""
    browser.driver.find_element("css selector", "#policies summary").click()
    WebDriverWait(browser.driver, 20).until(
        lambda driver: driver.find_elements("css selector", "#policies .tree .mark")
    )
    return str(browser.driver.find_element("css selector", "#policies .tree").text)


@pytest.mark.spec("KH-30", "KH-31")
def test_the_page_shows_and_verifies(running: Running, driver: Any) -> None:
    """Without a token who it is; with one everything, each entry checked, nothing refused."""
    browser = Browser(driver, running.url)
    assert "SIMULATION" in browser.text("simulation").upper()
    assert browser.text("domain") == "example.test"
    assert browser.states()["Who the service is"] == "open"
    assert browser.states()["The checkpoint of 2 entries is signed by that identity"] == "good"
    assert "digits" not in driver.page_source
    token = running.token()
    browser.enter(token)
    assert set(browser.states().values()) == {"good"}
    assert browser.text("alarm") == ""
    assert "lab / digits" in browser.text("policies")
    assert "data" in browser.text("volumes")
    assert "policy.apply" in browser.text("log")
    assert "these bytes have this hash" in open_policy(browser)
    assert token not in driver.page_source
    script = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert driver.execute_script(script) == '[{},{},""]'
    assert browser.complaints() == []


@pytest.mark.spec("KH-30")
def test_hostile_text_is_text(running: Running, proxy: Proxy, driver: Any) -> None:
    """Names that are markup are shown as they are, wherever they come from."""

    def plant(path: str, body: bytes) -> bytes:
        if path.startswith(("/v1/policies", "/v1/volumes", "/v1/service")):
            found = json.loads(body)
            for record in found.get("policies", []):
                record["name"] = HOSTILE
            for record in found.get("volumes", []):
                record["kind"] = HOSTILE
            if "log_origin" in found:
                found["trust_domain"] = HOSTILE
            return json.dumps(found).encode()
        return body

    proxy.change = plant
    browser = Browser(driver, proxy.url)
    browser.enter(running.token())
    assert HOSTILE in browser.text("policies")
    assert HOSTILE in browser.text("volumes")
    assert browser.text("domain") == HOSTILE
    assert driver.title == f"{HOSTILE}: key service"
    assert driver.find_elements("css selector", "main script, main img, header script") == []
    assert browser.complaints() == []


def flip_first_digit(record: dict[str, Any], name: str) -> None:
    """Change one bit of a hex text."""
    text = record[name]
    record[name] = f"{int(text[0], 16) ^ 1:x}{text[1:]}"


def changed(part: str, change: Callable[[dict[str, Any]], None]) -> Change:
    """Change the JSON of answers under a path."""

    def tamper(path: str, body: bytes) -> bytes:
        if not path.startswith(part):
            return body
        found = json.loads(body)
        change(found)
        return json.dumps(found).encode()

    return tamper


def proof_node(record: dict[str, Any]) -> None:
    """Another node in the proof."""
    record["proof"] = ["00" * 32 for _ in record["proof"]]


def entry_byte(record: dict[str, Any]) -> None:
    """The last entry names another subject."""
    leaf = record["entries"][-1]["leaf"]
    record["entries"][-1]["leaf"] = leaf.replace(b"digits".hex(), b"digitz".hex())


def identity(record: dict[str, Any]) -> None:
    """Another service than the token names."""
    record["identity"] = "ed25519:" + "00" * 31 + "01"


@pytest.mark.spec("KH-31")
@pytest.mark.parametrize(
    "case",
    [
        ("/v1/log/proof/inclusion", proof_node, "Each entry shown is in the log"),
        ("/v1/log/entries", entry_byte, "Each entry shown is in the log"),
        ("/v1/service", identity, "The service is the one that your token names"),
    ],
    ids=["proof", "entry", "identity"],
)
def test_what_was_changed_is_shown_as_failed(
    running: Running,
    proxy: Proxy,
    driver: Any,
    case: tuple[str, Callable[[dict[str, Any]], None], str],
) -> None:
    """In its line and in an alarm above everything."""
    part, change, failed = case
    proxy.change = changed(part, change)
    browser = Browser(driver, proxy.url)
    browser.enter(running.token())
    assert [state for what, state in browser.states().items() if what.startswith(failed)] == ["bad"]
    assert failed in browser.text("alarm")


@pytest.mark.spec("KH-31")
def test_a_changed_policy_is_shown_as_failed(running: Running, proxy: Proxy, driver: Any) -> None:
    """And none of it is shown."""
    proxy.change = changed("/v1/policies/", lambda record: flip_first_digit(record, "canonical"))
    browser = Browser(driver, proxy.url)
    browser.enter(running.token())
    shown = open_policy(browser)
    assert "FAILED" in shown
    assert "workloads" not in shown


@pytest.mark.spec("KH-31")
def test_a_log_that_was_put_back_is_shown_as_failed(
    running: Running, proxy: Proxy, driver: Any
) -> None:
    """An older checkpoint, however well signed, and a larger one that is no continuation."""
    older = running.get("/v1/log/checkpoint")[1]
    running.register(b"w" * 16)
    browser = Browser(driver, proxy.url)
    browser.enter(running.token())
    grew = "The log only grew since this page was opened"
    assert browser.states()[grew] == "good"
    proxy.change = lambda path, body: older if path == "/v1/log/checkpoint" else body
    browser.enter(running.token())
    assert browser.states()[grew] == "bad"
    running.register(b"x" * 16)
    proxy.change = changed("/v1/log/proof/consistency", proof_node)
    browser.enter(running.token())
    assert browser.states()[grew] == "bad"
    proxy.change = lambda _path, body: body
    browser.enter(running.token())
    assert browser.states()[grew] == "good"


def test_a_refused_token_is_said(running: Running, driver: Any) -> None:
    """One of another scope, and text that is none."""
    browser = Browser(driver, running.url)
    browser.enter("not a token")
    assert browser.text("token-said") == "That is not a view token."
    browser.enter(running.token("metrics"))
    assert "identity.scope" in browser.text("checks")
    assert browser.text("alarm") == ""
    assert not driver.find_element("id", "log").is_displayed()
