"""What is said to a database between two client sessions on one connection: clean up, show that you
are clean, take the next session's name.

Called by `pool` only, when nobody else reads the connection. Rule: a connection is used again only
if the server itself said that it is as it was after login; an error, an unexpected message or a
different answer means that it is closed. These texts run under a role's own search_path, so every
name in them, operators too, is qualified.

What DISCARD ALL does: closes cursors, ends SET SESSION AUTHORIZATION and with it SET ROLE, resets
settings to their startup values, forgets prepared statements, UNLISTENs, releases advisory locks,
drops temporary objects and cached sequences (PostgreSQL documentation, "DISCARD"). Where statements
of our own may stay (`own_statements`), the same is said in parts, without the statements that are
prepared: those of others are closed by name, and one that is left ends the connection. What it does
not do is done or looked at here: the seed of random() is drawn anew, and a session in which code
may have left something that no statement takes away (`UNFIT`) is not used again.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from appliance.dataplane.transport import Side
from appliance.model.errors import ProtocolViolation
from appliance.session.own_statements import OWN, Own
from appliance.session.settings import PINNING, Pinning
from appliance.wire.postgres import messages as m

_EQ, _NE, _GT = (f"OPERATOR(pg_catalog.{sign})" for sign in ("=", "<>", ">"))

LANGUAGES = ("internal", "c", "sql", "plpgsql")
"""Of others (plperl's %_SHARED, plpython's GD) variables outlive DISCARD ALL."""

EXTENSIONS = frozenset(
    (  # noqa: SIM905 - a long list of words
        "plpgsql citext hstore ltree cube earthdistance seg intarray intagg pg_trgm fuzzystrmatch"
        " unaccent btree_gin btree_gist bloom dict_int dict_xsyn tablefunc pgcrypto uuid-ossp"
        " pg_stat_statements pg_buffercache pg_freespacemap pg_visibility pg_prewarm pgstattuple"
        " pgrowlocks pageinspect amcheck tsm_system_rows tsm_system_time lo tcn moddatetime"
        " autoinc insert_username sslinfo file_fdw"
    ).split()
)
"""Part of PostgreSQL's own distribution, and nothing of theirs stays in a session but settings.
Not among them: dblink and postgres_fdw (open connections), isn (isn_weak)."""

ROLLBACK, DISCARD = b"ROLLBACK", b"DISCARD ALL"

DISCARD_ALL_BUT_PREPARED = (
    b"CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *;"
    b" DISCARD SEQUENCES; DISCARD TEMP"
)
"""What DISCARD ALL does, but for DEALLOCATE ALL, DISCARD PLANS, and the advisory locks, of which
LEFTOVERS_BUT_OURS lets go."""


def _leftovers(prepared: str, more: str = "") -> bytes:
    return f"""SELECT pg_catalog.pg_my_temp_schema() {_NE} 0
  OR EXISTS (SELECT FROM pg_catalog.pg_listening_channels())
  OR EXISTS (SELECT FROM pg_catalog.pg_cursor())
  OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statement(){prepared}),
  session_user, current_user, pg_catalog.current_setting('role'),
  pg_catalog.setseed(CAST(pg_catalog.hashtext(CAST(
    pg_catalog.gen_random_uuid() AS pg_catalog.text)) AS pg_catalog.float8)
    OPERATOR(pg_catalog./) 2147483648.0){more}""".encode()  # noqa: S608 - constants


LEFTOVERS = _leftovers("")
"""One row: whether anything is left of channels, cursors or prepared statements, or a schema for
temporary objects was made (it stays, empty, on the search path), and who the session is. Draws a
seed: the old one is not a setting that RESET reaches, and the next session would draw the numbers
that this one chose.
"""


def _is_ours(name: bytes, own: Own) -> str:
    digest = hashlib.sha256(own.text.encode()).hexdigest()
    return f"""WHEN p.name {_EQ} '{name.decode()}' THEN NOT p.from_sql
      AND pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(p.statement, 'UTF8')), 'hex')
        {_EQ} '{digest}'"""


_OURS = "CASE " + "\n    ".join(_is_ours(*each) for each in OWN.items()) + " ELSE false END"
"""Whether the prepared statement p is one of our own: by its text, and as only we prepare."""

LEFTOVERS_BUT_OURS = _leftovers(
    f" p WHERE NOT {_OURS}",
    f""", pg_catalog.pg_advisory_unlock_all(),
  (SELECT pg_catalog.string_agg(p.name, ',') FROM pg_catalog.pg_prepared_statement() p
    WHERE {_OURS})""",  # noqa: S608 - constants
)
"""The same where statements of our own stay (`own_statements`): whether anything is left of others,
and at last which of ours there are, joined by commas, as the server knows them."""


def claim_query(names: Sequence[str]) -> bytes:
    """For a session that shares a connection: whether anything is left of who was there before, and
    the settings `names` as this one is announced (parameters, all text; the last one is the role's
    name). One row: `=` if nothing is left, the settings as they are now, two empty values, and what
    was pinned. Lets go of advisory locks and draws a seed. RESET ALL and DISCARD SEQUENCES come
    before it.
    """
    settings = "".join(
        f" pg_catalog.set_config('{name}', $%d, false)," % (index + 1)
        for index, name in enumerate(names)
    )
    user = f"CAST(${len(names) + 1} AS pg_catalog.name)"
    return f"""SELECT CASE WHEN pg_catalog.pg_my_temp_schema() {_EQ} 0
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels())
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_cursor() c WHERE c.name {_NE} '')
    AND session_user {_EQ} {user} AND current_user {_EQ} {user}
    AND pg_catalog.current_setting('role') {_EQ} 'none' THEN '=' END,{settings}
  pg_catalog.pg_advisory_unlock_all(),
  pg_catalog.setseed(CAST(pg_catalog.hashtext(CAST(
    pg_catalog.gen_random_uuid() AS pg_catalog.text)) AS pg_catalog.float8)
    OPERATOR(pg_catalog./) 2147483648.0),
  {PINNING.columns}""".encode()  # noqa: S608 - names of our own


class Footprint(NamedTuple):
    """What a server says of a session's role and database."""

    standing: str
    """All that decides whether and how a new session of this role would begin, and how this one
    did."""
    unfit: str
    """Why the session may hold what cannot be looked at, '' = it does not."""


def footprint_query(vouched: Iterable[str] = ()) -> bytes:
    """One row with the fields of Footprint. `vouched`: extensions beside EXTENSIONS."""
    return f"""SELECT pg_catalog.concat_ws('|', pg_catalog.pg_conf_load_time(),
    pg_catalog.current_setting('search_path'),
    (SELECT pg_catalog.concat_ws('.', r.oid, r.rolcanlogin, r.rolsuper, r.rolbypassrls,
        r.rolvaliduntil IS NULL OR r.rolvaliduntil {_GT} pg_catalog.now())
      FROM pg_catalog.pg_roles r WHERE r.rolname {_EQ} session_user),
    (SELECT pg_catalog.concat_ws('.', d.oid, d.datallowconn,
        pg_catalog.has_database_privilege(d.oid, 'CONNECT'),
        (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('=', s.setdatabase, s.setrole,
            s.setconfig), ',' ORDER BY s.setdatabase, s.setrole)
          FROM pg_catalog.pg_db_role_setting s
          WHERE (s.setdatabase {_EQ} 0 OR s.setdatabase {_EQ} d.oid)
            AND (s.setrole {_EQ} 0 OR s.setrole {_EQ}
              (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname {_EQ} session_user))))
      FROM pg_catalog.pg_database d WHERE d.datname {_EQ} pg_catalog.current_database())),
  pg_catalog.concat_ws(', ',
    (SELECT 'a superuser' FROM pg_catalog.pg_roles r
      WHERE r.rolname {_EQ} session_user AND r.rolsuper),
    CASE WHEN pg_catalog.has_function_privilege(
      'pg_catalog.pg_replication_origin_session_setup(pg_catalog.text)', 'EXECUTE')
      THEN 'a replication origin' END,
    (SELECT 'a login trigger' FROM pg_catalog.pg_event_trigger t
      WHERE t.evtevent {_EQ} 'login' AND t.evtenabled {_NE} 'D' LIMIT 1),
    (SELECT pg_catalog.concat('language ', l.lanname) FROM pg_catalog.pg_language l
      WHERE l.lanname {_NE} ALL (CAST({_array(LANGUAGES)} AS pg_catalog.name[])) LIMIT 1),
    (SELECT pg_catalog.concat('extension ', x.extname) FROM pg_catalog.pg_extension x
      WHERE x.extname {_NE} ALL (CAST({_array({*EXTENSIONS, *vouched})} AS pg_catalog.name[]))
      LIMIT 1))""".encode()  # noqa: S608 - constants, and quoted names of our configuration


def _array(names: Iterable[str]) -> str:
    quoted = ",".join(
        '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in sorted(names)
    )
    return "'{" + quoted.replace("'", "''") + "}'"


def set_texts(settings: Mapping[str, str]) -> tuple[bytes, ...]:
    """One SET each."""
    return tuple(f"SET {name} TO {_literal(value)}".encode() for name, value in settings.items())


def naming_query(settings: Mapping[str, str], pinning: Pinning | None) -> bytes:
    """The same as set_texts in one statement; the row that it gives ends with what was pinned."""
    columns = [
        f"pg_catalog.set_config('{name}', {_literal(value)}, false)"
        for name, value in settings.items()
    ]
    if pinning is not None:
        columns.append(pinning.columns)
    return f"SELECT {', '.join(columns)}".encode()


def pinned(rows: Sequence[Sequence[str | None]], pinning: Pinning) -> tuple[str, ...]:
    """The end of the answer to `naming_query` or `claim_query`. Raises Unclean where it is not."""
    told = tuple(value for row in rows for value in row[-pinning.width :] if value is not None)
    if len(told) != pinning.width:
        raise Unclean("settings")
    return told


def _literal(value: str) -> str:
    """In E'' a backslash means the same whatever standard_conforming_strings says."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class Unclean(Exception):
    """The connection is not to be used again; `reason` names no value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Answer(NamedTuple):
    rows: list[tuple[str | None, ...]]
    """Of all texts, in order."""
    parameters: dict[str, str]
    """Settings that the server reported as changed."""


async def converse(side: Side, texts: Sequence[bytes], closed: Sequence[bytes] = ()) -> Answer:
    """Sends all texts at once, each a simple Query, behind Close for the prepared statements
    `closed`, and reads until the last is done and no transaction is open. Raises Unclean,
    ConnectionResetError, ProtocolViolation.
    """
    closing = b"".join(m.close(m.STATEMENT, name) for name in closed)
    side.write(closing + (m.SYNC_FRAME if closing else b"") + b"".join(map(m.query, texts)))
    answer = Answer([], {})
    due, status = len(texts) + bool(closing), 0
    while due:
        for kind, body in await side.messages():
            if not due:
                raise Unclean("unasked words")
            if kind == m.READY_FOR_QUERY:
                due, status = due - 1, m.parse_ready_for_query(body)
            elif kind not in _PASSED_OVER:
                _take(answer, kind, body)
    if side.pending:
        raise Unclean("unasked words")
    if status != ord("I"):
        raise Unclean("transaction")
    return answer


def _take(answer: Answer, kind: int, body: bytes) -> None:
    if kind == m.PARAMETER_STATUS:
        name, value = m.parse_parameter_status(body)
        answer.parameters[sys.intern(name.decode("utf-8", "replace"))] = value.decode(
            "utf-8", "replace"
        )
    elif kind == m.DATA_ROW:
        answer.rows.append(row_of(body))
    elif kind == m.ERROR_RESPONSE:
        raise Unclean(f"error {m.parse_error_fields(body).get('C', '')}")
    else:
        raise ProtocolViolation("upstream", "unexpected message while a connection is cleaned")


_PASSED_OVER = (
    m.CLOSE_COMPLETE,
    m.COMMAND_COMPLETE,
    m.ROW_DESCRIPTION,
    m.NOTICE_RESPONSE,
    m.NOTIFICATION_RESPONSE,  # of before UNLISTEN: they were for the session that is over
)


def row_of(body: bytes) -> tuple[str | None, ...]:
    return tuple(
        None if value is None else value.decode("utf-8", "replace") for value in m.parse_row(body)
    )


def require_nothing_left(rows: Sequence[Sequence[str | None]], user: str) -> frozenset[bytes]:
    """-> names of our own statements that are there. Raises Unclean unless these are the answer to
    LEFTOVERS, or to LEFTOVERS_BUT_OURS, of a session that holds nothing else."""
    if len(rows) != 1 or list(rows[0][:4]) != ["f", user, user, "none"]:
        raise Unclean("something is left")
    ours = rows[0][6] if len(rows[0]) > 6 else None
    return frozenset(name.encode() for name in (ours or "").split(",") if name)


def require_standing(rows: Sequence[Sequence[str | None]], standing: str) -> None:
    """Raises Unclean unless these are the answer of a connection that is what it was."""
    seen = footprint(rows)
    if seen.unfit or not standing or seen.standing != standing:
        raise Unclean(seen.unfit or "not as it was after login")


def footprint(rows: Sequence[Sequence[str | None]]) -> Footprint:
    """Raises Unclean for anything but the answer to `footprint_query`."""
    if len(rows) != 1 or len(rows[0]) != 2 or None in rows[0]:
        raise Unclean("no footprint")
    return Footprint(*(value or "" for value in rows[0]))
