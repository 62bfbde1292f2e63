"""Relations of the system that hold secrets, other people's statements, or values sampled from
tables.

Reading one sets `Flag.READS_SYSTEM_SECRETS`. Asked by `names` (whole relations) and `statements`
(single columns).
"""

from collections.abc import Mapping

SCHEMAS = frozenset({"pg_catalog", "information_schema", "public", "extensions"})
"""Where such a relation may live: extensions are often installed into public."""

WHOLE_RELATIONS = frozenset(
    [
        "pg_authid",
        "pg_shadow",
        "pg_statistic",
        "pg_statistic_ext_data",
        "pg_stats",
        "pg_stats_ext",
        "pg_stats_ext_exprs",
        "pg_user_mapping",
        "pg_user_mappings",
        "user_mapping_options",
        "_pg_user_mappings",
        "pg_largeobject",
        "pg_stat_statements",
        "pg_prepared_statements",
        "pg_cursors",
        "pg_subscription",
        "pg_hba_file_rules",
        "pg_file_settings",
        "pg_ident_file_mappings",
        "pg_backend_memory_contexts",
        "pg_stat_wal_receiver",
    ]
)

COLUMNS: Mapping[str, frozenset[str]] = {
    "pg_stat_activity": frozenset({"query"}),
}
"""Relations of which only these columns are secret."""


def may_be_secret(name: str) -> bool:
    """For when the catalog is not there to say which columns are read."""
    return name in WHOLE_RELATIONS or bool(COLUMNS.get(name))
