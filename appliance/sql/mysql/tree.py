"""Words of a query or of a statement that writes rows, into sqlglot's tree.

The only module that imports sqlglot's parser; called by `parse` for what clients send, by `lineage`
for the definitions of views, and by whatever reads again what it has printed. Its rules: sqlglot
sees our words, not the text, so it cannot lex what the server does not; it knows only MySQL's and
MariaDB's keywords, all others are names; a call is `exp.Anonymous` under the name in the text, so
that allow-lists go by names and nothing is translated (only calls whose arguments are separated by
words have a node of their own); and what it takes for a `Command` is an error.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ErrorLevel, ParseError
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.tokenizer_core import Token, TokenType

from _speedups import mylex
from appliance.sql.mysql.words import (
    DEPTH_MAX,
    NAME,
    NUMBER,
    OTHER,
    PARAMETER,
    QUOTED_NAME,
    STRING,
    VARIABLE,
    Word,
    split,
    words_of,
)

PLACE = "place"
"""Key in a node's `meta`: the byte offset of a constant, a call or a table in the text."""

_KEPT = """ALL AND ANY AS ASC BETWEEN BIGINT BINARY BIT BLOB BOOL BOOLEAN CASE CHAR CHARACTER
    CHARSET COLLATE CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATE
    DATETIME DEC DECIMAL DEFAULT DELETE DESC DISTINCT DISTINCTROW DIV DOUBLE ELSE END
    ESCAPE EXCEPT EXISTS FALSE FETCH FIRST FIXED FLOAT FOR FORCE FROM HAVING IGNORE IN
    INDEX INNER INSERT INT INTEGER INTERSECT INTERVAL INTO IS JOIN JSON KEY LATERAL LEFT
    LIKE LIMIT LOCALTIME LOCALTIMESTAMP LOCK MEDIUMINT MOD NATURAL NCHAR NEXT NOT NULL
    OFFSET ON OR OUTER OVER PARTITION RANGE REAL RECURSIVE REGEXP REPLACE RETURNING RIGHT
    RLIKE ROLLUP ROW ROWS SELECT SEPARATOR SET SIGNED SMALLINT SOME STRAIGHT_JOIN TABLE
    TEXT THEN TIME TIMESTAMP TINYINT TRUE UNION UNKNOWN UNSIGNED UPDATE USE USING VALUES
    VARBINARY VARCHAR WHEN WHERE WINDOW WITH XOR YEAR"""
KEYWORDS: Mapping[str, TokenType] = {
    word: kind for word, kind in MySQL.Tokenizer.KEYWORDS.items() if word in _KEPT.split()
} | {"TIMESTAMP": TokenType.TIMESTAMP, "CHARSET": TokenType.CHARACTER_SET, "SET": TokenType.SET}

PAIRS: Mapping[tuple[str, str], TokenType] = {
    ("GROUP", "BY"): TokenType.GROUP_BY,
    ("ORDER", "BY"): TokenType.ORDER_BY,
    ("PARTITION", "BY"): TokenType.PARTITION_BY,
    ("MEMBER", "OF"): TokenType.MEMBER_OF,
    ("SIGNED", "INTEGER"): TokenType.BIGINT,
    ("UNSIGNED", "INTEGER"): TokenType.UBIGINT,
    ("DOUBLE", "PRECISION"): TokenType.DOUBLE,
    ("CHARACTER", "SET"): TokenType.CHARACTER_SET,
    ("CHAR", "SET"): TokenType.CHARACTER_SET,
}
"""Two words that are one token."""

SIGNS: Mapping[str, TokenType] = {
    "(": TokenType.L_PAREN,
    ")": TokenType.R_PAREN,
    ",": TokenType.COMMA,
    ".": TokenType.DOT,
    "-": TokenType.DASH,
    "+": TokenType.PLUS,
    "*": TokenType.STAR,
    "/": TokenType.SLASH,
    "%": TokenType.MOD,
    "&": TokenType.AMP,
    "|": TokenType.PIPE,
    "^": TokenType.CARET,
    "~": TokenType.TILDE,
    "!": TokenType.NOT,
    "=": TokenType.EQ,
    "<": TokenType.LT,
    ">": TokenType.GT,
    "<=": TokenType.LTE,
    ">=": TokenType.GTE,
    "<>": TokenType.NEQ,
    "!=": TokenType.NEQ,
    "<=>": TokenType.NULLSAFE_EQ,
    "&&": TokenType.DAMP,
    "||": TokenType.DPIPE,
    ":=": TokenType.COLON_EQ,
    "->": TokenType.ARROW,
    "->>": TokenType.DARROW,
    "\\N": TokenType.NULL,
    "?": TokenType.PLACEHOLDER,
}
BRACES = frozenset({"{", "}"})
SHIFTS: Mapping[str, TokenType] = {"<<": TokenType.LT, ">>": TokenType.GT}
"""sqlglot's parser takes two signs for one of these."""

INTRODUCERS = frozenset(word for word in MySQL.Tokenizer.KEYWORDS if word[0] == "_")


class Unreadable(Exception):
    """A text that the grammar does not know; the message holds nothing of the text."""


def _literal(string: bool) -> Callable[["Reader", Token], exp.Expr]:
    def made(_: "Reader", token: Token) -> exp.Expr:
        node = exp.Literal(this=token.text, is_string=string)
        node.meta[PLACE] = token.start
        return node

    return made


REPLACES = "replaces"
"""The argument of `exp.Insert` that says REPLACE."""
MODIFIERS = "modifiers"
"""The argument of a statement that writes: LOW_PRIORITY, QUICK and such, IGNORE included where the
parser does not know it; a list of `exp.Var`."""

_UNIT_FIRST = ("TIMESTAMPADD", "TIMESTAMPDIFF", "GET_FORMAT")
"""Calls whose first argument is a word that is no column."""


def _unit_first(name: str) -> Callable[["Reader"], exp.Expr]:
    def parsed(reader: "Reader") -> exp.Expr:
        unit = reader._parse_var(any_token=True)
        rest = reader._parse_csv(reader._parse_lambda) if reader._match(TokenType.COMMA) else []
        return exp.Anonymous(this=name, expressions=[unit, *rest])

    return parsed


SEQUENCE = "sequence"
"""Key in the `meta` of the argument of NEXTVAL and the like: (database or '', name)."""
_OF_SEQUENCES = ("NEXTVAL", "LASTVAL", "SETVAL")


def _of_sequence(name: str) -> Callable[["Reader"], exp.Expr]:
    """A call whose first argument names a sequence, not a column."""

    def parsed(reader: "Reader") -> exp.Expr:
        table = reader._parse_table_parts()
        if not isinstance(table, exp.Table):
            raise ParseError("not understood")
        sequence = exp.Var(this=table.name)
        sequence.meta[SEQUENCE] = (table.db, table.name)
        rest = reader._parse_csv(reader._parse_lambda) if reader._match(TokenType.COMMA) else []
        return exp.Anonymous(this=name, expressions=[sequence, *rest])

    return parsed


def _extract(this: exp.Expr, path: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this="JSON_EXTRACT", expressions=[this, path])


def _rows(reader: "Reader") -> exp.Expr:
    """VALUES (1, 2), (3, 4) as a statement."""
    made = exp.Values(expressions=reader._parse_csv(reader._parse_value))
    return reader._parse_query_modifiers(reader._parse_set_operations(made)) or made


class Reader(MySQLParser):
    """sqlglot's parser of MySQL, with less of a mind of its own."""

    FUNCTIONS: ClassVar[Any] = {}
    FUNCTION_PARSERS: ClassVar[Any] = {
        name: MySQLParser.FUNCTION_PARSERS[name]
        for name in (
            "CAST", "CONVERT", "CHAR", "EXTRACT", "GROUP_CONCAT", "JSON_TABLE", "MATCH", "POSITION",
            "SUBSTRING", "SUBSTR", "TRIM", "VALUES",
        )
    }  # fmt: skip
    FUNCTION_PARSERS |= {name: _unit_first(name) for name in _UNIT_FIRST}
    FUNCTION_PARSERS |= {name: _of_sequence(name) for name in _OF_SEQUENCES}
    FUNC_TOKENS: ClassVar[Any] = {*MySQLParser.FUNC_TOKENS, TokenType.DEFAULT}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[Any] = {
        name: MySQLParser.NO_PAREN_FUNCTION_PARSERS[name] for name in ("ANY", "CASE")
    }
    STATEMENT_PARSERS: ClassVar[Any] = {
        **{
            kind: MySQLParser.STATEMENT_PARSERS[kind]
            for kind in (TokenType.DELETE, TokenType.INSERT, TokenType.UPDATE)
        },
        TokenType.VALUES: _rows,
    }
    PRIMARY_PARSERS: ClassVar[Any] = {
        **MySQLParser.PRIMARY_PARSERS,
        TokenType.STRING: _literal(True),
        TokenType.NUMBER: _literal(False),
    }
    STRING_PARSERS: ClassVar[Any] = {**MySQLParser.STRING_PARSERS, TokenType.STRING: _literal(True)}
    NUMERIC_PARSERS: ClassVar[Any] = {
        **MySQLParser.NUMERIC_PARSERS,
        TokenType.NUMBER: _literal(False),
    }
    RANGE_PARSERS: ClassVar[Any] = {
        kind: MySQLParser.RANGE_PARSERS[kind]
        for kind in (
            TokenType.BETWEEN, TokenType.IN, TokenType.IS, TokenType.LIKE, TokenType.RLIKE,
            TokenType.MEMBER_OF,
        )
    }  # fmt: skip
    COLUMN_OPERATORS: ClassVar[Any] = {
        TokenType.DOT: MySQLParser.COLUMN_OPERATORS[TokenType.DOT],
        TokenType.ARROW: lambda self, this, path: _extract(this, path),
        TokenType.DARROW: lambda self, this, path: exp.Anonymous(
            this="JSON_UNQUOTE", expressions=[_extract(this, path)]
        ),
    }

    def _warn_unsupported(self) -> None:
        raise ParseError("not understood")


READER = MySQL()


def statement_of(text: str, modes: int = 0) -> exp.Expr:
    """The tree of a text that is one statement, lexed under `modes` (`_speedups.mylex`; of a view's
    definition or of what we print: none). Raises Unreadable, and RecursionError."""
    bare = text.encode(errors="surrogateescape")
    depth, _, has_nul, lexes = mylex.measure(bare, modes)
    if has_nul or not lexes or depth > DEPTH_MAX:
        raise Unreadable("the text can not be split into words")
    try:
        found = split(words_of(bare, modes))
    except (UnicodeError, ValueError):
        raise Unreadable("the text can not be split into words") from None
    if len(found) != 1:
        raise Unreadable("the text is not one statement")
    return tree_of(found[0])


def tree_of(words: Sequence[Word]) -> exp.Expr:
    """The tree of one statement: SELECT, VALUES, TABLE, WITH, a parenthesised query, INSERT,
    REPLACE (an Insert with `replace` in its meta), UPDATE or DELETE. Raises Unreadable, and
    RecursionError for what nests too deeply."""
    words, modifiers = _without_modifiers(shortened(words))
    tokens = _tokens(words)
    replaces = tokens[0].token_type is TokenType.REPLACE
    if replaces:
        tokens[0] = Token(TokenType.INSERT, "INSERT", start=tokens[0].start)
    reader = Reader(dialect=READER, error_level=ErrorLevel.IMMEDIATE, max_errors=1)
    try:
        trees = reader.parse(tokens, "")
    except RecursionError:
        raise
    except Exception:  # a parser's own failure is one more way not to understand
        raise Unreadable("the statement could not be parsed") from None
    if len(trees) != 1 or trees[0] is None:
        raise Unreadable("the statement could not be parsed")
    tree: exp.Expr = trees[0]
    if replaces:
        tree.set(REPLACES, True)
    if modifiers:
        tree.set(MODIFIERS, [exp.Var(this=word) for word in modifiers])
    return tree


LISTED_MAX = 64
"""Of a longer list of constants only so many come into the tree."""
_CONSTANT = frozenset({"NULL", "TRUE", "FALSE", "DEFAULT", "-", "+", "\\N", "?", ","})


def shortened(words: Sequence[Word]) -> Sequence[Word]:
    """Without rows of constants behind the first ones of VALUES, and without the end of a long list
    of constants that a column is looked for in: nothing in a tree of ours depends on these, and
    reading a dump's INSERT of a megabyte takes ten seconds otherwise."""
    if len(words) <= 4 * LISTED_MAX:
        return words
    kept: list[Word] = []
    index, size = 0, len(words)
    while index < size:
        word = words[index]
        kept.append(word)
        index += 1
        if word.upper != "(" or len(kept) < 2:
            continue
        before = kept[-2]
        end = _constants_end(words, index)
        if before.upper == "IN" and len(kept) > 2 and kept[-3].kind in (NAME, QUOTED_NAME):
            if end - index > 2 * LISTED_MAX:
                kept += words[index : index + 2 * LISTED_MAX - 1]
                index = end
        elif before.upper in ("VALUES", "VALUE"):
            index = _past_rows(words, index, end, kept)
    return kept


def _constants_end(words: Sequence[Word], index: int) -> int:
    """The parenthesis that closes a list of constants which begins at `index`; `index` itself when
    there is anything else in it."""
    at = index
    while at < len(words):
        word = words[at]
        if word.upper == ")":
            return at
        if word.kind not in (STRING, NUMBER) and word.upper not in _CONSTANT | INTRODUCERS:
            return index
        at += 1
    return index


def _past_rows(words: Sequence[Word], index: int, end: int, kept: list[Word]) -> int:
    """Keeps the row that begins at `index`; gives the index behind the rows of constants that
    follow it."""
    if end == index:
        return index
    kept += words[index : end + 1]
    at = end + 1
    while [word.upper for word in words[at : at + 2]] == [",", "("]:
        following = _constants_end(words, at + 2)
        if following == at + 2:
            break
        at = following + 1
    return at


_MODIFIERS = frozenset({"LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK"})


def _without_modifiers(words: Sequence[Word]) -> tuple[Sequence[Word], list[str]]:
    first = words[0].upper
    if first not in ("INSERT", "REPLACE", "UPDATE", "DELETE"):
        return words, []
    known = _MODIFIERS if first in ("INSERT", "REPLACE") else _MODIFIERS | {"IGNORE"}
    found: list[str] = []
    while len(found) + 1 < len(words) and words[len(found) + 1].upper in known:
        found.append(words[len(found) + 1].upper)
    return [words[0], *words[1 + len(found) :]], found


def _tokens(words: Sequence[Word]) -> list[Token]:
    tokens: list[Token] = []
    index, size = 0, len(words)
    while index < size:
        word = words[index]
        following = words[index + 1] if index + 1 < size else None
        taken = 1
        if word.kind == NAME:
            taken = _worded(words, index, tokens) or _name(word, following, tokens)
        elif word.kind == STRING:
            value = word.text
            while index + taken < size and words[index + taken].kind == STRING:
                value += words[index + taken].text  # 'a' 'b' is one string
                taken += 1
            tokens.append(Token(TokenType.STRING, value, start=word.start, end=word.end))
        elif word.kind == NUMBER:
            tokens.append(_number(word))
        elif word.kind == QUOTED_NAME:
            tokens.append(Token(TokenType.IDENTIFIER, word.text, start=word.start, end=word.end))
        elif word.kind == VARIABLE:
            taken = _variable(words, index, tokens)
        elif word.upper in BRACES and word.kind == OTHER:
            taken = _brace(word, following, tokens)
        elif word.upper in SHIFTS:
            tokens += [Token(SHIFTS[word.upper], word.text[0], start=word.start) for _ in "12"]
        elif word.kind == PARAMETER or word.upper in SIGNS:
            tokens.append(Token(SIGNS[word.upper], word.text, start=word.start, end=word.end))
        else:
            raise Unreadable("the statement could not be parsed")
        index += taken
    return tokens


def _worded(words: Sequence[Word], index: int, tokens: list[Token]) -> int:
    """What sqlglot does not know: NEXT VALUE FOR s becomes NEXTVAL(s), a row of VALUES one of
    VALUES ROW, and ROWS EXAMINED n nothing. Gives how many words that took; 0 = none of these."""
    word = words[index]
    coming = [each.upper for each in words[index : index + 3]]
    if coming[1:] == ["VALUE", "FOR"] and word.upper in ("NEXT", "PREVIOUS"):
        end = index + (6 if words[index + 4 : index + 5] and words[index + 4].upper == "." else 4)
        name = "NEXTVAL" if word.upper == "NEXT" else "LASTVAL"
        tokens.append(Token(TokenType.VAR, name, start=word.start, end=word.end))
        tokens.append(Token(TokenType.L_PAREN, "(", start=word.start, end=word.end))
        tokens += _tokens(words[index + 3 : end])
        tokens.append(Token(TokenType.R_PAREN, ")", start=word.start, end=word.end))
        return end - index
    if coming[:2] == ["ROWS", "EXAMINED"] and tokens and words[index + 2 : index + 3]:
        return 3
    if coming[:2] == ["VALUES", "("] and _is_query(words, index):
        return _spelled_rows(words, index, tokens)
    return 0


_BEFORE_QUERY = frozenset({"UNION", "ALL", "EXCEPT", "INTERSECT", "DISTINCT"})
_BEFORE_PARENTHESIS = frozenset({"FROM", "JOIN", "IN", "AS", ","}) | _BEFORE_QUERY


def _is_query(words: Sequence[Word], index: int) -> bool:
    """Whether VALUES is a query here, and not the rows of an INSERT or the function."""
    if not index:
        return False  # the parser knows it as a statement
    place = index - 1
    while place >= 0 and words[place].upper == "(":
        place -= 1
    if place < 0:
        return True
    before = words[place].upper
    return before in (_BEFORE_PARENTHESIS if place < index - 1 else _BEFORE_QUERY)


def _spelled_rows(words: Sequence[Word], index: int, tokens: list[Token]) -> int:
    """VALUES (1, 2), (3, 4) with ROW before each parenthesis."""
    tokens.append(Token(TokenType.VALUES, "VALUES", start=words[index].start))
    at, depth, begun = index + 1, 0, index + 1
    while at < len(words):
        depth += {"(": 1, ")": -1}.get(words[at].upper, 0)
        at += 1
        if depth == 0:
            tokens.append(Token(TokenType.VAR, "ROW", start=words[begun].start))
            tokens += _tokens(words[begun:at])
            if [word.upper for word in words[at : at + 2]] != [",", "("]:
                break
            tokens.append(Token(TokenType.COMMA, ",", start=words[at].start))
            at, begun = at + 1, at + 1
    return at - index


def _brace(word: Word, following: Word | None, tokens: list[Token]) -> int:
    """{d '2024-01-01'}, {fn upper(a)}, {oj a left join b on c}: what is inside, in parentheses
    (https://dev.mysql.com/doc/refman/8.0/en/expressions.html); gives how many words that took."""
    if word.upper == "}":
        tokens.append(Token(TokenType.R_PAREN, ")", start=word.start, end=word.end))
        return 1
    if following is None or following.kind != NAME:
        raise Unreadable("the statement could not be parsed")
    tokens.append(Token(TokenType.L_PAREN, "(", start=word.start, end=word.end))
    return 2


def _name(word: Word, following: Word | None, tokens: list[Token]) -> int:
    """Adds a plain name or keyword; gives how many words that took."""
    if tokens and tokens[-1].token_type is TokenType.DOT:
        tokens.append(Token(TokenType.VAR, word.text, start=word.start, end=word.end))
        return 1
    if following is not None:
        pair = PAIRS.get((word.upper, following.upper))
        if pair is not None:
            text = f"{word.text} {following.text}"
            tokens.append(Token(pair, text, start=word.start, end=following.end))
            return 2
        if word.upper in INTRODUCERS and following.kind in (STRING, NUMBER):
            kind = TokenType.INTRODUCER
            tokens.append(Token(kind, word.text, start=word.start, end=word.end))
            return 1
    kind = KEYWORDS.get(word.upper, TokenType.VAR)
    tokens.append(Token(kind, word.text, start=word.start, end=word.end))
    return 1


def _number(word: Word) -> Token:
    text = word.text
    if text[:2] == "0x":
        return Token(TokenType.HEX_STRING, text[2:], start=word.start, end=word.end)
    if text[:2] == "0b":
        return Token(TokenType.BIT_STRING, text[2:], start=word.start, end=word.end)
    if text[-1] == "'":
        digits = text[2:-1]
        allowed = "0123456789abcdefABCDEF" if text[0] in "xX" else "01"
        if not set(allowed).issuperset(digits):
            raise Unreadable("a number is none")
        kind = TokenType.HEX_STRING if text[0] in "xX" else TokenType.BIT_STRING
        return Token(kind, digits, start=word.start, end=word.end)
    return Token(TokenType.NUMBER, text, start=word.start, end=word.end)


def _variable(words: Sequence[Word], index: int, tokens: list[Token]) -> int:
    """@name, or @@ and the names behind it; gives how many words that took."""
    word = words[index]
    if word.text == "@@":
        tokens.append(Token(TokenType.SESSION_PARAMETER, "@@", start=word.start, end=word.end))
        return 1
    if not word.text:
        raise Unreadable("a variable has no name")
    tokens.append(Token(TokenType.PARAMETER, "@", start=word.start, end=word.end))
    tokens.append(Token(TokenType.IDENTIFIER, word.text, start=word.start, end=word.end))
    return 1
