"""Texts changed word by word, and the proof that nothing else changed.

Used by `masked` and `rewrite`. A text is not printed from its tree (a printer that knows two
families of servers and all their versions would be one more thing to trust) but keeps its own
words, without comments; where an edit says so, others take their place. Then the result is read
again and held against the tree that was rewritten: `same` walks both and allows a difference only
where an edit is, and there only the very tree that was put in.

What is put in (a subselect or an expression, in parentheses) is read by itself, once (`whole`); in
the text that is read again something brief stands for it, since a thing in parentheses is the same
wherever it stands.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlglot import exp

from appliance.sql.mysql.tree import Unreadable, statement_of
from appliance.sql.mysql.words import Word, words_of


class Unmaskable(Exception):
    """A statement that can not be said over masked relations; `args[0]` is for a person."""


class Edit(NamedTuple):
    """Bytes `start` to `end` (exclusive) of the text become `text`."""

    start: int
    end: int
    text: str
    brief: str = ""
    """What stands in its place where the result is read again; '' = the text itself."""


class Replaced(NamedTuple):
    """What stands in the new tree where the old one has another node."""

    node: exp.Expr
    """As parsed from what was put in, without what the old node had besides (joins)."""
    alias: str = ""
    """Of a subselect in place of a relation."""


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def spliced(text: bytes, words: Sequence[Word], edits: Sequence[Edit], brief: bool = False) -> str:
    """The text of the words with the edits in it; comments become blanks. Raises Unmaskable when
    edits overlap or cut a word in two."""
    pieces: list[bytes] = []
    pending = sorted(edits)
    at = words[0].start
    starts = {word.start for word in words} | {words[-1].end}
    ends = {word.end for word in words} | {words[0].start}
    for start, end, whole, short in pending:
        replacement = short if brief and short else whole
        if start < at or end < start or not (start in starts | ends and end in ends | starts):
            raise Unmaskable("its parts could not be told apart")
        pieces += [_bare(text, words, at, start), replacement.encode()]
        at = end
    pieces.append(_bare(text, words, at, words[-1].end))
    try:
        return b"".join(pieces).decode()
    except UnicodeDecodeError:
        raise Unmaskable("it holds bytes that are no characters") from None


def _bare(text: bytes, words: Sequence[Word], start: int, end: int) -> bytes:
    """A stretch of the text; what lies between its words, unless it is space, becomes a blank."""
    made: list[bytes] = []
    at = start
    for word in words:
        if word.end <= start or word.start >= end:
            continue
        made += [_gap(text[at : word.start]), text[word.start : word.end]]
        at = word.end
    made.append(_gap(text[at:end]))
    return b"".join(made)


def _gap(between: bytes) -> bytes:
    return between if not between.strip() else b" "


def expression_of(text: str) -> exp.Expr:
    """The tree of one expression of ours. Raises Unmaskable."""
    try:
        tree = statement_of(f"SELECT {text}")
    except (Unreadable, RecursionError):
        raise Unmaskable("a mask can not be said in SQL") from None
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1:
        raise Unmaskable("a mask can not be said in SQL")
    found: exp.Expr = tree.expressions[0]
    return found


def subselect_of(text: str) -> exp.Expr:
    """The tree of `(SELECT ...)` as an operand of FROM. Raises Unmaskable."""
    try:
        tree = statement_of(f"SELECT 1 FROM {text} AS x")  # noqa: S608 - only read here
    except (Unreadable, RecursionError):
        raise Unmaskable("a masked relation can not be said in SQL") from None
    found = tree.args["from_"].this if isinstance(tree, exp.Select) else None
    if not isinstance(found, exp.Subquery):
        raise Unmaskable("a masked relation can not be said in SQL")
    return found


BRIEF_SUBSELECT = "(SELECT 1)"
BRIEF_EXPRESSION = "(1)"


def whole(text: str, modes: int) -> bool:
    """Whether what is put in (in parentheses) is one thing, and the same under `modes`. Raises
    Unmaskable when it can not be read at all."""
    if text[:1] != "(" or text[-1:] != ")":
        return False
    if text[1:7].upper() == "SELECT":
        subselect_of(text)
    elif not isinstance(expression_of(text), exp.Paren):
        return False
    raw = text.encode()
    try:
        found, plain = words_of(raw, modes), words_of(raw, 0)
    except ValueError:
        return False
    return found == plain and all(word.upper != ";" for word in found)


def same(old: object, new: object, replaced: Mapping[int, Replaced]) -> bool:
    """Whether `new` is `old` but for what `replaced` says (by id() of the old node)."""
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return False
        return all(same(a, b, replaced) for a, b in zip(old, new, strict=True))
    if not isinstance(old, exp.Expr) or not isinstance(new, exp.Expr):
        return old == new
    made = replaced.get(id(old))
    if made is not None:
        return _is_put(old, new, made, replaced)
    if type(old) is not type(new):
        return False
    keys = {k for k, v in old.args.items() if _says(v)} | {
        k for k, v in new.args.items() if _says(v)
    }
    return all(same(old.args.get(key), new.args.get(key), replaced) for key in keys)


def _says(value: object) -> bool:
    return value is not None and value is not False and value != []


def _is_put(old: exp.Expr, new: exp.Expr, made: Replaced, replaced: Mapping[int, Replaced]) -> bool:
    if isinstance(old, exp.Table) and isinstance(made.node, exp.Subquery):
        expected = {"this": made.node.this, "joins": old.args.get("joins")}
        given = {key: value for key, value in new.args.items() if _says(value) and key != "alias"}
        return (
            isinstance(new, exp.Subquery)
            and new.alias == made.alias
            and given.keys() == {key for key, value in expected.items() if _says(value)}
            and new.this == made.node.this
            and same(expected["joins"] or [], given.get("joins", []), replaced)
        )
    if isinstance(made.node, exp.Table):  # its database was put before it
        parts = (old.args | {"db": None}, new.args | {"db": None})
        keys = {key for part in parts for key, value in part.items() if _says(value)}
        return (
            isinstance(new, exp.Table)
            and new.db == made.node.db
            and all(same(parts[0].get(key), parts[1].get(key), replaced) for key in keys)
        )
    if isinstance(made.node, exp.Alias) and made.node.this is old:  # named by its own text
        others = {key: value for key, value in replaced.items() if key != id(old)}
        return (
            isinstance(new, exp.Alias) and new.alias == made.alias and same(old, new.this, others)
        )
    return bool(new == made.node)
