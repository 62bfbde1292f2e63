"""The nodes of sqlglot's trees that are understood: `reading`'s tables.

Rule: a node that is not here is a puzzle. Whether the *function* or the variable in a node may be
used is not decided here but by the facts.
"""

from sqlglot import exp

LEAVES = (
    exp.Literal,
    exp.Null,
    exp.Boolean,
    exp.Placeholder,
    exp.Var,
    exp.DataType,
    exp.HexString,
    exp.BitString,
    exp.National,
    exp.CurrentDate,
    exp.CurrentTime,
    exp.CurrentTimestamp,
    exp.CurrentUser,
    exp.Localtime,
    exp.Localtimestamp,
    exp.SessionParameter,
    exp.Parameter,
    exp.CharacterSet,
)
"""What holds no name of a column."""

EXPRESSIONS = frozenset(
    {
        exp.Where,
        exp.Having,
        exp.Limit,
        exp.Fetch,
        exp.LimitOptions,
        exp.Offset,
        exp.Paren,
        exp.Tuple,
        exp.And,
        exp.Or,
        exp.Xor,
        exp.Not,
        exp.EQ,
        exp.NEQ,
        exp.GT,
        exp.GTE,
        exp.LT,
        exp.LTE,
        exp.NullSafeEQ,
        exp.Is,
        exp.In,
        exp.Between,
        exp.Like,
        exp.Escape,
        exp.RegexpLike,
        exp.Exists,
        exp.Any,
        exp.All,
        exp.Add,
        exp.Sub,
        exp.Mul,
        exp.Div,
        exp.IntDiv,
        exp.Mod,
        exp.Neg,
        exp.BitwiseAnd,
        exp.BitwiseOr,
        exp.BitwiseXor,
        exp.BitwiseNot,
        exp.BitwiseLeftShift,
        exp.BitwiseRightShift,
        exp.Case,
        exp.If,
        exp.Cast,
        exp.Collate,
        exp.Introducer,
        exp.Interval,
        exp.Anonymous,
        exp.Dot,  # database.function()
        exp.Distinct,
        exp.GroupConcat,
        exp.Order,
        exp.Ordered,
        exp.Window,
        exp.WindowSpec,
        exp.Extract,
        exp.Trim,
        exp.Substring,
        exp.StrPosition,
        exp.Chr,
        exp.Concat,
        exp.Soundex,
        exp.MatchAgainst,
        exp.JSONExtract,
        exp.JSONExtractScalar,
        exp.JSONPath,
        exp.JSONPathRoot,
        exp.JSONPathKey,
        exp.JSONPathSubscript,
        exp.JSONArrayContains,
        exp.PropertyEQ,
    }
)
"""Nodes whose parts are expressions."""

SET_PARTS = frozenset({"with_", "order", "limit", "offset"})
"""What a set operation and a query in parentheses may have beside their operands."""

QUERY_PARTS = SET_PARTS | {
    "expressions",
    "distinct",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "windows",
    "locks",
    "operation_modifiers",
    "hint",
}
"""What a SELECT may have. Locks, hints and modifiers name no columns."""
