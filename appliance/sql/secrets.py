"""Relations of the system that hold secrets, other people's statements, or values sampled from
tables.

Reading one sets `Flag.READS_SYSTEM_SECRETS`. Asked by `names` (whole relations) and `statements`
(single columns).
"""

from appliance.model.catalog import SECRET_COLUMNS

SCHEMAS = frozenset({"pg_catalog", "information_schema"})

WHOLE_RELATIONS = frozenset(
    [
        "pg_statistic",
        "pg_statistic_ext_data",
        "user_mapping_options",
        "_pg_user_mappings",
        "pg_largeobject",
        "pg_prepared_statements",
        "pg_cursors",
        "pg_hba_file_rules",
        "pg_file_settings",
        "pg_ident_file_mappings",
        "pg_backend_memory_contexts",
    ]
)

ANYWHERE = frozenset({"pg_stat_statements"})
"""Views of extensions, secret in whatever schema they were installed."""


def is_secret(schema: str, name: str) -> bool:
    """Whether reading anything of this relation is."""
    return name in ANYWHERE or (schema in SCHEMAS and name in WHOLE_RELATIONS)


def may_be_secret(schema: str, name: str) -> bool:
    """For when the catalog is not there to say which columns are read."""
    return is_secret(schema, name) or (schema in SCHEMAS and name in SECRET_COLUMNS)
