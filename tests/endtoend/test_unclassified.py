"""Unclassified data, over the wire: the alarm on live traffic, and that it can be turned off."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.clusters import EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, one, wait_for

POLICY = """
version: 1
classifications:
  people: [vault.public.people.ssn]
rules:
  - {id: all, effect: allow, actions: [everything]}
"""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, comment text, state text);
INSERT INTO orders SELECT n,
  CASE WHEN n * 37 % 100 < 61 THEN 'write to jane' || n || '@example.com' ELSE 'no ' || n END,
  'sent' FROM generate_series(1, 200) n ON CONFLICT DO NOTHING;
GRANT SELECT ON orders TO {ROLE};
"""


@pytest.fixture
def orders(vault: EmbeddedPostgres, estate: Callable[[], Estate]) -> Iterator[Estate]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        root.execute(SCHEMA)  # type: ignore[arg-type]
    made = estate()
    made.write("policy.yaml", POLICY)
    yield made


def proposals(proxy: Running) -> list[str]:
    return [record["column"] for record in proxy.records("classification_proposed")]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_a_query_becomes_one_proposal(orders: Estate, binary: bool) -> None:
    with orders.serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        for _ in range(8):  # as many as a column's sample needs
            cursor = alice.execute(
                "SELECT id, comment, state FROM orders ORDER BY id", binary=binary
            )
            assert len(cursor.fetchall()) == 200
            time.sleep(0.27)
        record = proxy.recorded("classification_proposed")
        assert record["target"] == "vault" and record["database"] == DATABASE
        assert record["column"] == "public.orders.comment"
        assert record["classification"] == "pii.email"
        assert record["share"] == pytest.approx(0.61, abs=0.06)
        assert 100 <= record["sampled"] <= 200
        for _ in range(4):
            alice.execute("SELECT comment FROM orders", binary=binary)
            time.sleep(0.3)
        assert proposals(proxy) == ["public.orders.comment"]
        proxy.metric_reaches(1, "classifications_proposed_total")
        everything = b"".join(p.read_bytes() for p in proxy.data.rglob("*") if p.is_file())
    assert b"@example.com" not in everything
    assert "@example.com" not in proxy.child.text()


def test_what_is_classified_is_no_news(orders: Estate) -> None:
    with orders.serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        for _ in range(8):
            assert one(alice, "SELECT count(*) FROM orders, pg_sleep(0.001)") == 200
            time.sleep(0.2)
            alice.execute("SELECT ssn FROM people CROSS JOIN generate_series(1, 20)")
        wait_for(lambda: proxy.metric("cells_sampled_total") >= 90, "cells looked at")
        assert proposals(proxy) == []


def test_it_can_be_turned_off(orders: Estate) -> None:
    orders.configuration["limits"] = {"samples_per_second": 0}
    with orders.serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        alice.execute("SELECT comment FROM orders")
        time.sleep(1)
        assert proxy.metric("cells_sampled_total") == 0
        orders.configuration["limits"] = {"samples_per_second": 4}
        orders.save()
        assert proxy.reload()
        alice.execute("SELECT comment FROM orders")
        proxy.recorded("classification_proposed")
