"""Columns of the system's own relations that hold secrets, other people's statements, or values
sampled from tables: whoever owes any mask owes these too, as NULL.

Read by `policy/entitlements` (what is owed) and `sql/secrets` (what is a secret). Only columns are
here whose absence leaves the rest of the relation useful to the tools that read it.
"""

from collections.abc import Mapping

_SAMPLED = """null_frac avg_width n_distinct most_common_vals most_common_freqs histogram_bounds
    correlation most_common_elems most_common_elem_freqs elem_count_histogram range_length_histogram
    range_empty_frac range_bounds_histogram"""
_SAMPLED_EXTENDED = """n_distinct dependencies most_common_vals most_common_val_nulls
    most_common_freqs most_common_base_freqs null_frac avg_width correlation histogram_bounds
    most_common_elems most_common_elem_freqs elem_count_histogram range_length_histogram
    range_empty_frac range_bounds_histogram expr"""

MASKED_COLUMNS: Mapping[str, frozenset[str]] = {
    name: frozenset(columns.split())
    for name, columns in {
        "pg_authid": "rolpassword",
        "pg_shadow": "passwd",
        "pg_user_mapping": "umoptions",
        "pg_user_mappings": "umoptions",
        "pg_stats": _SAMPLED,
        "pg_stats_ext": _SAMPLED_EXTENDED,
        "pg_stats_ext_exprs": _SAMPLED_EXTENDED,
        "pg_stat_activity": "query application_name",
        "pg_stat_replication": "application_name",
        "pg_subscription": "subconninfo",
    }.items()
}
"""Relations of pg_catalog."""

RULE = "builtin:system-secrets"
