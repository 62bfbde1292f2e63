"""EXPLAIN, PREPARE, EXECUTE, DECLARE, COPY and CREATE TABLE AS. Called through
`Printer.statement`.

Its rule: COPY is between a relation or query and the client, never a file or a program; no other
statement that makes or changes an object is printed.
"""

from collections.abc import Mapping, Sequence

from appliance.sql.deparse.expressions import number
from appliance.sql.deparse.printer import (
    Node,
    Printer,
    Rule,
    Undeparsable,
    items,
    known,
    leaf,
    literal,
    only,
    quoted,
    rule,
    star,
    word,
)
from appliance.sql.deparse.queries import DATA, new_relation
from appliance.sql.deparse.tables import relation
from appliance.sql.parse import Body

_EXPLAINED = DATA | {"CreateTableAsStmt", "DeclareCursorStmt", "ExecuteStmt"}
_OPTION = known("defname arg defaction")
_STORAGE_OPTION = known("defnamespace defname arg defaction")


def _explain(p: Printer, body: Body) -> None:
    p.put("EXPLAIN ")
    if body.get("options"):
        _options(p, body["options"])
        p.put(" ")
    p.statement(body["query"], _EXPLAINED)


def _options(p: Printer, nodes: Sequence[Node]) -> None:
    """`(name value, name, ...)`."""
    p.put("(")
    p.separated(nodes, lambda node: _option(p, only(node, "DefElem")))
    p.put(")")


def _option(p: Printer, body: Body) -> None:
    p.check("DefElem", body, _OPTION)
    _require_plain(body)
    p.identifier(body["defname"])
    argument = body.get("arg")
    if argument:
        p.put(" ")
        _option_value(p, argument)


def _require_plain(body: Body) -> None:
    if body["defaction"] != "DEFELEM_UNSPEC":
        raise Undeparsable("an option that is added or dropped")


def _option_value(p: Printer, node: Node) -> None:
    ((kind, body),) = node.items()
    if star(node):
        p.put("*")
    elif kind == "List":
        p.put("(" + ", ".join([literal(word(item)) for item in items(node)]) + ")")
    else:
        p.put(_plain_value(p, kind, body))


def _plain_value(p: Printer, kind: str, body: Body) -> str:
    if kind == "String":
        return literal(leaf(body, "sval"))
    if kind == "Integer":
        return f"{leaf(body, 'ival', 0):d}"
    if kind == "Float":
        return number(leaf(body, "fval"), p.version)
    if kind == "Boolean":
        return "'true'" if leaf(body, "boolval") else "'false'"
    raise Undeparsable(f"an option whose value is a {kind}")


# --- PREPARE, EXECUTE, DECLARE -----------------------------------------------------------------


def _prepare(p: Printer, body: Body) -> None:
    p.put("PREPARE ")
    p.identifier(body["name"])
    if body.get("argtypes"):
        p.put(" (")
        p.separated(body["argtypes"], lambda node: p.type_name(only(node, "TypeName")))
        p.put(")")
    p.put(" AS ")
    p.statement(body["query"], DATA)


def _execute(p: Printer, body: Body) -> None:
    p.put("EXECUTE ")
    p.identifier(body["name"])
    if body.get("params"):
        p.put(" (")
        p.listed(body["params"])
        p.put(")")


_FAST_PLAN = 0x100  # the grammar always sets it
_ASENSITIVE = 0x10
_CURSOR_OPTIONS: Mapping[int, str] = {
    0x1: "BINARY ",
    0x2: "SCROLL ",
    0x4: "NO SCROLL ",
    0x8: "INSENSITIVE ",
    _ASENSITIVE: "ASENSITIVE ",
}
_HOLD = 0x20


def _declare(p: Printer, body: Body) -> None:
    bits = body["options"]
    if bits & ~(sum(_CURSOR_OPTIONS) | _HOLD) != _FAST_PLAN:
        raise Undeparsable("a cursor with options in no known form")
    if bits & _ASENSITIVE:
        p.since(140_000, "ASENSITIVE")
    p.put("DECLARE ")
    p.identifier(body["portalname"])
    p.put(" " + "".join([word for bit, word in _CURSOR_OPTIONS.items() if bits & bit]))
    p.put("CURSOR WITH HOLD FOR " if bits & _HOLD else "CURSOR FOR ")
    p.statement(body["query"], frozenset(["SelectStmt"]))


# --- COPY --------------------------------------------------------------------------------------


def _copy(p: Printer, body: Body) -> None:
    source, inward = body.get("relation"), body.get("is_from")
    p.put("COPY ")
    if source:
        if "query" in body or "alias" in source:
            raise Undeparsable("COPY of two things")
        relation(p, source, inheriting=True)
        if body.get("attlist"):
            p.put(" ")
            p.names(body["attlist"])
    else:
        if inward or "attlist" in body:
            raise Undeparsable("COPY of a query with what only a relation has")
        p.put("(")
        p.statement(body["query"], DATA)
        p.put(")")
    p.put(" FROM STDIN" if inward else " TO STDOUT")
    if body.get("options"):
        p.put(" WITH ")
        _options(p, body["options"])
    if not inward and "whereClause" in body:
        raise Undeparsable("COPY TO with a condition")
    p.clause(" WHERE ", body.get("whereClause"))


# --- CREATE TABLE AS ---------------------------------------------------------------------------

_INTO = known("rel colNames accessMethod options onCommit tableSpaceName skipData")
_ON_COMMIT: Mapping[str, str] = {
    "ONCOMMIT_NOOP": "",
    "ONCOMMIT_PRESERVE_ROWS": " ON COMMIT PRESERVE ROWS",
    "ONCOMMIT_DELETE_ROWS": " ON COMMIT DELETE ROWS",
    "ONCOMMIT_DROP": " ON COMMIT DROP",
}


def _create_table_as(p: Printer, body: Body) -> None:
    into = body["into"]
    p.check("IntoClause", into, _INTO)
    if body["objtype"] != "OBJECT_TABLE":
        raise Undeparsable(f"CREATE ... AS of an {body['objtype']}")
    p.put("CREATE ")
    new_relation(p, "TABLE " + _unless(body), into["rel"])
    if into.get("colNames"):
        p.put(" ")
        p.names(into["colNames"])
    if into.get("accessMethod"):
        p.put(" USING ")
        p.identifier(into["accessMethod"])
    if into.get("options"):
        p.put(" WITH (")
        p.separated(into["options"], lambda node: _storage(p, only(node, "DefElem")))
        p.put(")")
    p.put(_ON_COMMIT[into["onCommit"]])
    if into.get("tableSpaceName"):
        p.put(" TABLESPACE ")
        p.identifier(into["tableSpaceName"])
    p.put(" AS ")
    if "SelectStmt" in body["query"]:
        p.query(body["query"])  # in parentheses: ... IS JSON WITH NO DATA
    else:
        p.statement(body["query"], frozenset(["ExecuteStmt"]))
    if into.get("skipData"):
        p.put(" WITH NO DATA")


def _unless(body: Body) -> str:
    return "IF NOT EXISTS " if body.get("if_not_exists") else ""


def _storage(p: Printer, body: Body) -> None:
    p.check("DefElem", body, _STORAGE_OPTION)
    _require_plain(body)
    if body.get("defnamespace"):
        p.put(quoted(body["defnamespace"]) + ".")
    p.identifier(body["defname"])
    if not body.get("arg"):
        return
    p.put(" = ")
    ((kind, value),) = body["arg"].items()
    if kind == "TypeName":  # any bare word: autovacuum_enabled = off
        p.type_name(value)
    elif kind == "Boolean":
        raise Undeparsable("a storage option with a truth value")
    else:
        p.put(_plain_value(p, kind, value))


UTILITY: Mapping[str, Rule] = {
    "CopyStmt": rule("relation query attlist is_from options whereClause", _copy),
    "CreateTableAsStmt": rule("query into objtype if_not_exists", _create_table_as),
    "DeclareCursorStmt": rule("portalname options query", _declare),
    "ExecuteStmt": rule("name params", _execute),
    "ExplainStmt": rule("query options", _explain),
    "PrepareStmt": rule("name argtypes query", _prepare),
}
