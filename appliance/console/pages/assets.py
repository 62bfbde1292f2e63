"""The console's scripts and style sheets: files of the package, served as they are.

Used by templates (`url`) and `pages`. Rule: an address changes with the content, so that no browser
shows a new page with an old sheet.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parents[1] / "static"
ROOT = "/static"


def mount() -> Mount:
    return Mount(ROOT, StaticFiles(directory=FOLDER), name="static")


@cache
def url(name: str) -> str:
    """Raises OSError when there is no such file."""
    return f"{ROOT}/{name}?v={sha256((FOLDER / name).read_bytes()).hexdigest()[:10]}"
