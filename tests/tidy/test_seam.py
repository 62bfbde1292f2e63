"""The seam between protocols: who may know that there is a second one.

Everything else of the appliance speaks of databases, dialects and protocols; what is particular to
one of them stands in its own packages, and is registered in tables.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"(?i:mysql|mariadb)|\bMy[A-Z][a-z]\w*")
"""Its names, and our own classes for it (MyCodec)."""
OWN = (
    "_speedups/my",
    "appliance/wire/mysql/",
    "appliance/sql/mysql/",
    "appliance/cli/demo/mariadb",
)
TABLES = (
    "appliance/dataplane/protocols.py",  # what each protocol speaks with; the catalog's loader
    "appliance/config/spoken.py",  # what configuration, command line and people call each
    "appliance/cli/demo/sample.py",  # what the demo can be shown on
)
TEXTS = ("*.py", "*.pyx", "*.pxd", "*.pyi", "*.yaml", "*.html", "*.js", "*.sql")


def sources() -> list[Path]:
    found = [
        path
        for folder in ("appliance", "_speedups")
        for pattern in TEXTS
        for path in (ROOT / folder).rglob(pattern)
    ]
    return [path for path in found if "vendor" not in path.parts]


def said(text: str) -> list[str]:
    return NAMES.findall(text)


def test_nothing_else_knows_of_a_second_protocol() -> None:
    knowing = {
        str(path.relative_to(ROOT)): found
        for path in sources()
        if not str(path.relative_to(ROOT)).startswith(OWN)
        and str(path.relative_to(ROOT)) not in TABLES
        and (found := said(path.read_text("utf-8")))
    }
    assert knowing == {}


def test_what_is_named_here_is_there() -> None:
    relative = {str(path.relative_to(ROOT)) for path in sources()}
    assert relative >= set(TABLES)
    assert all(any(path.startswith(place) for path in relative) for place in OWN)


@pytest.mark.parametrize("text", ["if dialect == 'mysql'", "MariaDB, too", "MyCodec(flags)"])
def test_it_would_be_noticed(text: str) -> None:
    assert said(text)


def test_ordinary_words_are_not_taken_for_it() -> None:
    assert not said("pg_my_temp_schema() is mine, MYSELF, myself")
