"""What a governed statement gives on MariaDB is what the client's text gives on the masked twin, or
a refusal: reads, writes and what they leave behind."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.demo import mariadb as programs
from tests.differential.mysql.twin import Sides
from tests.mariadb import running

HERE = Path(__file__).parent
ATTACKS = HERE.parents[1] / "corpus/mysql/attacks.jsonl"
TABLES = (
    "crm.customers",
    "hr.employees",
    "crm.secrets",
    "crm.patients",
    "crm.orders",
    "crm.order_items",
    "crm.events",
    "scratch.notes",
)
REFUSED_MAX = 14
"""Of `statements.sql`: locking reads, full-text search, calls that nobody knows, an index of
masked columns named by a hint, and what can not be parsed."""
GIVEN = re.compile(r"INSERT INTO secrets .* VALUES|REPLACE INTO secrets")
"""Writes of the client's own values, which only the raw server's answer hides from it."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    if programs.programs() is None:
        pytest.skip("no MariaDB on this machine: scripts/mariadb.sh")
    folder = tmp_path_factory.mktemp("twin")
    with running(folder / "raw") as raw, running(folder / "twin") as twin:
        both = Sides(raw, twin)
        yield both
        both.close()


def texts(name: str) -> list[str]:
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("--")]


def test_reads(sides: Sides) -> None:
    different, refused, ways = [], [], set()
    for text in texts("statements.sql"):
        governed = sides.governed(text)
        ways.add(governed.how)
        if governed.how == "refused":
            refused.append((text, governed.why))
        elif governed.given != (direct := sides.direct(text)).given:
            different.append((text, governed, direct))
        sides.back()
    assert not different
    assert len(refused) <= REFUSED_MAX, refused
    assert {"wire", "source"} <= ways


def test_attacks(sides: Sides) -> None:
    """Of the corpus, those that are one query: none gives more than the twin."""
    different, answered = [], 0
    for text in attacks():
        governed = sides.governed(text)
        if governed.how != "refused":
            direct = sides.direct(text)
            answered += 1
            if governed.given != direct.given and not _names_aliases(text):
                different.append((text, governed, direct))
        sides.back()
    assert not different
    assert answered > 100


def attacks() -> Iterator[str]:
    for line in ATTACKS.read_text().splitlines():
        steps = json.loads(line).get("steps", [])
        text = str(steps[0].get("q", "")) if len(steps) == 1 else ""
        if re.match(r"\s*(\(|SELECT|WITH|TABLE|VALUES)", text, re.IGNORECASE) and not re.search(
            "SLEEP|BENCHMARK|RAND|UUID|NOW|CONNECTION_ID|SYSTEM_TIME", text, re.IGNORECASE
        ):
            yield text


def _names_aliases(text: str) -> bool:
    return text.upper().startswith("EXPLAIN")


def test_writes(sides: Sides) -> None:
    different, refused = [], 0
    for text in texts("writes.sql"):
        governed = sides.governed(text)
        if governed.how == "refused":
            refused += 1
            sides.back()
            continue
        direct = sides.direct(text)
        left = {table: (sides.held(table, True), sides.held(table, False)) for table in TABLES}
        sides.back()
        if GIVEN.search(text):
            assert governed.count == direct.count
        elif governed.given != direct.given or any(one != other for one, other in left.values()):
            different.append((text, governed, direct))
    assert not different
    assert refused <= 6
