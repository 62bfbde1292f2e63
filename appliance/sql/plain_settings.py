"""Whether a statement that changes settings says by its text and parameters alone what they become.

Asked by `analysis`; what an approval is bound to rests on it (`session/chosen`). Rule: what is not
known to be told by the text is not.
"""

from typing import Any

from appliance.sql.names import words
from appliance.sql.parse import Body

Node = Any

_SELECT = frozenset({"targetList", "limitOption", "op"})
"""Keys of a SELECT that has nothing but its list: no FROM, WHERE, LIMIT, WITH, UNION."""
_CALL = frozenset({"funcname", "args", "funcformat", "location"})


def sets_plainly(kind: str, body: Body) -> bool:
    """SET and RESET; SELECT of nothing but set_config() of constants and parameters."""
    if kind == "VariableSetStmt":
        return True
    if kind != "SelectStmt" or not _SELECT.issuperset(body):
        return False
    return all(_is_plain_call(item["ResTarget"].get("val")) for item in body["targetList"])


def _is_plain_call(node: Node | None) -> bool:
    if not node or "FuncCall" not in node:
        return False
    call = node["FuncCall"]
    return (
        _CALL.issuperset(call)
        and words(call["funcname"])[-1] == "set_config"
        and all(_is_given(argument) for argument in call.get("args", ()))
    )


def _is_given(node: Node) -> bool:
    """A constant or a parameter, cast or not (casts to built-in types compute nothing else)."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return "A_Const" in node or "ParamRef" in node
