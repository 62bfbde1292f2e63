"""Texts that differ only in constants which are said to be unread have the same facts: over all the
corpora, with random values."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from _speedups.sqllex import fold
from appliance.model.facts import Facts
from tests.unit.sql.conftest import Database

CORPORA = sorted((Path(__file__).parents[2] / "corpus" / "postgres").glob("*.jsonl"))
VALUES = ("", "x", "%", "_%", "1", "role", "search_path", "now", "{a,b}", "O'Neil", "t", "%s", "$1")
INTEGERS = (0, 1, 2, 10, 999_999_999)

ALIKE = [
    "select n from events where id = 5",
    "select email from clients where id in (1, 2) and email <> 'x' and name between 'a' and 'b'",
    "select c.id from clients c join orders o on o.client_id = c.id and o.id > 5 where 7 < c.id",
    "with x as (select id from clients where id = 3) select * from x",
    "select id from clients where id = 3 union select id from orders where note = 'x' order by id",
    "select id from clients where exists (select from orders where client_id = 3)",
]
READ = [
    "select n, 5 from events where id = 5",
    "select n from events where id = 5 limit 10",
    "select n from events where id = 5 order by 1",
    "select n from events where id = 5 group by 1",
    "select n from events where 1 = 1",
    "select n from events where id = 5 + 1",
    "select n from events where id = '5'::int",
    "select n from events where kind like 'a%'",
    "select n from events where kind = lower('A')",
    "select n from events where id = 5 and n = nextval('events_id_seq')",
    "select n from events tablesample system (5) where id = 5",
    "select count(*) filter (where id = 5), (select 3) from events",
    "select set_config(name, 'x', false) from pg_settings where name = 'role'",
    "select 'x' = kind from events",
    "delete from events where id = 5",
    "with d as (delete from events where id = 5 or id <> 5 returning id) select id from d",
    "update events set n = 3 where id = 5",
    "insert into events (n) values (5)",
    "select U&\"\\006e\" from events where kind = 'x'",
    "select n from events where id = -5",
    "select n from events where id = 5000000000",
    "select n from events where kind = E'a'",
    "select n from events where kind = $$a$$",
    "select n from events; select n from events where id = 5",
]


def places(facts: Facts) -> tuple[int, ...]:
    return facts.statements[0].unread_constants if len(facts.statements) == 1 else ()


def is_kept(text: str, facts: Facts) -> bool:
    """As `flow.Judge` does it."""
    folded = fold(text.encode())
    return folded is not None and bool(places(facts)) and folded[1] == places(facts)


@pytest.mark.parametrize("text", ALIKE)
def test_only_compared_with_columns(database: Database, text: str) -> None:
    assert is_kept(text, database.facts(text))
    for other in varied(text, random.Random(3), 5):
        assert alike(database.facts(text)) == alike(database.facts(other)), other


@pytest.mark.parametrize("text", READ)
def test_everything_else_may_be_read(database: Database, text: str) -> None:
    assert not is_kept(text, database.facts(text))


def alike(facts: Facts) -> Facts:
    """Without what says where things stand."""
    (statement,) = facts.statements
    bare = msgspec.structs.replace(statement, span=(0, 0), unread_constants=())
    return msgspec.structs.replace(facts, statements=(bare,))


def varied(text: str, source: random.Random, count: int) -> Iterator[str]:
    """The text with other values in the places that a key leaves out."""
    raw = text.encode()
    folded = fold(raw)
    assert folded is not None
    pieces = folded[0].split(b"\0")
    for _ in range(count):
        made = [pieces[0]]
        for piece in pieces[1:]:
            string = "'" + source.choice(VALUES).replace("'", "''") + "'"
            value = string if piece[:1] == b"s" else str(source.choice(INTEGERS))
            made.append(value.encode() + piece[1:])
        other = b"".join(made).decode()
        again = fold(other.encode())
        assert again is not None
        assert again[0] == folded[0]
        yield other


def texts() -> Iterator[str]:
    for file in CORPORA:
        for line in file.read_text().splitlines():
            for steps in _steps(json.loads(line)):
                yield from (step["q"] for step in steps if "q" in step)


def _steps(item: dict[str, object]) -> Iterator[list[dict[str, str]]]:
    for key in ("steps", "pair"):
        found = item.get(key)
        if isinstance(found, list) and found:
            yield from found if isinstance(found[0], list) else [found]


def test_the_corpora(database: Database) -> None:
    source = random.Random(20261126)
    kept = 0
    for text in dict.fromkeys(texts()):
        facts = database.facts(text)
        if not is_kept(text, facts):
            continue
        kept += 1
        for other in varied(text, source, 6):
            assert alike(facts) == alike(database.facts(other)), (text, other)
    assert kept > 50
