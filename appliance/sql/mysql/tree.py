"""MySQL's grammar as sqlglot reads it, with every function call left as it was written.

Used by whatever reads a statement of this family (`reading`, `lineage`, `rewrite`). Its rule: a
call is `exp.Anonymous` under the name in the text, so that allow-lists go by names and nothing is
translated; only calls whose arguments are separated by words have a node of their own.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import Token, TokenType

_WORDED = (
    "CAST",
    "CHAR",
    "CONVERT",
    "EXTRACT",
    "GROUP_CONCAT",
    "JSON_TABLE",
    "MATCH",
    "POSITION",
    "SUBSTR",
    "SUBSTRING",
    "TRIM",
    "VALUES",
)
"""Calls with words between their arguments."""

_UNIT_FIRST = ("TIMESTAMPADD", "TIMESTAMPDIFF", "GET_FORMAT")
"""Calls whose first argument is a word that is no column."""


class Unreadable(Exception):
    """A text that the grammar does not know; the message holds nothing of the text."""


def _unit_first(name: str) -> Callable[[MySQLParser], exp.Expr]:
    def parsed(parser: MySQLParser) -> exp.Expr:
        unit = parser._parse_var(any_token=True)
        rest = parser._parse_csv(parser._parse_lambda) if parser._match(TokenType.COMMA) else []
        return parser.expression(exp.Anonymous(this=name, expressions=[unit, *rest]))

    return parsed


REPLACES = "replaces"
"""The argument of `exp.Insert` that says REPLACE."""


def _replace(parser: MySQLParser) -> exp.Expr:
    statement = parser._parse_insert()
    statement.set(REPLACES, True)
    return statement


class PlainParser(MySQLParser):
    """sqlglot's, without its table of functions."""

    FUNC_TOKENS: ClassVar = {*MySQLParser.FUNC_TOKENS, TokenType.DEFAULT}
    STATEMENT_PARSERS: ClassVar = {
        **MySQLParser.STATEMENT_PARSERS,
        TokenType.REPLACE: _replace,
    }

    FUNCTIONS: ClassVar = {}
    FUNCTION_PARSERS: ClassVar = {
        **{name: MySQLParser.FUNCTION_PARSERS[name] for name in _WORDED},
        **{name: _unit_first(name) for name in _UNIT_FIRST},
    }


class PlainMySQL(MySQL):
    """The dialect that all of `sql/mysql` reads with."""

    Parser = PlainParser
    parser_class = PlainParser  # type: ignore[assignment]


def tokens_of(text: str) -> Sequence[Token]:
    """The words of a text, in order; `start` and `end` (inclusive) count characters. Raises
    Unreadable."""
    try:
        return PlainMySQL().tokenize(text)
    except (SqlglotError, ValueError, IndexError):
        raise Unreadable("the text can not be split into words") from None


def statements_of(text: str) -> Sequence[exp.Expr]:
    """One tree for each statement. Raises Unreadable, and RecursionError when it is too deep."""
    try:
        parsed = PlainMySQL().parse(text, error_level=ErrorLevel.IMMEDIATE)
    except (SqlglotError, ValueError, LookupError, TypeError, AttributeError):
        raise Unreadable("the text can not be parsed") from None
    return [statement for statement in parsed if statement is not None]


def statement_of(text: str) -> exp.Expr:
    """The tree of a text that is one statement. Raises as `statements_of`."""
    found = statements_of(text)
    if len(found) != 1:
        raise Unreadable("the text is not one statement")
    return found[0]
