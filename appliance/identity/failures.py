"""The one answer every failed login gets, so that nobody learns which part was wrong."""

from appliance.model.errors import Refused
from appliance.model.refusal import Refusal, RefusalCode


def login_refused(rule: str) -> Refused:
    """SQLSTATE 28P01. `rule` says to the audit trail which check it was; clients are told the same
    text for all.
    """
    return Refused(
        Refusal(
            code=RefusalCode.AUTHENTICATION,
            message="authentication failed",
            remedy="check the user name and the password, token or certificate",
            rule=rule,
            sqlstate="28P01",
        )
    )
