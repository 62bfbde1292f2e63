"""Every route of the table, tried as everybody. A route without a row here fails the first test."""

import re
from typing import NamedTuple

import pytest

from appliance.console.routes import TABLE
from appliance.console.table import Row
from tests.unit.console.stage import Stage

EVERYBODY = frozenset({"nobody", "norole", "breaker", "viewer", "approver", "admin", "auditor"})
KNOWN = EVERYBODY - {"nobody"}
ROLES = KNOWN - {"norole", "breaker"}
REFUSED = {401, 403}


class Case(NamedTuple):
    may: frozenset[str]
    body: dict[str, object] | None = None
    query: str = ""


CASES: dict[tuple[str, str], Case] = {
    ("GET", "/api/v1/openapi.json"): Case(EVERYBODY),
    ("GET", "/healthz"): Case(EVERYBODY),
    ("GET", "/api/v1/requests"): Case(KNOWN),
    ("GET", "/api/v1/requests/{id}"): Case(KNOWN),
    ("POST", "/api/v1/requests/{id}/vote"): Case(frozenset({"approver"}), {"approve": True}),
    ("POST", "/api/v1/requests/{id}/break-glass"): Case(frozenset({"breaker"}), {"reason": "fire"}),
    ("POST", "/api/v1/requests/{id}/withdraw"): Case(KNOWN),
    ("GET", "/api/v1/grants"): Case(KNOWN),
    ("POST", "/api/v1/grants"): Case(
        KNOWN,
        {
            "scope": {"principals": ["x"], "targets": ["x"], "actions": [], "resources": []},
            "until": 1,
            "reason": "",
        },
    ),
    ("POST", "/api/v1/grants/{id}/rule"): Case(frozenset({"approver"}), {"approve": True}),
    ("POST", "/api/v1/grants/{id}/revoke"): Case(KNOWN, {}),
    ("GET", "/api/v1/sessions"): Case(KNOWN),
    ("POST", "/api/v1/sessions/{id}/end"): Case(frozenset({"admin"}), {}),
    ("GET", "/api/v1/events"): Case(ROLES),
    ("GET", "/api/v1/audit/records"): Case(frozenset({"auditor"})),
    ("GET", "/api/v1/audit/records/{reference}"): Case(frozenset({"auditor"})),
    ("GET", "/api/v1/audit/chain"): Case(frozenset({"auditor"})),
    ("GET", "/api/v1/audit/seen"): Case(frozenset({"auditor"})),
    ("GET", "/api/v1/audit/summary"): Case(frozenset({"auditor"}), query="since=0"),
    ("GET", "/api/v1/policy"): Case(ROLES),
    ("GET", "/api/v1/policy/versions"): Case(ROLES),
    ("GET", "/api/v1/policy/versions/{id}"): Case(ROLES),
    ("GET", "/api/v1/policy/history"): Case(ROLES),
    ("POST", "/api/v1/policy/versions/{id}/activate"): Case(
        frozenset({"admin"}), {"reason": "it was better"}
    ),
    ("POST", "/api/v1/policy/rollback"): Case(
        frozenset({"admin"}), {"reason": "it was better", "active": "x"}
    ),
    ("POST", "/api/v1/policy/explain"): Case(
        ROLES, {"sql": "select 1", "principal": "x", "target": "none", "database": "shop"}
    ),
    ("GET", "/api/v1/masking"): Case(ROLES, query="target=none&database=shop"),
    ("GET", "/api/v1/targets"): Case(ROLES),
    ("GET", "/api/v1/metrics"): Case(ROLES),
    ("GET", "/api/v1/tokens"): Case(KNOWN),
    ("POST", "/api/v1/tokens"): Case(KNOWN, {"label": ""}),  # refused for its body, after the role
    ("DELETE", "/api/v1/tokens/{id}"): Case(KNOWN),
    ("GET", "/api/v1/sign-ins"): Case(KNOWN),
    ("DELETE", "/api/v1/sign-ins/{id}"): Case(KNOWN),
    ("GET", "/api/v1/me"): Case(KNOWN),
    ("GET", "/api/v1/sign-in"): Case(EVERYBODY),
    ("POST", "/sign-in"): Case(EVERYBODY, {"name": "x"}),
    ("POST", "/sign-out"): Case(KNOWN),
    ("GET", "/sign-in"): Case(EVERYBODY),
    ("GET", "/sign-in/oidc/{provider}"): Case(EVERYBODY),
    ("GET", "/sign-in/oidc/{provider}/callback"): Case(EVERYBODY),
    ("POST", "/device/authorize"): Case(EVERYBODY, {}),
    ("POST", "/device/token"): Case(EVERYBODY, {"grant_type": "x", "device_code": "x"}),
    ("GET", "/api/v1/device"): Case(KNOWN, query="user_code=x"),
    ("POST", "/api/v1/device"): Case(KNOWN, {}),
    ("GET", "/device"): Case(KNOWN),
    ("POST", "/slack/interactions"): Case(EVERYBODY),  # Slack's signature decides
    ("GET", "/"): Case(KNOWN),
    ("GET", "/account"): Case(KNOWN),
    ("POST", "/account/tokens"): Case(KNOWN),
    ("POST", "/account/tokens/{id}/revoke"): Case(KNOWN),
    ("POST", "/account/sign-ins/{id}/end"): Case(KNOWN),
    ("POST", "/device"): Case(KNOWN),
    ("POST", "/theme"): Case(KNOWN),
    ("GET", "/requests"): Case(KNOWN),
    ("GET", "/requests/{id}"): Case(KNOWN),
    ("GET", "/requests/{id}/statement.sql"): Case(KNOWN),
    ("POST", "/requests/{id}/vote"): Case(frozenset({"approver"})),
    ("POST", "/requests/{id}/break-glass"): Case(frozenset({"breaker"})),
    ("POST", "/requests/{id}/withdraw"): Case(KNOWN),
    ("GET", "/grants"): Case(ROLES),
    ("POST", "/grants"): Case(KNOWN),
    ("POST", "/grants/{id}/rule"): Case(frozenset({"approver"})),
    ("POST", "/grants/{id}/revoke"): Case(KNOWN),
    ("GET", "/sessions"): Case(ROLES),
    ("POST", "/sessions/{id}/end"): Case(frozenset({"admin"})),
    ("GET", "/audit"): Case(frozenset({"auditor"})),
    ("POST", "/audit/verify"): Case(frozenset({"auditor"})),
    ("GET", "/audit/{reference}"): Case(frozenset({"auditor"})),
    ("GET", "/policy"): Case(ROLES),
    ("GET", "/policy/versions"): Case(ROLES),
    ("GET", "/policy/versions/{id}"): Case(ROLES),
    ("POST", "/policy/versions/{id}/activate"): Case(frozenset({"admin"})),
    ("POST", "/policy/rollback"): Case(frozenset({"admin"})),
    ("GET", "/policy/explain"): Case(ROLES),
    ("POST", "/policy/explain"): Case(ROLES),
    ("GET", "/masking"): Case(ROLES),
    ("GET", "/dashboard"): Case(ROLES),
}


def test_every_route_is_here_and_nothing_else() -> None:
    assert {(row.method, row.path) for row in TABLE} == set(CASES)


def test_every_route_is_in_the_table_once() -> None:
    assert len({(row.method, row.path) for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.path}")
async def test_who_gets_past_the_door(stage: Stage, row: Row) -> None:
    """By the status alone: 401 for nobody, 403 for the wrong role; whoever may gets any other."""
    case = CASES[row.method, row.path]
    path = re.sub(r"\{\w+\}", "none", row.path) + (f"?{case.query}" if case.query else "")
    for who in sorted(EVERYBODY):
        headers = {} if who == "nobody" else await stage.token(who)
        if row.path == "/api/v1/events" and who in case.may:
            continue  # it does not end; test_live reads it
        answer = await stage.client.request(row.method, path, json=case.body, headers=headers)
        passed = answer.status_code not in REFUSED and not _sent_to_sign_in(answer)
        assert passed == (who in case.may), f"{who}: {answer.status_code} {answer.text}"
        if not passed and not row.page:
            assert answer.status_code == (401 if who == "nobody" else 403)
            assert answer.headers["content-type"] == "application/problem+json"
        assert answer.status_code != 500


def _sent_to_sign_in(answer: object) -> bool:
    location = answer.headers.get("location", "")  # type: ignore[attr-defined]
    return bool(location.startswith("/sign-in?next="))
