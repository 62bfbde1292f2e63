"""The pieces of one text being printed, and the dispatch over node kinds. Called by every module of
this package.

Its rule: a node kind that is in no table, and a field that the node's row does not name, raise
`Undeparsable`. Nothing of a tree is left out silently.
"""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from appliance.sql.parse import Body

Node = Any
"""A wrapped node {"Kind": {...}}."""

PLACES = frozenset(
    [
        "arg_location",
        "list_end",
        "list_start",
        "location",
        "name_location",
        "rexpr_list_end",
        "rexpr_list_start",
        "stmt_len",
        "stmt_location",
    ]
)
"""Fields that say only where in the text something stood."""

# Printed without parentheses as an operand: each is a c_expr of the grammar whatever it holds.
CLOSED = frozenset(
    [
        "CaseExpr",
        "CoalesceExpr",
        "ColumnRef",
        "FuncCall",
        "MinMaxExpr",
        "ParamRef",
        "SQLValueFunction",
        "TypeCast",
    ]
)

_SYMBOL = re.compile(r"[-+*/<>=~!@#%^&|`?]+", re.ASCII)


class Undeparsable(Exception):
    """A tree that is not printed."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        """For a person; holds no literal of the statement."""


class Rule(NamedTuple):
    """How one kind of node is printed."""

    fields: frozenset[str]
    """Everything such a node may have; `PLACES` among it."""
    write: Callable[["Printer", Body], None]


def rule(fields: str, write: Callable[["Printer", Body], None]) -> Rule:
    """`fields`: names with blanks between."""
    return Rule(known(fields), write)


def known(fields: str) -> frozenset[str]:
    return PLACES.union(fields.split())


class Grammar(NamedTuple):
    """What is printed where, by node kind."""

    expressions: Mapping[str, Rule]
    tables: Mapping[str, Rule]
    statements: Mapping[str, Rule]


class Printer:
    """One text in the making. Everything it raises is `Undeparsable`, or, for a tree that is not
    libpg_query's, one of Python's own lookup errors."""

    __slots__ = ("expressions", "put", "statements", "tables", "text", "texts", "version")

    def __init__(
        self, grammar: Grammar, version: int, texts: MutableMapping[int, str] | None = None
    ) -> None:
        self.text: list[str] = []
        self.put = self.text.append
        self.expressions, self.tables, self.statements = grammar
        self.version = version
        """server_version_num of the server that will read the text."""
        self.texts: MutableMapping[int, str] = {} if texts is None else texts
        """As in `deparse`."""

    # --- Dispatch ---------------------------------------------------------------------------

    def expr(self, node: Node) -> None:
        """An expression; what stands around it must not be an operator."""
        ((kind, body),) = node.items()
        row = self.expressions.get(kind)
        if row is None:
            raise Undeparsable(f"{kind} is not printed as an expression")
        if not body.keys() <= row.fields:
            refuse_fields(kind, body, row.fields)
        row.write(self, body)

    def operand(self, node: Node) -> None:
        """An expression, in parentheses unless nothing around it could bind to a part of it."""
        ((kind, _),) = node.items()
        if kind in CLOSED:
            self.expr(node)
            return
        self.put("(")
        self.expr(node)
        self.put(")")

    def table(self, node: Node) -> None:
        """One element of a FROM list."""
        self._by_kind(node, self.tables, "in FROM")

    def statement(self, node: Node, allowed: frozenset[str]) -> None:
        ((kind, _),) = node.items()
        if kind not in allowed:
            raise Undeparsable(f"{kind} is not printed here")
        self._by_kind(node, self.statements, "as a statement")

    def _by_kind(self, node: Node, rows: Mapping[str, Rule], where: str) -> None:
        ((kind, body),) = node.items()
        row = rows.get(kind)
        if row is None:
            raise Undeparsable(f"{kind} is not printed {where}")
        self.check(kind, body, row.fields)
        row.write(self, body)

    def query(self, node: Node) -> None:
        """A SelectStmt, in parentheses."""
        self.put("(")
        text = self.texts.get(id(node.get("SelectStmt")))
        if text is None:
            self.statement(node, QUERY)
        else:
            self.put(text or self._kept(node))
        self.put(")")

    def _kept(self, node: Node) -> str:
        grammar = Grammar(self.expressions, self.tables, self.statements)
        inner = Printer(grammar, self.version, self.texts)
        inner.statement(node, QUERY)
        text = self.texts[id(node["SelectStmt"])] = "".join(inner.text)
        return text

    def check(self, kind: str, body: Body, fields: frozenset[str]) -> None:
        if not body.keys() <= fields:
            refuse_fields(kind, body, fields)

    def since(self, version: int, construct: str) -> None:
        if self.version < version:
            raise Undeparsable(f"{construct} is newer than the server")

    # --- Words ------------------------------------------------------------------------------

    def identifier(self, name: str) -> None:
        self.put(quoted(name))

    def name(self, parts: Sequence[Node]) -> None:
        """A list of String nodes: a qualified name."""
        self.put(".".join([quoted(word(part)) for part in parts]))

    def operator(self, parts: Sequence[Node]) -> None:
        """As all_Op, or OPERATOR(schema.op); always with blanks around."""
        *schemas, symbol = [word(part) for part in parts]
        if not _SYMBOL.fullmatch(symbol) or "--" in symbol or "/*" in symbol:
            raise Undeparsable("a name that is no operator's")
        if not schemas:
            self.put(f" {symbol} ")
            return
        qualified = ".".join([*map(quoted, schemas), symbol])
        self.put(f" OPERATOR({qualified}) ")

    def names(self, parts: Iterable[Node]) -> None:
        """String nodes as a list in parentheses."""
        self.put("(" + ", ".join([quoted(word(part)) for part in parts]) + ")")

    def separated(self, nodes: Iterable[Node], write: Callable[[Node], None]) -> None:
        """With commas between."""
        put = self.put
        separator = ""
        for node in nodes:
            if separator:
                put(separator)
            separator = ", "
            write(node)

    def listed(self, nodes: Iterable[Node]) -> None:
        """Expressions with commas between."""
        self.separated(nodes, self.expr)

    def clause(self, word: str, node: Node) -> None:
        """`word` and an expression, if there is one."""
        if node:
            self.put(word)
            self.expr(node)

    def type_name(self, body: Body) -> None:
        """A TypeName's body. `%TYPE` is not in the grammar of any statement that is printed."""
        self.check("TypeName", body, TYPE_NAME)
        if body["typemod"] != -1:
            raise Undeparsable("a type whose modifier is already worked out")
        if body.get("setof"):
            self.put("SETOF ")
        self.name(body["names"])
        if body.get("typmods"):
            self.put("(")
            self.listed(body["typmods"])
            self.put(")")
        for bound in body.get("arrayBounds", ()):
            size = leaf(only(bound, "Integer"), "ival", 0)
            self.put("[]" if size == -1 else f"[{size:d}]")


QUERY = frozenset(["SelectStmt"])
TYPE_NAME = known("names setof typmods typemod arrayBounds")


def quoted(name: str) -> str:
    if not name:
        raise Undeparsable("an empty name")
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string constant that means the same whatever standard_conforming_strings is."""
    escaped = value.replace("\\", "\\\\")
    return ("E'" if "\\" in value else "'") + escaped.replace("'", "''") + "'"


def items(node: Node) -> list[Node]:
    """What a List node holds."""
    held: list[Node] = leaf(only(node, "List"), "items", [])
    return held


def word(node: Node) -> str:
    """The text of a String node."""
    body = node["String"]
    if len(node) != 1 or len(body) != 1:
        raise Undeparsable("a word with a field that is not printed")
    text: str = body["sval"]
    return text


def leaf(body: Body, field: str, left_out: Any = None) -> Any:
    """The only field of a value node; `left_out` when it is not there."""
    if not body.keys() <= {field}:
        refuse_fields("a value", body, frozenset([field]))
    return body.get(field, left_out)


def star(node: Node) -> bool:
    """Whether this is A_Star."""
    if "A_Star" not in node:
        return False
    return len(node) == 1 and not node["A_Star"]


def only(node: Node, kind: str) -> Body:
    """The body of a node that must be of this kind."""
    found: str
    body: Body
    ((found, body),) = node.items()
    if found != kind:
        raise Undeparsable(f"{found} where {kind} is expected")
    return body


def refuse_fields(kind: str, body: Body, fields: frozenset[str]) -> None:
    unknown = ", ".join(sorted(body.keys() - fields))
    raise Undeparsable(f"{kind} has a field that is not printed: {unknown}")
