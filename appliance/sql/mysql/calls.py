"""Functions, variables and locks in a statement's tree, into its ledger. Called by `queries` and
`writes` once for each tree.

What functions compute from is the reader's business; this module only asks what a call does.
"""

from sqlglot import exp

from appliance.model.facts import Action, Flag, FunctionUse
from appliance.sql.mysql.functions import EFFECTS, HARMLESS
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.tree import SEQUENCE

_BOUNDS = {
    "sleep": 60,  # seconds
    "benchmark": 10_000_000,  # rounds
    **dict.fromkeys(("repeat", "space", "lpad", "rpad"), 100_000_000),  # characters
}
"""Calls that take long when one of their first two arguments is a constant above this."""


def note_calls(ledger: Ledger, tree: exp.Expr) -> None:
    """Every call in a tree, the tree's own views and WITH queries included."""
    for node in tree.walk():
        if isinstance(node, exp.Anonymous):
            _call(ledger, node)
        elif isinstance(node, exp.PropertyEQ):
            _assigned(ledger, node)
        elif isinstance(node, exp.SessionParameter) and not _is_name(node.this):
            ledger.puzzle("a system variable is not understood")
    for name in ledger.reader.functions_below:
        _named(ledger, "", name, below=True)


def _call(ledger: Ledger, node: exp.Anonymous) -> None:
    schema = ""
    if isinstance(node.parent, exp.Dot) and node.arg_key == "expression":
        schema = node.parent.this.name
    name = node.name
    _named(ledger, schema, name)
    for argument in node.expressions[:1]:
        if SEQUENCE in argument.meta:
            ledger.use(Action.SEQUENCE, *argument.meta[SEQUENCE])
    _long(ledger, node)


def _named(ledger: Ledger, schema: str, name: str, below: bool = False) -> None:
    lower = name.lower()
    if not schema:
        ledger.names_called.add(lower)
    stored = _stored(ledger, schema, lower)
    action = None if schema else EFFECTS.get(lower)
    if action is not None and not below:
        ledger.act(action)
    if action is not None and below:
        stored = stored or (0,)
    if not stored and not schema and (lower in HARMLESS or action is not None):
        return
    if not below:
        ledger.act(Action.EXECUTE_FUNCTION)
    owner, candidates = _owner(ledger, schema, stored), tuple(oid for oid in stored if oid)
    call = FunctionUse(owner, name, candidates)
    held = ledger.functions_below if below else ledger.functions
    held[call] = None
    if candidates:
        ledger.calls[call] = None


def _stored(ledger: Ledger, schema: str, name: str) -> tuple[int, ...]:
    """OIDs of the stored functions that a call may mean."""
    if ledger.lineage is None:
        return ()
    return tuple(
        function.oid
        for (owner, called), functions in ledger.lineage.catalog.functions.items()
        if called.lower() == name and (not schema or owner.lower() == schema.lower())
        for function in functions
        if function.kind == "f"
    )


def _owner(ledger: Ledger, schema: str, stored: tuple[int, ...]) -> str:
    if schema or not stored or ledger.lineage is None:
        return schema
    owners = {
        owner
        for (owner, _), functions in ledger.lineage.catalog.functions.items()
        if any(function.oid in stored for function in functions)
    }
    database = ledger.settings.database
    return database if database in owners else min(owners, default="")


def _assigned(ledger: Ledger, node: exp.PropertyEQ) -> None:
    """`@name := value`: the value stays in the session, where no mask reaches it."""
    if not isinstance(node.this, exp.Parameter):
        ledger.puzzle("an assignment is not understood")


def _is_name(node: object) -> bool:
    return isinstance(node, (exp.Identifier, exp.Var))


def _long(ledger: Ledger, node: exp.Anonymous) -> None:
    """Calls that keep the server busy, or hold what others wait for, as their constants say."""
    name = node.name.lower()
    if not node.expressions:
        return
    bound = _BOUNDS.get(name)
    if bound is not None and any(_above(argument, bound) for argument in node.expressions[:2]):
        ledger.flags.add(Flag.UNBOUNDED)


def _above(node: exp.Expr, bound: int) -> bool:
    if not isinstance(node, exp.Literal):
        return False
    try:
        return float(node.this) > bound
    except ValueError:
        return False
