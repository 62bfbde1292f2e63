"""Every function of pg_catalog, of every server here, is in `builtins.txt` with what it is taken
for: a new one, or a new overload of one on the allow-list, is seen and read before it is let in.

To write it anew, give `render` the signatures of all servers together.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.sql import functions
from tests.clusters import installed_postgres
from tests.unit.sql.conftest import Database

GOLDEN = Path(__file__).with_name("builtins.txt")
SIGNATURES = """SELECT proname, oidvectortypes(proargtypes) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace"""

Signature = tuple[str, str]


def taken_for(name: str) -> str:
    """harmless, effect (an action that a policy names, whose value is harmless), judged (by its
    arguments), dangerous (an action of its own), or refused (to whoever owes a mask)."""
    if functions.harmless(name):
        return "harmless"
    if name == functions.SET_CONFIG:
        return "judged"
    if name in functions.EFFECTS:
        return "effect"
    return "dangerous" if name in functions.DANGEROUS or name in functions.SECRETS else "refused"


def lines_of(signatures: Iterable[Signature]) -> set[str]:
    """Overloads of what is on the allow-list each on a line, the others by name."""
    return {
        f"{kind} {name}({arguments})" if kind in ("harmless", "effect") else f"{kind} {name}"
        for name, arguments in signatures
        for kind in (taken_for(name),)
    }


def render(signatures: Iterable[Signature]) -> str:
    """The golden file's text."""
    return "\n".join(sorted(lines_of(signatures))) + "\n"


def signatures_of(connection: psycopg.Connection) -> list[Signature]:
    return connection.execute(SIGNATURES).fetchall()


@pytest.fixture(scope="module")
def golden() -> set[str]:
    return set(GOLDEN.read_text().splitlines())


def test_none_is_new(any_database: Database, golden: set[str]) -> None:
    with any_database.connect() as connection:
        assert lines_of(signatures_of(connection)) - golden == set()


@pytest.fixture(scope="module")
def own_server(server_folder: Path) -> Iterator[psycopg.Connection]:
    bin_dir = installed_postgres()
    if bin_dir is None:
        pytest.skip("no PostgreSQL of its own on this machine: apt-get install postgresql")
    with (
        EmbeddedPostgres(server_folder / "builtins", bin_dir=bin_dir) as server,
        psycopg.connect(server.uri()) as connection,
    ):
        yield connection


def test_none_is_new_on_the_machines_own(own_server: psycopg.Connection, golden: set[str]) -> None:
    assert lines_of(signatures_of(own_server)) - golden == set()


def test_the_file_is_what_the_lists_say(golden: set[str]) -> None:
    """A name that moves from one list to another moves here too."""
    for line in golden:
        kind, _, rest = line.partition(" ")
        assert taken_for(rest.partition("(")[0]) == kind, line


NEVER = (
    "_send _recv _to_xml query_to_xml ts_stat ts_rewrite lo_ loread lowrite pg_read_ pg_ls_"
    " pg_logical_ set_config pg_sleep pg_terminate pg_cancel slot pg_replication_origin currtid"
    " pg_export_snapshot pg_current_logfile binary_upgrade cursor_to_ current_query"
)


@pytest.mark.parametrize("part", NEVER.split())
def test_what_is_never_harmless(golden: set[str], part: str) -> None:
    found = {line for line in golden if line.startswith("harmless ") and part in line.split("(")[0]}
    known = {"pg_stat_get_db_conflict_logicalslot", "pg_is_wal_replay_paused"}
    assert {line.split()[1].partition("(")[0] for line in found} <= known


def test_nothing_harmless_takes_or_gives_the_servers_own_bytes(
    any_database: Database,
) -> None:
    """Types' input and output functions, handlers, triggers, and what takes `internal`, are for the
    server to call."""
    with any_database.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
            " AND (prorettype IN ('cstring'::regtype, 'internal'::regtype, 'trigger'::regtype,"
            " 'event_trigger'::regtype) OR proargtypes::oid[] && ARRAY['cstring'::regtype,"
            " 'internal'::regtype]::oid[])"
        ).fetchall()
    assert {name for (name,) in rows if functions.harmless(name)} == set()


def test_nothing_harmless_runs_sql_in_its_body(any_database: Database) -> None:
    """Built-in functions in SQL that read a relation read the system's descriptions only."""
    with any_database.connect() as connection:
        rows = connection.execute(
            "SELECT proname, coalesce(pg_get_function_sqlbody(oid), prosrc) FROM pg_proc"
            " WHERE pronamespace = 'pg_catalog'::regnamespace"
            " AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql')"
        ).fetchall()
    reading = {n for n, body in rows if functions.harmless(n) and "from" in body.lower().split()}
    assert reading <= {
        *("col_description", "obj_description", "shobj_description"),
        *("ts_debug", "substring"),
    }
