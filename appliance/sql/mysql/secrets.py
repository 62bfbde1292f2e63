"""Relations of the server's own databases that hold secrets, samples of columns, or what others
wrote.

Asked by `statements` for every relation read and by `shows` for what SHOW reads. Its rule: of the
server's databases only what is listed here as harmless is.

Sources: https://dev.mysql.com/doc/refman/8.0/en/information-schema.html,
https://mariadb.com/kb/en/information-schema/ and the pages of performance_schema.
"""

from collections.abc import Iterable, Mapping

from appliance.sql.mysql.scope import folded

_INFORMATION = """all_plugins applicable_roles character_sets check_constraints client_statistics
    collation_character_set_applicability collations column_privileges columns
    columns_extensions enabled_roles engines events files geometry_columns global_status
    global_variables index_statistics key_column_usage key_period_usage keywords
    parameters partitions periods plugins referential_constraints resource_groups
    role_column_grants role_routine_grants role_table_grants routines schema_privileges
    schemata schemata_extensions sequences session_status session_variables
    spatial_ref_sys sql_functions st_geometry_columns st_spatial_reference_systems
    st_units_of_measure statistics system_variables table_constraints
    table_constraints_extensions table_privileges table_statistics tables
    tables_extensions tablespaces tablespaces_extensions triggers user_privileges
    user_statistics view_routine_usage view_table_usage views processlist"""
_PERFORMANCE = """global_status global_variables session_status session_variables variables_info
    keyring_component_status persisted_variables"""
_MYSQL = """help_category help_keyword help_relation help_topic time_zone time_zone_leap_second
    time_zone_name time_zone_transition time_zone_transition_type"""

HARMLESS: Mapping[str, frozenset[str]] = {
    "information_schema": frozenset(_INFORMATION.split()),
    "performance_schema": frozenset(_PERFORMANCE.split()),
    "mysql": frozenset(_MYSQL.split()),
    "sys": frozenset({"version"}),
}
"""Database of the server -> relations that tell of the schema and of settings only."""

COLUMNS: Mapping[tuple[str, str], frozenset[str]] = {
    ("information_schema", "processlist"): frozenset({"info", "info_binary"}),
}
"""Columns of harmless relations that are secret all the same: other sessions' statements."""


def is_system(schema: str) -> bool:
    return folded(schema) in HARMLESS


def is_secret(schema: str, name: str, columns: Iterable[str] = ("*",)) -> bool:
    """Whether reading these columns of a relation shows what nobody who owes masks may see. Names
    as written or as in the catalog."""
    harmless = HARMLESS.get(folded(schema))
    if harmless is None:
        return False
    if folded(name) not in harmless:
        return True
    secret = COLUMNS.get((folded(schema), folded(name)))
    return secret is not None and any(c == "*" or folded(c) in secret for c in columns)
