"""What a server is asked about a statement is planned a few times per connection, not each time:
planning it costs several times what running it does, on the very server that it spares work.
"""

import psycopg
import pytest
from psycopg.pq import ExecStatus

from appliance.sql.stamps import (
    CHECK_CALLS_QUERY,
    CHECK_QUERY,
    CHECK_TYPES,
    NO_POSITION,
    PROOF_CALLS_QUERY,
    PROOF_QUERY,
    PROOF_TYPES,
)
from tests.clusters import EmbeddedPostgres

BELIEVED = b'"$user", public\nnone\npostgres\non'
CUSTOM_MAX = 5
"""A server tries that many before it compares (plancache.c, choose_custom_plan)."""


@pytest.mark.parametrize("called", [b"{}", b"{upper,=}"], ids=["calls nothing", "calls"])
@pytest.mark.parametrize(
    ("check", "proof"),
    [(CHECK_QUERY, PROOF_QUERY), (CHECK_CALLS_QUERY, PROOF_CALLS_QUERY)],
    ids=["built in", "somebody's"],
)
@pytest.mark.parametrize("version", ["postgres", "postgres16"])
def test_its_plan_is_kept(
    request: pytest.FixtureRequest, version: str, check: str, proof: str, called: bytes
) -> None:
    server: EmbeddedPostgres = request.getfixturevalue(version)
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS plan_kept (id int)")
        asked = connection.execute("SELECT 'plan_kept'::regclass::oid").fetchone()
        assert asked is not None
        names, oids = b"{plan_kept}", b"{%d}" % asked
        raw, none = connection.pgconn, NO_POSITION.encode()
        raw.prepare(b"check", check.encode(), CHECK_TYPES)
        raw.prepare(b"proof", proof.encode(), PROOF_TYPES)
        for _ in range(CUSTOM_MAX + 3):
            told = raw.exec_prepared(b"check", [names, oids, none, none, BELIEVED, called])
            assert told.status == ExecStatus.TUPLES_OK, told.error_message
            _, oldest, _, found = (told.get_value(0, 0) or b"").split(b"/", 3)
            told = raw.exec_prepared(
                b"proof", [names, oids, none, found, BELIEVED, called, b"", oldest]
            )
            assert told.status == ExecStatus.TUPLES_OK, told.error_message
        plans = connection.execute("SELECT custom_plans FROM pg_prepared_statements").fetchall()
        connection.execute("DROP TABLE plan_kept")
    assert plans == [(CUSTOM_MAX,)] * 2
