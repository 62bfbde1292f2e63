"""What a text leaves in its database session, by its facts."""

import pytest

from appliance.model.catalog import Relation, SessionSettings
from appliance.model.decision import NO_TRUST
from appliance.model.limits import Limits
from appliance.session.pinning import needs, released
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.playbook.world import catalog

CASES = {
    "SELECT * FROM notes": set(),
    "INSERT INTO notes VALUES (1, 'x') RETURNING id": set(),
    "UPDATE notes SET body = '' WHERE id = 1": set(),
    "BEGIN": set(),
    "BEGIN; SET LOCAL work_mem = '1MB'; COMMIT": set(),
    "SET TRANSACTION READ ONLY": set(),
    "SET work_mem = '1MB'": {"settings"},
    "SET ROLE other": {"identity"},
    "SET SESSION AUTHORIZATION other": {"identity"},
    "SET seed = 0.5": {"identity"},
    "SELECT set_config('Role', 'other', false)": {"identity"},
    "SELECT set_config($1, 'other', false)": {"code"},
    "SET TIME ZONE 'UTC'": {"settings"},
    "SET LOCAL ROLE other": set(),
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": {"settings"},
    "RESET work_mem": set(),
    "RESET ALL": set(),
    "SELECT set_config('work_mem', '1MB', true)": set(),
    "SELECT set_config('work_mem', '1MB', false)": {"settings"},
    "SELECT set_config('work_mem', '1MB', $1)": {"settings"},
    "SELECT set_config('work_mem', '1MB', id = 1) FROM notes": {"settings"},
    "SELECT pg_advisory_lock(1)": {"advisory"},
    "SELECT pg_catalog.pg_try_advisory_lock_shared(1, 2)": {"advisory"},
    "SELECT id FROM notes WHERE pg_try_advisory_lock(id)": {"advisory"},
    "SELECT pg_advisory_xact_lock(1)": set(),
    "SELECT pg_advisory_unlock(1)": set(),
    "SELECT setseed(0.5)": {"seed"},
    "SELECT random()": set(),
    "LISTEN a": {"listen"},
    "UNLISTEN a": set(),
    "NOTIFY a": set(),
    "CREATE TEMP TABLE t (id int)": {"temporary"},
    "CREATE TEMP TABLE t AS SELECT * FROM notes": {"temporary"},
    "SELECT * INTO TEMP t FROM notes": {"temporary"},
    "DECLARE c CURSOR FOR SELECT 1": set(),
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1": {"cursor"},
    "PREPARE p AS SELECT 1": {"prepared"},
    "EXECUTE p": {"code"},
    "EXPLAIN EXECUTE p": {"code"},
    "CREATE TABLE t AS EXECUTE p": {"code"},
    "PREPARE TRANSACTION 'x'": {"code"},
    "DEALLOCATE ALL": set(),
    "DISCARD ALL": set(),
    "LOCK notes": set(),
    "TRUNCATE notes": set(),
    "COPY notes FROM STDIN": set(),
    "EXPLAIN SELECT * FROM notes": set(),
    "DO $$ BEGIN END $$": {"code"},
    "CALL p()": {"code"},
    "LOAD 'x'": {"code"},
    "CREATE TABLE t (id int)": {"code"},
    "SELECT unknown(1)": {"code"},
    "SELECT * FROM nowhere": {"code"},
    "SELECT pg_sleep(1)": set(),
    "SELECT pg_current_wal_lsn()": set(),
    "SELECT dblink_connect('x')": {"code"},
    "SELECT lo_open(1, 2)": {"code"},
    "SELECT * FROM pg_prepared_statement()": {"code"},
    "SELECT * FROM pg_get_backend_memory_contexts()": {"code"},
    "SELECT query_to_xml('LISTEN a', true, true, '')": {"code"},
    "SELECT 1; LISTEN a; SET work_mem = '1MB'": {"listen", "settings"},
    "this is no SQL": {"code"},
}
GONE = {
    "UNLISTEN *": {"listen"},
    "UNLISTEN a": set(),
    "RESET ALL": {"settings"},
    "RESET work_mem": set(),
    "CLOSE ALL": {"cursor"},
    "CLOSE c": set(),
    "DEALLOCATE ALL": {"prepared"},
    "DISCARD ALL": {"everything"},
    "DISCARD TEMP": set(),
    "SELECT pg_advisory_unlock_all()": {"advisory"},
    "SELECT pg_advisory_unlock_all() WHERE false": set(),
    "SELECT pg_advisory_unlock_all() FROM notes": set(),
    "SELECT pg_advisory_unlock_all(), 1": set(),
    "SELECT pg_advisory_unlock_all() LIMIT 0": set(),
    "SELECT CASE WHEN false THEN pg_advisory_unlock_all() END": set(),
}
SETTINGS = SessionSettings(database="shop", search_path=("public",), role="app", certain=True)


def lineage(*more: Relation) -> CatalogLineage:
    return CatalogLineage(catalog("1", *more))


@pytest.mark.parametrize("text", CASES)
def test_needs(text: str) -> None:
    found = lineage()
    facts = analyse(text.encode(), found, SETTINGS, Limits())
    assert needs(facts, found, NO_TRUST) == CASES[text]


@pytest.mark.parametrize("text", GONE)
def test_released(text: str) -> None:
    assert released(analyse(text.encode(), lineage(), SETTINGS, Limits())) == GONE[text]


def test_without_a_catalog_nothing_with_a_name_in_it_is_known() -> None:
    for text, expected in (("SELECT * FROM notes", {"code"}), ("SELECT f()", {"code"})):
        assert needs(analyse(text.encode(), None, SETTINGS, Limits()), None, NO_TRUST) == expected


def test_a_table_with_rules_may_do_anything() -> None:
    ruled = Relation(16_999, "public", "ruled", "r", (), has_rules=True)
    found = lineage(ruled)
    facts = analyse(b"INSERT INTO ruled DEFAULT VALUES", found, SETTINGS, Limits())
    assert needs(facts, found, NO_TRUST) == {"code"}
