"""Options of utility statements: EXPLAIN (...), VACUUM (...).

Read by `statements` and `maintenance`. Rule: an option that is not clearly off is on.
"""

from collections.abc import Sequence
from typing import Any

from appliance.sql.parse import Body


def is_on(argument: Any) -> bool:
    """Whether an option such as ANALYZE is on: bare, or a true word or number."""
    if not argument:
        return True
    ((kind, body),) = argument.items()
    if kind == "Boolean":
        return bool(body.get("boolval"))
    word = body.get("sval", body.get("ival", body.get("fval", "")))
    return str(word).lower() not in ("off", "false", "no", "0", "f", "n", "of", "fa", "fal", "fals")


def analyzes(options: Sequence[Body]) -> bool:
    return any(o["defname"] == "analyze" and is_on(o.get("arg")) for o in options)
