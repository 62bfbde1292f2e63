"""Relations of the system that hold secrets, other people's statements, or values sampled from
tables.

Reading one sets `Flag.READS_SYSTEM_SECRETS`, and `Flag.BEYOND_SYSTEM_MASKS` when it is not one that
is masked (`model/system`). Asked by `names` (whole relations) and `statements` (single columns).
"""

from collections.abc import Mapping

from appliance.model.system import MASKED_COLUMNS

SCHEMAS = frozenset({"pg_catalog", "information_schema"})

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
        "pg_prepared_statements",
        "pg_cursors",
        "pg_hba_file_rules",
        "pg_file_settings",
        "pg_ident_file_mappings",
        "pg_backend_memory_contexts",
        "pg_stat_wal_receiver",
    ]
)

ANYWHERE = frozenset({"pg_stat_statements"})
"""Views of extensions, secret in whatever schema they were installed."""

COLUMNS: Mapping[str, frozenset[str]] = {
    name: columns
    for name, columns in MASKED_COLUMNS.items()
    if name in ("pg_stat_activity", "pg_stat_replication", "pg_subscription")
}
"""Relations of which only these columns are secret."""


def is_secret(schema: str, name: str) -> bool:
    """Whether reading anything of this relation is."""
    return name in ANYWHERE or (schema in SCHEMAS and name in WHOLE_RELATIONS)


def is_beyond_masks(schema: str, name: str) -> bool:
    """Whether it is one that no mask covers."""
    return is_secret(schema, name) and (schema != "pg_catalog" or name not in MASKED_COLUMNS)


def may_be_secret(schema: str, name: str) -> bool:
    """For when the catalog is not there to say which columns are read."""
    return is_secret(schema, name) or (schema in SCHEMAS and name in COLUMNS)
