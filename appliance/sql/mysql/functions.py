"""Functions of MySQL and MariaDB by what a call of one does.

Asked by `calls` for every call in a text and in the views below it. Its rule: a name that is in
none of these tables is a function that somebody made (or that does something nobody looked at), and
so is one of these names as long as the catalog has a stored function of that name: servers differ
in what is built in.

Sources: https://dev.mysql.com/doc/refman/8.0/en/built-in-function-reference.html and
https://mariadb.com/kb/en/built-in-functions/.
"""

from collections.abc import Mapping

from appliance.model.facts import Action

_NUMBERS = """abs acos asin atan atan2 bin bit_count ceil ceiling conv cos cot crc32 crc32c degrees
    div exp floor format greatest hex interval least ln log log10 log2 mod oct pi pow
    power radians rand round sign sin sqrt tan truncate format_bytes format_pico_time
    to_number"""
_TEXTS = """ascii bit_length char char_length character_length chr concat concat_ws elt export_set
    field find_in_set from_base64 insert instr lcase left length lengthb locate lower lpad
    ltrim make_set mid natural_sort_key octet_length ord position quote regexp_instr
    regexp_like regexp_replace regexp_substr repeat replace reverse right rpad rtrim
    soundex space strcmp substr substring substring_index to_base64 to_char trim ucase
    unhex upper weight_string sformat to_seconds utc_date utc_time utc_timestamp"""
_DATES = """add_months adddate addtime convert_tz curdate current_date current_time
    current_timestamp curtime date date_add date_format date_sub datediff day dayname
    dayofmonth dayofweek dayofyear extract from_days from_unixtime get_format hour
    last_day localtime localtimestamp makedate maketime microsecond minute month monthname
    now period_add period_diff quarter sec_to_time second str_to_date subdate subtime
    sysdate time time_format time_to_sec timediff timestamp timestampadd timestampdiff
    to_days unix_timestamp week weekday weekofyear year yearweek"""
_CONDITIONS = """coalesce if ifnull isnull nullif nvl nvl2 decode_oracle any_value default values
    value row grouping match name_const is_ipv4 is_ipv6 is_ipv4_compat is_ipv4_mapped is_uuid"""
_AGGREGATES = """avg bit_and bit_or bit_xor count group_concat json_arrayagg json_objectagg max min
    std stddev stddev_pop stddev_samp sum var_pop var_samp variance median percentile_cont
    percentile_disc st_collect"""
_WINDOWS = "cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank "
_WINDOWS += "row_number"
_JSON = """json_array json_array_append json_array_insert json_array_intersect json_compact
    json_contains json_contains_path json_depth json_detailed json_equals json_exists
    json_extract json_insert json_key_value json_keys json_length json_loose json_merge
    json_merge_patch json_merge_preserve json_normalize json_object
    json_object_filter_keys json_object_to_array json_overlaps json_pretty json_query
    json_quote json_remove json_replace json_schema_valid json_schema_validation_report
    json_search json_set json_storage_free json_storage_size json_table json_type
    json_unquote json_valid json_value member of"""
_XML = "extractvalue updatexml"
_CODES = """aes_decrypt aes_encrypt compress decode des_decrypt des_encrypt encode encrypt md5
    old_password password random_bytes sha sha1 sha2 uncompress uncompressed_length uuid
    uuid_short uuid_to_bin bin_to_uuid kdf uuid_v4 uuid_v7 statement_digest
    statement_digest_text validate_password_strength vec_distance vec_distance_euclidean
    vec_distance_cosine vec_fromtext vec_totext column_add column_check column_create
    column_delete column_exists column_get column_json column_list"""
_SESSION = """benchmark binary charset coercibility collation connection_id convert cast
    current_role current_user database found_rows icu_version inet6_aton inet6_ntoa
    inet_aton inet_ntoa last_insert_id row_count schema session_user sleep system_user
    user version roles_graphml last_value"""
_SPATIAL = """geometrycollection geomcollection linestring mbrcontains mbrcoveredby mbrcovers
    mbrdisjoint mbrequal mbrequals mbrintersects mbroverlaps mbrtouches mbrwithin
    multilinestring multipoint multipolygon point polygon st_area st_asbinary st_asgeojson
    st_astext st_aswkb st_aswkt st_boundary st_buffer st_buffer_strategy st_centroid
    st_contains st_convexhull st_crosses st_difference st_dimension st_disjoint
    st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring
    st_frechetdistance st_geohash st_geomcollfromtext st_geomcollfromwkb
    st_geometrycollectionfromtext st_geometrycollectionfromwkb st_geometryfromtext
    st_geometryfromwkb st_geometryn st_geometrytype st_geomfromgeojson st_geomfromtext
    st_geomfromwkb st_hausdorffdistance st_interiorringn st_intersection st_intersects
    st_isclosed st_isempty st_isring st_issimple st_isvalid st_latfromgeohash st_latitude
    st_length st_linefromtext st_linefromwkb st_lineinterpolatepoint
    st_lineinterpolatepoints st_linestringfromtext st_linestringfromwkb st_longfromgeohash
    st_longitude st_makeenvelope st_mlinefromtext st_mlinefromwkb st_mpointfromtext
    st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_multilinestringfromtext
    st_multilinestringfromwkb st_multipointfromtext st_multipointfromwkb
    st_multipolygonfromtext st_multipolygonfromwkb st_numgeometries st_numinteriorring
    st_numinteriorrings st_numpoints st_overlaps st_pointatdistance st_pointfromgeohash
    st_pointfromtext st_pointfromwkb st_pointonsurface st_pointn st_polyfromtext
    st_polyfromwkb st_polygonfromtext st_polygonfromwkb st_relate st_simplify st_srid
    st_startpoint st_swapxy st_symdifference st_touches st_transform st_union st_validate
    st_within st_x st_y"""

HARMLESS: frozenset[str] = frozenset(
    " ".join(
        (
            _NUMBERS,
            _TEXTS,
            _DATES,
            _CONDITIONS,
            _AGGREGATES,
            _WINDOWS,
            _JSON,
            _XML,
            _CODES,
            _SESSION,
        )
    ).split()
) | frozenset(_SPATIAL.split())
"""What only computes on its arguments, or tells of the session itself."""

EFFECTS: Mapping[str, Action] = {
    "load_file": Action.SERVER_FILE,
    **dict.fromkeys(
        ("get_lock", "is_free_lock", "is_used_lock", "release_lock", "release_all_locks"),
        Action.ADVISORY_LOCK,
    ),
    **dict.fromkeys(("nextval", "lastval", "setval"), Action.SEQUENCE),
    **dict.fromkeys(
        (
            "master_pos_wait",
            "master_gtid_wait",
            "source_pos_wait",
            "binlog_gtid_pos",
            "wait_for_executed_gtid_set",
            "wait_until_sql_thread_after_gtids",
            "gtid_subset",
            "gtid_subtract",
            "asynchronous_connection_failover_add_source",
            "asynchronous_connection_failover_delete_source",
            "group_replication_set_as_primary",
            "group_replication_switch_to_multi_primary_mode",
            "group_replication_switch_to_single_primary_mode",
        ),
        Action.REPLICATION,
    ),
    **dict.fromkeys(("sys_exec", "sys_eval", "sys_get", "sys_set", "lib_mysqludf_sys_info"),
                    Action.COPY_PROGRAM),
    **dict.fromkeys(("keyring_key_fetch", "keyring_key_store", "keyring_key_generate",
                     "keyring_key_remove"), Action.ALTER_SYSTEM),
    "ps_thread_trx_info": Action.EXECUTE_FUNCTION,
}  # fmt: skip
"""What a call does beside computing."""

_SPACED = """adddate bit_and bit_or bit_xor cast count curdate curtime date_add date_sub extract
    group_concat max mid min now position session_user std stddev stddev_pop stddev_samp
    subdate substr substring sum sysdate system_user trim variance var_pop var_samp"""
SPACED = frozenset(_SPACED.split())
"""Built-in only with the parenthesis right behind the name, unless sql_mode has IGNORE_SPACE: with
a blank between, the server looks for a stored function
(https://dev.mysql.com/doc/refman/8.0/en/function-resolution.html)."""
