"""Whether a refusal may be the word of a catalog that is behind what is there by now.

Asked by the deciding parts of both machines: such a text is judged once more by a catalog that was
compared just then.
"""

from appliance.model.decision import Effect
from appliance.model.refusal import RefusalCode
from appliance.session import changes
from appliance.session.flow import Verdict

_OF_THE_SCHEMA = (
    RefusalCode.MASKED_COLUMN_USED,
    RefusalCode.UNMASKABLE,
    RefusalCode.UNKNOWN_FUNCTION,
)


def may_be_outdated(verdict: Verdict, *, asked: bool) -> bool:
    """`asked`: there is a server to ask."""
    if verdict.refusal is None:
        return False
    if asked and verdict.refusal.code is RefusalCode.DENIED:
        # Rules are looked up by what it is; constraints that tell of a mask are the catalog's.
        ruled = verdict.decision.effect is Effect.DENY
        return not ruled or changes.names_unknown(verdict.facts)
    return verdict.refusal.code is RefusalCode.UNRESOLVED or (
        asked and verdict.refusal.code in _OF_THE_SCHEMA
    )
