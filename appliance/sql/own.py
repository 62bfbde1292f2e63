"""What a statement may do to a temporary relation of its session without doing it to another.

Asked by `names` for each relation that a statement uses. Rule: a write through a view is a write to
what lies below it.
"""

from appliance.model.facts import Action

_NOT_CHANGING = frozenset((Action.CREATE_TEMPORARY, Action.SELECT, Action.EXPLAIN, Action.COPY_TO))
_THROUGH_VIEWS = frozenset(
    (
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.COPY_FROM,
        Action.TRUNCATE,
        Action.LOCK,
    )
)


def stays_inside(action: Action, kind: str) -> bool:
    """`kind`: pg_class.relkind of the session's own relation, '' when it may not be there."""
    if action in _NOT_CHANGING:
        return True
    return kind in ("r", "p") if action in _THROUGH_VIEWS else bool(kind)
