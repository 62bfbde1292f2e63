"""sqltrees against its twin: over random trees, what is changed in one of them, and depth."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.sqltrees import bodies, same_tree, walk_constants
from tests.reference import sqltrees as reference

SKIPPED = frozenset({"location", "funcformat"})
KEYS = st.sampled_from(["location", "funcformat", "args", "boolop", "arg", "a", "sval", "boolval"])
LEAVES = st.sampled_from([0, 1, False, True, "", "true", "AND_EXPR", "NOT_EXPR", None, 1.0, [], {}])
KINDS = st.sampled_from(["BoolExpr", "DefElem", "Boolean", "String", "ColumnRef"])


def _nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bodies = st.dictionaries(KEYS, inner, max_size=4)
    conjunctions = st.fixed_dictionaries(
        {
            "boolop": st.sampled_from(["AND_EXPR", "OR_EXPR", "NOT_EXPR"]),
            "args": st.lists(st.dictionaries(KINDS, bodies, min_size=1, max_size=1), max_size=3),
        }
    )
    truths = st.fixed_dictionaries({"arg": st.dictionaries(KINDS, bodies, max_size=1)})
    wrapped = st.one_of(
        conjunctions.map(lambda body: {"BoolExpr": body}),
        truths.map(lambda body: {"DefElem": body}),
        bodies.map(lambda body: {"ColumnRef": body}),
    )
    return st.one_of(bodies, wrapped, st.lists(inner, max_size=3))


TREES = st.recursive(LEAVES, _nodes, max_leaves=12)


def outcome(same: Callable[..., bool], one: Any, other: Any) -> bool | None:
    """None for what is no tree: a conjunction of no list, say."""
    try:
        return same(one, other, SKIPPED)
    except (AttributeError, KeyError, TypeError):
        return None


def test_a_conjunction_of_no_list() -> None:
    """No tree of the parser's: the same answer in both, whichever part is looked at first."""
    inner = {"BoolExpr": {"args": 1}}
    one = {"BoolExpr": {"args": [inner], "boolop": "AND_EXPR"}}
    other = {"BoolExpr": {"args": [inner], "boolop": 0}}
    assert outcome(same_tree, one, other) is outcome(reference.same_tree, one, other) is False
    assert same_tree(one, one, SKIPPED) and reference.same_tree(one, one, SKIPPED)


@given(one=TREES, other=TREES)
def test_random_pairs(one: Any, other: Any) -> None:
    assert outcome(same_tree, one, other) == outcome(reference.same_tree, one, other)


@given(tree=TREES, change=LEAVES, data=st.data())
def test_one_change(tree: Any, change: Any, data: st.DataObject) -> None:
    changed = _changed(tree, change, data)
    for one, other in ((tree, changed), (changed, tree), (tree, _copied(tree))):
        assert outcome(same_tree, one, other) == outcome(reference.same_tree, one, other)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


def _changed(tree: Any, change: Any, data: st.DataObject) -> Any:
    """A copy with something else at a random place."""
    if not tree or not isinstance(tree, dict | list) or data.draw(st.integers(0, 3)) == 0:
        return change
    if isinstance(tree, dict):
        chosen = data.draw(st.sampled_from(sorted(tree)))
        return {k: _changed(v, change, data) if k == chosen else v for k, v in tree.items()}
    place = data.draw(st.integers(0, len(tree) - 1))
    return [_changed(v, change, data) if n == place else v for n, v in enumerate(tree)]


@given(tree=TREES)
def test_bodies_of_a_kind(tree: Any) -> None:
    for kind in ("BoolExpr", "args", "arg"):
        ours, twin = bodies(tree, kind), reference.bodies(tree, kind)
        assert sorted(map(id, ours)) == sorted(map(id, twin))


def test_what_no_parser_gives_is_not_the_same() -> None:
    def nested(levels: int) -> Any:
        tree: Any = 1
        for _ in range(levels):
            tree = [tree]
        return tree

    assert same_tree(nested(1024), nested(1024), SKIPPED)
    assert not same_tree(nested(1024), nested(1025), SKIPPED)
    assert not same_tree(nested(100_000), nested(100_000), SKIPPED)


def compared(body: Any) -> list[int] | None:
    return body.get("places")


CONDITIONS = frozenset({"whereClause"})
CONSTANT = {"A_Const": {"ival": {"ival": 1}, "location": 3}}


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({}, []),
        ({"whereClause": {"A_Expr": {"places": [3, 5]}}}, [3, 5]),
        ({"whereClause": [{"BoolExpr": {"args": [{"A_Expr": {"places": [4]}}]}}]}, [4]),
        ({"targetList": [{"A_Expr": {"places": [3]}}]}, []),
        ({"targetList": [{"A_Expr": {"lexpr": CONSTANT}}]}, None),
        ({"whereClause": {"A_Expr": {"lexpr": CONSTANT}}}, None),
        ({"whereClause": {"SubLink": {"SelectStmt": {"A_Expr": {"places": [3]}}}}}, []),
        ({"whereClause": {"SubLink": {"SelectStmt": {"targetList": [CONSTANT]}}}}, None),
        ({"whereClause": {"A_Const": {"isnull": True}}}, []),
    ],
)
def test_constants_are_found_where_they_are_compared(tree: Any, found: list[int] | None) -> None:
    assert walk_constants(tree, CONDITIONS, compared) == found
