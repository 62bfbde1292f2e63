"""Whether what was prepared, or bound, is not what a text was found to be since.

Asked by `from_client` before a Bind and an Execute are forwarded. The server looks the names of a
prepared text up at its Parse, anew at each Bind behind a change of search_path, role or schema
(plancache.c, RevalidateCachedQuery), and at an Execute only where it is a command (COPY, EXPLAIN).
"""

from appliance.model.refusal import Refusal
from appliance.session import told
from appliance.session.flow import Verdict
from appliance.session.inflight import Portal, Prepared


def sent(prepared: Prepared, now: Verdict) -> Refusal | None:
    """Of a text that was rewritten: it has the masks and views of then in it."""
    return None if prepared.rewritten == now.rewritten else told.prepared_otherwise()


def bound(portal: Portal, now: Verdict) -> Refusal | None:
    """A portal runs what its names meant at its Bind, and was judged by that then."""
    then = portal.verdict
    if now.restricted and then.plans != now.plans:
        return told.prepared_otherwise()
    if then.naming != now.naming and then.facts.statements != now.facts.statements:
        return told.prepared_otherwise()
    return sent(portal.prepared, now)
