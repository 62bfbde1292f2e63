"""Plain-Python twin of `_speedups.sqltrees`."""

from collections.abc import Callable, Mapping
from typing import Any

Body = Mapping[str, Any]


def bodies(tree: Any, kind: str) -> list[Any]:
    if isinstance(tree, list):
        return [found for inner in tree for found in bodies(inner, kind)]
    if not isinstance(tree, dict):
        return []
    here = [tree[kind]] if isinstance(tree.get(kind), dict) else []
    return [*here, *bodies(list(tree.values()), kind)]


def same_tree(one: Any, other: Any, skipped: frozenset[str]) -> bool:
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        kind = left.__class__
        if kind is not right.__class__:
            return False
        if kind is dict:
            if not _same_fields(left, right, pairs, skipped):
                return False
        elif kind is list:
            if len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif left != right:
            return False
    return True


def _same_fields(
    left: Body, right: Body, pairs: list[tuple[Any, Any]], skipped: frozenset[str]
) -> bool:
    """Compares what is no tree itself; the rest is added to `pairs`."""
    for key, value in left.items():
        if key in skipped:
            continue
        other = right.get(key)
        kind = value.__class__
        if kind is dict or (kind is list and value):
            spelled = _SPELLED.get(key)
            pairs.append((value, other) if spelled is None else (spelled(value), spelled(other)))
        elif (kind is not other.__class__ or value != other) and (
            value or other or other.__class__ is dict
        ):
            return False
    if right.keys() <= left.keys():
        return True
    return all(key in left or key in skipped or _left_out(right[key]) for key in right)


def _left_out(value: Any) -> bool:
    return value.__class__ is not dict and not value


def _flattened(body: Any) -> Any:
    """A BoolExpr's body, as the grammar flattens it."""
    if body.__class__ is not dict:
        return body
    operation, arguments = body.get("boolop"), body.get("args", [])
    rest: list[list[Any]] = []
    while operation != "NOT_EXPR" and arguments.__class__ is list and arguments:
        first = arguments[0].get("BoolExpr") if arguments[0].__class__ is dict else None
        if first.__class__ is not dict or first.get("boolop") != operation:
            break
        if first.get("args").__class__ is not list or len(first["args"]) < 2:
            break
        rest.append(arguments[1:])
        arguments = first["args"]
    if not rest:
        return body
    return {**body, "args": [*arguments, *[a for tail in reversed(rest) for a in tail]]}


def _worded(body: Any) -> Any:
    """A DefElem's body, with a truth value as the word for it."""
    argument = body.get("arg") if body.__class__ is dict else None
    if argument.__class__ is not dict or argument.get("Boolean").__class__ is not dict:
        return body
    value = "true" if argument["Boolean"].get("boolval") else "false"
    return {**body, "arg": {"String": {"sval": value}}}


_SPELLED: Mapping[str, Callable[[Any], Any]] = {"BoolExpr": _flattened, "DefElem": _worded}
"""Node kinds whose bodies are brought into one spelling before they are compared."""
