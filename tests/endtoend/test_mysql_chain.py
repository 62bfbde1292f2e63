"""Sallyport behind Sallyport: our way into a server that asks for caching_sha2_password (which no
MariaDB does), fast and full, over TLS and under RSA."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests import clusters
from tests.clusters import Authority, Sallyport


@pytest.mark.parametrize("secure", [True, False])
def test_both_ends_are_ours(
    mariadb: EmbeddedMariaDB, authority: Authority, tmp_path: Path, secure: bool
) -> None:
    leaf = authority.issue("chained", "127.0.0.1", "localhost")
    offered = ("--tls-certificate", leaf.certificate, "--tls-key", leaf.key) if secure else ()
    wanted = f"verify-full&sslrootcert={authority.certificate}" if secure else "disable"
    database = f"mysql://root:{mariadb.password}@127.0.0.1:{mariadb.port}/mysql"
    with ExitStack() as stack:
        for name in ("inner", "outer"):
            (tmp_path / name).mkdir()
        inner = stack.enter_context(
            clusters.sallyport_try(f"{database}?sslmode=require", tmp_path / "inner", *offered)
        )
        uri = f"mysql://root:{mariadb.password}@127.0.0.1:{inner.port}/mysql?sslmode={wanted}"
        outer = stack.enter_context(clusters.sallyport_try(uri, tmp_path / "outer"))
        for _ in range(2):  # full, then fast
            assert _one(outer, mariadb.password) == ((42,),)
    text = "".join(p.read_text() for p in (tmp_path / "inner").rglob("*.ndjson"))
    assert text.count('"auth":"caching-sha2"') >= 2
    assert text.count(f'"tls":{str(secure).lower()}') >= 2


def _one(proxy: Sallyport, password: str) -> Any:
    connection = pymysql.connect(
        host="127.0.0.1", port=proxy.port, user="root", password=password, ssl_disabled=True
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 40 + %s", (2,))
        return cursor.fetchall()
