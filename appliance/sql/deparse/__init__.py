"""Statement trees to SQL text. Called by whoever rewrites statements; `deparse` prints,
`same_statement` proves what was printed. Pure.

The rule: the text means exactly the tree, on the server's version, whatever its search_path; a tree
of which that is not certain raises `Undeparsable`. Callers send no text that `same_statement` did
not confirm.
"""

from collections.abc import MutableMapping

from appliance.sql.deparse.expressions import EXPRESSIONS
from appliance.sql.deparse.json import JSON_EXPRESSIONS, JSON_TABLES
from appliance.sql.deparse.printer import Grammar, Printer, Undeparsable
from appliance.sql.deparse.queries import QUERIES
from appliance.sql.deparse.sameness import same_statement, same_tree
from appliance.sql.deparse.tables import TABLES
from appliance.sql.deparse.utility import UTILITY
from appliance.sql.deparse.writes import WRITES
from appliance.sql.deparse.xml import XML_EXPRESSIONS, XML_TABLES
from appliance.sql.parse import Body

__all__ = ["Undeparsable", "deparse", "same_statement", "same_tree"]

_GRAMMAR = Grammar(
    {**EXPRESSIONS, **JSON_EXPRESSIONS, **XML_EXPRESSIONS},
    {**TABLES, **JSON_TABLES, **XML_TABLES},
    {**QUERIES, **WRITES, **UTILITY},
)
_STATEMENTS = frozenset(_GRAMMAR.statements)


def deparse(
    kind: str, body: Body, server_version_num: int, texts: MutableMapping[int, str] | None = None
) -> str:
    """The text of one statement, without a semicolon.

    `texts`: id() of the body of a SelectStmt that occurs in many statements -> its text, '' until
    it has been printed here. The caller keeps these bodies alive and as they are.

    `kind` and `body` as in `RawStatement`: enums are present (libpg_query always writes them),
    false, 0 and '' may be left out. Raises `Undeparsable`.
    """
    printer = Printer(_GRAMMAR, server_version_num, texts)
    try:
        printer.statement({kind: body}, _STATEMENTS)
    except RecursionError:
        raise Undeparsable("the statement is nested too deeply") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        # A field that libpg_query always writes is missing or of another type.
        raise Undeparsable("the tree is not as the parser gives it") from None
    text = "".join(printer.text)
    if "\0" in text:
        raise Undeparsable("a NUL byte")
    return text
