"""KILL: which session of whom a text ends.

Called through the dialect for every text that may be one. Numbers of sessions are those that
clients were greeted with, never the database's: such a text is carried out by the appliance and not
forwarded. Rule: what is not of the plain form is none, and the facts of KILL refuse it.
"""

import re

from appliance.model.ending import Ending

_KILL = re.compile(
    rb"\s*+KILL\s++(?:(?:HARD|SOFT)\s++)?(?:(CONNECTION|QUERY)\s++)?([0-9]{1,10})\s*+;?\s*+",
    re.IGNORECASE,
)


def ending(text: bytes) -> Ending | None:
    found = _KILL.fullmatch(text)
    if found is None:
        return None
    return Ending(int(found[2]), (found[1] or b"").upper() == b"QUERY")
