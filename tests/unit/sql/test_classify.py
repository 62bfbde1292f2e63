"""Every statement of the grammar is classified on purpose, and so is every expression node."""

import inspect

from pglast import ast

from appliance.model.facts import Action
from appliance.sql import classify
from appliance.sql.expressions import _VISITS, CHILDREN, STRUCTURAL
from appliance.sql.statements import CLASSIFIED

# Nodes that end in Stmt and are no statement a client can send.
NOT_SENT = {"RawStmt", "PLAssignStmt", "ReturnStmt", "SetOperationStmt"}

# Made by parse analysis, planning or execution; a raw parse tree has none of them.
NOT_RAW = {
    *("Aggref", "AlternativeSubPlan", "ArrayCoerceExpr", "ArrayExpr", "CaseTestExpr"),
    *("CoerceToDomain", "CoerceToDomainValue", "CoerceViaIO", "CollateExpr", "ConvertRowtypeExpr"),
    *("FieldSelect", "FieldStore", "FuncExpr", "InferenceElem", "JsonConstructorExpr", "JsonExpr"),
    *("OnConflictExpr", "OpExpr", "Param", "RelabelType", "ReturningExpr", "RowCompareExpr"),
    *("ScalarArrayOpExpr", "SubPlan", "SubscriptingRef", "TableFunc", "Var", "WindowFunc"),
    *("WindowFuncRunCondition", "DistinctExpr", "NullIfExpr", "NextValueExpr", "RangeTblRef"),
    *("FromExpr", "MergeAction", "TargetEntry"),
}
ELSEWHERE = {"IntoClause", "JoinExpr", "RangeVar"}
"""Expr by C inheritance, and clauses: `queries` reads them."""


def nodes() -> dict[str, type]:
    return {
        name: node
        for name, node in vars(ast).items()
        if inspect.isclass(node) and issubclass(node, ast.Node)
    }


def test_every_statement_is_classified() -> None:
    statements = {name for name in nodes() if name.endswith("Stmt")} - NOT_SENT
    assert statements == CLASSIFIED


def test_every_raw_expression_is_known() -> None:
    expressions = {
        name
        for name, node in nodes().items()
        if issubclass(node, ast.Expr) and node is not ast.Expr
    }
    known = set(CHILDREN) | set(_VISITS) | STRUCTURAL | {"ColumnRef"}
    assert expressions - NOT_RAW - ELSEWHERE <= known, expressions - NOT_RAW - ELSEWHERE - known


def test_tables_do_not_overlap() -> None:
    assert not set(classify.DEFINITIONS) & set(classify.SESSION)
    assert not set(CHILDREN) & set(_VISITS)
    assert not (set(CHILDREN) | set(_VISITS)) & STRUCTURAL


def test_nothing_is_classified_as_harmless_by_accident() -> None:
    assert Action.SELECT not in classify.DEFINITIONS.values()
    assert Action.OPAQUE not in classify.DEFINITIONS.values()
