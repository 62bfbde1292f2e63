"""The allow-list of functions against the server's own pg_proc."""

import psycopg
import pytest

from appliance.sql import functions
from tests.unit.sql.conftest import Database

# Names that are syntax, are made by the parser, or exist in versions not tested here.
NOT_FUNCTIONS = frozenset(
    [
        "current_catalog",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "greatest",
        "least",
        "localtime",
        "localtimestamp",
        "trim",
        "user",
        "ltrim2",
        "iclikesel",
        "pg_get_backend_idset",
        "xmltext",
    ]
)


def names(connection: psycopg.Connection, where: str) -> set[str]:
    text = (
        "SELECT DISTINCT proname FROM pg_proc"
        f" WHERE pronamespace = 'pg_catalog'::regnamespace AND {where}"
    )
    return {str(row[0]) for row in connection.execute(text.encode())}


def test_what_is_harmless_is_not_also_dangerous() -> None:
    assert not functions.HARMLESS & functions.DANGEROUS.keys()
    assert not functions.HARMLESS & functions.EFFECTS.keys()
    assert not functions.HARMLESS & functions.SECRETS
    assert not any(functions.harmless(name) for name in functions.DANGEROUS)


def test_every_harmless_name_exists(database: Database, database16: Database) -> None:
    known: set[str] = set()
    for server in (database, database16):
        with server.connect() as connection:
            known |= names(connection, "true")
    assert functions.HARMLESS - known - NOT_FUNCTIONS == set()


FAMILIES = (
    "^lo_ _to_xml ^pg_read_ ^pg_ls_ ^pg_logical_ slot ^pg_terminate ^pg_cancel"
    " ^pg_replication_origin advisory ^binary_upgrade ^pg_sleep ^dblink ^pg_promote"
    " ^pg_stat_reset ^pg_restore_ ^pg_clear_ file ^pg_switch _activity"
)


@pytest.mark.parametrize("pattern", FAMILIES.split())
def test_whole_families_are_not_harmless(database: Database, pattern: str) -> None:
    with database.connect() as connection:
        found = names(connection, f"proname ~ '{pattern}'")
    harmless = {name for name in found if functions.harmless(name)}
    assert harmless <= {
        *("pg_relation_filenode", "pg_filenode_relation", "pg_relation_filepath"),
        *("pg_walfile_name", "pg_walfile_name_offset", "pg_split_walfile_name"),
        *("pg_stat_get_db_temp_files", "pg_stat_get_db_conflict_logicalslot"),
    }


def test_nothing_that_takes_a_query_or_cursor_is_harmless(database: Database) -> None:
    with database.connect() as connection:
        found = names(connection, "proargnames && ARRAY['query', 'cursor', 'tbl', 'sqlquery']")
    dangerous = {name for name in found if functions.harmless(name)}
    assert dangerous == set(), dangerous


def test_out_columns_are_the_servers(database: Database) -> None:
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT proname, array_agg(DISTINCT array_to_string(ARRAY("
            " SELECT n FROM unnest(proargnames, proargmodes) AS a (n, m)"
            " WHERE m IN ('o', 'b', 't')), ' '))"
            " FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
            " AND proargmodes IS NOT NULL"
            " GROUP BY proname"
        ).fetchall()
    served = {name: set(found) for name, found in rows}
    for name, columns in functions.OUT_COLUMNS.items():
        assert served[name] == {" ".join(columns)}, name


def test_set_returning_functions_are_known_as_such(database: Database) -> None:
    with database.connect() as connection:
        sets = names(connection, "proretset")
    harmless = {name for name in sets if functions.harmless(name)}
    assert harmless - functions.SET_RETURNING == set()
