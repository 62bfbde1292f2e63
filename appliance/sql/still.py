"""What is said to a server so that nobody can change its schema for a while, and to learn whether
somebody wants to.

Used by `dataplane/schema_lease` through `dataplane/protocols`. Whoever changes a schema writes rows
of system catalogs, and takes ROW EXCLUSIVE on the catalog first (`CatalogTupleInsert` and its like
are called with relations opened so; so is an UPDATE of one by a superuser): SHARE on them keeps it
waiting, and nobody who only reads. Such a lock of a writer does not last until its transaction
ends, so what others had already written when the locks were had is over only when their
transactions are.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module.

CATALOGS = (
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_authid",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_depend",
    "pg_enum",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_language",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_range",
    "pg_rewrite",
    "pg_statistic_ext",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
)
"""All that the meaning of a statement may depend on; those that `stamps` reads are among them."""

REMEDY = (
    "the database user that reads the catalog has to be a superuser, or (PostgreSQL 17 and later) a"
    " member of pg_maintain, and the server no standby; statements are looked after one by one"
)
BEGIN = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY"
LOCKS = f"LOCK TABLE {', '.join(f'pg_catalog.{n}' for n in CATALOGS)} IN SHARE MODE NOWAIT"
"""Superusers may, and from PostgreSQL 17 on members of pg_maintain. It never waits: who waits
while it holds some of them can be waited for by somebody who has others."""
END = "ROLLBACK"
OWN_PROCESS = "pg_catalog.pg_backend_pid()"
OWN_NUMBER = f"SELECT {OWN_PROCESS}"
SERVER = """SELECT pg_catalog.concat(CAST(pg_catalog.date_part('epoch',
    pg_catalog.pg_postmaster_start_time()) OPERATOR(pg_catalog.*) 1000000 AS pg_catalog.int8), ' ',
    pg_catalog.pg_is_in_recovery())"""
"""-> which server, and which life of it, this session is on."""

_OIDS = f"""ANY (CAST(ARRAY[{
    ", ".join(f"'pg_catalog.{name}'" for name in CATALOGS)
}] AS pg_catalog.regclass[]))"""
_HERE = f"""l.locktype = 'relation' AND l.relation = {_OIDS} AND l.database IN (0,
  (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))"""

_WATCH = f"""SELECT pg_catalog.count(*) FILTER (WHERE NOT l.granted),
    pg_catalog.count(*) FILTER (WHERE l.granted AND l.mode = 'ShareLock' AND l.pid = $1)
  FROM pg_catalog.pg_lock_status() l WHERE {_HERE}"""
WATCH = "EXECUTE watch ({pid})"
"""-> who waits, and how many of CATALOGS the session `pid` holds."""
PREPARE = (
    "SET search_path = pg_catalog, pg_temp",  # nobody else's operators, with its user's rights
    "SET application_name = 'sallyport lease'",
    "SET idle_in_transaction_session_timeout = '10s'",  # whoever cannot reach us waits no longer
    "SET statement_timeout = '2s'",
    f"PREPARE watch (pg_catalog.int4) AS {_WATCH}",  # planning it costs more than it does
)

_WRITING = "l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'"
WRITERS = f"""SELECT l.transactionid FROM pg_catalog.pg_lock_status() l WHERE {_WRITING}"""
"""-> transactions that may have written anything, prepared ones among them, and are not seen by all
to be over: each holds the lock of its own number until then (`stamps`)."""
STILL_WRITING = f"""SELECT pg_catalog.count(*) FROM pg_catalog.pg_lock_status() l
  WHERE {_WRITING} AND l.transactionid = ANY (CAST('{{{{{{numbers}}}}}}' AS pg_catalog.xid[]))"""
"""-> how many of these are left."""

NEGLECTED = f"""SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c WHERE c.oid = {_OIDS}
  AND (pg_catalog.pg_stat_get_dead_tuples(c.oid) > 50 + 0.2 * c.reltuples
    OR pg_catalog.pg_stat_get_mod_since_analyze(c.oid) > 50 + 0.1 * c.reltuples)"""
"""-> how many of them autovacuum is due for (by its defaults): it skips what it cannot lock."""
