"""Our way into a real MariaDB: methods, the TLS ladder, statements of ours, cancelling."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.config.schema import Role, TargetConfig, TargetTls, TargetTlsMode
from appliance.dataplane.connections import Login, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.upstream_steps import SteppedUpstreams
from appliance.wire.mysql import simple, upstream_login
from tests import mariadb as servers

UPSTREAMS = SteppedUpstreams(upstream_login.log_in, simple.rows_of, simple.cancel, simple.QUIT)


def target(server: EmbeddedMariaDB, mode: TargetTlsMode, ca: Path | None = None) -> TargetConfig:
    return TargetConfig(
        name="t",
        host="localhost" if mode is TargetTlsMode.VERIFY_FULL else "127.0.0.1",
        port=server.port,
        dialect="mysql",
        tls=TargetTls(mode=mode, ca=ca),
        roles=(Role(principals=("*",), user="u"),),
    )


@contextlib.asynccontextmanager
async def logged_in(
    server: EmbeddedMariaDB, login: Login, mode: TargetTlsMode, ca: Path | None = None
) -> AsyncIterator[Upstream]:
    async with asyncio.timeout(20):
        upstream = await UPSTREAMS.open_upstream(target(server, mode, ca), login, "", {})
    try:
        yield upstream
    finally:
        upstream.side.write(simple.QUIT)
        upstream.side.close()
        async with asyncio.timeout(10):  # under TLS it waits for the other end
            while not upstream.side.lost:  # noqa: ASYNC110 - it tells nobody here
                await asyncio.sleep(0.01)


def superuser(server: EmbeddedMariaDB) -> Login:
    return Login("root", server.password.encode())


@pytest.mark.parametrize("mode", list(TargetTlsMode))
async def test_the_ladder(mariadb: EmbeddedMariaDB, mode: TargetTlsMode) -> None:
    assert mariadb.tls is not None
    ca = mariadb.tls.authority if mode.value.startswith("verify") else None
    async with logged_in(mariadb, superuser(mariadb), mode, ca) as upstream:
        assert (upstream.side.ssl is not None) == (mode is not TargetTlsMode.DISABLE)
        rows = await UPSTREAMS.query(upstream, "SELECT CONNECTION_ID(), NULL, 'ä'")
        assert rows == [(str(upstream.pid), None, "ä")]
        assert upstream.met is not None and "MariaDB" in upstream.met.version
        assert upstream.parameters["sql_mode"] and upstream.parameters["autocommit"] == "1"


async def test_a_certificate_of_nobody_we_know(mariadb: EmbeddedMariaDB) -> None:
    with pytest.raises(UpstreamUnreachable, match="certificate is not acceptable"):
        async with logged_in(mariadb, superuser(mariadb), TargetTlsMode.VERIFY_FULL):
            pass


@pytest.mark.parametrize("via", ["mysql_native_password", "ed25519"])
async def test_methods(mariadb: EmbeddedMariaDB, via: str) -> None:
    if via == "ed25519" and "auth_ed25519" not in servers.plugins():
        pytest.skip("no auth_ed25519 here: it is in Debian's mariadb-server")
    servers.run(
        mariadb,
        f"CREATE OR REPLACE USER m@'%' IDENTIFIED VIA {via} USING PASSWORD('ge heim')",
    )
    async with logged_in(mariadb, Login("m", b"ge heim"), TargetTlsMode.REQUIRE) as upstream:
        assert (await UPSTREAMS.query(upstream, "SELECT CURRENT_USER()")) == [("m@%",)]
    with pytest.raises(UpstreamRefused) as caught:
        async with logged_in(mariadb, Login("m", b"falsch"), TargetTlsMode.REQUIRE):
            pass
    assert caught.value.fields["N"] == "1045"


async def test_a_statement_that_fails_leaves_the_connection(mariadb: EmbeddedMariaDB) -> None:
    async with logged_in(mariadb, superuser(mariadb), TargetTlsMode.PREFER) as upstream:
        with pytest.raises(UpstreamRefused) as caught:
            await UPSTREAMS.query(upstream, "SELECT nothing FROM nowhere.nothing")
        assert caught.value.fields["C"] == "42S02"
        assert await UPSTREAMS.query(upstream, "SELECT 1") == [("1",)]
        assert await UPSTREAMS.query(upstream, "SET @a = 1") == []


async def test_long_answers(mariadb: EmbeddedMariaDB) -> None:
    """More than one packet holds, and more than is kept unread."""
    async with logged_in(mariadb, superuser(mariadb), TargetTlsMode.PREFER) as upstream:
        length = (1 << 24) + 5
        ((value,),) = await UPSTREAMS.query(upstream, f"SELECT REPEAT('x', {length})")
        assert value is not None and len(value) == length
        rows = await UPSTREAMS.query(upstream, "SELECT seq FROM mysql.seq_1_to_5000")
        assert len(rows) == 5000


async def test_cancelling(mariadb: EmbeddedMariaDB) -> None:
    login = superuser(mariadb)
    where = target(mariadb, TargetTlsMode.PREFER)
    async with logged_in(mariadb, login, TargetTlsMode.PREFER) as upstream:
        sleeping = asyncio.create_task(UPSTREAMS.query(upstream, "SELECT SLEEP(30)"))
        async with logged_in(mariadb, login, TargetTlsMode.PREFER) as other:
            text = f"SELECT info FROM information_schema.processlist WHERE id = {upstream.pid}"
            for _ in range(1_000):
                if await UPSTREAMS.query(other, text) == [("SELECT SLEEP(30)",)]:
                    break
                await asyncio.sleep(0.01)
        assert await UPSTREAMS.cancel(where, login, upstream)
        with pytest.raises(UpstreamRefused) as caught:
            await sleeping
        assert caught.value.fields["N"] == "1317"
        assert await UPSTREAMS.query(upstream, "SELECT 1") == [("1",)]
        assert await UPSTREAMS.cancel(where, login, upstream)  # nothing runs: no error
