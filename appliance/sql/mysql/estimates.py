"""How many rows a statement is expected to write: what the server is asked, and what it says.

Called through the dialect for statements that wait for an approval. Rules: the server is asked only
where planning reads no row and runs nothing, which it does for less than one would think (tables
whose key is a constant are read, conditions on what was read are worked out, SETVAL() is called):
for an UPDATE or DELETE of one table, of nothing but columns, constants and functions that compute;
rows of VALUES are counted in the text; a parameter's value stands in the question as a literal that
cannot be anything else; where the answer does not say, there is no figure.

https://mariadb.com/kb/en/explain/, https://dev.mysql.com/doc/refman/8.0/en/explain-output.html.
"""

from collections.abc import Mapping, Sequence

from appliance.model.catalog import Catalog, SessionSettings
from appliance.model.dialect import Expectation
from appliance.model.facts import Action, Confidence, Facts, StatementFacts
from appliance.sql.mysql.words import NAME, PARAMETER, Word, words_alike

EXPLAIN = (
    b"/*M!100100 SET STATEMENT max_statement_time=1, lock_wait_timeout=1, max_error_count=0 FOR */"
    b" EXPLAIN "
)
"""What is in the comment is MariaDB's: bounds, and no words that could be asked for again."""

_PLANNED = {"UpdateStmt": Action.UPDATE, "DeleteStmt": Action.DELETE}
_WRITES_AGAIN = frozenset((Action.UPDATE, Action.DELETE))
_CALM = frozenset(
    (  # noqa: SIM905 - a long list of words
        "now curdate curtime current_date current_time current_timestamp localtime localtimestamp"
        " sysdate utc_date utc_time utc_timestamp unix_timestamp from_unixtime date time year month"
        " day date_add date_sub adddate subdate timestampadd str_to_date last_day"
        " lower lcase upper ucase trim ltrim rtrim concat substring left right length char_length"
        " coalesce ifnull nullif if abs round floor ceiling mod greatest least"
    ).split()
)
"""Functions that give a value for constants at once, and do nothing else."""
_READING = frozenset(("SIMPLE", "PRIMARY", "UPDATE", "DELETE"))
_NONE = ("impossible", "no matching", "zero rows", "zero limit")
"""In a line without rows: that there are none (sql_select.cc, messages of `zero_result`)."""
_ROWS_MAX = 1e15
COUNTED_BYTES_MAX = 64 * 1024
"""Of a text whose words are looked at: on the event loop, once for each that is held."""


def explain(
    text: bytes,
    facts: Facts,
    literals: Sequence[bytes],
    settings: SessionSettings,
    catalog: Catalog | None,
) -> bytes | Expectation:
    """What asks about a text of one statement, with the values of its parameters in their places;
    or what is known of it without a question."""
    (statement,) = facts.statements
    words = words_alike(text, settings, COUNTED_BYTES_MAX)
    if words is None:
        return Expectation(None, "not estimated: too long, or not read alike by every server")
    if statement.kind == "InsertStmt":
        rows = _listed(words)
        if rows is None:
            return Expectation(None, "not estimated: what it inserts is read from elsewhere")
        return Expectation(rows * _times(statement), "")
    if not _is_calm(statement, words, catalog):
        return Expectation(None, "not estimated: planning it could read rows, or run functions")
    places = [word for word in words if word.kind == PARAMETER]
    if len(places) != len(literals):
        return Expectation(None, "not estimated: its values have no literals")
    pieces, at = [EXPLAIN], 0
    for place, literal in zip(places, literals, strict=True):
        pieces += [text[at : place.start], b" ", literal]
        at = place.end
    return b"".join((*pieces, text[at:]))


def _is_calm(statement: StatementFacts, words: Sequence[Word], catalog: Catalog | None) -> bool:
    """Whether planning it does nothing."""
    action = _PLANNED.get(statement.kind)
    targets = {use.oid for use in statement.relations}
    if action is None or set(statement.actions) != {action} or len(targets) != 1:
        return False
    if statement.confidence is not Confidence.EXACT or statement.sets_variables:
        return False
    if statement.functions or not statement.names_called <= _CALM:
        return False
    relation = None if catalog is None else catalog.relations.get(min(targets))
    return relation is not None and relation.kind == "r" and _is_of_one_table(words)


def _is_of_one_table(words: Sequence[Word]) -> bool:
    """Whether it is in the form that names one table, and has no other query in it: where the
    server plans a join, it reads."""
    verb, *rest = (word.upper for word in words)
    if not {"SELECT", "WITH", "TABLE"}.isdisjoint(rest):
        return False
    while rest and rest[0] in ("LOW_PRIORITY", "QUICK", "IGNORE"):
        del rest[0]
    if verb == "UPDATE":
        before = rest[: rest.index("SET")] if "SET" in rest else [","]
        return not {",", "JOIN", "STRAIGHT_JOIN", "("}.intersection(before)
    return verb == "DELETE" and rest[:1] == ["FROM"] and "USING" not in rest


def explained(lines: Sequence[Mapping[str, str | None]]) -> Expectation:
    """What the lines of the answer say."""
    read = [_read_of(line) for line in lines if line.get("select_type") in _READING]
    (rows,) = read if len(read) == 1 else (None,)
    if rows is None or not 0 <= rows <= _ROWS_MAX:
        return Expectation(None, "not estimated: the database's answer does not say how many")
    return Expectation(int(rows), "")


def _read_of(line: Mapping[str, str | None]) -> float | None:
    extra = (line.get("Extra") or "").lower()
    rows = line.get("rows")
    try:
        if rows is not None:
            return float(rows) * float(line.get("filtered") or 100.0) / 100.0
    except ValueError:
        return None
    return 0.0 if any(said in extra for said in _NONE) else None


def _times(statement: StatementFacts) -> int:
    """How often a row counts that is there already: as the one that is changed or removed, and as
    the new one ("INSERT ... ON DUPLICATE KEY UPDATE", "REPLACE")."""
    return 1 if _WRITES_AGAIN.isdisjoint(statement.actions) else 2


def _listed(words: Sequence[Word]) -> int | None:
    """Rows behind VALUES; one of INSERT ... SET. None: they are read from somewhere."""
    depth = rows = 0
    counting = False
    for word in words:
        if word.upper == "(":
            rows += counting and not depth
            depth += 1
        elif word.upper == ")":
            depth -= 1
        elif depth == 0 and word.kind == NAME:
            if word.upper in ("SELECT", "TABLE", "WITH") and not counting:
                return None
            if word.upper in ("VALUES", "VALUE") and not counting:
                counting = True
            elif word.upper == "SET" and not counting:
                return 1
            elif counting:
                break  # AS new, ON DUPLICATE KEY UPDATE, RETURNING
    return rows or None
