"""Pictures of every page, light and dark, desktop and phone, to look at.

Not collected unless SCREENSHOTS names a folder.
"""

import os
from pathlib import Path

import pytest

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.pages import PAGES

FOLDER = Path(os.environ["SCREENSHOTS"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_pictures(come, scheme: str, width: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    size = PHONE if width == "phone" else DESKTOP
    options = {"viewport": size, "color_scheme": scheme, "is_mobile": width == "phone"}
    options["device_scale_factor"] = 2 if width == "phone" else 1
    door = come(None, **options)
    door.to("/sign-in").screenshot(path=FOLDER / f"sign-in-{width}-{scheme}.png")
    visitor = come("bob", **options)
    for name, path in PAGES.items():
        page = visitor.to(path)
        if name == "explain":
            page.get_by_role("button", name="Explain").click()
            page.wait_for_selector(".outcome")
        page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png", full_page=name != "request")
