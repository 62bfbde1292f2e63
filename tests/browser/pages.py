"""Every page of the console: a name for its pictures and its path on the stage."""

from urllib.parse import quote

from tests.browser.content import LONG
from tests.browser.policies import NEW_POLICY

PAGES = {
    "approvals": "/requests",
    "approvals-all": "/requests?view=all",
    "request": "/requests/b1",
    "request-hostile": "/requests/a9",
    "request-own": "/requests/b3",
    "request-denied": "/requests/a2",
    "grants": "/grants",
    "sessions": "/sessions",
    "dashboard": "/dashboard",
    "audit": "/audit?span=all",
    "record": "/audit/1:104",
    "record-denied": "/audit/2:105",
    "record-request": "/audit/0:7",
    "audit-session": "/audit/5e03",
    "policy": "/policy",
    "policy-versions": "/policy/versions",
    "policy-version": f"/policy/versions/{NEW_POLICY}",
    "explain": f"/policy/explain?principal=alice&place=shop/shop&sql={quote(LONG)}",
    "masking": "/masking",
    "account": "/account",
    "device": "/device",
    "problem": "/requests/none",
}
ALIKE = {"approvals-all", "request-own", "request-denied", "record-denied", "record-request"}
"""Made like others: looked at, not examined again."""
