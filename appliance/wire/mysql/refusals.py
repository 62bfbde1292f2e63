"""Refusals and withheld errors as a MySQL client reads them: error packets.

Called by `codec`. Rule: an error whose text could quote a value keeps its number and SQLSTATE, by
which programs tell errors apart, and loses its words.
"""

from appliance.wire.exchange import Failed
from appliance.wire.mysql.words import error_payload

_VALUE_FREE = frozenset(
    (
        1022,  # duplicate key (no value in its words)
        1040,
        1044,
        1045,
        1046,  # no database selected
        1049,
        1050,
        1051,
        1054,  # unknown column
        1055,
        1056,
        1060,
        1061,
        1064,  # syntax: quotes the statement, which is the client's own
        1065,
        1066,
        1091,
        1093,
        1104,
        1109,
        1110,
        1111,
        1136,
        1140,
        1142,
        1143,
        1146,
        1149,
        1193,
        1205,
        1213,
        1222,
        1227,
        1235,
        1241,
        1242,
        1243,
        1305,
        1317,
        1318,
        1364,  # no default value
        1406,  # data too long for a column
        1451,
        1452,
        1969,
        3024,
    )
)
"""Errors whose words name objects but never data ("Server Error Message Reference"; MariaDB
knowledge base, "MariaDB Error Codes")."""


def withheld_payload(failed: Failed) -> bytes:
    """The same error without what could carry data. Condition handlers and SIGNAL may say anything
    under any number, so only the server's own SQLSTATEs for these numbers keep their words."""
    if failed.number in _VALUE_FREE and failed.sqlstate != "45000":
        return failed.payload
    message = f"statement failed (error {failed.number}); its message is withheld"
    return error_payload(failed.number, failed.sqlstate, message)
