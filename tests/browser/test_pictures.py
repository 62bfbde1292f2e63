"""Pictures of every page, light and dark, desktop and phone, to look at: SCREENSHOTS=dir."""

import os
from pathlib import Path

import pytest

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.pages import PAGES

FOLDER = os.environ.get("SCREENSHOTS", "")


@pytest.mark.skipif(not FOLDER, reason="pictures are taken when SCREENSHOTS names a folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_pictures(come, scheme: str, width: str) -> None:
    folder = Path(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    size = PHONE if width == "phone" else DESKTOP
    options = {"viewport": size, "color_scheme": scheme, "is_mobile": width == "phone"}
    options["device_scale_factor"] = 2 if width == "phone" else 1
    door = come(None, **options)
    door.to("/sign-in").screenshot(path=folder / f"sign-in-{width}-{scheme}.png")
    visitor = come("bob", **options)
    for name, path in PAGES.items():
        page = visitor.to(path)
        if name == "explain":
            page.get_by_role("button", name="Explain").click()
            page.wait_for_selector(".outcome")
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=name != "request")
