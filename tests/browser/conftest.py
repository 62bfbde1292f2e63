"""One chromium (Debian's) a module and one console for the session; each test has a browser
context.

A page that writes an error to its console, breaks the content security policy, asks for a file that
is not there or throws fails its test.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.stage import PASSWORD, Stage

collect_ignore = [] if os.environ.get("SCREENSHOTS") else ["test_pictures.py"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
EXPECTED = "the server responded with a status of 4"
"""Chromium's own line for a refused form (403, 404, 422)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module, because playwright's own event loop runs on in this thread as long as it is
    open, and no other test could run one.
    """
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (scripts/test-programs.sh)")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield made
        made.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, str]]:
    stage = Stage(tmp_path_factory.mktemp("console"))
    url = stage.start()
    yield stage, url
    stage.stop()


@pytest.fixture
def stage(running: tuple[Stage, str]) -> Stage:
    running[0].call(running[0].fill)
    return running[0]


class Visitor:
    """Somebody at a browser. `complaints`: whatever their pages complained of."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.complaints: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message) -> None:
        if message.type in {"error", "warning"} and EXPECTED not in message.text:
            self.complaints.append(message.text)

    def to(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="load")
        return self.page

    def sign_in(self, name: str = "bob", next: str = "/", password: str = PASSWORD) -> "Visitor":
        page = self.to(f"/sign-in?next={next}")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return self


@pytest.fixture
def come(browser: Browser, running: tuple[Stage, str], stage: Stage):
    """`come(name)` -> a Visitor who is signed in; `come(None)` is not."""
    visitors: list[Visitor] = []
    cookies: dict[str, list] = running[0].cookies

    def came(name: str | None = "bob", **options) -> Visitor:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB"} | options)
        visitor = Visitor(context, running[1])
        visitors.append(visitor)
        if name is None:
            return visitor
        if name not in cookies:
            cookies[name] = visitor.sign_in(name).context.cookies()
        context.add_cookies(cookies[name])
        return visitor

    yield came
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors] == [[] for _ in visitors]


VENDOR = Path(__file__).parent / "vendor"
