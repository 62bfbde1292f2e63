"""Which rows may go on to the client without a step of the machine for each chunk.

Asked by `machine` when what was received has been dealt with. Rule: exactly those rows with which
`from_upstream` would do nothing but mask, count and pass them on, under the lock that was made for
them; whatever else the machine is asked closes the flow first.
"""

from appliance.session.inflight import Execution
from appliance.session.state import SessionState
from appliance.wire.postgres.expected import Kind


def let_flow(state: SessionState) -> None:
    """Opens the flow where rows are due that may go on so."""
    head = state.expected.head
    if head is None or head.injected or head.error or head.kind not in (Kind.EXECUTE, Kind.QUERY):
        return
    execution = head.subject
    if not isinstance(execution, Execution) or not execution.rows:
        return  # its first rows are the machine's
    if execution.rows_max is not None or state.waiting is not None or state.runs:
        return
    verdict = execution.verdict
    if verdict.decision.row_limit is not None:
        return
    if not verdict.plain and state.announcement.shows(verdict.facts):
        return
    portal = execution.portal
    lock = execution.lock if portal is None else portal.lock
    described = execution.description if portal is None else portal.any_description
    masker, sensitive = None, 0 if lock is None else lock.sensitive_columns
    if verdict.restricted:
        if lock is None or not lock.rows_expected:
            return
        masker = lock.masker
    state.flow.begin(execution, masker, sensitive, bool(described))
