"""How many rows an approved write may affect: what approvers were shown, and a margin.

Used by `session/parking` when a statement is held (what is shown then is what binds later), and by
`control` when the approval is used. Pure. Rule: where a limit is asked for and no figure is known,
there is no limit to approve: whoever asks has to refuse.
"""

import msgspec

from appliance.approval.request import Effect, Request


def bounded(effect: Effect, margin: int) -> Effect:
    """With what it may write: its figure and `margin` per cent, rounded up."""
    rows = effect.rows
    allowed = None if rows is None else -(-rows * (100 + margin) // 100)
    return msgspec.structs.replace(effect, rows_allowed=allowed)


def released_rows(request: Request, of_grant: int | None) -> int | None:
    """What a use of this approval may write. `of_grant`: the limit of the standing grant that
    approved it."""
    limits = [n for n in (request.asked.effect.rows_allowed, of_grant) if n is not None]
    return min(limits, default=None)
