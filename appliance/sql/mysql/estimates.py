"""How many rows the server expects a statement to write or read: the question, and what the answer
says.

Called through the dialect for statements that wait for an approval. Rules: EXPLAIN runs nothing but
what it needs to know of constants, in a second on MariaDB; a parameter's value stands in the
question as a literal that cannot be anything else; where the answer does not say, there is no
figure.

https://mariadb.com/kb/en/explain/, https://dev.mysql.com/doc/refman/8.0/en/explain-output.html.
"""

from collections.abc import Mapping, Sequence

from appliance.model.catalog import SessionSettings
from appliance.model.dialect import Expectation
from appliance.model.facts import Action, Facts, StatementFacts
from appliance.sql.mysql.words import NAME, PARAMETER, words_alike

EXPLAIN = (
    b"/*M!100100 SET STATEMENT max_statement_time=1, lock_wait_timeout=1 FOR */"
    b" EXPLAIN /*M!100100 EXTENDED */ "
)
"""MariaDB reads what is in these comments, where MySQL neither needs EXTENDED nor has either of the
bounds for every statement."""

_WRITES = frozenset((Action.INSERT, Action.UPDATE, Action.DELETE))
_WRITES_AGAIN = frozenset((Action.UPDATE, Action.DELETE))
_READING = frozenset(("SIMPLE", "PRIMARY", "UNION", "DELETE", "UPDATE"))
"""Kinds of a line whose rows are written or returned: no subqueries, no derived tables."""
_TAKING = frozenset(("INSERT", "REPLACE"))
_UNITED = frozenset(("PRIMARY", "UNION", "UNION RESULT")) | _TAKING
"""Where there are others, a UNION may stand in one of these."""
_NONE = ("impossible", "no matching", "zero rows", "zero limit")
"""In a line without rows: that there are none (sql_select.cc, messages of `zero_result`)."""
_ONE = ("no tables used", "select tables optimized away")
_ROWS_MAX = 1e15
COUNTED_BYTES_MAX = 64 * 1024
"""Of a text whose words are looked at: on the event loop, once for each that is held."""


def explain(text: bytes, literals: Sequence[bytes], settings: SessionSettings) -> bytes | None:
    """What asks about a text of one statement, with the values of its parameters in their places;
    None where they cannot be put there."""
    if not literals:
        return EXPLAIN + text
    words = words_alike(text, settings, COUNTED_BYTES_MAX)
    places = [word for word in words or () if word.kind == PARAMETER]
    if len(places) != len(literals):
        return None
    pieces, at = [EXPLAIN], 0
    for place, literal in zip(places, literals, strict=True):
        pieces += [text[at : place.start], b" ", literal]
        at = place.end
    return b"".join((*pieces, text[at:]))


def explained(
    text: bytes,
    facts: Facts,
    settings: SessionSettings,
    lines: Sequence[Mapping[str, str | None]],
) -> Expectation:
    """What the lines of an EXPLAIN say of the text's only statement. Rows that an INSERT takes from
    VALUES are counted in the text: the server does not say."""
    (statement,) = facts.statements
    rows = _rows_of(lines)
    if rows is None and lines and all(line.get("select_type") in _TAKING for line in lines):
        rows = _listed(text, settings)
    if rows is None:
        return Expectation(None, "not estimated: the database's answer does not say how many")
    if not _WRITES.isdisjoint(statement.actions):
        return Expectation(int(rows * _times(statement)), "")
    return Expectation(int(rows), "rows that it reads: grouping, DISTINCT and LIMIT leave fewer")


def _rows_of(lines: Sequence[Mapping[str, str | None]]) -> float | None:
    """Of each query: its tables are read in turn, each as often as those before have rows."""
    kinds = {line.get("select_type") or "" for line in lines}
    if "UNION" in kinds and not kinds <= _UNITED:
        return None
    queries: dict[str, float] = {}
    for line in lines:
        if line.get("select_type") not in _READING:
            continue
        read = _read_of(line)
        if read is None:
            return None
        query = line.get("id") or ""
        queries[query] = queries.get(query, 1.0) * read
    total = sum(queries.values())
    return total if queries and 0 <= total <= _ROWS_MAX else None


def _read_of(line: Mapping[str, str | None]) -> float | None:
    extra = (line.get("Extra") or "").lower()
    rows = line.get("rows")
    try:
        if rows is not None:
            return float(rows) * float(line.get("filtered") or 100.0) / 100.0
    except ValueError:
        return None
    if any(said in extra for said in _NONE):
        return 0.0
    return 1.0 if any(said in extra for said in _ONE) else None


def _times(statement: StatementFacts) -> int:
    """How often one row counts: a row that is there already counts twice, as the one that is
    changed or removed and as the new one ("INSERT ... ON DUPLICATE KEY UPDATE", "REPLACE"); of
    several tables that are changed at once, in each."""
    written = [use for use in statement.relations if use.action in _WRITES]
    taking = {use.oid for use in written if use.action is Action.INSERT}
    if taking:
        again = any(use.action in _WRITES_AGAIN and use.oid in taking for use in written)
        return 2 if again else 1
    return max(1, len({use.oid for use in written}))


def _listed(text: bytes, settings: SessionSettings) -> int | None:
    """Rows behind VALUES; one of INSERT ... SET."""
    words = words_alike(text, settings, COUNTED_BYTES_MAX)
    if words is None:
        return None
    depth = rows = 0
    counting = False
    for word in words:
        if word.upper == "(":
            rows += counting and not depth
            depth += 1
        elif word.upper == ")":
            depth -= 1
        elif depth == 0 and word.kind == NAME:
            if word.upper in ("VALUES", "VALUE") and not rows:
                counting = True
            elif word.upper == "SET" and not counting:
                return 1
            elif counting:
                break  # AS new, ON DUPLICATE KEY UPDATE, RETURNING
    return rows or None
