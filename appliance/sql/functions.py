"""What calling a function means, by name: harmless, or which `Action` it is. Asked by `expressions`
for every call.

The rule is an allow-list. HARMLESS holds functions of pg_catalog that touch no user relation, file,
setting, other session or SQL text: their result depends on their arguments, the clock, or the shape
of the schema. What is neither there nor in EFFECTS is "not on the allow-list", and whoever owes a
mask is refused. Names, not OIDs: every overload of a listed name is harmless (`ts_rewrite`, which
has one that runs SQL, is not listed).
"""

from appliance.model.facts import Action

_TEXT = """
    ascii bit bit_count bit_length bpchar btrim casefold char_length character_length chr concat
    concat_ws convert convert_from convert_to crc32 crc32c decode encode format get_bit get_byte
    initcap is_normalized left length like like_escape lower lpad ltrim md5 name normalize notlike
    octet_length overlay parse_ident position quote_ident quote_literal quote_nullable regexp_count
    regexp_instr regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr repeat replace reverse right rpad rtrim set_bit set_byte
    sha224 sha256 sha384 sha512 similar_escape similar_to_escape split_part starts_with
    string_to_array string_to_table strpos substr substring text textcat text_larger text_smaller
    to_ascii to_bin to_hex to_oct translate trim unicode_assigned unicode_version
    icu_unicode_version unistr upper varbit varchar bytea char texteq textlen
    texticregexeq pg_client_encoding pg_char_to_encoding pg_encoding_to_char pg_encoding_max_length
    getdatabaseencoding
"""
_NUMBERS = """
    abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd
    cosh cot cotd degrees div erf erfc exp factorial float4 float8 floor gamma gcd int2 int4 int8
    lcm setseed lgamma ln log log10 min_scale mod money numeric oid pi pow power radians random
    random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
    bool xid numeric_inc int4inc int8inc cash_words numeric_div_trunc num_nulls num_nonnulls
    greatest least
"""
_TIME = """
    age clock_timestamp date date_add date_bin date_part date_subtract date_trunc extract interval
    isfinite justify_days justify_hours justify_interval localtime localtimestamp make_date
    make_interval make_time make_timestamp make_timestamptz now overlaps statement_timestamp time
    timeofday timestamp timestamptz timetz timezone to_char to_date to_number to_timestamp
    transaction_timestamp current_date current_time current_timestamp
"""
_AGGREGATES = """
    any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp
    cume_dist dense_rank every first_value json_agg json_agg_strict json_object_agg
    json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict jsonb_agg
    jsonb_agg_strict jsonb_object_agg jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict lag last_value lead max min mode nth_value ntile percent_rank
    percentile_cont percentile_disc range_agg range_intersect_agg rank regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number stddev
    stddev_pop stddev_samp string_agg sum var_pop var_samp variance xmlagg
"""
_JSON = """
    array_to_json json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object
    json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
    json_to_recordset json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists
    jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record
    jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb jsonb_delete jsonb_delete_path
    jsonb_concat jsonb_contains
"""
_XML = """
    xml xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document xmlcomment
    xmlconcat2 xmlexists xmltext xpath xpath_exists
"""
_ARRAYS_AND_RANGES = """
    array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_reverse array_sample
    array_shuffle array_sort array_to_string array_upper cardinality datemultirange daterange
    enum_first enum_last enum_range generate_series generate_subscripts int4multirange int4range
    int8multirange int8range isempty lower_inc lower_inf multirange nummultirange numrange
    range_merge trim_array tsmultirange tsrange tstzmultirange tstzrange unnest upper_inc upper_inf
"""
_GEOMETRY_AND_NETWORK = """
    abbrev area bound_box box broadcast center cidr circle diagonal diameter family height host
    hostmask inet_merge inet_same_family isclosed ishorizontal isopen isparallel isperp isvertical
    line lseg macaddr macaddr8 macaddr8_set7bit masklen netmask network npoints on_ppath path pclose
    point polygon popen radius set_masklen slope width
"""
_SEARCH = """
    array_to_tsvector get_current_ts_config json_to_tsvector jsonb_to_tsvector numnode
    phraseto_tsquery plainto_tsquery querytree setweight strip to_tsquery to_tsvector ts_debug
    ts_delete ts_filter ts_headline ts_lexize ts_parse ts_rank ts_rank_cd ts_token_type
    tsquery_phrase tsvector_to_array websearch_to_tsquery
"""
_IDENTIFIERS = """
    gen_random_uuid uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 pg_column_size
    pg_column_compression pg_typeof pg_basetype pg_collation_for pg_input_is_valid
    pg_input_error_info pg_lsn pg_wal_lsn_diff hashtext hashtextextended hashint4 hashint8
    hash_array hash_record row_security_active
"""
_SESSION = """
    current_catalog current_database current_role current_schema current_schemas
    current_user getpgusername inet_client_addr inet_client_port inet_server_addr inet_server_port
    pg_backend_pid pg_conf_load_time pg_current_snapshot
    pg_current_xact_id pg_current_xact_id_if_assigned
    pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available
    pg_last_xact_replay_timestamp pg_my_temp_schema pg_is_other_temp_schema
    pg_notification_queue_usage pg_listening_channels pg_postmaster_start_time pg_size_bytes
    pg_size_pretty pg_snapshot_xip pg_snapshot_xmax pg_snapshot_xmin pg_timezone_abbrevs
    pg_timezone_names pg_trigger_depth pg_visible_in_snapshot pg_xact_status
    pg_xact_commit_timestamp mxid_age session_user system_user txid_current txid_current_if_assigned
    txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin txid_status
    txid_visible_in_snapshot user version pg_blocking_pids pg_safe_snapshot_blocking_pids
    pg_walfile_name pg_walfile_name_offset pg_split_walfile_name pg_get_keywords pg_get_wait_events
    pg_numa_available
"""
# What \\d, pg_dump, ORMs and BI tools ask. They read definitions and sizes, never rows.
_SCHEMA = """
    acldefault aclexplode aclcontains makeaclitem col_description format_type
    has_any_column_privilege has_column_privilege has_database_privilege
    has_foreign_data_wrapper_privilege has_function_privilege has_language_privilege
    has_largeobject_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege
    has_server_privilege has_table_privilege has_tablespace_privilege has_type_privilege
    obj_description oidvectortypes pg_available_extension_versions pg_available_extensions
    pg_collation_actual_version pg_collation_is_visible pg_column_is_updatable
    pg_conversion_is_visible pg_database_collation_actual_version pg_database_size
    pg_describe_object pg_extension_update_paths pg_filenode_relation pg_function_is_visible
    pg_get_acl pg_get_catalog_foreign_keys pg_get_constraintdef pg_get_expr
    pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
    pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef
    pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_publication_tables
    pg_get_replica_identity_index pg_get_ruledef pg_get_sequence_data pg_get_serial_sequence
    pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions
    pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object
    pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
    pg_indexam_has_property pg_indexam_progress_phasename pg_indexes_size pg_opclass_is_visible
    pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table pg_partition_ancestors
    pg_partition_root pg_partition_tree pg_relation_filenode pg_relation_filepath
    pg_relation_is_publishable pg_relation_is_updatable pg_relation_size pg_sequence_last_value
    pg_sequence_parameters pg_settings_get_flags pg_statistics_obj_is_visible pg_table_is_visible
    pg_table_size pg_tablespace_databases pg_tablespace_location pg_tablespace_size
    pg_total_relation_size pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible
    pg_ts_template_is_visible pg_type_is_visible satisfies_hash_partition shobj_description
    to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure
    to_regrole to_regtype to_regtypemod regclass pg_lock_status pg_prepared_xact
    pg_stat_get_snapshot_timestamp pg_stat_get_numscans pg_stat_get_lastscan pg_stat_get_live_tuples
    pg_stat_get_dead_tuples pg_stat_get_mod_since_analyze pg_stat_get_ins_since_vacuum
    pg_stat_get_backend_pid pg_stat_get_backend_idset pg_stat_get_backend_dbid
    pg_stat_get_backend_userid pg_stat_get_backend_start pg_stat_get_archiver
    pg_stat_get_slru
"""

HARMLESS: frozenset[str] = frozenset(
    " ".join(
        (
            _TEXT,
            _NUMBERS,
            _TIME,
            _AGGREGATES,
            _JSON,
            _XML,
            _ARRAYS_AND_RANGES,
            _GEOMETRY_AND_NETWORK,
            _SEARCH,
            _IDENTIFIERS,
            _SESSION,
            _SCHEMA,
        )
    ).split()
)

# Counters of the statistics collector: numbers about relations, no values of theirs.
HARMLESS_PREFIXES = (
    "pg_stat_get_db_",
    "pg_stat_get_tuples_",
    "pg_stat_get_xact_",
    "pg_stat_get_blocks_",
    "pg_stat_get_last_",
    "pg_stat_get_vacuum_",
    "pg_stat_get_autovacuum_",
    "pg_stat_get_analyze_",
    "pg_stat_get_autoanalyze_",
    "pg_stat_get_function_",
    "pg_stat_get_bgwriter_",
    "pg_stat_get_buf_",
    "pg_stat_get_checkpointer_",
)

# information_schema's own functions, used by its views' definitions.
HARMLESS_INFORMATION_SCHEMA_PREFIX = "_pg_"

# Calls whose *value* is harmless but which do something a policy names. They are not reported as
# unknown functions.
EFFECTS: dict[str, Action] = dict.fromkeys(
    ("nextval", "setval", "currval", "lastval"), Action.SEQUENCE
)
EFFECTS |= dict.fromkeys(
    (
        "pg_advisory_lock",
        "pg_advisory_lock_shared",
        "pg_advisory_unlock",
        "pg_advisory_unlock_all",
        "pg_advisory_unlock_shared",
        "pg_advisory_xact_lock",
        "pg_advisory_xact_lock_shared",
        "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared",
        "pg_try_advisory_xact_lock",
        "pg_try_advisory_xact_lock_shared",
    ),
    Action.ADVISORY_LOCK,
)
ADVISORY, SETTINGS, SEED, IDENTITY = "advisory", "settings", "seed", "identity"
NOT_RESET = frozenset({"role", "session_authorization", "seed"})
"""Settings that RESET ALL leaves as they are (GUC_NO_RESET_ALL), beside those of a transaction."""
KEEPING: dict[str, str] = dict.fromkeys(
    (
        "pg_advisory_lock",
        "pg_advisory_lock_shared",
        "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared",
    ),
    ADVISORY,
) | {"setseed": SEED}
"""Built-in functions that leave something in the session that outlasts their transaction
(`StatementFacts.keeps`). What sequences leave is not told apart: any row written may use one."""
UNLOCKING = "pg_advisory_unlock_all"
TELLING: frozenset[str] = frozenset(
    [
        "pg_current_wal_flush_lsn",
        "pg_current_wal_insert_lsn",
        "pg_current_wal_lsn",
        "pg_last_wal_receive_lsn",
        "pg_last_wal_replay_lsn",
        "pg_stat_get_backend_io",
        "pg_stat_get_backend_wal",
        "pg_stat_get_db_temp_bytes",
        "pg_stat_get_db_temp_files",
        "pg_stat_get_io",
        "pg_stat_get_tuples_hot_updated",
        "pg_stat_get_tuples_newpage_updated",
        "pg_stat_get_wal",
        "pg_stat_get_xact_tuples_deleted",
        "pg_stat_get_xact_tuples_hot_updated",
        "pg_stat_get_xact_tuples_inserted",
        "pg_stat_get_xact_tuples_newpage_updated",
        "pg_stat_get_xact_tuples_updated",
    ]
)
"""They tell how much a write changed, which follows what was there; `catalog.TELLING_COLUMNS` has
the same as columns. Nobody's business but of who owes masks."""

EFFECTS |= {
    "pg_notify": Action.NOTIFY,
    "current_setting": Action.SHOW,
    "pg_show_all_settings": Action.SHOW,
}


def _named(action: Action, names: str) -> dict[str, Action]:
    return dict.fromkeys(names.split(), action)


SET_CONFIG = "set_config"
"""Judged by its arguments (`expressions`): it is SET, or SET ROLE."""

POPULATING: frozenset[str] = frozenset(
    [
        "json_populate_record",
        "json_populate_recordset",
        "jsonb_populate_record",
        "jsonb_populate_record_valid",
        "jsonb_populate_recordset",
    ]
)
"""They make values of the type of their first argument, which may be the row of a relation."""

READING_TYPES: frozenset[str] = frozenset({"pg_input_is_valid", "pg_input_error_info"})
"""They make a value of a type whose name is in a string: any type."""

# Functions with an action of their own that are not harmless: reported as unknown functions too.
# Extensions included, in whatever schema they were installed.
DANGEROUS: dict[str, Action] = {
    **_named(
        Action.SERVER_FILE,
        """pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir
        pg_ls_waldir pg_ls_tmpdir pg_ls_archive_statusdir pg_ls_logicalmapdir
        pg_ls_logicalsnapdir pg_ls_replslotdir pg_ls_summariesdir pg_current_logfile
        pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings pg_config
        pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system pg_file_read
        pg_file_write pg_file_sync pg_file_rename pg_file_unlink pg_file_length pg_logdir_ls
        get_raw_page heap_page_items heap_page_item_attrs tuple_data_split bt_page_items
        page_header pg_get_loaded_modules pg_wal_summary_contents pg_available_wal_summaries
        pg_get_wal_records_info pg_get_wal_record_info pg_get_wal_block_info""",
    ),
    **_named(
        Action.LARGE_OBJECT,
        """lo_close lo_creat lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek
        lo_lseek64 lo_open lo_put lo_tell lo_tell64 lo_truncate lo_truncate64 lo_unlink loread
        lowrite""",
    ),
    **_named(
        Action.FOREIGN_SERVER,
        """dblink dblink_connect dblink_connect_u dblink_disconnect dblink_exec dblink_open
        dblink_fetch dblink_close dblink_get_connections dblink_error_message dblink_send_query
        dblink_is_busy dblink_get_notify dblink_get_result dblink_cancel_query
        dblink_build_sql_insert dblink_build_sql_update dblink_build_sql_delete dblink_get_pkey
        postgres_fdw_get_connections postgres_fdw_disconnect postgres_fdw_disconnect_all http
        http_get http_post http_put http_delete http_head http_patch""",
    ),
    **_named(
        Action.SIGNAL_BACKEND,
        "pg_terminate_backend pg_cancel_backend pg_log_backend_memory_contexts pg_log_query_plan",
    ),
    **_named(
        Action.DYNAMIC_SQL,
        """query_to_xml query_to_xmlschema query_to_xml_and_xmlschema table_to_xml
        table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema
        schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema
        database_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema ts_stat ts_rewrite
        crosstab crosstab2 crosstab3 crosstab4 crosstab_hash connectby xpath_table schedule
        schedule_in_database pg_background_launch currtid2 pg_restore_relation_stats
        pg_restore_attribute_stats""",
    ),
    **_named(
        Action.REPLICATION,
        """pg_create_logical_replication_slot pg_create_physical_replication_slot
        pg_copy_logical_replication_slot pg_copy_physical_replication_slot
        pg_drop_replication_slot pg_replication_slot_advance pg_sync_replication_slots
        pg_logical_slot_get_changes pg_logical_slot_get_binary_changes
        pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes pg_logical_emit_message
        pg_replication_origin_advance pg_replication_origin_create pg_replication_origin_drop
        pg_replication_origin_oid pg_replication_origin_progress
        pg_replication_origin_session_is_setup pg_replication_origin_session_progress
        pg_replication_origin_session_reset pg_replication_origin_session_setup
        pg_replication_origin_xact_reset pg_replication_origin_xact_setup
        pg_show_replication_origin_status pg_get_replication_slots pg_export_snapshot
        pg_log_standby_snapshot pg_stat_get_wal_receiver pg_stat_get_wal_senders
        pg_stat_get_subscription pg_stat_get_replication_slot""",
    ),
    **_named(
        Action.ALTER_SYSTEM,
        """pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_switch_wal
        pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup
        pg_promote pg_wal_replay_pause pg_wal_replay_resume pg_import_system_collations
        pg_nextoid pg_stop_making_pinned_objects pg_stat_force_next_flush""",
    ),
    **_named(
        Action.MAINTAIN,
        """pg_stat_reset pg_stat_reset_shared pg_stat_reset_single_table_counters
        pg_stat_reset_single_function_counters pg_stat_reset_slru pg_stat_reset_replication_slot
        pg_stat_reset_subscription_stats pg_stat_reset_backend_stats pg_stat_clear_snapshot
        pg_stat_statements_reset brin_summarize_new_values brin_summarize_range
        brin_desummarize_range gin_clean_pending_list pg_clear_relation_stats
        pg_clear_attribute_stats pg_extension_config_dump""",
    ),
}

# Functions that hand out other people's statement texts, values kept for the planner, or secrets.
SECRETS: frozenset[str] = frozenset(
    [
        "pg_stat_get_activity",
        "pg_stat_get_backend_activity",
        "pg_cursor",
        "pg_prepared_statement",
        "pg_stat_statements",
        "pg_mcv_list_items",
        "pg_hba_file_rules",
        "pg_stat_get_wal_receiver",
        "pg_get_backend_memory_contexts",
        "dblink_get_connections",
    ]
)

# Functions that give back a set: they change how many rows there are, so a view that calls one is
# read as a whole.
SET_RETURNING: frozenset[str] = frozenset(
    [
        "pg_available_extension_versions",
        "pg_available_extensions",
        "pg_extension_update_paths",
        "pg_get_catalog_foreign_keys",
        "pg_get_publication_tables",
        "pg_get_wait_events",
        "pg_listening_channels",
        "pg_lock_status",
        "pg_partition_ancestors",
        "pg_partition_tree",
        "pg_prepared_xact",
        "pg_snapshot_xip",
        "pg_stat_get_backend_idset",
        "pg_stat_get_io",
        "pg_stat_get_slru",
        "pg_tablespace_databases",
        "pg_timezone_names",
        "ts_debug",
        "ts_parse",
        "ts_token_type",
        "txid_snapshot_xip",
        "generate_series",
        "generate_subscripts",
        "unnest",
        "json_array_elements",
        "json_array_elements_text",
        "json_each",
        "json_each_text",
        "json_object_keys",
        "json_populate_recordset",
        "json_to_recordset",
        "jsonb_array_elements",
        "jsonb_array_elements_text",
        "jsonb_each",
        "jsonb_each_text",
        "jsonb_object_keys",
        "jsonb_path_query",
        "jsonb_path_query_tz",
        "jsonb_populate_recordset",
        "jsonb_to_recordset",
        "regexp_matches",
        "regexp_split_to_table",
        "string_to_table",
        "aclexplode",
        "pg_options_to_table",
        "pg_get_keywords",
    ]
)

# Extensions whose functions and operators only compute on their arguments (read from their sources'
# C code).
PURE_EXTENSIONS: frozenset[str] = frozenset(
    [
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "earthdistance",
        "fuzzystrmatch",
        "hstore",
        "intarray",
        "isn",
        "ltree",
        "pg_trgm",
        "pgcrypto",
        "seg",
        "unaccent",
        "uuid-ossp",
        "vector",
        "tsm_system_rows",
        "tsm_system_time",
    ]
)

# Columns of built-in functions with OUT parameters, in order (PostgreSQL 18's pg_proc); elsewhere a
# function in FROM has one column that bears the function's name or its alias.
OUT_COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "aclexplode": "grantor grantee privilege_type is_grantable",
        "json_array_elements": "value",
        "json_array_elements_text": "value",
        "jsonb_array_elements": "value",
        "jsonb_array_elements_text": "value",
        "json_each": "key value",
        "json_each_text": "key value",
        "jsonb_each": "key value",
        "jsonb_each_text": "key value",
        "pg_available_extension_versions": (
            "name version superuser trusted relocatable schema requires comment"
        ),
        "pg_available_extensions": "name default_version comment",
        "pg_extension_update_paths": "source target path",
        "pg_get_catalog_foreign_keys": "fktable fkcols pktable pkcols is_array is_opt",
        "pg_get_keywords": "word catcode barelabel catdesc baredesc",
        "pg_get_object_address": "classid objid objsubid",
        "pg_get_publication_tables": "pubid relid attrs qual",
        "pg_get_sequence_data": "last_value is_called",
        "pg_get_wait_events": "type name description",
        "pg_identify_object": "type schema name identity",
        "pg_identify_object_as_address": "type object_names object_args",
        "pg_input_error_info": "message detail hint sql_error_code",
        "pg_options_to_table": "option_name option_value",
        "pg_partition_ancestors": "relid",
        "pg_partition_tree": "relid parentrelid isleaf level",
        "pg_sequence_parameters": (
            "start_value minimum_value maximum_value increment cycle_option cache_size data_type"
        ),
        "pg_split_walfile_name": "segment_number timeline_id",
        "pg_timezone_names": "name abbrev utc_offset is_dst",
        "pg_walfile_name_offset": "file_name file_offset",
        "ts_debug": "alias description token dictionaries dictionary lexemes",
        "ts_parse": "tokid token",
        "ts_token_type": "tokid alias description",
    }.items()
}

# Built-in functions in FROM whose columns depend on their arguments or are too many to list.
RECORD_FUNCTIONS: frozenset[str] = frozenset(
    [
        "json_populate_record",
        "json_populate_recordset",
        "jsonb_populate_record",
        "jsonb_populate_recordset",
        "json_to_record",
        "json_to_recordset",
        "jsonb_to_record",
        "jsonb_to_recordset",
        "unnest",
        "pg_lock_status",
        "pg_prepared_xact",
        "pg_stat_get_archiver",
        "pg_stat_get_wal",
        "pg_stat_get_slru",
        "pg_stat_get_io",
        "pg_show_all_settings",
        "pg_timezone_abbrevs",
    ]
)


def harmless(name: str) -> bool:
    """Whether a function of pg_catalog of this name is on the allow-list."""
    if name in TELLING:
        return False
    return name in HARMLESS or name.startswith(HARMLESS_PREFIXES)
