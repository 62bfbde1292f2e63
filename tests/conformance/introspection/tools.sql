-- DBeaver, pgAdmin, DataGrip, Metabase, Superset, Grafana, Tableau, dbt, Datadog and Prometheus exporters: what they ask when
-- they connect, list objects, or watch. Written anew after the tables and functions that they read.

-- DBeaver
SELECT version();

SHOW search_path;

SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE 1 = 1 AND datallowconn AND NOT datistemplate ORDER BY db.datname;

SELECT current_schema(), session_user, current_user;

SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname;

SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key
FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c') ORDER BY c.oid;

SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid
FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum)
LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid
WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.oid = 'customers'::regclass ORDER BY a.attnum;

SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr,
  pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans
FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid
WHERE i.indrelid = 'customers'::regclass ORDER BY tc.relname, c.relname;

SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description, null AS consrc_copy, CASE WHEN c.contype = 'c' THEN substring(pg_get_constraintdef(c.oid), 7) END consrc
FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass WHERE c.conrelid = 'orders'::regclass ORDER BY c.oid;

SELECT p.oid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.objsubid = 0
LEFT JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' ORDER BY p.proname, p.oid;

SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem
LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid
WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C') ORDER BY t.oid;

SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = 'order_status'::regtype ORDER BY e.enumsortorder;

SELECT pg_catalog.pg_get_viewdef('v_customers'::regclass::oid, true);

SELECT rw.oid, rw.rulename, pg_get_ruledef(rw.oid) AS definition FROM pg_rewrite rw WHERE rw.ev_class = 'v_customers'::regclass;

SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description, pg_catalog.pg_get_triggerdef(x.oid) FROM pg_catalog.pg_trigger x LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid
LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0 WHERE x.tgrelid = 'orders'::regclass AND NOT x.tgisinternal;

SELECT pc.oid, pc.relname, pg_catalog.pg_total_relation_size(pc.oid) AS total_rel_size, pg_catalog.pg_relation_size(pc.oid) > 0 AS any FROM pg_catalog.pg_class pc WHERE pc.relnamespace = 'public'::regnamespace AND pc.relkind = 'r' ORDER BY 1;

SELECT * FROM pg_catalog.pg_roles ORDER BY rolname;

SELECT a.oid, a.rolname, r.admin_option FROM pg_catalog.pg_auth_members r, pg_catalog.pg_roles a WHERE a.oid = r.roleid ORDER BY 2;

SELECT t.oid, t.*, pg_tablespace_location(t.oid) loc FROM pg_catalog.pg_tablespace t ORDER BY t.oid;

SELECT pol.polname, pol.polpermissive, pol.polroles::regrole[], pol.polcmd, pg_get_expr(pol.polqual, pol.polrelid) AS using_clause, pg_get_expr(pol.polwithcheck, pol.polrelid) AS check_clause FROM pg_catalog.pg_policy pol ORDER BY 1;

SELECT oid, lanname FROM pg_catalog.pg_language ORDER BY 1;

SELECT e.oid, e.*, n.nspname FROM pg_extension e, pg_namespace n WHERE e.extnamespace = n.oid ORDER BY 1;

SELECT fs.oid, fs.srvname, fs.srvfdw FROM pg_catalog.pg_foreign_server fs ORDER BY 1;

SELECT s.schemaname, s.sequencename, s.last_value IS NULL, s.min_value, s.max_value, s.increment_by, s.cache_size, s.cycle FROM pg_catalog.pg_sequences s ORDER BY 1, 2;

SELECT DISTINCT dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname, cl.relname FROM pg_depend dep LEFT JOIN pg_class cl ON dep.objid = cl.oid LEFT JOIN pg_attribute attr ON dep.objid = attr.attrelid AND dep.objsubid = attr.attnum
WHERE dep.refobjid = 'customers'::regclass ORDER BY 1, 2, 3, 5;

SELECT grantor, grantee, table_catalog, table_schema, table_name, privilege_type, is_grantable FROM information_schema.table_privileges WHERE table_schema = 'public' AND table_name = 'customers' ORDER BY 1, 2, 6;

EXPLAIN (FORMAT XML, COSTS OFF) SELECT id, name FROM customers WHERE id = 1;

-- pgAdmin
SELECT roles.oid AS id, roles.rolname AS name, roles.rolsuper AS is_superuser, CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END AS can_create_role,
  CASE WHEN 'pg_signal_backend' = ANY (ARRAY(WITH RECURSIVE cte AS (SELECT pg_roles.oid, pg_roles.rolname FROM pg_roles WHERE pg_roles.oid = roles.oid
    UNION ALL SELECT m.roleid, pgr.rolname FROM cte cte_1 JOIN pg_auth_members m ON m.member = cte_1.oid JOIN pg_roles pgr ON pgr.oid = m.roleid) SELECT rolname FROM cte)) THEN true ELSE false END AS can_signal_backend
FROM pg_catalog.pg_roles AS roles WHERE rolname = current_user;

SELECT db.oid AS did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding, has_database_privilege(db.oid, 'CREATE') AS cancreate, datistemplate
FROM pg_catalog.pg_database db WHERE db.datname = current_database() ORDER BY 1;

SELECT rel.oid, rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid = rel.oid AND tgisinternal = false) AS triggercount,
  (SELECT count(*) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = rel.oid LIMIT 1) AS is_inherits, rel.relkind, pg_catalog.pg_get_userbyid(rel.relowner), des.description
FROM pg_catalog.pg_class rel LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = rel.oid AND des.objsubid = 0 AND des.classoid = 'pg_class'::regclass)
WHERE rel.relkind IN ('r', 's', 't', 'p') AND rel.relnamespace = 'public'::regnamespace::oid AND NOT rel.relispartition ORDER BY rel.relname;

SELECT att.attname AS name, att.atttypid, att.attlen, att.attnum, att.attndims, att.atttypmod, att.attacl, att.attnotnull, att.attoptions, att.attstattarget, att.attstorage, att.attidentity,
  pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS defval, pg_catalog.format_type(ty.oid, NULL) AS typname, pg_catalog.format_type(ty.oid, att.atttypmod) AS displaytypname,
  CASE WHEN ty.typelem > 0 THEN ty.typelem ELSE ty.oid END AS elemoid, (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = ty.typnamespace) AS typnspname, ty.typstorage AS defaultstorage,
  description, pi.indkey, (SELECT count(1) FROM pg_catalog.pg_type t2 WHERE t2.typname = ty.typname) > 1 AS isdup, CASE WHEN length(coll.collname) > 0 THEN coll.collname END AS collspcname
FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid = atttypid LEFT OUTER JOIN pg_catalog.pg_attrdef def ON adrelid = att.attrelid AND adnum = att.attnum
LEFT OUTER JOIN pg_catalog.pg_description des ON (des.objoid = att.attrelid AND des.objsubid = att.attnum AND des.classoid = 'pg_class'::regclass)
LEFT OUTER JOIN pg_catalog.pg_index pi ON pi.indrelid = att.attrelid AND indisprimary LEFT OUTER JOIN pg_catalog.pg_collation coll ON att.attcollation = coll.oid
WHERE att.attrelid = 'customers'::regclass AND att.attnum > 0 AND att.attisdropped IS FALSE ORDER BY att.attnum;

SELECT count(*) >= 0 AS total, count(*) FILTER (WHERE state = 'active') >= 0 AS active, count(*) FILTER (WHERE state = 'idle') >= 0 AS idle FROM pg_catalog.pg_stat_activity WHERE datname = current_database();

SELECT name, setting, unit, category, short_desc, context, vartype, enumvals, boot_val FROM pg_catalog.pg_settings WHERE name IN ('work_mem', 'max_connections') ORDER BY 1;

SELECT locktype, mode, granted FROM pg_catalog.pg_locks WHERE locktype = 'none';

SELECT relname, n_live_tup >= 0, seq_scan >= 0, last_autovacuum IS NULL OR true FROM pg_catalog.pg_stat_user_tables ORDER BY 1;

-- Metabase and Superset
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' AND nspname <> 'information_schema' ORDER BY nspname;

WITH table_privileges AS (SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table,
    pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"', 'update') AS update,
    pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"', 'select') AS select,
    pg_catalog.has_table_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"', 'delete') AS delete
  FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION SELECT schemaname, viewname FROM pg_catalog.pg_views UNION SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t
  WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage'))
SELECT t.* FROM table_privileges t ORDER BY 2, 3;

SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') THEN format('%s', c.udt_name) ELSE format('"%s"."%s"', c.udt_schema, c.udt_name) END AS "database-type", c.ordinal_position - 1 AS "database-position",
  c.table_schema AS "table-schema", c.table_name AS "table-name", pk.column_name IS NOT NULL AS "pk?", col_description(cast(cast(format('%I.%I', cast(c.table_schema AS text), cast(c.table_name AS text)) AS regclass) AS oid), c.ordinal_position) AS "field-comment"
FROM information_schema.columns AS c LEFT JOIN (SELECT tc.table_schema, tc.table_name, kc.column_name FROM information_schema.table_constraints AS tc INNER JOIN information_schema.key_column_usage AS kc ON tc.constraint_name = kc.constraint_name AND tc.table_schema = kc.table_schema AND tc.table_name = kc.table_name WHERE tc.constraint_type = 'PRIMARY KEY') AS pk
ON c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = pk.column_name WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema IN ('public') ORDER BY "table-schema", "table-name", "database-position";

SELECT fk_ns.nspname AS "fk-table-schema", fk_table.relname AS "fk-table-name", fk_column.attname AS "fk-column-name", pk_ns.nspname AS "pk-table-schema", pk_table.relname AS "pk-table-name", pk_column.attname AS "pk-column-name"
FROM pg_constraint AS c INNER JOIN pg_class AS fk_table ON c.conrelid = fk_table.oid INNER JOIN pg_namespace AS fk_ns ON c.connamespace = fk_ns.oid INNER JOIN pg_attribute AS fk_column ON c.conrelid = fk_column.attrelid
INNER JOIN pg_class AS pk_table ON c.confrelid = pk_table.oid INNER JOIN pg_namespace AS pk_ns ON pk_table.relnamespace = pk_ns.oid INNER JOIN pg_attribute AS pk_column ON c.confrelid = pk_column.attrelid
WHERE c.contype = cast('f' AS char) AND fk_column.attnum = ANY (c.conkey) AND pk_column.attnum = ANY (c.confkey) ORDER BY 1, 2, 3;

SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid IN (SELECT DISTINCT enumtypid FROM pg_enum);

SELECT current_database(), current_setting('TimeZone'), current_setting('server_version'), now() IS NOT NULL;

SHOW TIMEZONE;

SELECT c.relname, c.reltuples::bigint >= -1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') ORDER BY 1;

SELECT id, name, country FROM customers LIMIT 10000;

SELECT count(*) FROM orders;

SELECT date_trunc('month', placed_on) AS placed_on, count(*) FROM orders GROUP BY 1 ORDER BY 1;

SELECT substring(name, 1, 1234) AS name FROM customers ORDER BY id LIMIT 10000;

-- Grafana
SELECT quote_ident(table_name) AS "table" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache') AND quote_ident(table_schema) = 'public' ORDER BY 1;

SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE quote_ident(table_name) = 'customers' ORDER BY 1;

SELECT current_setting('server_version_num')::int / 100 AS version;

SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'timescaledb');

-- dbt
SELECT 'vault' AS database, tablename AS name, schemaname AS schema, 'table' AS type FROM pg_tables WHERE schemaname ILIKE 'public'
UNION ALL SELECT 'vault', viewname, schemaname, 'view' FROM pg_views WHERE schemaname ILIKE 'public'
UNION ALL SELECT 'vault', matviewname, schemaname, 'materialized_view' FROM pg_matviews WHERE schemaname ILIKE 'public' ORDER BY 2;

SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale FROM information_schema."columns" WHERE table_name = 'customers' AND table_schema = 'public' ORDER BY ordinal_position;

WITH relation AS (SELECT pg_rewrite.ev_class AS class, pg_rewrite.oid AS id FROM pg_rewrite), class AS (SELECT oid AS id, relname AS name, relnamespace AS schema, relkind AS kind FROM pg_class),
dependency AS (SELECT DISTINCT pg_depend.objid AS id, pg_depend.refobjid AS ref FROM pg_depend), schema AS (SELECT pg_namespace.oid AS id, pg_namespace.nspname AS name FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'),
referenced AS (SELECT relation.id AS id, referenced_class.name, referenced_class.schema, referenced_class.kind FROM relation JOIN class AS referenced_class ON relation.class = referenced_class.id WHERE referenced_class.kind IN ('r', 'v', 'm')),
relationships AS (SELECT referenced.name AS referenced_name, referenced.schema AS referenced_schema_id, dependent_class.name AS dependent_name, dependent_class.schema AS dependent_schema_id, referenced.kind AS kind
  FROM referenced JOIN dependency ON referenced.id = dependency.id JOIN class AS dependent_class ON dependency.ref = dependent_class.id WHERE (referenced.name <> dependent_class.name OR referenced.schema <> dependent_class.schema))
SELECT referenced_schema.name AS referenced_schema, relationships.referenced_name AS referenced_name, dependent_schema.name AS dependent_schema, relationships.dependent_name AS dependent_name
FROM relationships JOIN schema AS dependent_schema ON relationships.dependent_schema_id = dependent_schema.id JOIN schema AS referenced_schema ON relationships.referenced_schema_id = referenced_schema.id
GROUP BY referenced_schema, referenced_name, dependent_schema, dependent_name ORDER BY referenced_schema, referenced_name, dependent_schema, dependent_name;

-- exporters
SELECT datname, numbackends >= 0, xact_commit >= 0, blks_hit >= 0, conflicts, deadlocks >= 0 FROM pg_stat_database WHERE datname = current_database();

SELECT pg_database_size(current_database()) > 0, pg_is_in_recovery(), pg_postmaster_start_time() IS NOT NULL;

SELECT checkpoints FROM (SELECT count(*) AS checkpoints FROM pg_stat_bgwriter) x;

SELECT state, count(*) > 0, max(extract(epoch FROM now() - query_start)) IS NULL OR true FROM pg_stat_activity WHERE state = 'nothing' GROUP BY state;

SELECT schemaname, relname, heap_blks_read >= 0, idx_blks_hit IS NULL OR true FROM pg_statio_user_tables ORDER BY 1, 2;

SELECT count(*) FROM pg_stat_replication;

SELECT slot_name, slot_type, active FROM pg_replication_slots;

SELECT indexrelname, idx_scan >= 0, pg_relation_size(indexrelid) > 0 FROM pg_stat_user_indexes ORDER BY 1;

SELECT blocked.pid, blocking.pid FROM pg_locks blocked JOIN pg_locks blocking ON blocked.locktype = blocking.locktype AND blocked.pid <> blocking.pid WHERE NOT blocked.granted;

SELECT wait_event_type, wait_event, count(*) FROM pg_stat_activity WHERE wait_event = 'nothing' GROUP BY 1, 2;
