"""What is asked of a server, in a client's own session, to learn whether the catalog that a
statement was judged under still holds; and how the same is known of the catalog that was loaded.

`reader` puts these texts into its queries, so that a loaded catalog carries the very values which
CHECK_QUERY gives as long as nothing changed; `footing` compares; `session/questions` asks.
Rule: a check runs under the client's search_path, so every name in it, operators and types too, is
qualified.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module, or quoted by it.

import re
from collections.abc import Iterable, Sequence

from appliance.model.stands import Stands

FIRST_USER_OID = 16_384
"""FirstNormalObjectId (access/transam.h): what initdb made lies below, and does not change."""

KINDS = "{r,p,v,m,f,S,c}"
"""pg_class.relkind of what a name in a statement can mean."""

_NAMES, _OIDS, _CALLS, _SINCE = (f"(SELECT ${number})" for number in (1, 2, 6, 8))
"""Parameters whose values the planner must not see. Of an array that it sees it knows the length,
and takes any other for ten: a plan for one name looked so much cheaper than one for whatever comes
that it never kept that, and planned anew each time, which costs ten times what running it does."""

_EQ, _NE, _GE = (f"OPERATOR(pg_catalog.{sign})" for sign in ("=", "<>", ">="))
_XMIN = "CAST(CAST(x.xmin AS pg_catalog.text) AS pg_catalog.int8)"


def _rows(relation: str, where: str) -> str:
    """A row's xmin changes with every update; the count shows deletions."""
    return (
        f"(SELECT pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.sum({_XMIN}))"
        f" FROM pg_catalog.{relation} x WHERE {where})"
    )


def _user_made(relation: str) -> str:
    return _rows(relation, f"x.oid {_GE} {FIRST_USER_OID}")


INTERPRETED = f"x.prolang {_NE} ALL (CAST('{{12,13}}' AS pg_catalog.oid[]))"
"""Of pg_proc x: not in the languages internal and C (pg_language.dat). Such a function of the
server's own can be replaced under its OID."""

CHANGED_VIEWS = f"""(SELECT pg_catalog.concat_ws('.', NULLIF(pg_catalog.count(*), 0),
    COALESCE(pg_catalog.sum({_XMIN}), 0))
  FROM pg_catalog.pg_rewrite x JOIN pg_catalog.pg_depend d ON d.objid {_EQ} x.oid
    AND d.classid {_EQ} CAST('pg_catalog.pg_rewrite' AS pg_catalog.regclass)
    AND d.refobjid {_GE} {FIRST_USER_OID}
  WHERE x.ev_class OPERATOR(pg_catalog.<) {FIRST_USER_OID})"""
"""'0' as long as no view that came with the server was replaced by one that rests on anything that
did not: only of that there is a record."""

_CALLED = ("pg_proc", "pg_operator", "pg_cast")

_SCHEMAS = _rows("pg_namespace", "x.nspname OPERATOR(pg_catalog.!~) '^pg_(toast_)?temp_'")
"""What a schema is called decides what a name in it means, and no row but its own changes with
it."""

_CONDITIONS = _rows("pg_constraint", f"x.contypid {_GE} 1 AND x.oid {_GE} {FIRST_USER_OID}")
"""Of domains: they call functions wherever a value of theirs is made, whatever names it."""

_TYPES = f"x.oid {_GE} {FIRST_USER_OID} AND x.typrelid {_EQ} 0 AND x.typarray {_NE} 0"
"""Domains, ranges and the like; neither arrays nor rows, which are made with everything."""

CALLABLES = (
    f"pg_catalog.concat_ws('+', {_SCHEMAS}, {_CONDITIONS}, "
    f"{', '.join(map(_user_made, _CALLED))}, {_rows('pg_type', _TYPES)})"
)
"""One text for all schemas, and all functions, operators, casts and types that are not built in.
Reads all of them."""

NEWEST = (
    f"pg_catalog.concat_ws('+', {_SCHEMAS}, {_CONDITIONS}, "
    + ", ".join(f"(SELECT pg_catalog.max(x.oid) FROM pg_catalog.{name} x)" for name in _CALLED)
    + ")"
)
"""One text that changes when a schema is made or renamed, a domain gets another condition, or a
function, operator or cast is made, which could be meant where a built-in one was. Costs next to
nothing."""

NAMED = f"""SELECT x.proname AS name, {_XMIN} AS made FROM pg_catalog.pg_proc x
    WHERE x.oid {_GE} {FIRST_USER_OID} OR {INTERPRETED}
  UNION ALL SELECT x.oprname, {_XMIN} FROM pg_catalog.pg_operator x
    WHERE x.oid {_GE} {FIRST_USER_OID}
  UNION ALL SELECT x.typname, {_XMIN} FROM pg_catalog.pg_type x
    WHERE x.oid {_GE} {FIRST_USER_OID} AND x.typarray {_NE} 0
  UNION ALL SELECT v.relname, {_XMIN} FROM pg_catalog.pg_class v
    JOIN pg_catalog.pg_rewrite x ON x.ev_class {_EQ} v.oid
    WHERE v.oid OPERATOR(pg_catalog.<) {FIRST_USER_OID}"""
"""What is not built in, by the name that it is called by (an array is called by its elements'), and
what is, and can be replaced: functions that are not compiled, and views."""

_NAMED_SO = f"""(SELECT pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.sum(n.made))
  FROM ({NAMED}) n WHERE n.name {_EQ} ANY (CAST({_CALLS} AS pg_catalog.name[])))"""
"""Changes when one of them gets such a name, by whatever means, or loses it."""

OWN_CLASSES = f"{FIRST_USER_OID} OPERATOR(pg_catalog.<=) ANY (CAST(x.indclass AS pg_catalog.oid[]))"
"""Of pg_index x: it compares by operator classes that somebody made."""

_LOOKED_AT = f"""(x.indisunique OR x.indexprs IS NOT NULL OR x.indpred IS NOT NULL
      OR {OWN_CLASSES})"""

_COLUMNS = f"""(SELECT pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.sum({_XMIN}),
      pg_catalog.sum(CASE WHEN x.atttypid {_GE} {FIRST_USER_OID} THEN
        (SELECT CAST(CAST(y.xmin AS pg_catalog.text) AS pg_catalog.int8) OPERATOR(pg_catalog.+)
           CASE WHEN y.typrelid {_EQ} 0 THEN 0 ELSE
           COALESCE((SELECT pg_catalog.sum({_XMIN}) FROM pg_catalog.pg_attribute x
            WHERE x.attrelid {_EQ} y.typrelid AND x.attnum OPERATOR(pg_catalog.>) 0), 0) END
         FROM pg_catalog.pg_type y WHERE y.oid {_EQ} x.atttypid) END))
    FROM pg_catalog.pg_attribute x
    WHERE x.attrelid {_EQ} c.oid AND x.attnum OPERATOR(pg_catalog.>) 0)"""
"""Not a join: it would read all of pg_type."""

_BELOW = f"""CASE WHEN c.relhassubclass THEN (
      WITH RECURSIVE below (oid, made) AS (
        SELECT x.inhrelid, {_XMIN} FROM pg_catalog.pg_inherits x WHERE x.inhparent {_EQ} c.oid
        UNION SELECT x.inhrelid, {_XMIN}
          FROM pg_catalog.pg_inherits x JOIN below b ON x.inhparent {_EQ} b.oid)
      SELECT pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.sum(b.made)) FROM below b)
    ELSE '0' END"""
"""Children, theirs, and so on. (relhassubclass is cleared only while nobody can add one.)"""

RELATION = f"""pg_catalog.concat_ws('.', c.relname, c.relnamespace, c.relkind, c.relhasrules,
    c.relhastriggers, c.relrowsecurity, c.reltype,
    COALESCE(CAST(c.reloptions AS pg_catalog.text), ''),
    {_COLUMNS},
    {_rows("pg_attrdef", f"x.adrelid {_EQ} c.oid")},
    {_rows("pg_rewrite", f"x.ev_class {_EQ} c.oid")},
    {_rows("pg_policy", f"x.polrelid {_EQ} c.oid")},
    {_rows("pg_trigger", f"x.tgrelid {_EQ} c.oid")},
    {_rows("pg_constraint", f"x.conrelid {_EQ} c.oid")},
    {_rows("pg_index", f"x.indrelid {_EQ} c.oid AND {_LOOKED_AT}")},
    {_rows("pg_statistic_ext", f"x.stxrelid {_EQ} c.oid")},
    {_rows("pg_inherits", f"x.inhrelid {_EQ} c.oid")},
    {_BELOW})"""
"""One text for the relation `c` of pg_class: what it is called, its columns and their types (a
domain's default, the columns of a composite one), its definition, its parents, all below it, its
row security, what runs when it is written (triggers of foreign keys, which stand at both ends,
included). What only moves storage (TRUNCATE, VACUUM FULL) does not change it."""

_OLDEST = "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"
_NEXT = """CAST(CAST(pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    AS pg_catalog.text) AS pg_catalog.int8)"""


def _made(row: str) -> str:
    """A row's xmin with its epoch."""
    xmin = f"CAST(CAST({row}.xmin AS pg_catalog.text) AS pg_catalog.int8)"
    return f"""({_NEXT} OPERATOR(pg_catalog.-) (({_NEXT} OPERATOR(pg_catalog.-) {xmin})
    OPERATOR(pg_catalog.&) 4294967295))"""


def _live(attribute: str) -> str:
    return f"{attribute}.attnum OPERATOR(pg_catalog.>) 0 AND NOT {attribute}.attisdropped"


def _no_stranger(pid: str, oids: str, since: str) -> str:
    """Whether a session has nothing open that it took for a part of what it reads, and that is none
    by now. (The planner reads who inherits, and then waits for the lock of each: it uses what was
    let go of while it waited.) Such a thing is locked, not by who wanted it for himself before; is
    no part of the relations `oids`; and has all columns of one of them, in rows that may be newer
    than the snapshot of which `since` is the oldest transaction (tablecmds.c, RemoveInheritance,
    writes each. Not what the snapshot shows: a savepoint's number is in none.) Where none of them
    has had parts since then, nothing is looked for: locks are dear to list on a busy server.
    """
    within = f"CAST({oids} AS pg_catalog.oid[])"
    parent = f"""c.oid {_EQ} ANY ({within})
      AND (c.relhassubclass OR {_made("c")} {_GE} {since})"""
    own = f"l.pid {_EQ} {pid} AND l.locktype {_EQ} 'relation'"
    return f"""CASE WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE {parent})
    THEN true ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_class k
    WHERE k.oid {_EQ} ANY (ARRAY(SELECT l.relation FROM pg_catalog.pg_lock_status() l WHERE {own}
        GROUP BY l.relation
        HAVING NOT pg_catalog.bool_or(l.mode {_EQ} 'AccessExclusiveLock')))
      AND k.oid {_GE} {FIRST_USER_OID} AND k.relpersistence {_NE} 't'
      AND k.relkind {_EQ} ANY (CAST('{{r,p,f}}' AS pg_catalog."char"[]))
      AND NOT EXISTS (
        WITH RECURSIVE part (oid) AS (SELECT pg_catalog.unnest({within})
          UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN part o
            ON i.inhparent {_EQ} o.oid)
        SELECT FROM part o WHERE o.oid {_EQ} k.oid)
      AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE {parent}
        AND EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid {_EQ} c.oid AND {_live("a")})
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
          WHERE a.attrelid {_EQ} c.oid AND {_live("a")} AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute b WHERE b.attrelid {_EQ} k.oid
              AND b.attname {_EQ} a.attname AND {_live("b")}
              AND {_made("b")} {_GE} {since})))) END"""


QUIET = "q"
NO_POSITION = "-"

OWN_TEMPORARY = f"c.relnamespace {_EQ} pg_catalog.pg_my_temp_schema()"

_RELATIONS = f"""COALESCE((
  SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', c.oid, {RELATION}), ',' ORDER BY c.oid)
  FROM pg_catalog.pg_class c
  WHERE c.oid {_EQ} ANY (ARRAY(SELECT n.oid FROM pg_catalog.pg_class n
        WHERE n.relname {_EQ} ANY (CAST({_NAMES} AS pg_catalog.name[]))
        UNION ALL SELECT pg_catalog.unnest(CAST({_OIDS} AS pg_catalog.oid[]))))
    AND c.oid {_GE} {FIRST_USER_OID}
    AND c.relkind {_EQ} ANY (CAST('{KINDS}' AS pg_catalog."char"[]))
    AND (c.relpersistence {_NE} 't' OR {OWN_TEMPORARY})), '')"""

OTHER_SETTINGS = "!"
WRITES = "+"
_PROBED = ", ".join(
    f"pg_catalog.current_setting('{name}')"
    for name in ("search_path", "role", "session_authorization", "standard_conforming_strings")
)
_ALONE = """CAST(CAST(pg_catalog.to_regclass(pg_catalog.quote_ident(CAST(n AS pg_catalog.text)))
      AS pg_catalog.oid) AS pg_catalog.text)"""
_LOOKED_UP = f"""COALESCE((SELECT pg_catalog.string_agg(COALESCE({_ALONE}, '-'), ',')
    FROM pg_catalog.unnest(CAST({_NAMES} AS pg_catalog.name[])) n), '-')"""
"""What the names mean when they stand alone: OIDs, as the server looks them up, which no snapshot
holds back."""

LOOKED_UP = "~"
LATEST_SNAPSHOT = ("read committed", "read uncommitted")
"""Isolation levels in which each statement sees what is there when it begins."""
_OLD_SNAPSHOT = f"""pg_catalog.current_setting('transaction_isolation')
    {_NE} ALL (CAST('{{{",".join(LATEST_SNAPSHOT)}}}' AS pg_catalog.text[]))"""
_ISOLATION = f"""pg_catalog.concat(pg_catalog.current_setting('transaction_isolation'),
    CASE WHEN {_OLD_SNAPSHOT} THEN pg_catalog.concat('{LOOKED_UP}', {_LOOKED_UP}) ELSE '' END,
    CASE WHEN pg_catalog.concat_ws(E'\\n', {_PROBED}) {_EQ} $5 THEN ''
    ELSE '{OTHER_SETTINGS}' END,
    CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN '' ELSE '{WRITES}' END)"""

_END_OF_LOG = "CAST(pg_catalog.pg_current_wal_insert_lsn() AS pg_catalog.text)"
_POSITION = f"""CASE WHEN pg_catalog.pg_is_in_recovery() THEN ''
    ELSE pg_catalog.replace({_END_OF_LOG}, '/', '-') END"""
"""Where the server's log ends: a change of the catalog by anybody moves it, and is seen by others
only after that. Unknown ('') on a standby."""

_NOBODY_WRITES = f"""NOT EXISTS (SELECT FROM pg_catalog.pg_lock_status() l
    WHERE l.locktype {_EQ} 'transactionid')"""
"""Whoever may change anything holds a lock on its own transaction's number until others see what it
did (access/transam/xact.c, CommitTransaction). A snapshot does not tell: one that began last looks
as if it had not begun."""

AS_BEFORE = Stands.AS_JUDGED.value
"""Stands for everything after the position in the answer: nothing was written since."""


def _check(called: str) -> str:
    return f"""SELECT pg_catalog.concat_ws('/', {_ISOLATION}, {_OLDEST},
  pg_catalog.concat({_POSITION},
    CASE WHEN {_POSITION} {_NE} $4 THEN '' WHEN {_NOBODY_WRITES} THEN '{QUIET}' ELSE '' END),
  CASE WHEN {_POSITION} {_EQ} $3 THEN '{AS_BEFORE}'
  ELSE (SELECT pg_catalog.concat_ws('/', {called}, {_RELATIONS})) END)"""


CHECK_QUERY = _check(f"pg_catalog.concat_ws('+', {NEWEST}, {_NAMED_SO})")
"""Parameters: relation names (name[]), which are looked for in every schema, relation OIDs (oid[]),
the position at which all of it was known to be as it was judged (text), the last position that was
seen (text), or NO_POSITION, search_path, role, session_authorization and
standard_conforming_strings as they are believed to be (text, joined by newlines), and names of
functions, operators and views (name[]). One row, one text:
isolation level, with LOOKED_UP and what the names mean behind it where that is not READ COMMITTED,
with OTHER_SETTINGS behind it when these are other ones (the server's configuration
was read again, say), and WRITES when the open transaction has written anything / the oldest
transaction that was open / position, with QUIET behind it when it is the last one and nobody writes
/ either AS_BEFORE, or NEWEST+what is so called of NAMED / the relations in the order of their OIDs,
each `oid:stamp`, joined by commas."""

CHECK_CALLS_QUERY = _check(f"pg_catalog.concat_ws('+', {CALLABLES}, {_NAMED_SO})")
"""The same with CALLABLES, for a statement that calls what is not built in. (One text with a
parameter for that would be planned anew each time.)"""

_SAID = "Sallyport: something was written, and what this statement rests on is looked at again"
STILL_QUERY = f"""SELECT CASE WHEN pg_catalog.pg_current_wal_insert_lsn() {_EQ} $1
    AND pg_catalog.current_setting('search_path') {_EQ} $2
    AND CURRENT_USER {_EQ} $3 AND SESSION_USER {_EQ} $4 THEN '{AS_BEFORE}'
  ELSE pg_catalog.current_setting('{_SAID}') END"""
"""Parameters: a position, as the server writes it; search_path; who the session acts as, and is.
AS_BEFORE while the log ends there and these are so; otherwise an error with SQLSTATE 42704 (there
is no such setting), whose words are for the server's log. It runs with every statement: as few
functions as can be, since the server looks at the permissions of each whenever a query begins."""
STILL_TYPES = (3220, 25, 19, 19)
"""pg_lsn, text, name, name."""


def _proof(called: str) -> str:
    return f"""SELECT CASE WHEN pg_catalog.concat_ws(E'\\n', {_PROBED}) {_EQ} $5
    AND CASE WHEN (SELECT $7) {_NE} '' THEN {_LOOKED_UP} {_EQ} $7
      WHEN {_POSITION} {_EQ} $3 THEN true
      ELSE pg_catalog.concat_ws('/', {called}, {_RELATIONS}) {_EQ} $4
        AND {_no_stranger("pg_catalog.pg_backend_pid()", _OIDS, _SINCE)} END THEN '{AS_BEFORE}'
  ELSE pg_catalog.current_setting('{_SAID}') END"""


PROOF_QUERY = _proof(f"pg_catalog.concat_ws('+', {NEWEST}, {_NAMED_SO})")
"""The same question as CHECK_QUERY, to stand between a statement's Bind, which has looked up its
names by then, and its Execute. Parameters as there, but in place of the last position the answer
that is expected (the part behind the position), and at last what the names meant (text), '' where
the transaction is READ COMMITTED: in any other it sees what it saw before; and the oldest
transaction that an earlier check told (int8). AS_BEFORE, or the error that STILL_QUERY has. (The
planner cannot leave parts of it out by their values, and so comes to keep its plan.)"""
PROOF_CALLS_QUERY = _proof(f"pg_catalog.concat_ws('+', {CALLABLES}, {_NAMED_SO})")
MOVED_SQLSTATE = "42704"

CHECK_TYPES = (1003, 1028, 25, 25, 25, 1003)
"""name[], oid[], text, text, text, name[]: the types of its parameters (pg_type.dat)."""
PROOF_TYPES = (*CHECK_TYPES, 25, 20)


def aside_query(
    names: Sequence[str],
    oids: Sequence[int],
    called: Sequence[str],
    calls: bool,
    expected: str,
    *,
    pid: int,
    since: int,
) -> str:
    """What PROOF_QUERY asks, as one text for a session of our own, which sees no temporary
    relations: `expected` must have none of the client's. `pid`: of the client's session there;
    `since`: the oldest transaction that a check told before it looked up its names. One row, one
    text, of `Stands`."""
    found = f"pg_catalog.concat_ws('+', {CALLABLES if calls else NEWEST}, {_NAMED_SO})"
    asked = f"pg_catalog.concat_ws('/', {found}, {_RELATIONS})"
    alone = _no_stranger(str(pid), _OIDS, str(since))
    given = {_NAMES: _array(names), _OIDS: _array(map(str, oids)), _CALLS: _array(called)}
    wanted = "|".join(map(re.escape, given))
    filled, nobody = (
        re.sub(wanted, lambda found: given[found[0]], each) for each in (asked, alone)
    )
    same = f"{filled} {_EQ} {_literal(expected)}"
    return f"""SELECT CASE WHEN NOT {nobody} THEN '{Stands.STRANGER.value}'
      WHEN {same} THEN '{AS_BEFORE}' ELSE '' END"""


def _array(values: Iterable[str]) -> str:
    given = ", ".join(map(_literal, values))
    return f"ARRAY[{given}]" if given else "'{}'"


def _literal(text: str) -> str:
    """Whatever standard_conforming_strings says."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def _below(catalog: str, wanted: str) -> str:
    """What a view's rule depends on; of what initdb made there is no record."""
    return f"""(SELECT pg_catalog.json_agg({wanted}) FROM pg_catalog.pg_rewrite r
     JOIN pg_catalog.pg_depend d ON d.objid {_EQ} r.oid
       AND d.classid {_EQ} CAST('pg_catalog.pg_rewrite' AS pg_catalog.regclass)
     WHERE r.ev_class {_EQ} c.oid AND d.refobjid {_NE} c.oid
       AND d.refclassid {_EQ} CAST('pg_catalog.{catalog}' AS pg_catalog.regclass))"""


_IMPLEMENTED = f"""(SELECT CAST(o.oprcode AS pg_catalog.int8) FROM pg_catalog.pg_operator o
       WHERE o.oid {_EQ} d.refobjid)"""

TEMPORARIES_QUERY = f"""SELECT COALESCE(CAST(pg_catalog.json_agg(pg_catalog.json_build_array(
    CAST(c.oid AS pg_catalog.int8), c.relname, c.relkind, CAST(c.reltype AS pg_catalog.int8),
    {RELATION},
    (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname,
         CAST(a.atttypid AS pg_catalog.int8), a.atttypmod, a.attgenerated, a.attnotnull)
         ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a
     WHERE a.attrelid {_EQ} c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped),
    {_below("pg_class", "CAST(d.refobjid AS pg_catalog.int8)")},
    {_below("pg_proc", "CAST(d.refobjid AS pg_catalog.int8)")},
    {_below("pg_operator", _IMPLEMENTED)})
    ORDER BY c.oid) AS pg_catalog.text), '[]')
  FROM pg_catalog.pg_class c
  WHERE {OWN_TEMPORARY} AND c.relkind {_EQ} ANY (CAST('{KINDS}' AS pg_catalog."char"[]))"""
"""The session's own temporary relations as its open transaction sees them. One row, one JSON text:
[oid, name, kind, row type, stamp, [[attnum, name, type, typmod, generated, not null]...],
relations, functions, operators' functions]...: the last three are OIDs that a view depends on."""
